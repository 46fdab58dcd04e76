# SPDX-License-Identifier: Apache-2.0
"""ip-graft's grammar: what each command line means, and the sentence that each wrong one gets."""

import os
import shlex
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

import graftd
from graftd.errors import KernelError, ModuleNotLoadedError
from graftd.kernel import netns
from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointType,
    IdRange,
    PortRange,
    Protocols,
    Rule,
    Verbs,
    Verdict,
)
from ip_graft import acl, endpoint, listing, refusal, rule, values
from ip_graft.main import main, run
from ip_graft.words import UsageError, Words, match

IPV4, IPV6, UNIX = EndpointType.IPV4, EndpointType.IPV6, EndpointType.UNIX
TEN = ip_address("10.0.0.2")


def words(line: str) -> Words:
    return Words(shlex.split(line))


@pytest.mark.parametrize(
    ("line", "meaning", "target"),
    [
        ("e type ipv4 addr 10.0.0.2 port 80", Endpoint("e", IPV4, TEN, PortRange(80, 80)), None),
        ("e type ipv4 addr 10.0.0.2 port any", Endpoint("e", IPV4, TEN, PortRange.ANY), None),
        ("e type ipv4 addr 10.0.0.2 port dynamic", Endpoint("e", IPV4, TEN, PortRange.ANY), None),
        ("e type ipv4 addr 10.0.0.2 port 0", Endpoint("e", IPV4, TEN, PortRange.ANY), None),
        ("e addr 10.0.0.2 port 1-9 type ipv4", Endpoint("e", IPV4, TEN, PortRange(1, 9)), None),
        ("e t ipv4 ad 10.0.0.2 po 1 pro t", Endpoint("e", IPV4, TEN, PortRange(1, 1), Protocols.TCP), None),
        (
            "type type ipv6 addr :: port 53 proto udp netns 4 mark 0x10 dev eth0 max-sockets 5 privileged",
            Endpoint(
                "type",
                IPV6,
                ip_address("::"),
                PortRange(53, 53),
                Protocols.UDP,
                mark=16,
                device="eth0",
                max_sockets=5,
                privileged=True,
            ),
            "4",
        ),
        ("e type ipv4 addr 10.0.0.2 port 80 proto both", Endpoint("e", IPV4, TEN, PortRange(80, 80)), None),
        ("e type ipv4 addr 10.0.0.2 port 80 proto tcp,udp", Endpoint("e", IPV4, TEN, PortRange(80, 80)), None),
        ("e type unix path @a/b netns host", Endpoint("e", UNIX, path=b"a/b"), "host"),
    ],
)
def test_endpoints(line: str, meaning: Endpoint, target: str | None) -> None:
    assert endpoint.parse(words(line)) == (meaning, target, False)


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("ingress native", Rule(Direction.INGRESS, Verdict.NATIVE)),
        ("egress deny", Rule(Direction.EGRESS, Verdict.DENY)),
        (
            "ingress addr 10.0.0.0/8 proto tcp port 80-90 endpoint e",
            Rule(
                Direction.INGRESS,
                Verdict.ENDPOINT,
                ip_network("10.0.0.0/8"),
                Protocols.TCP,
                PortRange(80, 90),
                "e",
            ),
        ),
        ("ingress port any endpoint e", Rule(Direction.INGRESS, Verdict.ENDPOINT, ports=PortRange.ANY, endpoint="e")),
        ("egress to 10.0.0.2 deny", Rule(Direction.EGRESS, Verdict.DENY, ip_network("10.0.0.2/32"))),
        ("egress to all endpoint deny", Rule(Direction.EGRESS, Verdict.ENDPOINT, endpoint="deny")),
        ("eg end e t fd00::/8", Rule(Direction.EGRESS, Verdict.ENDPOINT, ip_network("fd00::/8"), endpoint="e")),
    ],
)
def test_rules(line: str, meaning: Rule) -> None:
    assert rule.parse(words(line)) == meaning
    assert rule.parse(words(rule.text(meaning))) == meaning


@pytest.mark.parametrize(
    ("line", "meaning"),
    [
        ("allow", AclRule(allow=True)),
        ("deny uid 0-99", AclRule(allow=False, uids=IdRange(0, 99))),
        (
            "allow endpoint e verb connect uid 5 gid 7-8 own-ids to 10.0.0.0/8 port 53 proto udp local",
            AclRule(
                allow=True,
                endpoint="e",
                verbs=Verbs.CONNECT,
                uids=IdRange(5, 5),
                gids=IdRange(7, 8),
                own_ids=True,
                network=ip_network("10.0.0.0/8"),
                ports=PortRange(53, 53),
                protocols=Protocols.UDP,
                local=True,
            ),
        ),
        ("allow verb listen,connect to all", AclRule(allow=True)),
    ],
)
def test_acl_rules(line: str, meaning: AclRule) -> None:
    assert acl.parse(words(line)) == meaning
    assert acl.parse(words(acl.text(meaning))) == meaning


