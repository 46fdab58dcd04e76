# SPDX-License-Identifier: Apache-2.0
"""Whole tables at once: apply, import and export; and the whole store: backup and restore."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from graft.v1 import acl_pb2, common_pb2, endpoint_pb2, namespace_pb2, node_pb2, rule_pb2, watch_pb2
from graftd.model import PutEndpoint
from integration import played
from integration.api import batch, endpoint, eventually, refused
from integration.bed import Bed, serving
from integration.workload import check_kernel


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with serving(tmp_path_factory.mktemp("wholes")) as bed:
        yield bed


@pytest.fixture
def bed(process: Bed) -> Iterator[Bed]:
    yield process
    check_kernel(process.api)


def _wanted(space: str, *, device: str = "") -> Any:
    """What a namespace is to hold: three endpoints, two rules, three ACL rules."""
    name = f"namespaces/{space}"
    request = namespace_pb2.ApplyNamespaceRequest(name=name)
    request.endpoints.endpoints.extend(
        [
            endpoint(80, name=f"{name}/endpoints/kept"),
            endpoint(81, name=f"{name}/endpoints/changed"),
            endpoint(82, name=f"{name}/endpoints/new", device=device),
        ]
    )
    request.rules.rules.extend(
        [
            rule_pb2.Rule(
                direction=rule_pb2.RULE_DIRECTION_INGRESS, verdict=rule_pb2.RULE_VERDICT_ENDPOINT, endpoint="new"
            ),
            rule_pb2.Rule(
                name=f"{name}/rules/named",
                direction=rule_pb2.RULE_DIRECTION_EGRESS,
                network="10.0.0.0/8",
                verdict=rule_pb2.RULE_VERDICT_DENY,
            ),
        ]
    )
    request.acl_rules.acl_rules.extend(
        acl_pb2.AclRule(name=f"{name}/aclRules/{one}", action=acl_pb2.ACL_ACTION_ALLOW, endpoint=one)
        for one in ("new", "kept", "changed")
    )
    return request


def _prepare(bed: Bed, space: str, place: str) -> None:
    bed.api.register(space, place)
    request = batch(space, ["kept", "changed", "gone"])
    bed.api.endpoints.BatchCreateEndpoints(request)
    for one in ("kept", "changed", "gone"):
        bed.api.acl.CreateAclRule(
            acl_pb2.CreateAclRuleRequest(
                parent=f"namespaces/{space}",
                acl_rule_id=one,
                acl_rule=acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_ALLOW, endpoint=one),
            )
        )


def _told(differences: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Those of rules whose ids graftd makes up are under `rules/*`."""
    found = {}
    for one in differences:
        parts = one.name.split("/")
        name = "/".join(parts[2:])
        if len(parts) == 4 and parts[2] == "rules" and parts[3] != "named":
            name = "rules/*"
        found[name] = common_pb2.DifferenceKind.Name(one.kind).rpartition("_")[2], tuple(one.fields.paths)
    return found


def test_apply(bed: Bed) -> None:
    _prepare(bed, "applied", "ns0")
    request = _wanted("applied")
    before = bed.export("applied")
    request.validate_only = True
    tried = bed.api.namespaces.ApplyNamespace(request)
    assert bed.export("applied") == before
    request.validate_only = False
    made = bed.api.namespaces.ApplyNamespace(request)
    assert (
        _told(tried.differences)
        == _told(made.differences)
        == {
            "endpoints/changed": ("UPDATED", ("inet.ports",)),
            "endpoints/new": ("CREATED", ()),
            "endpoints/gone": ("DELETED", ()),
            "rules/*": ("CREATED", ()),
            "rules/named": ("CREATED", ()),
            "aclRules/gone": ("DELETED", ()),
            "aclRules/new": ("CREATED", ()),
        }
    )
    assert (tried.revision, tried.etag) == (before.revision, "")
    after = bed.export("applied")
    assert (made.revision, made.etag) == (after.revision, after.etag) == (before.revision + 1, after.etag)
    assert [one.name.rpartition("/")[2] for one in after.acl_rules.acl_rules] == ["new", "kept", "changed"]
    assert bed.of_kernel("ns0") == {"kept", "changed", "new"}
    # Again: nothing differs, and nothing happens. What was exported is what is there.
    for again in (request, _as_applied(after)):
        answer = bed.api.namespaces.ApplyNamespace(again)
        assert (list(answer.differences), answer.revision) == ([], made.revision)
    # Only what is said: the rest stays.
    part = namespace_pb2.ApplyNamespaceRequest(name=request.name, rules=rule_pb2.RuleSet())
    assert {kind for kind, _ in _told(bed.api.namespaces.ApplyNamespace(part).differences).values()} == {"DELETED"}
    assert len(bed.export("applied").endpoints.endpoints) == 3
    part.etag = after.etag
    answer = refused(bed.api.namespaces.ApplyNamespace, part)
    assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")


