# SPDX-License-Identifier: Apache-2.0
"""Operators and what their policies allow, the read-only socket, certificates, and the audit records of it all."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from graft.v1 import acl_pb2, common_pb2, endpoint_pb2, namespace_pb2, node_pb2
from integration import played
from integration.api import Api, Refused, endpoint, eventually, refused
from integration.caller import METHODS, call, request_of
from integration.process import Graftd

_ROLES = """
[[roles]]
role = "operator"
uids = [0]
certificates = ["operator.example"]
namespaces = ["web-*", "shut", "bare"]

[[policies]]
name = "web"
namespaces = ["web-*"]
addresses = ["192.0.2.0/24"]
ports = ["8000-8999"]
protocols = ["tcp"]
target_namespaces = ["web-*"]
egress = ["0.0.0.0/0", "::/0"]
max_endpoints = 3
max_sockets = 100

[[policies]]
name = "shut"
namespaces = ["shut"]
addresses = ["192.0.2.0/24"]
ports = ["8000-8999"]
egress = ["198.51.100.0/24"]

[server.tls]
listen = "127.0.0.1:{port}"
certificate = "{folder}/server.crt"
key = "{folder}/server.key"
client_ca = "{folder}/authority.crt"
"""


class Bed(NamedTuple):
    graftd: Graftd
    admin: Api
    operator: Api
    kernel: played.Remote
    port: int

    def audited(self, **wanted: object) -> list[dict[str, Any]]:
        return self.graftd.records(audit=1, **wanted)


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def _authority(folder: Path, name: str) -> None:
    _openssl(
        folder, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt",
    )  # fmt: skip


def _certificate(folder: Path, authority: str, name: str, *extensions: str) -> None:
    _openssl(
        folder, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
        "-keyout", f"{name}.key", "-out", f"{name}.csr",
    )  # fmt: skip
    (folder / "extensions").write_text("\n".join(extensions) + "\n")
    _openssl(
        folder, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{authority}.crt", "-CAkey", f"{authority}.key",
        "-set_serial", "1", "-days", "2", "-extfile", "extensions", "-out", f"{name}.crt",
    )  # fmt: skip


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    folder, port = tmp_path_factory.mktemp("roles"), _free_port()
    for authority in ("authority", "stranger-authority"):
        _authority(folder, authority)
    _certificate(folder, "authority", "server", "subjectAltName=IP:127.0.0.1")
    _certificate(folder, "authority", "somebody", "subjectAltName=DNS:operator.example")
    _certificate(folder, "authority", "nobody", "subjectAltName=DNS:other.example")
    _certificate(folder, "stranger-authority", "stranger", "subjectAltName=DNS:operator.example")
    (folder / "graftd").mkdir()
    graftd = Graftd(folder / "graftd", _ROLES.format(port=port, folder=folder))
    kernel = graftd.play_kernel([f"ns{number}" for number in range(8)])
    graftd.start()
    try:
        with Api(graftd.target) as admin, Api(f"unix:{graftd.run}/graftd.sock") as operator:
            for number, name in enumerate(("web-1", "web-2", "web-3", "shut", "bare", "other")):
                admin.register(name, f"ns{number}")
            yield Bed(graftd, admin, operator, kernel, port)
        assert graftd.stop() == 0
        assert "Traceback" not in graftd.log.read_text()
    finally:
        kernel.close()
        graftd.close()


def _ok(port: int = 8080, address: str = "192.0.2.5", **fields: Any) -> Any:
    one = endpoint(port, address, **fields)
    one.inet.protocols.append(common_pb2.PROTOCOL_TCP)
    return one


def _marked() -> Any:
    one = _ok()
    one.inet.mark = 7
    return one


def _udp() -> Any:
    one = _ok()
    one.inet.protocols.append(common_pb2.PROTOCOL_UDP)
    return one


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("inet.ports", _ok(80)),
        ("inet.address", _ok(address="198.51.100.7")),
        ("inet.address", _ok(address="0.0.0.0")),
        ("inet.protocols", _udp()),
        ("inet.mark", _marked()),
        ("inet.device", _ok(device="eth0")),
        ("privileged", _ok(privileged=True)),
        ("target_namespace", _ok(target_namespace="namespaces/other")),
        ("unix.path", endpoint_pb2.Endpoint(unix=endpoint_pb2.UnixTarget(path=b"name"))),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_policy_does_not_allow(bed: Bed, field: str, wanted: Any) -> None:
    name = "namespaces/web-1/endpoints/denied"
    for trial in (True, False):
        answer = refused(bed.operator.create, "web-1", "denied", endpoint=wanted, validate_only=trial)
        assert (answer.code, answer.reason) == (grpc.StatusCode.PERMISSION_DENIED, "POLICY_DENIED")
        assert (answer.metadata["policy"], answer.metadata["field"]) == ("web", field)
        assert answer.metadata["resource"] == name
        assert "allowed: " in answer.message
    assert refused(bed.admin.endpoints.GetEndpoint, endpoint_pb2.GetEndpointRequest(name=name)).reason == (
        "ENDPOINT_NOT_FOUND"
    )
    assert not bed.kernel.endpoints(bed.kernel.namespaces["ns0"])
    # An admin is not bound by it.
    if not wanted.inet.device:
        bed.admin.create("web-1", "denied", endpoint=wanted)
        # Nor may an operator change such a one into another that is not allowed.
        change = endpoint_pb2.Endpoint(name=name, max_sockets=3)
        answer = refused(bed.operator.endpoints.UpdateEndpoint, endpoint_pb2.UpdateEndpointRequest(endpoint=change))
        assert answer.metadata["field"] == field
        bed.operator.endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name=name))


def test_an_admin_within_the_policy(bed: Bed) -> None:
    """As a container's annotations are applied: its admin wrote none of them."""
    apply = namespace_pb2.ApplyNamespaceRequest(name="namespaces/web-1", within_policy=True)
    apply.endpoints.endpoints.append(_ok(80))
    apply.endpoints.endpoints[0].name = "namespaces/web-1/endpoints/wanted"
    for trial in (True, False):
        apply.validate_only = trial
        answer = refused(bed.admin.namespaces.ApplyNamespace, apply)
        assert (answer.reason, answer.metadata["policy"]) == ("POLICY_DENIED", "web")
    apply.name = "namespaces/other"
    apply.endpoints.endpoints[0].name = "namespaces/other/endpoints/wanted"
    answer = refused(bed.admin.namespaces.ApplyNamespace, apply)
    assert (answer.reason, answer.metadata["policy"]) == ("POLICY_DENIED", "")
    apply.within_policy = False
    bed.admin.namespaces.ApplyNamespace(apply)
    apply.endpoints.Clear()
    apply.endpoints.SetInParent()
    bed.admin.namespaces.ApplyNamespace(apply)


