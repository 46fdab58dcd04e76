# SPDX-License-Identifier: Apache-2.0
"""Lists in pages: whole while others change what is listed, and tokens that are good for one list of one caller."""

from __future__ import annotations

import base64
import random
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import grpc
import pytest

from graft.v1 import acl_pb2, endpoint_pb2, namespace_pb2, node_pb2, rule_pb2
from integration.api import Api, batch, endpoint, eventually, refused
from integration.bed import serving
from integration.process import Graftd

_ROLES = """
[[roles]]
role = "viewer"
uids = [0]
namespaces = ["list-*"]
"""


class Bed(NamedTuple):
    graftd: Graftd
    api: Api
    viewer: Api  # of list-*, by the read-only socket


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with (
        serving(tmp_path_factory.mktemp("lists"), _ROLES) as shared,
        Api(f"unix:{shared.graftd.run}/read-only.sock") as viewer,
    ):
        yield Bed(shared.graftd, shared.api, viewer)


def _pages(call: Callable[[Any], Any], request: Any, field: str) -> Iterator[list[Any]]:
    revision = None
    while True:
        page = call(request)
        assert revision in (None, page.revision), "a page is of another revision than the first"
        revision = page.revision
        yield list(getattr(page, field))
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def test_whole_while_others_change(bed: Bed) -> None:
    """What is there all the time is listed once, in order, however much comes and goes meanwhile."""
    bed.api.register("list-busy", "ns0")
    lasting = [f"l-{number:03}" for number in range(200)]
    bed.api.endpoints.BatchCreateEndpoints(batch("list-busy", lasting))
    stop = threading.Event()
    changed: list[str] = []

    def change() -> None:
        chance = random.Random(7)
        with Api(bed.graftd.target) as api:
            while not stop.is_set():
                name = f"k-{chance.randrange(300):03}" if chance.random() < 0.5 else f"m-{chance.randrange(300):03}"
                if chance.random() < 0.5:
                    request = endpoint_pb2.DeleteEndpointRequest(
                        name=f"namespaces/list-busy/endpoints/{name}", allow_missing=True
                    )
                    api.endpoints.DeleteEndpoint(request)
                else:
                    one = endpoint(name=f"namespaces/list-busy/endpoints/{name}")
                    api.endpoints.UpdateEndpoint(endpoint_pb2.UpdateEndpointRequest(endpoint=one, allow_missing=True))
                changed.append(name)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for size in (1, 7, 50, 500):
            request = endpoint_pb2.ListEndpointsRequest(parent="namespaces/list-busy", page_size=size)
            found = [
                one.name.rpartition("/")[2]
                for page in _pages(bed.api.endpoints.ListEndpoints, request, "endpoints")
                for one in page
            ]
            assert [name for name in found if name.startswith("l-")] == lasting
            assert found == sorted(set(found))
        assert thread.is_alive(), "it has failed"
        assert len(changed) > 20
    finally:
        stop.set()
        thread.join()


def test_every_namespace_that_the_caller_sees(bed: Bed) -> None:
    bed.api.register("list-a", "ns2")
    bed.api.register("other", "ns3")
    for space in ("list-a", "other"):
        bed.api.endpoints.BatchCreateEndpoints(batch(space, ["e1", "e2", "e3"]))
        bed.api.deny(space, "r")

    def names(api: Api) -> dict[str, set[str]]:
        calls = {
            "endpoints": (api.endpoints.ListEndpoints, endpoint_pb2.ListEndpointsRequest),
            "rules": (api.rules.ListRules, rule_pb2.ListRulesRequest),
            "acl_rules": (api.acl.ListAclRules, acl_pb2.ListAclRulesRequest),
        }
        found = {
            field: {
                one.name.split("/")[1]
                for page in _pages(call, request(parent="namespaces/-", page_size=30), field)
                for one in page
            }
            for field, (call, request) in calls.items()
        }
        request = namespace_pb2.ListNamespacesRequest(page_size=1)
        pages = _pages(api.namespaces.ListNamespaces, request, "namespaces")
        found["namespaces"] = {one.name.split("/")[1] for page in pages for one in page}
        return found

    everything, some = names(bed.api), names(bed.viewer)
    for field in everything:
        assert {"list-a", "other"} <= everything[field], field
        assert some[field] == {name for name in everything[field] if name.startswith("list-")}, field
    answer = refused(bed.viewer.endpoints.ListEndpoints, endpoint_pb2.ListEndpointsRequest(parent="namespaces/other"))
    assert answer.code is grpc.StatusCode.PERMISSION_DENIED
    # Whether it is there or not, who may not see it is told the same.
    nowhere = refused(bed.viewer.endpoints.ListEndpoints, endpoint_pb2.ListEndpointsRequest(parent="namespaces/none"))
    assert nowhere.message.replace("none", "other") == answer.message