def _as_applied(whole: Any) -> Any:
    return namespace_pb2.ApplyNamespaceRequest(
        name=whole.namespace.name,
        namespace=whole.namespace,
        endpoints=whole.endpoints,
        rules=whole.rules,
        acl_rules=whole.acl_rules,
        etag=whole.etag,
    )


def test_apply_is_all_or_nothing(bed: Bed) -> None:
    _prepare(bed, "refused", "ns1")
    before = bed.export("refused")
    call = bed.api.watch.Watch(watch_pb2.WatchRequest(parent="namespaces/refused"))
    next(call)
    answer = refused(bed.api.namespaces.ApplyNamespace, _wanted("refused", device=played.REFUSED_DEVICE))
    assert answer.reason == "KERNEL_REFUSED"
    assert answer.metadata["resource"] == "namespaces/refused/endpoints/new"
    assert bed.export("refused") == before
    assert bed.of_kernel("ns1") == {"kept", "changed", "gone"}
    wrong = _wanted("refused")
    wrong.endpoints.endpoints[1].inet.address = "10.0.0.0.1"
    wrong.acl_rules.acl_rules[2].network = "10.0.0.1/8"
    answer = refused(bed.api.namespaces.ApplyNamespace, wrong)
    assert answer.reason == "INVALID_FIELD"
    assert set(answer.fields) == {"endpoints.endpoints[1].inet.address", "acl_rules.acl_rules[2].network"}
    nowhere = _wanted("refused")
    nowhere.endpoints.endpoints[0].target_namespace = "namespaces/not-there"
    assert refused(bed.api.namespaces.ApplyNamespace, nowhere).reason == "NAMESPACE_NOT_FOUND"
    assert bed.export("refused") == before
    # Nobody was told of what was not kept.
    bed.api.create("refused", "told")
    assert next(one for one in call if one.changes).changes[0].endpoint.name.endswith("/told")
    call.cancel()


def test_apply_makes_a_namespace(bed: Bed) -> None:
    request = _wanted("made")
    assert refused(bed.api.namespaces.ApplyNamespace, request).reason == "NAMESPACE_NOT_FOUND"
    request.allow_missing = True
    answer = refused(bed.api.namespaces.ApplyNamespace, request)
    assert (answer.reason, answer.fields) == ("INVALID_FIELD", ("namespace",))
    request.namespace.selector.iproute2_name = "ns2"
    before = bed.revision()
    made = bed.api.namespaces.ApplyNamespace(request)
    assert made.revision == before + 1
    assert made.namespace.state == namespace_pb2.NAMESPACE_STATE_PRESENT
    assert bed.of_kernel("ns2") == {"kept", "changed", "new"}