def test_policy_names_one_of_a_batch(bed: Bed) -> None:
    request = endpoint_pb2.BatchCreateEndpointsRequest(parent="namespaces/web-3")
    for number, one in enumerate((_ok(), _ok(8081), _ok(80))):
        request.requests.add(endpoint_id=f"e{number}", endpoint=one)
    answer = refused(bed.operator.endpoints.BatchCreateEndpoints, request)
    assert (answer.reason, answer.metadata["index"]) == ("POLICY_DENIED", "2")
    assert answer.metadata["resource"] == "namespaces/web-3/endpoints/e2"
    assert bed.admin.names("web-3") == []


def test_nobody_learns_what_there_is(bed: Bed) -> None:
    """Of a target, and of a selector, that the caller may not have: the answer is the same if there is none."""

    def answers(target: str) -> list[Refused]:
        one = _ok(target_namespace=f"namespaces/{target}")
        batch = endpoint_pb2.BatchCreateEndpointsRequest(parent="namespaces/web-1")
        batch.requests.add(endpoint_id="first", endpoint=_ok())
        batch.requests.add(endpoint_id="hidden", endpoint=one)
        batch.requests.add(endpoint_id="there", endpoint=_ok())  # refused for what is in the caller's own
        apply = namespace_pb2.ApplyNamespaceRequest(name="namespaces/web-1")
        for word in ("aaa", "hidden"):
            apply.endpoints.endpoints.add().MergeFrom(one if word == "hidden" else _ok())
            apply.endpoints.endpoints[-1].name = f"namespaces/web-1/endpoints/{word}"
        update = endpoint_pb2.UpdateEndpointRequest(endpoint=one)
        update.endpoint.name = "namespaces/web-1/endpoints/there"
        return [
            refused(bed.operator.create, "web-1", "hidden", endpoint=one),
            refused(bed.operator.create, "bare", "hidden", endpoint=one),
            refused(bed.operator.endpoints.BatchCreateEndpoints, batch),
            refused(bed.operator.namespaces.ApplyNamespace, apply),
            refused(bed.operator.endpoints.UpdateEndpoint, update),
        ]

    bed.operator.create("web-1", "there", endpoint=_ok())
    there, missing = answers("other"), answers("othex")
    bed.operator.endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name="namespaces/web-1/endpoints/there"))
    for one, other in zip(there, missing, strict=True):
        assert (one.code, one.reason) == (grpc.StatusCode.PERMISSION_DENIED, "POLICY_DENIED")
        assert other.message == one.message.replace("'other'", "'othex'")
        assert other.metadata == one.metadata
    # What the policy allows, the caller may know of.
    allowed = refused(bed.operator.create, "web-1", "hidden", endpoint=_ok(target_namespace="namespaces/web-none"))
    assert allowed.reason == "NAMESPACE_NOT_FOUND"
    # ns1 is that of web-2, no namespace has ns7; process 1 is there.
    taken = []
    for selector in (
        {"iproute2_name": "ns1"},
        {"iproute2_name": "ns7"},
        {"process": {"pid": 1}},
        {"process": {"pid": 404}},
    ):
        space = namespace_pb2.Namespace(name="namespaces/web-1", selector=namespace_pb2.NamespaceSelector(**selector))
        taken.append(
            refused(
                bed.operator.namespaces.UpdateNamespace,
                namespace_pb2.UpdateNamespaceRequest(namespace=space, update_mask=FieldMask(paths=["selector"])),
            )
        )
    assert taken[0].reason == "ROLE_REQUIRED"
    assert taken == [taken[0]] * len(taken)