def test_abort_is_no_part_of_what_is_described() -> None:
    asked = endpoint.parse(words("e type unix path @x abort"))
    assert asked == (Endpoint("e", UNIX, path=b"x"), None, True)
    with pytest.raises(UsageError, match="unknown keyword 'abort'"):
        acl.parse(words("deny abort"))


ODD_NAMES = [
    *("a b", "it's", "#1", 'say "x"', "back\\slash", "\\x41", "ümlaut", "$HOME", "a\x1b[2J", "two\nlines", "\x85 b"),
    *("\udcff", "\udcc3x", "\\\x07'\"# ", "\u2028", "\xa0"),
]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_what_show_prints_can_be_loaded(name: str, tmp_path: Path) -> None:
    odd = Rule(Direction.INGRESS, Verdict.ENDPOINT, endpoint=name)
    allow = AclRule(allow=True, endpoint=name)
    file = tmp_path / "lines"
    file.write_text(f"{rule.text(odd)}\n{rule.text(odd)} # twice\n", encoding="utf-8")
    assert listing.read_lines(str(file), rule.parse) == [odd, odd]
    file.write_text(acl.text(allow), encoding="utf-8")
    assert listing.read_lines(str(file), acl.parse) == [allow]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("", []),
        (" a  b\tc\r", ["a", "b", "c"]),
        ("a # b", ["a"]),
        ("'a b' \"c d\" e' 'f", ["a b", "c d", "e f"]),
        ("'' \"\"", ["", ""]),
        (r"a\ b \# \'", ["a b", "#", "'"]),
        (r""" "\"\\\n" '\x41' """, ['"\\\\n', r"\x41"]),
        (r"\x41\xc3\xbc\xff", ["Aü\udcff"]),
    ],
)
def test_words_of_a_line(line: str, found: list[str]) -> None:
    assert listing.split(line) == found


def test_a_name_cannot_command_the_terminal() -> None:
    assert values.safe("a\x1b[2J b\udcff") == "a\\x1b[2J\\x20b\\xff"
    assert values.safe("a\\\x07'\"#") == "a\\x5c\\x07\\x27\\x22\\x23"
    assert values.safe_sentence("no\x07 bell") == "no\\x07 bell"


ADD = "add e type ipv4 addr 10.0.0.2 port 80"

