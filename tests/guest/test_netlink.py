# SPDX-License-Identifier: Apache-2.0
"""The netlink family: what was written is read back, and who else writes."""

import socket
from collections.abc import Iterator
from errno import EBUSY, EEXIST, ENOENT, ENOSPC, EPERM, ESTALE

import pytest

from box import Box
from expect import fails
from graftnl import Graft, decode, encode
from netlink import ACK, CREATE, DUMP, EXCL, REPLACE, REQUEST, NlError, message
from netns import Namespace
from tables import allow, deny, egress, ingress
from uapi import U
from world import HOST4, HOST6, World


@pytest.fixture
def second(box: Box) -> Iterator[Graft]:
    """Another writer of the same namespace."""
    with box.world.host:
        made = Graft()
    yield made
    made.close()


def endpoints(box: Box) -> dict[str, dict[str, object]]:
    answers = box.writer.dump(U.CMD_ENDPOINT_GET, netns_fd=box.ns.fd)
    return {answer["endpoint"]["name"]: answer["endpoint"] for answer in answers}


def table(box: Box) -> dict[str, object]:
    return dict(box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["table"])


def generation(box: Box) -> int:
    return int(box.writer.call(U.CMD_TABLE_GET, netns_fd=box.ns.fd)[0]["generation"])


def test_an_endpoint_reads_as_it_was_written(box: Box) -> None:
    written = {
        "type": U.EP_IPV4,
        "address": socket.inet_aton(HOST4),
        "port_lo": 7000,
        "port_hi": 7010,
        "protocols": U.PROTO_UDP,
        "mark": 0x77,
        "device": "lan",
        "max_sockets": 5,
        "privileged": True,
    }
    box.writer.endpoint(box.ns.fd, name="ep", target_fd=box.world.host.fd, **written)
    shown = box.stats("ep")
    assert {name: shown[name] for name in written} == written
    assert shown["target_cookie"] == box.world.host.cookie
    assert (shown["active"], shown["binds"], shown["connects"], shown["accepts"]) == (0, 0, 0, 0)


def test_endpoints_of_each_type(box: Box) -> None:
    box.endpoint("ep-4", HOST4, 80)
    box.endpoint("ep-6", HOST6)
    box.endpoint("ep-unix", path=b"name\0with NUL")
    shown = endpoints(box)
    assert (shown["ep-4"]["type"], shown["ep-4"]["port_lo"], shown["ep-4"]["port_hi"]) == (U.EP_IPV4, 80, 80)
    assert shown["ep-4"]["protocols"] == U.PROTO_ALL
    assert (shown["ep-6"]["address"], shown["ep-6"]["port_lo"]) == (socket.inet_pton(socket.AF_INET6, HOST6), 0)
    assert (shown["ep-unix"]["type"], shown["ep-unix"]["path"]) == (U.EP_UNIX, b"name\0with NUL")


def test_create_and_replace(box: Box) -> None:
    with fails(ENOENT):
        box.endpoint("ep", flags=REPLACE)
    box.endpoint("ep", HOST4, 80)
    for flags in (CREATE, CREATE | EXCL):
        with fails(EEXIST):
            box.endpoint("ep", HOST4, 81, flags=flags)
    assert box.stats("ep")["port_lo"] == 80
    box.endpoint("ep", HOST4, 82, flags=REPLACE)
    assert box.stats("ep")["port_lo"] == 82
    box.endpoint("ep", HOST4, 83, flags=CREATE | REPLACE)
    box.endpoint("ep-new", HOST4, 84, flags=CREATE | REPLACE)
    assert {name: shown["port_lo"] for name, shown in endpoints(box).items()} == {"ep": 83, "ep-new": 84}


def test_delete(box: Box) -> None:
    box.endpoint("ep")
    box.delete("ep")
    assert endpoints(box) == {}
    with fails(ENOENT):
        box.delete("ep")
    with fails(ENOENT):
        box.stats("ep")


def test_rules_read_as_they_were_written(box: Box) -> None:
    written = [
        ingress("ep", port=(8080, 8090), proto="tcp"),
        ingress("native", "127.0.0.0/8"),
        egress("ep", "10.10.0.0/24"),
        egress("deny", "fd00::/16", 53, "udp"),
        ingress("ep", port=0),
    ]
    box.rules(*written)

    def key(rule: dict[str, object]) -> tuple[object, ...]:
        names = ("direction", "verdict", "endpoint", "address", "prefixlen", "port_lo", "port_hi", "protocols")
        default = {"protocols": U.PROTO_ALL, "port_lo": 1, "port_hi": 65535}
        return tuple(default.get(name) if rule.get(name) is None else rule[name] for name in names)

    answers = box.writer.dump(U.CMD_RULES_GET, netns_fd=box.ns.fd)
    shown = [rule for answer in answers for rule in answer.get("rule", [])]
    assert sorted(map(repr, map(key, shown))) == sorted(map(repr, map(key, written)))
    box.rules()
    assert table(box)["rules"] == 0