def test_policy_s_limits(bed: Bed) -> None:
    for number in range(3):
        bed.operator.create("web-2", f"e{number}", endpoint=_ok(8000 + number, target_namespace="namespaces/web-1"))
    answer = refused(bed.operator.create, "web-2", "e3", endpoint=_ok())
    assert (answer.code, answer.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED")
    assert answer.metadata["limit"] == "max_endpoints"
    assert (answer.metadata["value"], answer.metadata["policy"]) == ("3", "web")
    bed.operator.endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name="namespaces/web-2/endpoints/e0"))
    bed.operator.create("web-2", "e3", endpoint=_ok())
    bed.admin.create("web-2", "e4", endpoint=endpoint())
    limits = namespace_pb2.Namespace(name="namespaces/web-2", limits=namespace_pb2.NamespaceLimits(max_sockets=101))
    request = namespace_pb2.UpdateNamespaceRequest(
        namespace=limits, update_mask=FieldMask(paths=["limits.max_sockets"])
    )
    answer = refused(bed.operator.namespaces.UpdateNamespace, request)
    assert (answer.reason, answer.metadata["field"]) == ("POLICY_DENIED", "limits.max_sockets")
    bed.admin.namespaces.UpdateNamespace(request)


def test_endpoints_are_closed_first(bed: Bed) -> None:
    """Where not all destinations are allowed, an ACL rule has to be there before the endpoint."""
    answer = refused(bed.operator.create, "shut", "one", endpoint=_ok())
    assert (answer.reason, answer.metadata["field"]) == ("POLICY_DENIED", "name")
    rule = acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_ALLOW, endpoint="one", network="203.0.113.0/24")
    request = acl_pb2.CreateAclRuleRequest(parent="namespaces/shut", acl_rule_id="one", acl_rule=rule)
    answer = refused(bed.operator.acl.CreateAclRule, request)
    assert (answer.reason, answer.metadata["field"]) == ("POLICY_DENIED", "network")
    request.acl_rule.network = "198.51.100.0/25"
    bed.operator.acl.CreateAclRule(request)
    bed.operator.create("shut", "one", endpoint=_ok())
    answer = refused(bed.operator.acl.DeleteAclRule, acl_pb2.DeleteAclRuleRequest(name="namespaces/shut/aclRules/one"))
    assert answer.reason == "POLICY_DENIED"
    answer = refused(bed.operator.create, "bare", "one", endpoint=_ok())
    assert (answer.reason, answer.metadata["policy"]) == ("POLICY_DENIED", "")
    assert "no policy covers the namespace 'bare'" in answer.message