COMMANDS = (
    "expected add, change, replace, del, show, rule, acl, table, freeze, unfreeze, sockets, info, monitor or help"
)
WRONG = [
    # commands and options
    ("foo", f"unknown command 'foo': {COMMANDS}"),
    ("shwo", "unknown command 'shwo': did you mean 'show'?"),
    ("s", "'s' may mean show or sockets: write more of it"),
    ("-x show", "unknown option 'x': expected netns, json, pretty, statistics, oneline or help"),
    ("-n", "the namespace is missing after '-n'"),
    ("-j", f"command is missing: {COMMANDS}"),
    ("'' x", f"unknown command '': {COMMANDS}"),
    ("show a b", "'b' is one word too many: nothing is expected there"),
    ("info x", "'x' is one word too many: nothing is expected there"),
    ("freeze x", "'x' is one word too many: nothing is expected there"),
    ("help foo bar", f"unknown command 'foo': {COMMANDS}"),
    # endpoints
    ("add", "the endpoint's name is missing after 'add'"),
    ("add e", "'type' is missing: say type ipv4, type ipv6 or type unix"),
    ("add e addr 10.0.0.2 port 80", "'type' is missing: say type ipv4, type ipv6 or type unix"),
    ("add e type", "the value of 'type' is missing after 'type'"),
    ("add e type ipv5", "unknown type 'ipv5': did you mean 'ipv6'?"),
    ("add e type ipv", "'ipv' may mean ipv4 or ipv6: write more of it"),
    ("add e type ipv4 port 80", "'addr' is missing: an endpoint of type ipv4 needs addr ADDRESS"),
    ("add e type ipv4 addr 10.0.0.2",
     "'port' is missing: an endpoint of type ipv4 needs port 80, port any or port 8000-8010"),
    ("add e type unix", "'path' is missing: an endpoint of type unix needs path @NAME"),
    ("add e type unix path @x addr 10.0.0.2", "an endpoint of type unix has no 'addr': leave it out"),
    ("add e type unix path @x proto tcp", "an endpoint of type unix has no 'proto': leave it out"),
    ("add e type unix path @x mark 5", "an endpoint of type unix has no 'mark': leave it out"),
    (f"{ADD} abort", "a new endpoint has no live sockets to abort: leave 'abort' out"),
    ("add e type unix path x",
     "'x' is no abstract name: write '@x', for only abstract names can be grafted"),
    ("add e type unix path @", "an abstract name has 1 to 107 bytes, this one has 0"),
    ("add e type unix path @" + "p" * 108, "an abstract name has 1 to 107 bytes, this one has 108"),
    ("add e type ipv4 addr 10.0.0 port 80",
     "'10.0.0' is no address: expected one as in 10.0.0.2 or fd00::2"),
    ("add e type ipv4 addr ::1 port 80", "type ipv4 does not go with address ::1: say type ipv6"),
    ("add e type ipv6 addr 1.2.3.4 port 80", "type ipv6 does not go with address 1.2.3.4: say type ipv4"),
    ("add e type ipv4 addr 10.0.0.2 port 65536", "'65536' is no port: it goes up to 65535"),
    ("add e type ipv4 addr 10.0.0.2 port http",
     "'http' is no port: expected a number, or two as in 8000-8010"),
    ("add e type ipv4 addr 10.0.0.2 port -1", "'-1' is no port: expected a number, or two as in 8000-8010"),
    ("add e type ipv4 addr 10.0.0.2 port 9-", "'9-' is no port: expected a number, or two as in 8000-8010"),
    ("add e type ipv4 addr 10.0.0.2 port 9-8", "port range 9-8 is upside down: write 8-9 if that is meant"),
    ("add e type ipv4 addr 10.0.0.2 port 0-8",
     "an endpoint's port range starts at 1: port 0 stands alone, for any"),
    ("add e type ipv4 addr 10.0.0.2 port ٨٠", "'٨٠' is no port: expected a number, or two as in 8000-8010"),
    ("add e type ipv4 addr 10.0.0.2 port 1-٨", "'1-٨' is no port: expected a number, or two as in 8000-8010"),
    ("add e type ipv4 addr 10.0.0.2 port " + "5" * 5000, f"'{'5' * 5000}' is no port: it goes up to 65535"),
    ("add e type ipv6 addr fe80::1%eth0 port 80",
     "'fe80::1%eth0' names a device, which an endpoint has apart: write addr fe80::1 dev eth0"),
    (f"{ADD} mark ٨", "'٨' is no mark: expected a number from 0 to 4294967295"),
    (f"{ADD} mark +8", "'+8' is no mark: expected a number from 0 to 4294967295"),
    (f"{ADD} mark 1_0", "'1_0' is no mark: expected a number from 0 to 4294967295"),
    (f"{ADD} mark {'5' * 5000}", f"'{'5' * 5000}' is no mark: expected a number from 0 to 4294967295"),
    (f"{ADD} proto sctp", "unknown protocol 'sctp': expected tcp, udp or both"),
    (f"{ADD} mark 4294967296", "'4294967296' is no mark: expected a number from 0 to 4294967295"),
    (f"{ADD} mark red", "'red' is no mark: expected a number from 0 to 4294967295"),
    (f"{ADD} max-sockets -1", "'-1' is no limit: expected a number from 0 to 4294967295"),
    (f"{ADD} dev " + "d" * 16, f"dev '{'d' * 16}' is too long: a device's name has at most 15 bytes"),
    (f"{ADD} privileged privileged", "'privileged' is said twice: once is enough"),
    (f"{ADD} port 81", "'port' is said twice: once is enough"),
    (f"{ADD} prto tcp", "unknown keyword 'prto': did you mean 'proto'?"),
    (f"{ADD} p tcp", "'p' may mean path, port, privileged or proto: write more of it"),
    (f"add {'n' * 64} type ipv4 addr 10.0.0.2 port 80",
     f"an endpoint's name is 1 to 63 bytes long, '{'n' * 64}' has 64"),
    ("add '' type ipv4 addr 10.0.0.2 port 80", "an endpoint's name is 1 to 63 bytes long, this one is empty"),
    ("del", "the endpoint's name is missing after 'del'"),
    ("del e abrot", "unknown keyword 'abrot': did you mean 'abort'?"),
    ("del e abort now", "'now' is one word too many: nothing is expected there"),
    # rules
    ("rule shwo", "unknown verb 'shwo': did you mean 'show'?"),
    ("rule add", "direction is missing: expected ingress or egress"),
    ("rule add out", "unknown direction 'out': expected ingress or egress"),
    ("rule add ingress", "what the rule decides is missing: say endpoint NAME, native or deny"),
    ("rule add ingress endpoint", "the endpoint's name is missing after 'endpoint'"),
    ("rule add ingress to 10.0.0.0/8 native", "an ingress rule has no 'to': write 'addr PREFIX'"),
    ("rule add egress addr 10.0.0.0/8 native", "an egress rule has no 'addr': write 'to PREFIX'"),
    ("rule add ingress addr 10.0.0.1/8 native",
     "'10.0.0.1/8' has bits set beyond its prefix: 10.0.0.0/8 would be right"),
    ("rule add ingress addr 10.0.0.1/33 native",
     "'10.0.0.1/33' is no prefix: expected one as in 10.0.0.0/8, fd00::/8, 10.0.0.2 or all"),
    ("rule add egress to fe80::1%eth0 native",
     "'fe80::1%eth0' names a device, which a prefix cannot: leave the part from '%' out"),
    ("rule add egress port any native",
     "'any' is no port of a destination, which is never 0: leave 'port' out for every port"),
    ("rule add egress port 0-9 native",
     "'0-9' is no port of a destination, which is never 0: leave 'port' out for every port"),
    ("rule add ingress native deny", "a rule has one verdict: 'deny' comes on top of another"),
    ("rule add ingress port 1 port 2 deny", "a rule has one port: 'port' comes on top of another"),
    ("rule load", "the file is missing after 'load'"),
    ("rule load /nonexistent", "/nonexistent cannot be read: No such file or directory"),
    ("rule flush all", "'all' is one word too many: nothing is expected there"),
    # acl
    ("acl add", "keyword is missing: expected index, allow or deny"),
    ("acl add index 0 allow", "rules are counted from 1: index 1 is the first"),
    ("acl add index 1", "verdict is missing: expected allow or deny"),
    ("acl add allow uid 5-3", "id range 5-3 is upside down: write 3-5 if that is meant"),
    ("acl add allow uid root", "'root' is no uid: expected a number, or two as in 8000-8010"),
    ("acl add allow gid 4294967296", "'4294967296' is no gid: it goes up to 4294967295"),
    ("acl flush abrot", "unknown keyword 'abrot': did you mean 'abort'?"),
    ("acl del index 1 abort now", "'now' is one word too many: nothing is expected there"),
    ("acl add allow verb bind", "unknown verb 'bind': expected listen, connect or both"),
    ("acl add deny local", "local widens what an allow reaches: a deny has no use for it"),
    ("acl add allow port any",
     "'any' is no port of a destination, which is never 0: leave 'port' out for every port"),
    ("acl del index 1 allow", "unknown keyword 'allow': expected abort"),
    # tables, sockets, monitor
    ("table set", "no limit is named: say max-sockets, max-ephemeral or max-endpoints"),
    ("table set max-sockets 1 max-sockets 2", "'max-sockets' is said twice: once is enough"),
    ("table set max-s x", "'x' is no limit: expected a number from 0 to 4294967295"),
    ("table show every", "unknown keyword 'every': expected all"),
    ("sockets abort", "keyword is missing: expected cookie or endpoint"),
    ("sockets abort cookie five",
     "'five' is no cookie: expected a number from 0 to 18446744073709551615"),
    ("rule sets", "unknown verb 'sets': expected show, add, replace, del, load or flush"),
    ("monitor everything", "unknown group 'everything': expected table, event or all"),
]  # fmt: skip


