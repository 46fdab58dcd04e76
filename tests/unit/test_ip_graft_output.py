# SPDX-License-Identifier: Apache-2.0
"""What ip-graft prints: lines in iproute2's manner, JSON with the keys that its README promises."""

import os
import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from graftd.kernel import netns
from graftd.model import (
    AclNotice,
    AclRule,
    ClaimNotice,
    Counters,
    Direction,
    Door,
    Endpoint,
    EndpointEntry,
    EndpointGoneNotice,
    EndpointNotice,
    EndpointType,
    Event,
    EventKind,
    GraftedSocket,
    Notice,
    PortRange,
    Protocols,
    Reason,
    Rule,
    RulesNotice,
    Table,
    TableNotice,
    Verbs,
    Verdict,
)
from ip_graft import acl, endpoint, monitor, rule, sockets, table
from ip_graft.session import Options, Session

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "clients/cli/README.md").read_text(encoding="utf-8")

WEB = 77
INET = EndpointEntry(
    Endpoint(
        "ep-http",
        EndpointType.IPV4,
        ip_address("10.0.0.2"),
        PortRange(80, 80),
        mark=16,
        device="eth0",
        max_sockets=5,
        privileged=True,
    ),
    WEB,
    Counters(1, 2, 3, 4, {Reason.ACL: 5, Reason.MAX_SOCKETS: 6}),
)
UNIX = EndpointEntry(Endpoint("u", EndpointType.UNIX, path=b"a b"), 0)
RULE = Rule(Direction.EGRESS, Verdict.ENDPOINT, ip_network("10.0.0.0/8"), endpoint="e")
ACL = AclRule(allow=True, endpoint="e")
TABLE = Table(WEB, 9, 100, 50, 10, True, 1, 2, 3, 4, 5, 6)
SOCKET = GraftedSocket(
    WEB, 1, 5, 123, "e", 10, 1, 6, 1, 0, 7, ip_address("fd00::1"), 80, None, 0, Door.AF_GRAFT, Verbs.LISTEN
)  # fmt: skip
DENIED = Event(
    WEB, EventKind.DENIED, Reason.LOCAL, 13, "it is the target's own", 5, "e", Verbs.CONNECT, 0, 42, 6,
    ip_address("127.0.0.1"), 22,
)  # fmt: skip
NATIVE = Event(WEB, EventKind.NATIVE, Reason.NO_RULE, 0, "", 6, "", Verbs.LISTEN, 0, 43, 17, None, 0)


@pytest.fixture
def session() -> Session:
    """One that knows the namespace 77 as web, and asks no kernel for names."""
    return Session(Options(), _names={WEB: "web", 6: "host", 1: "host"})


def counted(session: Session) -> Session:
    return Session(Options(statistics=True), _names=session._names)


def test_lines(session: Session) -> None:
    assert endpoint.entry_text(session, INET) == (
        "ep-http: type ipv4 addr 10.0.0.2 port 80 proto tcp,udp target web mark 0x10 dev eth0 max-sockets 5 privileged"
    )
    assert endpoint.entry_text(session, UNIX) == "u: type unix path @'a b' target gone"
    assert endpoint.entry_text(counted(session), INET).splitlines()[1] == (
        "    active 1 binds 2 connects 3 accepts 4 denials acl 5 max-sockets 6"
    )
    assert rule.text(RULE) == "egress to 10.0.0.0/8 endpoint e"
    assert table.text(session, TABLE) == (
        "netns web endpoints 1/10 sockets 4/100 ephemeral 5/50 rules 2 acl 3 generation 9 owner host frozen"
    )
    assert sockets.text(session, SOCKET) == (
        "e: tcp ESTAB local [fd00::1]:80 remote - uid 0 ino 123 cookie 5 cgroup 7 netns web target host"
    )


def test_a_namespace_without_a_name_is_told_by_its_cookie(session: Session) -> None:
    assert session.namespace_text(4242424242) == "cookie 4242424242"
    assert session.namespace_text(netns.cookie_of()) == "current"


NOTICES: list[tuple[Notice, str]] = [
    (TableNotice(TABLE), "table changed: netns web endpoints 1/10 "),
    (EndpointNotice(WEB, 9, UNIX), "netns web endpoint u: type unix path @'a b' target gone"),
    (EndpointGoneNotice(WEB, 9, "u"), "netns web deleted endpoint u"),
    (RulesNotice(TABLE), "rules changed: netns web endpoints 1/10 "),
    (AclNotice(TABLE), "acl changed: netns web endpoints 1/10 "),
    (ClaimNotice("graftd", 5), "claimed by graftd (pid 5)"),
    (ClaimNotice("", 0), "claim released"),
    (
        DENIED,
        "netns web denied endpoint e connect tcp 127.0.0.1:22 uid 0 pid 42 cookie 5 error EACCES reason local: it is ",
    ),
    (NATIVE, "netns web native listen udp - uid 0 pid 43 cookie 6 reason no-rule"),
]


@pytest.mark.parametrize(("notice", "line"), NOTICES, ids=lambda value: type(value).__name__)
def test_lines_of_monitor(session: Session, notice: Notice, line: str) -> None:
    assert monitor.text(session, notice).startswith(line)


def promised(row: str) -> list[str]:
    """The keys in a row of the README's tables, up to what explains them."""
    found = re.search(rf"^\| {re.escape(row)} \| (.*) \|$", README, re.MULTILINE)
    assert found, f"the README has no row {row}"
    return re.findall(r"`(\w+)`", re.split(r"[;:(]", found[1])[0])