def test_selectors_are_an_admin_s(bed: Bed) -> None:
    space = namespace_pb2.Namespace(
        name="namespaces/web-1", selector=namespace_pb2.NamespaceSelector(iproute2_name="ns7"), labels={"a": "b"}
    )
    update = namespace_pb2.UpdateNamespaceRequest(namespace=space, update_mask=FieldMask(paths=["selector"]))
    apply = namespace_pb2.ApplyNamespaceRequest(name=space.name, namespace=space)
    make = namespace_pb2.ApplyNamespaceRequest(name="namespaces/web-9", namespace=space, allow_missing=True)
    for answer in (
        refused(bed.operator.namespaces.UpdateNamespace, update),
        refused(bed.operator.namespaces.ApplyNamespace, apply),
        refused(bed.operator.namespaces.ApplyNamespace, make),
        refused(bed.operator.register, "web-9", "ns7"),
        refused(bed.operator.namespaces.DeleteNamespace, namespace_pb2.DeleteNamespaceRequest(name=space.name)),
        refused(bed.operator.node.Reconcile, node_pb2.ReconcileRequest()),
    ):
        assert (answer.code, answer.reason, answer.metadata["role"]) == (
            grpc.StatusCode.PERMISSION_DENIED,
            "ROLE_REQUIRED",
            "admin",
        ) or answer.metadata["method"].endswith("/Reconcile")
    update.update_mask.paths[:] = ["labels"]
    assert bed.operator.namespaces.UpdateNamespace(update).labels == {"a": "b"}
    bed.operator.node.Reconcile(node_pb2.ReconcileRequest(namespace=space.name))


