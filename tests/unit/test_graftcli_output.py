# SPDX-License-Identifier: Apache-2.0
"""graftcli's forms of output, its exit statuses, colours, and what it says of errors."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from unittest import mock

import grpc
import pytest
import yaml

from graft_client import messages as m
from graftcli import exits, forms, helping, main
from unit.graftcli_bed import Bed, running


@pytest.fixture(scope="module")
def bed() -> Iterator[Bed]:
    with running() as one:
        one.fill()
        yield one


TABLES = {
    "list-namespaces": """\
NAME  SELECTOR   STATE    FROZEN  SYNC
web   netns web  present  -       in-sync
""",
    "list-endpoints": """\
NAMESPACE  NAME     TYPE  ADDRESS   PORT  PROTO    TARGET  SYNC
web        ep-http  ipv4  10.0.0.2  80    tcp      -       in-sync
web        ep-out   ipv6  fd00::2   any   tcp,udp  -       in-sync
""",
    "list-rules": """\
NAMESPACE  ID    DIRECTION  NETWORK      PROTO    PORT  VERDICT           SYNC
web        http  ingress    -            tcp,udp  80    endpoint ep-http  in-sync
web        out   egress     fd00:1::/64  tcp,udp  -     endpoint ep-out   in-sync
""",
    "list-acl-rules": """\
NAMESPACE  INDEX  ID  ACTION  ENDPOINT  CONDITIONS                            SYNC
web        1      a1  allow   ep-out    verb connect uid 0-99 to fd00:1::/64  in-sync
""",
    "list-sockets": """\
NAMESPACE  COOKIE  ENDPOINT  PROTO  STATE  LOCAL        REMOTE           USER
web        11      ep-http   tcp    ESTAB  10.0.0.2:80  192.0.2.9:40000  33
web        12      ep-http   tcp    ESTAB  10.0.0.2:80  192.0.2.9:40000  33
web        13      ep-http   tcp    ESTAB  10.0.0.2:80  192.0.2.9:40000  33
""",
    "show": """\