@pytest.mark.parametrize(("line", "sentence"), WRONG, ids=[line[:40] for line, _ in WRONG])
def test_wrong_command_lines(line: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shlex.split(line)) == 2
    printed = capsys.readouterr()
    assert printed.err == f"ip-graft: {sentence}\n"
    assert printed.out == ""


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-V"]) == 0
    printed = capsys.readouterr().out
    assert printed == f"ip-graft {graftd.__version__}\n"
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == printed


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    everything = capsys.readouterr().out
    assert everything.startswith("Usage: ip-graft")
    assert run(["help"]) == 0
    assert capsys.readouterr().out == everything
    assert main([]) == 2
    assert capsys.readouterr().err == everything
    for command in ("add", "del", "rule", "acl", "table", "freeze", "sockets", "info", "monitor"):
        assert run(["help", command]) == 0
        usage = capsys.readouterr().out
        assert usage.startswith("Usage: ip-graft"), command
        for word in ("-h", "--help", *(["help"] if command != "del" else [])):
            assert run([command, word]) == 0
            assert capsys.readouterr().out == usage


@pytest.mark.parametrize("command", ["del", "show"])
def test_an_endpoint_may_be_called_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    # The namespace is looked up first, so it tells that the word was taken for a name.
    assert run(["-n", "nowhere", command, "help"]) == 1
    assert capsys.readouterr().err.startswith("ip-graft: ")


