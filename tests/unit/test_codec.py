# SPDX-License-Identifier: Apache-2.0
"""What the codec writes, it reads: the model through pyroute2's messages and back."""

from hypothesis import given
from hypothesis import strategies as st

from graftd.kernel import _decode, _encode, _requests, _wire
from graftd.kernel._decode import Nest
from graftd.kernel._messages import Command
from graftd.kernel._requests import NLM_F_ACK, NLM_F_REQUEST, Request
from graftd.model import AclRule, Endpoint, EndpointType, Reason, Rule, TableSettings
from unit.generated import acl_rules, endpoints, rules, settings

FAMILY = 40


def carried(request: Request) -> Nest:
    """What the other end of the socket sees of a request."""
    (frame,) = _wire.frames(_wire.encode(request, FAMILY, 7))
    assert (frame.type, frame.sequence, frame.flags) == (FAMILY, 7, request.flags)
    command, nest = _wire.decode(frame)
    assert command == request.command
    return nest


@given(endpoints)
def test_endpoints(endpoint: Endpoint) -> None:
    seen = carried(_requests.endpoint_new(3, endpoint, 4, create=True, replace=False))
    (entry,) = _decode.endpoints(seen)
    assert entry.endpoint == endpoint
    assert seen.number("NETNS_FD") == 3
    assert seen.nest("ENDPOINT", "GRAFT_EP_A_").number("TARGET_FD") == 4


@given(st.lists(rules, max_size=5), st.none() | st.integers(0, 2**64 - 1))
def test_rules(some: list[Rule], generation: int | None) -> None:
    seen = carried(_requests.rules_set(None, some, generation))
    assert list(_decode.rules(seen)) == some
    assert ("GENERATION" in seen, seen.number("GENERATION")) == (generation is not None, generation or 0)
    assert "NETNS_FD" not in seen


@given(st.lists(acl_rules, max_size=5), st.booleans())
def test_acl(some: list[AclRule], abort: bool) -> None:
    seen = carried(_requests.acl_set(0, some, abort=abort))
    assert list(_decode.acls(seen)) == some
    assert ("ABORT" in seen) == abort


@given(settings)
def test_settings_carry_what_is_to_change_alone(wanted_settings: TableSettings) -> None:
    nest = carried(_requests.table_set(None, wanted_settings)).nest("TABLE", "GRAFT_TABLE_A_")
    for name in ("max_sockets", "max_ephemeral", "max_endpoints", "frozen"):
        wanted = getattr(wanted_settings, name)
        assert (name.upper() in nest) == (wanted is not None)
        assert nest.number(name.upper()) == int(wanted or 0)


def test_counters_of_an_answer() -> None:
    pairs_of_answer = [
        *_encode.endpoint(Endpoint("e", EndpointType.UNIX, path=b"p"), 0)[1]["attrs"],
        ("GRAFT_EP_A_TARGET_COOKIE", 9),
        ("GRAFT_EP_A_ACTIVE", 2**40),
        ("GRAFT_EP_A_DENIALS", {"attrs": [("GRAFT_REASON_NONE", b""), ("GRAFT_REASON_ACL", 3)]}),
    ]
    answer = carried(Request(Command.ENDPOINT_NTF, (("GRAFT_A_ENDPOINT", {"attrs": pairs_of_answer}),), 0))
    (entry,) = _decode.endpoints(answer)
    assert entry.target_cookie == 9
    assert entry.counters.active == 2**40
    assert entry.counters.denials == {Reason.ACL: 3}


def test_a_name_ends_at_its_nul_and_a_path_does_not() -> None:
    endpoint = Endpoint("e", EndpointType.UNIX, path=b"\0a\0")
    data = _wire.encode(_requests.endpoint_new(None, endpoint, 0, create=True, replace=False), FAMILY, 1)
    assert b"e\0" in data
    (frame,) = _wire.frames(data)
    (entry,) = _decode.endpoints(_wire.decode(frame)[1])
    assert entry.endpoint.path == b"\0a\0"


def test_flags_of_the_three_ways_to_put_an_endpoint() -> None:
    endpoint = Endpoint("e", EndpointType.UNIX, path=b"p")

    def flags(*, create: bool, replace: bool) -> int:
        request = _requests.endpoint_new(None, endpoint, 0, create=create, replace=replace)
        assert not request.dump
        return request.flags & ~(NLM_F_REQUEST | NLM_F_ACK)

    assert flags(create=True, replace=False) == 0x600  # NLM_F_CREATE | NLM_F_EXCL
    assert flags(create=False, replace=True) == 0x100  # NLM_F_REPLACE
    assert flags(create=True, replace=True) == 0x500


def test_an_unknown_reason_keeps_its_number() -> None:
    assert Reason(200).value == 200
    assert Reason(200).word == "unknown-200"
    assert Reason(4) is Reason.TARGET_GONE


def test_what_a_newer_module_has_can_be_read() -> None:
    endpoint = {
        "attrs": [
            ("GRAFT_EP_A_NAME", b"e\0"),
            ("GRAFT_EP_A_TYPE", 9),
            ("GRAFT_EP_A_ADDRESS", b"twelve bytes"),
            ("GRAFT_EP_A_PORT_LO", 80),
        ]
    }
    rule = {
        "attrs": [
            ("GRAFT_RULE_A_DIRECTION", 1),
            ("GRAFT_RULE_A_VERDICT", 9),
            ("GRAFT_RULE_A_ENDPOINT", b"e\0"),
        ]
    }
    answer = carried(Request(Command.ENDPOINT_NTF, (("GRAFT_A_ENDPOINT", endpoint), ("GRAFT_A_RULE", rule)), 0))
    (entry,) = _decode.endpoints(answer)
    assert (entry.endpoint.name, entry.endpoint.type.word, entry.endpoint.ports) == ("e", "unknown-9", None)
    (found,) = _decode.rules(answer)
    assert (found.verdict.word, found.endpoint) == ("unknown-9", "e")