web ep-http: type ipv4 addr 10.0.0.2 port 80 proto tcp
web ep-out: type ipv6 addr fd00::2 port any proto tcp,udp
""",
    "-n web show ep-http": "ep-http: type ipv4 addr 10.0.0.2 port 80 proto tcp\n",
}


@pytest.mark.parametrize("line", TABLES)
def test_tables(bed: Bed, line: str) -> None:
    done = bed.run(line)
    assert (done.status, done.err) == (0, "")
    assert done.out == TABLES[line]


def test_a_wide_table_has_more_columns(bed: Bed) -> None:
    narrow, wide = bed.run("list-endpoints").out.splitlines()[0], bed.run("list-endpoints -o wide").out.splitlines()[0]
    assert set(narrow.split()) < set(wide.split())
    assert "LABELS" in wide.split()


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("list-namespaces -o name", "namespaces/web\n"),
        ("list-endpoints -o name", "namespaces/web/endpoints/ep-http\nnamespaces/web/endpoints/ep-out\n"),
        ("-n web show-rule http -o name", "namespaces/web/rules/http\n"),
        ("-n web list-acl-rules -o name", "namespaces/web/aclRules/a1\n"),
        ("-n web add-endpoint new --address 10.0.0.9 --port 1 -o name --dry-run", "namespaces/web/endpoints/new\n"),
    ],
)
def test_names(bed: Bed, line: str, names: str) -> None:
    assert bed.run(line).out == names


def test_json_and_yaml_say_the_same(bed: Bed) -> None:
    for line in ("list-namespaces", "list-endpoints", "list-rules", "list-acl-rules", "list-sockets", "status"):
        plain, written = bed.run(f"{line} -o json"), bed.run(f"{line} -o yaml")
        assert plain.json() == yaml.safe_load(written.out), line
    assert bed.run("-n none list-endpoints -o json").status == exits.NOT_FOUND
    assert bed.run("-n web list-rules --endpoint none -o json").json() == []
    assert bed.run("-n web list-rules --endpoint none").out == ""


def test_json_of_an_endpoint(bed: Bed) -> None:
    found = bed.run("-n web show-endpoint ep-http -o json").json()
    assert found["name"] == "namespaces/web/endpoints/ep-http"
    assert found["inet"] == {
        "address": "10.0.0.2",
        "ports": {"low": 80, "high": 80},
        "protocols": ["tcp"],
        "mark": 0,
        "device": "",
    }
    assert found["unix"] is None
    assert found["sync"] == {"state": "in-sync", "detail": ""}
    assert isinstance(found["revision"], int)
    assert found["create_time"].endswith("Z")


def test_forms_of_values() -> None:
    event = m.SocketEvent(reason=m.GRAFT_REASON_NO_ENDPOINT, verbs=[m.VERB_LISTEN, m.VERB_CONNECT])
    found = forms.as_dict(event)
    assert (found["reason"], found["verbs"], found["time"]) == ("no-endpoint", ["listen", "connect"], None)
    # A newer graftd's, as it comes over the wire.
    assert forms.as_dict(m.SocketEvent.FromString(b"\x20\x63"))["reason"] == 99
    assert forms.as_dict(m.Rule())["direction"] is None
    unix = m.Endpoint(unix=m.UnixTarget(path=b"a\x00\\\xff\xc3\xbc"))
    assert forms.as_dict(unix)["unix"] == {"path": "@a\\x00\\x5c\\xff\u00fc"}


@pytest.mark.parametrize("path", [b"a", b"\x00\x01", b"\\x41", b"\xff\xfe", "\u00fc".encode(), bytes(range(256))[:107]])
def test_abstract_names_are_read_as_they_are_written(path: bytes) -> None:
    assert forms.path_bytes(forms.path_text(path)[1:]) == path


def test_show_leaves_out_what_is_not_set(bed: Bed) -> None:
    lines = bed.run("-n web show-endpoint ep-out").out.splitlines()
    assert "labels:      a=b" in lines
    assert not [line for line in lines if line.startswith("mark:")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "option", "colored"),
    [
        ({}, "", True),
        ({"NO_COLOR": "1"}, "", False),
        ({"NO_COLOR": ""}, "", True),
        ({"TERM": "dumb"}, "", False),
        ({"NO_COLOR": "1"}, "--color always", True),
        ({}, "--color never", False),
    ],
)
def test_colours_on_a_terminal(bed: Bed, environment: dict[str, str], option: str, *, colored: bool) -> None:
    terminal = Terminal()
    values = {"GRAFTD_TARGET": bed.target, "TERM": "xterm", **environment}
    with mock.patch.dict("os.environ", values), mock.patch.object(sys, "stdout", terminal):
        if "NO_COLOR" not in environment:
            sys.modules["os"].environ.pop("NO_COLOR", None)
        assert main.run(["list-endpoints", *option.split()]) == 0
    assert ("\x1b[32min-sync\x1b[0m" in terminal.getvalue()) is colored
    assert ("\x1b[" in terminal.getvalue()) is colored


def test_no_colours_elsewhere(bed: Bed) -> None:
    assert "\x1b[" not in bed.run("list-endpoints").out
    assert "\x1b[1m" in bed.run("list-endpoints --color always").out


def test_nothing_reaches_a_terminal_as_a_command_to_it(bed: Bed) -> None:
    name = "namespaces/web/endpoints/odd"
    bed.fake.endpoints[name] = m.Endpoint(name=name, unix=m.UnixTarget(path=b"\x1b[2J"), labels={"a": "\x1b]0;x\x07"})
    for line in ("list-endpoints -o wide", "show", "-n web show-endpoint odd", "export web"):
        done = bed.run(line)
        assert done.status == 0
        assert not [one for one in done.out if not one.isprintable() and one != "\n"], line
    bed.fake.failures["GetEndpoint"] = [(grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND", "no \x1b[2J")]
    assert bed.run("-n web show-endpoint x").err == "graftcli: no \\x1b[2J\n"
    del bed.fake.endpoints[name]


STATUSES = [
    (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD", exits.USAGE),
    (grpc.StatusCode.OUT_OF_RANGE, "INDEX_OUT_OF_RANGE", exits.USAGE),
    (grpc.StatusCode.NOT_FOUND, "ENDPOINT_NOT_FOUND", exits.NOT_FOUND),
    (grpc.StatusCode.ALREADY_EXISTS, "ENDPOINT_EXISTS", exits.CONFLICT),
    (grpc.StatusCode.ABORTED, "ETAG_MISMATCH", exits.CONFLICT),
    (grpc.StatusCode.PERMISSION_DENIED, "ROLE_REQUIRED", exits.PERMISSION),
    (grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", exits.PERMISSION),
    (grpc.StatusCode.UNAVAILABLE, "MODULE_NOT_LOADED", exits.UNAVAILABLE),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "TOO_MANY_WATCHERS", exits.UNAVAILABLE),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, "LIMIT_REACHED", exits.FAILED),
    (grpc.StatusCode.FAILED_PRECONDITION, "KERNEL_REFUSED", exits.FAILED),
    (grpc.StatusCode.DATA_LOSS, "STORE_DAMAGED", exits.FAILED),
    (grpc.StatusCode.INTERNAL, "INTERNAL", exits.FAILED),
]


@pytest.mark.parametrize(("code", "reason", "status"), STATUSES)
def test_exit_statuses(bed: Bed, code: grpc.StatusCode, reason: str, status: int) -> None:
    bed.fake.failures["GetEndpoint"] = [(code, reason, f"the sentence of {reason}")]
    done = bed.run("-n web show-endpoint ep-http")
    assert done == (status, "", f"graftcli: the sentence of {reason}\n")


def test_exit_statuses_are_documented() -> None:
    assert sorted(exits.MEANINGS) == list(range(9))
    text = helping.overview()
    for number, meaning in exits.MEANINGS.items():
        assert f"  {number}  {meaning}\n" in text


def test_fields_at_fault_are_named(bed: Bed) -> None:
    done = bed.run("-n web add-endpoint .x --address 10.0.0.2 --port 80")
    assert done.err == "graftcli: the request is wrong\n  endpoint_id: an id begins with a letter or a digit\n"


def test_graftd_that_is_not_there() -> None:
    bed = Bed()
    try:
        done = bed.run("status")
    finally:
        bed.folder.rmdir()
    assert done.status == exits.UNAVAILABLE
    assert done.err == f"graftcli: graftd cannot be reached, for there is no {bed.path}: systemctl start graftd\n"