def test_sizes(bed: Bed) -> None:
    bed.api.register("list-sizes", "ns1")
    for number in range(2):
        bed.api.endpoints.BatchCreateEndpoints(batch("list-sizes", [f"s{number}-{one:04}" for one in range(3000)]))
    for asked, got in ((0, 500), (1, 1), (5000, 5000), (2**31 - 1, 5000)):
        page = bed.api.endpoints.ListEndpoints(
            endpoint_pb2.ListEndpointsRequest(parent="namespaces/list-sizes", page_size=asked)
        )
        assert len(page.endpoints) == got
        assert page.next_page_token
    answer = refused(
        bed.api.endpoints.ListEndpoints,
        endpoint_pb2.ListEndpointsRequest(parent="namespaces/list-sizes", page_size=-1),
    )
    assert (answer.reason, answer.fields) == ("INVALID_FIELD", ("page_size",))
    assert len(bed.api.names("list-sizes")) == 6000


def test_tokens(bed: Bed) -> None:
    bed.api.register("list-tokens", "ns4")
    bed.api.endpoints.BatchCreateEndpoints(batch("list-tokens", [f"t{number}" for number in range(9)]))
    request = endpoint_pb2.ListEndpointsRequest(parent="namespaces/list-tokens", page_size=4)
    first = bed.api.endpoints.ListEndpoints(request)
    request.page_token = first.next_page_token
    bed.graftd.kill()
    bed.graftd.start()
    second = bed.api.endpoints.ListEndpoints(request, wait_for_ready=True)
    assert [one.name[-2:] for one in second.endpoints] == ["t4", "t5", "t6", "t7"]
    assert second.revision == first.revision
    request.page_size = 100
    assert len(bed.api.endpoints.ListEndpoints(request).endpoints) == 5
    bed.api.register("list-elsewhere", "ns5")
    token = first.next_page_token
    changed = bytearray(base64.urlsafe_b64decode(token))
    changed[-2] ^= 1
    wrong = [
        {"parent": "namespaces/list-elsewhere", "page_token": token},
        {"parent": "namespaces/-", "page_token": token},
        {"parent": "namespaces/list-tokens", "page_token": token, "labels": {"a": "b"}},
        {"parent": "namespaces/list-tokens", "page_token": base64.urlsafe_b64encode(changed).decode()},
        {"parent": "namespaces/list-tokens", "page_token": token[:-4]},
        {"parent": "namespaces/list-tokens", "page_token": "mine"},
        {"parent": "namespaces/list-tokens", "page_token": "é" * 5000},
    ]
    for fields in wrong:
        answer = refused(bed.api.endpoints.ListEndpoints, endpoint_pb2.ListEndpointsRequest(**fields))
        assert (answer.code, answer.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN"), fields
        assert answer.fields == ("page_token",)
    answer = refused(
        bed.api.rules.ListRules, rule_pb2.ListRulesRequest(parent="namespaces/list-tokens", page_token=token)
    )
    assert answer.reason == "INVALID_PAGE_TOKEN"


def test_acl_that_is_changed_between_pages(bed: Bed) -> None:
    """An order cannot be read in pieces: the list is to be begun anew. Other namespaces' ACLs do not matter."""
    for number, space in enumerate(("list-acl", "list-acl-2")):
        bed.api.register(space, f"ns{6 + number}")
        for name in range(6):
            bed.api.acl.CreateAclRule(_acl_rule(space, f"a{name}"))
    request = acl_pb2.ListAclRulesRequest(parent="namespaces/list-acl", page_size=4)
    request.page_token = bed.api.acl.ListAclRules(request).next_page_token
    assert [one.index for one in bed.api.acl.ListAclRules(request).acl_rules] == [5, 6]
    bed.api.acl.CreateAclRule(_acl_rule("list-acl-2", "another"))
    assert [one.index for one in bed.api.acl.ListAclRules(request).acl_rules] == [5, 6]
    bed.api.acl.MoveAclRule(acl_pb2.MoveAclRuleRequest(name="namespaces/list-acl/aclRules/a5", index=1))
    answer = refused(bed.api.acl.ListAclRules, request)
    assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "LIST_CHANGED")
    names = [
        one.name.rpartition("/")[2]
        for page in _pages(
            bed.api.acl.ListAclRules,
            acl_pb2.ListAclRulesRequest(parent="namespaces/list-acl", page_size=4),
            "acl_rules",
        )
        for one in page
    ]
    assert names == ["a5", "a0", "a1", "a2", "a3", "a4"]
    # Of all namespaces: the one in which a page ended counts.
    whole = acl_pb2.ListAclRulesRequest(parent="namespaces/-", page_size=4)
    first = bed.api.acl.ListAclRules(whole)
    assert first.acl_rules[-1].name.startswith("namespaces/list-acl/")
    whole.page_token = first.next_page_token
    second = bed.api.acl.ListAclRules(whole)
    bed.api.acl.CreateAclRule(_acl_rule("list-acl-2", "one-more"))
    assert bed.api.acl.ListAclRules(whole).acl_rules == second.acl_rules
    bed.api.acl.MoveAclRule(acl_pb2.MoveAclRuleRequest(name="namespaces/list-acl/aclRules/a5", index=6))
    answer = refused(bed.api.acl.ListAclRules, whole)
    assert (answer.code, answer.reason) == (grpc.StatusCode.ABORTED, "LIST_CHANGED")
    whole = acl_pb2.ListAclRulesRequest(parent="namespaces/-", page_size=5)
    for page in _pages(bed.api.acl.ListAclRules, whole, "acl_rules"):
        assert len(page) <= 5