def test_acl_reads_as_it_was_written_and_in_order(box: Box) -> None:
    written = [
        deny("ep", "connect", "10.20.0.0/16", (1, 1024)),
        allow("ep", "connect", "10.0.0.0/8"),
        allow(None, "listen", uid_lo=1000, uid_hi=2000, own_ids=True),
        allow("ep-6", "connect", "fd00::/16", local=True, protocols=U.PROTO_TCP),
        deny("ep", gid_lo=5),
    ]
    box.acl(*written)
    answers = box.writer.dump(U.CMD_ACL_GET, netns_fd=box.ns.fd)
    shown = [rule for answer in answers for rule in answer.get("acl", [])]
    assert len(shown) == len(written)
    for read, wrote in zip(shown, written, strict=True):
        for name, value in wrote.items():
            if value is not None:
                assert read[name] == value, (read, name)


def test_table_limits_and_counts(box: Box) -> None:
    before = table(box)
    assert (before["max_sockets"], before["max_ephemeral"], before["max_endpoints"]) == (65536, 16384, 131072)
    assert (before["endpoints"], before["rules"], before["acls"], before["sockets"]) == (0, 0, 0, 0)
    box.table(max_sockets=7, max_ephemeral=3)
    box.endpoint("ep")
    box.rules(ingress("ep"), egress("ep"))
    box.acl(allow("ep"))
    box.bound("ep", socket.SOCK_STREAM)
    after = table(box)
    assert (after["max_sockets"], after["max_ephemeral"], after["max_endpoints"]) == (7, 3, 131072)
    assert (after["endpoints"], after["rules"], after["acls"]) == (1, 2, 1)
    assert (after["sockets"], after["ephemeral"]) == (1, 1)
    assert after["owner_cookie"] == box.world.host.cookie


def test_a_full_table(box: Box) -> None:
    box.table(max_endpoints=2)
    box.endpoint("ep-1")
    box.endpoint("ep-2")
    with pytest.raises(NlError) as refusal:
        box.endpoint("ep-3")
    assert refusal.value.errno == ENOSPC
    assert refusal.value.sentence
    box.endpoint("ep-2", HOST4, 80, flags=REPLACE)
    assert sorted(endpoints(box)) == ["ep-1", "ep-2"]
    box.delete("ep-1")
    box.endpoint("ep-3")


def test_compare_and_swap(box: Box) -> None:
    box.endpoint("ep")
    seen = generation(box)
    box.writer.call(U.CMD_RULES_SET, netns_fd=box.ns.fd, generation=seen, rule=[ingress("ep")])
    assert generation(box) > seen
    for command, fields in (
        (U.CMD_RULES_SET, {"rule": []}),
        (U.CMD_ACL_SET, {"acl": [deny()]}),
        (U.CMD_TABLE_SET, {"table": {"frozen": 1}}),
    ):
        with fails(ESTALE):
            box.writer.call(command, netns_fd=box.ns.fd, generation=seen, **fields)
    shown = table(box)
    assert (shown["rules"], shown["acls"], shown["frozen"]) == (1, 0, 0)


def test_several_requests_in_one_send(box: Box) -> None:
    batch = b""
    for number in range(5):
        fields = {"name": f"ep-{number % 4}", "type": U.EP_IPV4, "address": socket.inet_aton(HOST4)}
        fields |= {"port_lo": 0, "port_hi": 0, "target_fd": box.world.host.fd}
        body = bytes([U.CMD_ENDPOINT_NEW, 1, 0, 0]) + encode({"netns_fd": box.ns.fd, "endpoint": fields})
        batch += message(box.writer.family, REQUEST | ACK | CREATE, 1000 + number, body)
    box.writer.sock.send(batch)
    for number in range(5):
        if number == 4:
            with fails(EEXIST):
                box.writer.answers()
        else:
            box.writer.answers()
    assert len(endpoints(box)) == 4


def test_a_dump_longer_than_one_message(box: Box) -> None:
    names = {f"endpoint-with-a-name-of-some-length-{number}" for number in range(400)}
    for name in names:
        box.endpoint(name)
    assert endpoints(box).keys() == names