def test_keys_of_listings(session: Session) -> None:
    assert list(endpoint.entry_json(session, INET)) == promised("`show`, inet")
    assert list(endpoint.entry_json(session, UNIX)) == promised("`show`, unix")
    value = endpoint.entry_json(counted(session), INET)
    assert list(value) == [*promised("`show`, inet"), "counters"]
    assert list(value["counters"]) == ["active", "binds", "connects", "accepts", "denials"]
    assert value["counters"]["denials"] == {"acl": 5, "max-sockets": 6}
    assert list(rule.as_json(RULE)) == promised("`rule show`")
    assert list(acl.as_json(1, ACL)) == promised("`acl show`")
    assert list(table.as_json(session, TABLE)) == promised("`table show`")
    assert list(sockets.as_json(session, SOCKET)) == promised("`sockets show`")


@pytest.mark.parametrize(
    ("notice", "row"),
    [
        (EndpointNotice(WEB, 9, UNIX), "`endpoint`"),
        (EndpointGoneNotice(WEB, 9, "u"), "`endpoint-deleted`"),
        (ClaimNotice("graftd", 5), "`claim`"),
        (DENIED, "`grafted`, `native`, `denied`"),
        (NATIVE, "`grafted`, `native`, `denied`"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_keys_of_monitor(session: Session, notice: Notice, row: str) -> None:
    value = monitor.as_json(session, notice)
    assert f"`{value['kind']}`" in row
    assert list(value) == ["kind", *promised(row)]


@pytest.mark.parametrize("notice", [TableNotice(TABLE), RulesNotice(TABLE), AclNotice(TABLE)])
def test_keys_of_a_changed_table(session: Session, notice: Notice) -> None:
    value = monitor.as_json(session, notice)
    assert value.pop("kind") in ("table", "rules", "acl")
    assert list(value) == promised("`table show`")


def test_values_in_json(session: Session) -> None:
    def some(value: dict[str, Any], *keys: str) -> list[Any]:
        return [value[key] for key in keys]

    value = endpoint.entry_json(session, INET)
    assert some(value, "address", "port_low", "protocols", "target_name", "mark") == [
        "10.0.0.2", 80, ["tcp", "udp"], "web", 16,
    ]  # fmt: skip
    assert some(endpoint.entry_json(session, UNIX), "path", "target_name") == ["@a b", None]
    assert some(rule.as_json(RULE), "prefix", "port_low", "port_high") == ["10.0.0.0/8", 1, 65535]
    assert some(acl.as_json(3, ACL), "index", "verdict", "uid_low", "local") == [3, "allow", None, False]
    assert some(monitor.as_json(session, DENIED), "errno", "reason") == ["EACCES", "local"]
    assert Protocols.UDP.words == ("udp",)


def test_one_line_each_with_o(capsys: pytest.CaptureFixture[str]) -> None:
    Session(Options(oneline=True)).show([], ["a\n    b", "c"])
    assert capsys.readouterr().out == "a\\    b\nc\n"


def test_an_empty_listing(capsys: pytest.CaptureFixture[str]) -> None:
    Session(Options()).show([], [])
    assert capsys.readouterr().out == ""
    Session(Options(json=True)).show([], [])
    assert capsys.readouterr().out == "[]\n"


@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_shell_line_that_makes_ip_graft_work(shell: str, tmp_path: Path) -> None:
    (line,) = re.findall(r"^    (ip\(\) \{.*)$", README, re.MULTILINE)
    for name in ("ip", "ip-graft"):
        program = tmp_path / name
        program.write_text('#!/bin/sh\necho "$(basename "$0")" "$#" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
    script = f"{line}\nip graft add 'a b' type ipv4\nip addr show\nip"
    printed = subprocess.run(
        [shell, "-c", script],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.splitlines() == ["ip-graft 4 add a b type ipv4", "ip 2 addr show", "ip 0"]


def test_the_program_and_the_module_are_the_same(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'clients/cli'}", "PYTHONDONTWRITEBYTECODE": "1"}
    answers = [
        subprocess.run(
            [sys.executable, *command, "shwo"],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        for command in ((str(ROOT / "clients/cli/ip-graft"),), ("-m", "ip_graft"))
    ]
    assert [answer.returncode for answer in answers] == [2, 2]
    assert {answer.stderr for answer in answers} == {"ip-graft: unknown command 'shwo': did you mean 'show'?\n"}


def test_help_loads_neither_pyroute2_nor_the_model() -> None:
    code = (
        "import sys; from ip_graft.main import main; main(['--help']); "
        "print([name for name in sys.modules if name.startswith(('pyroute2', 'graftd'))])"
    )
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'clients/cli'}", "PYTHONDONTWRITEBYTECODE": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert printed.splitlines()[-1] == "[]"


def test_the_codec_leaves_pyroute2_as_it_is() -> None:
    code = (
        "import sys, graftd.kernel; print([name for name in sys.modules if name.startswith('pyroute2')]); "
        "import pyroute2; print(hasattr(pyroute2, 'IPRoute'), pyroute2.netlink.nla.__name__)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    printed = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    ).stdout
    assert printed.splitlines() == ["[]", "True nla"]


def test_without_pyroute2_it_says_what_to_install() -> None:
    environment = {"PYTHONPATH": f"{ROOT}:{ROOT / 'clients/cli'}", "PYTHONDONTWRITEBYTECODE": "1"}
    # -S leaves out the folder that holds pyroute2.
    command = [sys.executable, "-S", "-m", "ip_graft", "show"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    sentence = "pyroute2 is missing: install the package python3-pyroute2"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"ip-graft: {sentence}\n")