def _acl_rule(space: str, name: str) -> Any:
    return acl_pb2.CreateAclRuleRequest(
        parent=f"namespaces/{space}", acl_rule_id=name, acl_rule=acl_pb2.AclRule(action=acl_pb2.ACL_ACTION_DENY)
    )


def test_filters(bed: Bed) -> None:
    bed.api.register("list-filters", "ns8", labels={"tier": "front", "zone": "a"})
    bed.api.register("list-absent", "nowhere", labels={"tier": "front"})
    request = batch("list-filters", ["f1", "f2", "f3"])
    request.requests[1].endpoint.labels["colour"] = "red"
    request.requests[2].endpoint.labels.update({"colour": "red", "size": "big"})
    bed.api.endpoints.BatchCreateEndpoints(request)

    def named(**labels: str) -> list[str]:
        page = bed.api.endpoints.ListEndpoints(
            endpoint_pb2.ListEndpointsRequest(parent="namespaces/list-filters", labels=labels, page_size=2)
        )
        return [one.name.rpartition("/")[2] for one in page.endpoints]

    assert named(colour="red") == ["f2", "f3"]
    assert named(colour="red", size="big") == ["f3"]
    assert named(colour="blue") == []

    def spaces(**fields: Any) -> list[str]:
        page = bed.api.namespaces.ListNamespaces(namespace_pb2.ListNamespacesRequest(**fields))
        return [one.name.rpartition("/")[2] for one in page.namespaces]

    assert spaces(labels={"tier": "front"}) == ["list-absent", "list-filters"]
    assert spaces(state=namespace_pb2.NAMESPACE_STATE_ABSENT) == ["list-absent"]
    assert "list-absent" not in spaces(state=namespace_pb2.NAMESPACE_STATE_PRESENT)


def test_tables_of_the_kernel(bed: Bed) -> None:
    tables = [one for page in _table_pages(bed.api, page_size=2) for one in page]
    cookies = [one.netns_cookie for one in tables]
    assert cookies == sorted(set(cookies))
    assert {"namespaces/list-acl", "namespaces/list-tokens"} <= {one.namespace for one in tables}
    assert not [one for page in _table_pages(bed.api, unregistered_only=True) for one in page if one.namespace]
    eventually(lambda: bed.api.status().reconcile.HasField("last_time"))


def _table_pages(api: Api, **fields: Any) -> Iterator[list[Any]]:
    request = node_pb2.ListTablesRequest(**fields)
    while True:
        page = api.node.ListTables(request)
        yield list(page.tables)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