def test_a_dump_that_the_table_changes_under(box: Box, second: Graft) -> None:
    """It resumes by key: nothing that stays is lost or told twice, and the change is flagged."""
    names = [f"endpoint-with-a-name-of-some-length-{number}" for number in range(400)]
    for name in names:
        box.endpoint(name)
    body = bytes([U.CMD_ENDPOINT_GET, 1, 0, 0]) + encode({"netns_fd": box.ns.fd})
    second.sequence += 1
    second.sock.send(message(second.family, REQUEST | DUMP, second.sequence, body))
    for name in names[100:150]:
        box.delete(name)
    box.endpoint("new")
    shown = [decode(answer[4:])["endpoint"]["name"] for answer in second.answers()]
    assert second.interrupted
    assert len(shown) == len(set(shown))
    assert set(shown) >= set(names[:100] + names[150:])


def test_info(world: World) -> None:
    info = world.writer.call(U.CMD_INFO_GET)[0]["info"]
    assert info["family"] == U.AF_GRAFT
    assert info["ipv6"]
    assert info["version"].count(".") >= 1


def test_a_claim_keeps_other_writers_out(box: Box, second: Graft) -> None:
    box.endpoint("before")
    second.call(U.CMD_CLAIM, claimant="the tests")
    try:
        for command, fields in (
            (U.CMD_RULES_SET, {"rule": []}),
            (U.CMD_ACL_SET, {"acl": []}),
            (U.CMD_TABLE_SET, {"table": {"frozen": 1}}),
            (U.CMD_ENDPOINT_DEL, {"endpoint": {"name": "before"}}),
        ):
            with pytest.raises(NlError) as refused:
                box.writer.call(command, netns_fd=box.ns.fd, **fields)
            assert refused.value.errno == EBUSY
            assert "claimed by the tests" in refused.value.sentence
        with fails(EBUSY):
            box.writer.call(U.CMD_CLAIM, claimant="another")
        assert "before" in endpoints(box)
        fields = {"name": "ep", "type": U.EP_IPV4, "address": socket.inet_aton(HOST4), "port_lo": 0, "port_hi": 0}
        second.endpoint(box.ns.fd, target_fd=box.world.host.fd, **fields)
    finally:
        second.call(U.CMD_UNCLAIM)
    box.endpoint("after")
    assert sorted(endpoints(box)) == ["after", "before", "ep"]


def test_a_claim_ends_with_its_socket(box: Box, second: Graft) -> None:
    with box.world.host:
        brief = Graft()
    brief.call(U.CMD_CLAIM, claimant="brief")
    with fails(EBUSY):
        box.endpoint("ep")
    brief.close()
    box.endpoint("ep")
    second.call(U.CMD_CLAIM, claimant="second")
    second.call(U.CMD_UNCLAIM)


def test_a_claim_is_of_its_namespace(box: Box) -> None:
    """Another namespace's claim does not keep this one's writers out."""
    with box.world.peer:
        other = box.keep(Graft())
    other.call(U.CMD_CLAIM, claimant="another")
    box.endpoint("ep")


def test_unclaim_by_another(box: Box, second: Graft) -> None:
    second.call(U.CMD_CLAIM, claimant="second")
    try:
        with fails(EPERM, EBUSY, ENOENT):
            box.writer.call(U.CMD_UNCLAIM)
        with fails(EBUSY):
            box.endpoint("ep")
    finally:
        second.call(U.CMD_UNCLAIM)


def test_tables_of_a_writer(box: Box, world: World, stranger: Namespace) -> None:
    """A dump without a namespace tells of all that this namespace owns, and of nothing else."""
    box.endpoint("ep")
    with world.peer:
        another = box.keep(Graft())
    fields = {"name": "ep", "type": U.EP_IPV4, "address": socket.inet_aton("127.0.0.1"), "port_lo": 0, "port_hi": 0}
    another.endpoint(stranger.fd, target_fd=world.peer.fd, **fields)
    ours = {answer["netns_cookie"] for answer in box.writer.dump(U.CMD_TABLE_GET)}
    theirs = {answer["netns_cookie"] for answer in another.dump(U.CMD_TABLE_GET)}
    assert box.ns.cookie in ours
    assert stranger.cookie not in ours
    assert theirs == {stranger.cookie}
    initial = box.keep(Graft())
    assert {box.ns.cookie, stranger.cookie} <= {answer["netns_cookie"] for answer in initial.dump(U.CMD_TABLE_GET)}