def test_keywords_take_what_begins_them() -> None:
    assert match("freeze", ("freeze", "unfreeze"), "command") == "freeze"
    assert match("del", ("add", "del"), "verb", {"delete": "del"}) == "del"
    assert match("delet", ("add", "del"), "verb", {"delete": "del"}) == "del"
    with pytest.raises(UsageError, match="unknown verb ''"):
        match("", ("add", "del"), "verb")


def test_a_file_of_rules(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_text("# comment\n\ningress native\n  egress to 10.0.0.0/8 deny # why\n", encoding="utf-8")
    assert listing.read_lines(str(file), rule.parse) == [
        Rule(Direction.INGRESS, Verdict.NATIVE),
        Rule(Direction.EGRESS, Verdict.DENY, ip_network("10.0.0.0/8")),
    ]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"ingress native\negress foo\n",
         "line 2: unknown keyword 'foo': expected to, proto, port, endpoint, native, deny or addr"),
        (b"ingress native 'x\n",
         r"line 1: what begins at ''x' has no end: close the quotes, or write \\ for a backslash"),
        (b"\xff\n", "cannot be read: it is not UTF-8 text"),
    ],
)  # fmt: skip
def test_a_wrong_file_of_rules(content: bytes, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "rules"
    file.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        listing.read_lines(str(file), rule.parse)
    assert str(caught.value) in (f"{file}, {sentence}", f"{file} {sentence}")


def test_closed_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(UsageError, match="standard input cannot be read: it is closed"):
        listing.read_lines("-", rule.parse)


@pytest.mark.parametrize(
    ("selector", "sentence"),
    [
        ("nowhere",
         "there is no namespace 'nowhere': expected a name that `ip netns list` shows, a process id, or a path"),
        ("4194305", "there is no process 4194305: No such file or directory"),
        ("/nonexistent/ns", "'/nonexistent/ns' is no namespace file: No such file or directory"),
        ("", "there is no namespace '': expected a name that `ip netns list` shows, a process id, or a path"),
        (".", "there is no namespace '.': expected a name that `ip netns list` shows, a process id, or a path"),
    ],
)  # fmt: skip
def test_namespaces_that_are_not_there(selector: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["-n", selector, "show"]) == 1
    assert capsys.readouterr().err == f"ip-graft: {sentence}\n"
    assert run(["add", "e", "type", "unix", "path", "@x", "netns", selector]) == 1
    assert capsys.readouterr().err == f"ip-graft: {sentence}\n"


def test_a_namespace_by_process_and_by_path() -> None:
    own = os.stat("/proc/self/ns/net").st_ino
    for selector in (str(os.getpid()), "/proc/self/ns/net"):
        fd = netns.open_selected(selector)
        try:
            assert os.fstat(fd).st_ino == own
        finally:
            os.close(fd)


def test_a_file_that_is_no_namespace_cannot_be_entered(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    fd = os.open(file, os.O_RDONLY)
    try:
        with pytest.raises(Exception, match="the namespace cannot be entered: "):
            netns.call_in(fd, lambda: None)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (KernelError(22, "why", ("GRAFT_A_ENDPOINT", "GRAFT_EP_A_DEVICE")),
         "-n web add e: the kernel refuses ('dev'): why"),
        (KernelError(22, "why", ("GRAFT_A_ENDPOINT",)), "-n web add e: the kernel refuses: why"),
        (KernelError(16, "tables are claimed by graftd (pid 5)"),
         "-n web add e: the kernel refuses: tables are claimed by graftd (pid 5)"),
        (ModuleNotLoadedError(2, "the kernel module graft is not loaded: run modprobe graft"),
         "the kernel module graft is not loaded: run modprobe graft"),
    ],
)  # fmt: skip
def test_refusals(error: KernelError, sentence: str) -> None:
    assert refusal.sentence(error, "-n web add e") == sentence