def test_read_only_socket(bed: Bed) -> None:
    """Each call of the contract: a viewer's, whatever role the caller has elsewhere."""
    with grpc.insecure_channel(f"unix:{bed.graftd.run}/read-only.sock") as channel:
        for name in METHODS:
            code, reason, message = call(channel, name, request_of(name, "web-1"))
            reads = name.rpartition("/")[2].startswith(("Get", "List", "Watch", "Export"))
            node = "NodeService" in name and not name.endswith("/GetVersion")
            if reads and not node:
                assert code in ("OK", "NOT_FOUND"), f"{name}: {message}"
            else:
                assert (code, reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED"), f"{name}: {message}"
                assert reads or "the read-only socket gives no more than viewer" in message, name


def test_audit_records(bed: Bed) -> None:
    """Each change and each refusal has one, with who, what, from where and the outcome."""
    revision = bed.admin.status().store.revision
    bed.operator.create("web-3", "audited", endpoint=_ok())
    refused(bed.operator.create, "web-3", "audited", endpoint=_ok())
    refused(bed.operator.create, "web-3", "audited-2", endpoint=_ok(80))
    refused(bed.operator.create, "other", "audited", endpoint=_ok())
    bed.admin.namespaces.FreezeNamespace(
        namespace_pb2.FreezeNamespaceRequest(name="namespaces/web-3", reason="under attack")
    )
    bed.admin.node.Freeze(node_pb2.FreezeRequest(reason="all of it"))
    bed.admin.node.Unfreeze(node_pb2.UnfreezeRequest())
    assert bed.admin.status().store.revision == revision + 2
    create = "/graft.v1.EndpointService/CreateEndpoint"
    eventually(lambda: bed.audited(method="/graft.v1.NodeService/Unfreeze"))  # all before it are written
    for resource, outcome, reason in (
        ("namespaces/web-3/endpoints/audited", "done", ""),
        ("namespaces/web-3/endpoints/audited", "failed", "ENDPOINT_EXISTS"),
        ("namespaces/web-3/endpoints/audited-2", "refused", "POLICY_DENIED"),
        ("namespaces/other/endpoints/audited", "refused", "ROLE_REQUIRED"),
    ):
        wanted = {"method": create, "resource": resource, "outcome": outcome, "reason": reason, "where": "read-write"}
        (record,) = bed.audited(**wanted)
        assert record["who_pid"] == os.getpid()
        assert record["who_uid"] == 0
        assert record["who_netns"] == played.OWN_COOKIE
        assert bool(record["detail"]) == (outcome != "done")
    (record,) = bed.audited(method="/graft.v1.NamespaceService/FreezeNamespace", where="admin")
    assert "under attack" in record["detail"]
    (record,) = bed.audited(method="/graft.v1.NodeService/Freeze", outcome="done")
    assert "all of it" in record["detail"]
    assert not bed.audited(method="/graft.v1.NodeService/GetStatus", outcome="done")


def _secure(bed: Bed, name: str, authority: str = "authority") -> grpc.Channel:
    folder = bed.graftd.folder.parent
    key, chain = ((folder / f"{name}{end}").read_bytes() for end in (".key", ".crt")) if name else (None, None)
    credentials = grpc.ssl_channel_credentials((folder / f"{authority}.crt").read_bytes(), key, chain)
    return grpc.secure_channel(f"127.0.0.1:{bed.port}", credentials)


def test_certificates(bed: Bed) -> None:
    list_endpoints, create = ("/graft.v1.EndpointService/ListEndpoints", "/graft.v1.EndpointService/CreateEndpoint")
    with _secure(bed, "somebody") as channel:
        assert call(channel, list_endpoints, request_of(list_endpoints, "web-1"))[0] == "OK"
        assert call(channel, list_endpoints, request_of(list_endpoints, "other"))[1] == "ROLE_REQUIRED"
        request = endpoint_pb2.CreateEndpointRequest(parent="namespaces/web-3", endpoint_id="tls", endpoint=_ok())
        assert call(channel, create, request) == ("OK", "", "")
        assert call(channel, "/graft.v1.NodeService/Freeze", node_pb2.FreezeRequest())[1] == "ROLE_REQUIRED"
    (record,) = eventually(
        lambda: bed.audited(method=create, who_certificate="operator.example", where="tls", outcome="done")
    )
    assert record["who_address"] == "127.0.0.1"
    with _secure(bed, "nobody") as channel:
        code, reason, message = call(channel, list_endpoints, request_of(list_endpoints, "web-1"))
        assert (code, reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED")
        assert "certificate other.example" in message
    for channel in (_secure(bed, ""), _secure(bed, "stranger"), grpc.insecure_channel(f"127.0.0.1:{bed.port}")):
        with channel:
            assert call(channel, list_endpoints, request_of(list_endpoints, "web-1"))[0] == "UNAVAILABLE"
    with _secure(bed, "somebody", "stranger-authority") as channel:
        assert call(channel, list_endpoints, request_of(list_endpoints, "web-1"))[0] == "UNAVAILABLE"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_that_is_taken(bed: Bed, tmp_path: Path, host: str) -> None:
    """The unix sockets are served meanwhile; when the port is free, TLS is."""
    certificates = bed.graftd.folder.parent
    request = request_of("/graft.v1.EndpointService/ListEndpoints", "web-1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        roles = _ROLES.format(port=port, folder=certificates).replace('"127.0.0.1:', f'"{host}:')
        graftd = Graftd(tmp_path, roles)
        graftd.start()
        (record,) = graftd.records(message="graftd does not listen for TLS, and tries again")
        assert f"graftd cannot listen on {host} port {port}: Address already in use" in record["detail"]
        with Api(graftd.target) as api:
            assert api.status().state
    try:
        eventually(lambda: graftd.records(message="graftd listens for TLS"))
        with _secure(bed._replace(port=port), "somebody") as channel:
            assert call(channel, "/graft.v1.EndpointService/ListEndpoints", request)[0] == "NOT_FOUND"
        assert graftd.stop() == 0
    finally:
        graftd.close()


def test_handshakes_that_do_not_end(bed: Bed, tmp_path: Path) -> None:
    """They are closed after ten seconds, and then others come in."""
    certificates, port = bed.graftd.folder.parent, _free_port()
    graftd = Graftd(tmp_path, _ROLES.format(port=port, folder=certificates))
    written = graftd.config.read_text()
    graftd.config.write_text(written.replace("[server]", "[server]\nmax_connections_per_user = 3", 1))
    graftd.start()
    request = request_of("/graft.v1.EndpointService/ListEndpoints", "web-1")
    try:
        with contextlib.ExitStack() as held:
            silent = [held.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(3)]
            eventually(lambda: socket.create_connection(("127.0.0.1", port), 30).recv(1) == b"")
            record = eventually(lambda: graftd.records(message="a connection was closed"))[0]
            assert record["caller"] == "127.0.0.1"
            begun = time.monotonic()
            assert [one.recv(1) for one in silent] == [b""] * 3
            assert time.monotonic() - begun < 30
        with _secure(bed._replace(port=port), "somebody") as channel:
            # Their places are free a moment after they closed.
            eventually(lambda: call(channel, "/graft.v1.EndpointService/ListEndpoints", request)[0] == "NOT_FOUND", 60)
        assert graftd.stop() == 0
    finally:
        graftd.close()