def test_import(bed: Bed) -> None:
    """What stands in the kernel is adopted, and not touched; what cannot be a resource, is named."""
    bed.api.register("import-model", "ns3")
    bed.api.namespaces.ApplyNamespace(_wanted("import-model"))
    model = bed.kernel.namespaces["ns3"]
    cookie = bed.kernel.namespaces["ns4"]
    endpoints = [one.endpoint for one in bed.kernel.endpoints(model)]
    bed.kernel.carry_out(cookie, [PutEndpoint(one) for one in endpoints])
    answer = refused(bed.api.register, "imported", "ns4")
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "TABLE_NOT_EMPTY")
    assert answer.metadata["endpoints"] == "3"
    assert bed.of_kernel("ns4") == {"kept", "changed", "new"}
    generation = bed.kernel.table(cookie).generation
    request = namespace_pb2.ImportNamespaceRequest(
        namespace_id="imported",
        namespace=namespace_pb2.Namespace(selector=namespace_pb2.NamespaceSelector(iproute2_name="ns4")),
        validate_only=True,
    )
    tried = bed.api.namespaces.ImportNamespace(request)
    assert (tried.endpoints, tried.revision) == (3, 0)
    request.validate_only = False
    made = bed.api.namespaces.ImportNamespace(request)
    assert (made.endpoints, made.rules, made.acl_rules, made.revision) == (3, 0, 0, bed.revision())
    assert bed.kernel.table(cookie).generation == generation
    assert bed.api.names("imported") == ["changed", "kept", "new"]
    assert refused(bed.api.namespaces.ImportNamespace, request).reason == "NAMESPACE_EXISTS"
    # Into a namespace that is not registered: a target that has no name here.
    strange = bed.kernel.namespaces["ns5"]
    bed.kernel.carry_out(strange, [PutEndpoint(endpoints[0], bed.kernel.namespaces["ns11"])])
    request.namespace_id, request.namespace.selector.iproute2_name = "strange", "ns5"
    answer = refused(bed.api.namespaces.ImportNamespace, request)
    assert (answer.code, answer.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NOT_IMPORTABLE")
    assert answer.metadata["entry"] == f"endpoint {endpoints[0].name}"
    assert len(bed.of_kernel("ns5")) == 1
    request.namespace_id, request.namespace.selector.iproute2_name = "absent", "not-there"
    assert refused(bed.api.namespaces.ImportNamespace, request).reason == "SELECTOR_UNRESOLVED"


def _backup(bed: Bed) -> bytes:
    pieces = list(bed.api.node.Backup(node_pb2.BackupRequest()))
    whole = b"".join(one.data for one in pieces)
    assert pieces[-1].sha256 == hashlib.sha256(whole).digest()
    assert pieces[0].revision == bed.revision()
    assert all(len(one.data) <= 2**20 for one in pieces)
    return whole


def _restore(bed: Bed, data: bytes, *, digest: bytes | None = None, **fields: Any) -> Any:
    pieces = [data[start : start + 2**18] for start in range(0, len(data), 2**18)] or [b""]
    requests = [node_pb2.RestoreRequest(data=piece) for piece in pieces]
    requests[-1].sha256 = hashlib.sha256(data).digest() if digest is None else digest
    for key, value in fields.items():
        setattr(requests[0], key, value)
    return bed.api.node.Restore(iter(requests), timeout=30)


def test_restore(bed: Bed) -> None:
    """Namespaces that came since are emptied in the kernel, those that went are filled again."""
    bed.api.register("back-kept", "ns6")
    bed.api.register("back-gone", "ns7")
    bed.api.endpoints.BatchCreateEndpoints(batch("back-kept", ["one", "two"]))
    bed.api.endpoints.BatchCreateEndpoints(batch("back-gone", ["three"]))
    before = bed.export("back-kept")
    copy = _backup(bed)
    bed.api.namespaces.DeleteNamespace(namespace_pb2.DeleteNamespaceRequest(name="namespaces/back-gone", force=True))
    bed.api.endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name="namespaces/back-kept/endpoints/one"))
    bed.api.create("back-kept", "four")
    bed.api.register("back-new", "ns8")
    bed.api.create("back-new", "five")
    revision = bed.revision()
    tried = _restore(bed, copy, validate_only=True)
    assert (tried.revision, tried.history_id) == (before.revision, "")
    assert bed.revision() == revision
    made = _restore(bed, copy)
    assert made.revision > revision
    assert (made.history_id, made.revision) == (bed.api.status().store.history_id, bed.revision())
    after = bed.export("back-kept")
    assert after.endpoints == before.endpoints
    assert after.etag == before.etag
    assert bed.of_kernel("ns6") == {"one", "two"}
    assert bed.of_kernel("ns7") == {"three"}
    assert bed.of_kernel("ns8") == set()
    assert refused(bed.export, "back-new").reason == "NAMESPACE_NOT_FOUND"
    bed.graftd.kill()
    bed.graftd.start()
    eventually(lambda: bed.api.names("back-gone") == ["three"])


def test_restore_of_what_is_no_copy(bed: Bed) -> None:
    copy = _backup(bed)
    revision = bed.revision()
    bad = bytearray(copy)
    bad[len(bad) // 2 :] = bytes(len(bad) - len(bad) // 2)
    with_newer = _newer(bed.graftd.folder / "newer", copy)
    cases: list[tuple[str, Any]] = [
        ("BACKUP_DAMAGED", lambda: _restore(bed, copy[:-4096])),
        ("BACKUP_DAMAGED", lambda: _restore(bed, copy[: len(copy) // 2], digest=hashlib.sha256(copy).digest())),
        ("BACKUP_DAMAGED", lambda: _restore(bed, copy, digest=b"")),
        ("BACKUP_DAMAGED", lambda: _restore(bed, bytes(bad))),
        ("BACKUP_DAMAGED", lambda: _restore(bed, b"no database" * 1000)),
        ("BACKUP_DAMAGED", lambda: _restore(bed, b"")),
        ("BACKUP_DAMAGED", lambda: bed.api.node.Restore(iter([]))),
        ("STORE_TOO_NEW", lambda: _restore(bed, with_newer)),
    ]
    for number, (reason, call) in enumerate(cases):
        answer = refused(call)
        assert answer.reason == reason, number
        assert bed.revision() == revision, number
    assert answer.code is grpc.StatusCode.FAILED_PRECONDITION
    assert int(answer.metadata["schema_version"]) == int(answer.metadata["supported"]) + 1
    assert not list(bed.graftd.state.glob(".transfer-*"))
    assert not list(bed.graftd.state.glob("*.restoring*"))


def _newer(path: Path, copy: bytes) -> bytes:
    path.write_bytes(copy)
    with contextlib.closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version + 1}")
    return path.read_bytes()


def test_what_a_killed_transfer_leaves(bed: Bed) -> None:
    left = bed.graftd.state / ".transfer-left"
    left.mkdir()
    (left / "backup").write_bytes(b"x" * 1000)
    bed.graftd.kill()
    bed.graftd.start()
    assert not left.exists()
    eventually(lambda: not bed.api.conditions())
