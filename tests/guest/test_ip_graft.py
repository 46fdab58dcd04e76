# SPDX-License-Identifier: Apache-2.0
"""ip-graft against the module: what it writes, shows and is refused."""

import errno
import json
import os
import shlex
import socket
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from graftd.errors import KernelError
from graftd.kernel import Client
from graftd.model import Direction, PortRange, Rule, Verdict
from ipgraft import Space, graft

PROGRAM = "/usr/sbin/ip-graft"


@pytest.fixture
def host() -> Iterator[Space]:
    """The namespace that endpoints' sockets live in, and from which tables are written."""
    space = Space("host", "10.0.0.2")
    yield space
    space.close()


@pytest.fixture
def web(host: Space) -> Iterator[Space]:
    """A container."""
    space = Space("web", "10.9.0.2")
    yield space
    space.close()


def test_an_endpoint_from_add_to_del(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    assert host.graft(f"{n} show").out == ""
    assert host.graft(f"{n} -j show").json() == []
    host.graft(f"{n} add ep-http type ipv4 addr 10.0.0.2 port 80 proto tcp mark 5 dev dummy0 max-sockets 9 privileged")
    line = f"ep-http: type ipv4 addr 10.0.0.2 port 80 proto tcp target {host.name} mark 0x5 dev dummy0 max-sockets 9"
    assert host.graft(f"{n} show").out == f"{line} privileged\n"
    assert host.graft(f"{n} -o -s show ep-http").out == (
        f"{line} privileged\\    active 0 binds 0 connects 0 accepts 0\n"
    )
    host.graft(f"{n} change ep-http type ipv4 addr 10.0.0.2 port 8000-8010")
    host.graft(f"{n} replace ep-http6 type ipv6 addr :: port dynamic proto udp")
    host.graft(f"{n} add u type unix path @some/where")
    first, second, third = sorted(host.graft(f"{n} -j show").json(), key=lambda value: value["name"])
    assert first == {
        "name": "ep-http",
        "type": "ipv4",
        "address": "10.0.0.2",
        "port_low": 8000,
        "port_high": 8010,
        "protocols": ["tcp", "udp"],
        "target_cookie": host.cookie,
        "target_name": host.name,
        "mark": 0,
        "device": None,
        "max_sockets": 0,
        "privileged": False,
    }
    assert (second["address"], second["port_low"], second["port_high"]) == ("::", 0, 0)
    assert (third["path"], third["target_name"]) == ("@some/where", host.name)
    for name in ("ep-http", "ep-http6", "u"):
        host.graft(f"{n} del {name}")
    assert host.graft(f"{n} show").out == ""


def test_the_target_may_be_named(host: Space, web: Space) -> None:
    graft(f"-n {web.name} add e type ipv4 addr 10.0.0.2 port any netns {host.name}")
    (entry,) = graft(f"-n {web.name} -j show").json()
    assert entry["target_name"] == host.name
    graft(f"-n {web.name} add own type ipv4 addr 127.0.0.1 port any")
    assert "target current" in graft(f"-n {web.name} show own").out


def test_a_namespace_by_process_and_by_path(host: Space, web: Space) -> None:
    host.graft(f"-n {web.name} add e type ipv4 addr 10.0.0.2 port any")
    sleeper = subprocess.Popen(["ip", "netns", "exec", web.name, "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert sleeper.stdin is not None
        assert sleeper.stdout is not None
        sleeper.stdin.write(b"entered\n")
        sleeper.stdin.flush()
        assert sleeper.stdout.readline() == b"entered\n"
        for selector in (str(sleeper.pid), f"/proc/{sleeper.pid}/ns/net", f"/run/netns/{web.name}"):
            assert host.graft(f"-n {selector} show").out.startswith("e: type ipv4")
    finally:
        sleeper.communicate()


def test_names_that_exist_and_names_that_do_not(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    host.graft(f"{n} add e type unix path @x")
    taken = "the kernel refuses: an endpoint of this name is in the table; replace it or take another name"
    unknown = "the kernel refuses: no endpoint of this name is in the table"
    assert host.refused(f"{n} add e type unix path @y") == taken
    assert host.refused(f"{n} change f type unix path @y") == unknown
    assert host.refused(f"{n} del f") == unknown
    assert host.refused(f"{n} show f") == unknown
    left = ", and no live socket is left of one"
    assert host.refused(f"{n} sockets abort endpoint f") == unknown + left
    assert "path @x" in host.graft(f"{n} show e").out
    asked = host.graft(f"{n} -j del f", ok=False).err
    assert asked == f"ip-graft: -n {web.name} del f: {unknown}\n"


def test_what_cannot_work_yet_is_taken_and_remarked_on(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    add = f"{n} add {{}} type ipv4 addr {{}} port any"
    assert host.graft(add.format("here", host.address)).err == ""
    assert host.graft(add.format("any", "0.0.0.0")).err == ""
    note = "note: the target namespace has no {} now; until it does, '{}' refuses every bind\n"
    assert host.graft(add.format("gone", "10.9.9.9")).err == note.format("address 10.9.9.9", "gone")
    six = f"{n} add six type ipv6 addr fd00:9::9 port 80"
    assert host.graft(six).err == note.format("address fd00:9::9", "six")
    device = add.format("wire", host.address) + " dev wire0"
    assert host.graft(device).err == note.format("device 'wire0'", "wire")
    # the address is looked for where the sockets will be
    assert graft(f"{n} replace here type ipv4 addr {host.address} port any netns {host.name}").err == ""
    assert graft(f"{n} replace gone type ipv4 addr 10.9.9.9 port any netns {host.name}").err.startswith("note: ")
    # json is for programs, which know what they asked for
    assert host.graft(f"-j {n} replace gone type ipv4 addr 10.9.9.9 port any").err == ""


def test_a_rule_whose_endpoint_is_not_there_is_taken_and_remarked_on(host: Space, web: Space, tmp_path: Path) -> None:
    n = f"-n {web.name}"
    host.graft(f"{n} add e type ipv4 addr {host.address} port 80")
    assert host.graft(f"{n} rule add ingress port 80 endpoint e").err == ""
    missing = "note: the table has no endpoint '{}' now; until it does, what the rule matches is refused\n"
    assert host.graft(f"{n} rule add ingress port 81 endpoint f").err == missing.format("f")
    assert host.graft(f"{n} rule replace ingress port 81 endpoint g").err == missing.format("g")
    other = "note: 'e' is of type ipv4, and the rule's prefix is IPv6: no socket gets through it\n"
    assert host.graft(f"{n} rule add egress to fd00::/8 endpoint e").err == other
    lines = tmp_path / "rules"
    lines.write_text("ingress port 80 endpoint e\ningress port 81 endpoint f\negress native\n")
    assert host.graft(f"{n} rule load {lines}").err == missing.format("f")


def test_a_name_of_any_bytes(host: Space, web: Space) -> None:
    name = b"\xff\x1b[2J ".decode("utf-8", "surrogateescape")
    host.graft(f"-n {web.name} add {shlex.quote(name)} type unix path @x")
    assert host.graft(f"-n {web.name} show").out.startswith("\\xff\\x1b[2J\\x20: type unix")
    assert host.graft(f"-n {web.name} -j show").json()[0]["name"] == name
    host.graft(f"-n {web.name} del {shlex.quote(name)}")


def test_rules(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    lines = [
        "ingress addr 10.9.0.0/24 proto tcp port 80-90 endpoint e",
        "ingress port any native",
        "egress to fd00::/8 deny",
        "egress to 0.0.0.0/0 endpoint e",
        "egress native",
    ]
    for line in lines:
        host.graft(f"{n} rule add {line}")
    assert host.graft(f"{n} rule show").out.splitlines() == lines
    sentence = "there is a rule with this selector already, 'egress native': use rule replace"
    assert host.refused(f"{n} rule add egress deny") == sentence
    host.graft(f"{n} rule replace egress deny")
    host.graft(f"{n} rule del ingress port any")
    assert host.refused(f"{n} rule del egress native") == (
        "there is no rule with exactly this selector: see ip-graft rule show"
    )
    kept = host.graft(f"{n} -j rule").json()
    assert [one["verdict"] for one in kept] == ["endpoint", "deny", "endpoint", "deny"]
    assert (kept[0]["prefix"], kept[0]["port_low"], kept[0]["endpoint"]) == ("10.9.0.0/24", 80, "e")
    host.graft(f"{n} rule flush")
    assert host.graft(f"{n} rule show").out == ""


def test_rules_from_a_file(host: Space, web: Space, tmp_path: Path) -> None:
    n = f"-n {web.name}"
    file = tmp_path / "rules"
    file.write_text("# of a test\ningress port 80 endpoint e\negress deny\n", encoding="utf-8")
    host.graft(f"{n} rule load {file}")
    file.write_text(host.graft(f"{n} rule show").out, encoding="utf-8")
    before = host.graft(f"{n} -j rule").json()
    host.graft(f"{n} rule flush")
    host.graft(f"{n} rule load {file}")
    assert host.graft(f"{n} -j rule").json() == before


def test_two_who_add_rules_at_once_lose_none(host: Space, web: Space) -> None:
    def add(first: int) -> None:
        for port in range(first, first + 10):
            host.graft(f"-n {web.name} rule add ingress port {port} native")

    def with_rule(rule: Rule, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        return (*rules, rule)

    def add_quietly(first: int) -> None:
        # What graft() catches is the whole process's output, so the second one is no command.
        with Client.open(host.fd) as client:
            for port in range(first, first + 10):
                rule = Rule(Direction.INGRESS, Verdict.NATIVE, ports=PortRange.single(port))
                client.edit_rules(partial(with_rule, rule), web.fd)

    thread = threading.Thread(target=add_quietly, args=(2000,))
    thread.start()
    add(1000)
    thread.join()
    ports = {one["port_low"] for one in host.graft(f"-n {web.name} -j rule").json()}
    assert ports == {*range(1000, 1010), *range(2000, 2010)}


def test_acl(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    host.graft(f"{n} acl add allow endpoint e verb connect uid 1000-1999 to 10.0.0.0/8 port 53 proto udp")
    host.graft(f"{n} acl add deny gid 7 own-ids")
    host.graft(f"{n} acl add index 1 allow endpoint e local")
    lines = [
        "allow endpoint e local",
        "allow endpoint e verb connect uid 1000-1999 to 10.0.0.0/8 port 53 proto udp",
        "deny gid 7 own-ids",
    ]
    assert host.graft(f"{n} acl show").out.splitlines() == lines
    assert [one["index"] for one in host.graft(f"{n} -j acl").json()] == [1, 2, 3]
    assert host.refused(f"{n} acl add index 5 deny") == (
        "there is no index 5: the ACL has 3 rules, so a new one goes to 1 to 4"
    )
    assert host.refused(f"{n} acl del index 4") == "there is no index 4: the ACL has 3 rules"
    assert host.refused(f"{n} acl del deny") == "the ACL has no such rule: see ip-graft acl show"
    host.graft(f"{n} acl del index 1")
    host.graft(f"{n} acl del {lines[2]}")
    assert host.graft(f"{n} acl show").out.splitlines() == [lines[1]]
    host.graft(f"{n} acl flush")
    assert host.graft(f"{n} -j acl show").json() == []


def test_limits_and_freezing(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    host.graft(f"{n} table set max-endpoints 1 max-sockets 5 max-ephemeral 4")
    host.graft(f"{n} add e type unix path @x")
    assert (
        host.refused(f"{n} add f type unix path @x") == "the kernel refuses: the table is full; raise its max-endpoints"
    )
    host.graft(f"{n} freeze")
    (table,) = host.graft(f"{n} -j table show").json()
    limits = {key: table[key] for key in ("max_endpoints", "max_sockets", "max_ephemeral", "frozen", "endpoints")}
    assert limits == {"max_endpoints": 1, "max_sockets": 5, "max_ephemeral": 4, "frozen": True, "endpoints": 1}
    assert (table["netns_name"], table["owner_cookie"]) == (web.name, host.cookie)
    host.graft(f"{n} unfreeze")
    assert "frozen" not in host.graft(f"{n} table").out


def test_all_tables_of_a_writer(host: Space, web: Space) -> None:
    host.graft(f"-n {web.name} add e type unix path @x")
    for show in (host.graft, graft):
        names = {one["netns_name"] for one in show("-j table show all").json()}
        assert web.name in names
    assert [one["netns_name"] for one in host.graft("-j table show all").json()] == [web.name]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("add e type ipv4 addr 224.0.0.1 port 5", "the kernel refuses ('addr'): multicast, broadcast and IPv4-mapped"),
        (
            "add e type ipv6 addr ::ffff:10.0.0.1 port 5",
            "the kernel refuses ('addr'): multicast, broadcast and IPv4-ma",
        ),
        ("rule add ingress addr ::ffff:10.0.0.0/104 native", "the kernel refuses ('addr or to'): give an IPv4-mapped"),
        ("acl add allow to ::ffff:10.0.0.1", "the kernel refuses ('to'): give an IPv4-mapped address as IPv4"),
        ("sockets abort cookie 1", "the kernel refuses: no live grafted socket of this namespace has that cookie"),
    ],
)
def test_what_the_kernel_alone_can_refuse(host: Space, web: Space, line: str, sentence: str) -> None:
    before = host.graft(f"-n {web.name} -j table").out
    assert host.refused(f"-n {web.name} {line}").startswith(sentence)
    assert host.graft(f"-n {web.name} -j table").out == before


def test_who_may_ask(host: Space, web: Space) -> None:
    host.graft(f"-n {web.name} add e type unix path @x")
    own = "the kernel refuses: a namespace does not rule its own table; ask from the target namespace"
    for line in ("show", "add f type unix path @x", "del e", "rule flush", "acl", "freeze", "table"):
        assert web.refused(line) == own, line
    other = Space("other", "10.8.0.2")
    try:
        foreign = "the kernel refuses: the table belongs to the namespace that wrote it first"
        for line in ("show", "add f type unix path @x", "sockets"):
            assert other.refused(f"-n {web.name} {line}") == foreign, line
    finally:
        other.close()
    assert graft(f"-n {web.name} show").out == host.graft(f"-n {web.name} show").out


@pytest.mark.parametrize(
    ("become", "line"),
    [
        ("setpriv --reuid 1000 --regid 1000 --clear-groups", "show"),
        ("unshare --user --map-root-user --net", "del e"),
    ],
)
def test_who_lacks_the_capability(host: Space, web: Space, become: str, line: str) -> None:
    host.graft(f"-n {web.name} add e type unix path @x")
    with Path(f"/run/netns/{web.name}").open("rb") as table:
        selector = f"/proc/self/fd/{table.fileno()}"
        asked = subprocess.run(
            ["ip", "netns", "exec", host.name, *shlex.split(become), PROGRAM, "-n", selector, *line.split()],
            pass_fds=(table.fileno(),),
            capture_output=True,
            text=True,
            check=False,
        )
    assert (asked.returncode, asked.stdout) == (1, "")
    assert asked.stderr == (
        f"ip-graft: -n {selector} {' '.join(line.split()[:2])}: the kernel refuses: "
        "CAP_NET_ADMIN is needed over the socket's namespace and over the table's\n"
    )
    assert host.graft(f"-n {web.name} show").out.startswith("e: ")


def test_root_of_a_user_namespace_does_not_rule_the_namespaces_of_its_own() -> None:
    script = f"""
        unshare --net sleep 100 & table=$!
        while [ /proc/$table/ns/net -ef /proc/self/ns/net ]; do :; done
        {PROGRAM} -n $table add e type unix path @x && {PROGRAM} -n $table show
        kill $table
    """
    asked = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    assert asked.stdout == "", asked
    assert "ruled from outside of it" in asked.stderr, asked


def test_a_claim(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    host.graft(f"{n} add e type unix path @x")
    with Client.open(host.fd) as owner:
        owner.claim("graftd")
        sentence = f"the kernel refuses: the tables are claimed by graftd (pid {os.getpid()})"
        for line in ("add f type unix path @x", "del e", "rule add ingress native", "acl flush", "freeze"):
            assert host.refused(f"{n} {line}") == sentence
        assert host.graft(f"{n} show").out.startswith("e: ")
        (info,) = host.graft("-j info").json()
        assert (info["claimant"], info["claimant_pid"]) == ("graftd", os.getpid())
        assert f"claimed by graftd (pid {os.getpid()})" in host.graft("info").out
        with Client.open(host.fd) as rival, pytest.raises(KernelError) as caught:
            rival.claim("rival")
        assert caught.value.errno == errno.EBUSY
    host.graft(f"{n} del e")
    assert host.graft("-j info").json()[0]["claimant"] is None


def grafted(host: Space, web: Space, port: int) -> socket.socket:
    """A listener of web's that is grafted by an ingress rule."""
    n = f"-n {web.name}"
    host.graft(f"{n} replace e type ipv4 addr {host.address} port any")
    host.graft(f"{n} rule replace ingress endpoint e")
    listener = web.socket()
    listener.bind((web.address, port))
    listener.listen()
    return listener


def test_live_sockets(host: Space, web: Space) -> None:
    with grafted(host, web, 80) as listener:
        port = listener.getsockname()[1]
        shown = host.graft(f"-n {web.name} -j sockets").json()
        assert shown == host.graft("-j sockets").json()
        assert shown == [one for one in graft("-j sockets").json() if one["netns_name"] == web.name]
        (one,) = shown
        assert (one["endpoint"], one["state"], one["verbs"], one["door"]) == (
            "e",
            "LISTEN",
            ["listen"],
            "ipproto-graft",
        )
        assert (one["local_address"], one["local_port"]) == (host.address, port)
        assert one["inode"] == os.fstat(listener.fileno()).st_ino
        assert one["cookie"] == int.from_bytes(listener.getsockopt(socket.SOL_SOCKET, 57, 8), "little")
        assert (one["uid"], one["target_name"]) == (0, host.name)
        line = f"e: tcp LISTEN local {host.address}:{port} remote - uid 0 ino {one['inode']} cookie {one['cookie']} "
        assert host.graft(f"-n {web.name} sockets show").out.startswith(line)
        counters = host.graft(f"-n {web.name} -j -s show").json()[0]["counters"]
        assert (counters["active"], counters["binds"]) == (1, 1)
    assert host.graft(f"-n {web.name} sockets show").out == ""


@pytest.mark.parametrize("how", ["cookie", "endpoint", "del", "replace", "acl"])
def test_aborting_live_sockets(host: Space, web: Space, how: str) -> None:
    with grafted(host, web, 80) as listener:
        (one,) = host.graft(f"-n {web.name} -j sockets").json()
        line = {
            "cookie": f"sockets abort cookie {one['cookie']}",
            "endpoint": "sockets abort endpoint e",
            "del": "del e abort",
            "replace": f"replace e type ipv4 addr {host.address} port any abort",
            "acl": "acl add deny verb listen abort",
        }[how]
        answer = host.graft(f"-n {web.name} {line}")
        assert (answer.out, answer.err) == ("", "1 live socket aborted\n")
        with pytest.raises(OSError, match=r"\[Errno"):
            listener.accept()
        # It stays the program's until that closes it, and listens no more.
        assert [one["state"] for one in host.graft(f"-n {web.name} -j sockets").json()] == ["UNCONN"]
    assert host.graft(f"-n {web.name} -j sockets").json() == []


class Monitor:
    """`ip-graft -j monitor` as a process, ready when it is made."""

    def __init__(self, at: Space, options: str, group: str, groups: int) -> None:
        command = ["ip", "netns", "exec", at.name, PROGRAM, *shlex.split(options), "monitor", group]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        while self._joined(at) < groups:
            assert self.process.poll() is None

    @staticmethod
    def _joined(at: Space) -> int:
        """How many groups of generic netlink's own somebody listens to in the namespace."""
        shown = subprocess.run(
            ["ip", "netns", "exec", at.name, "cat", "/proc/net/netlink"], check=True, capture_output=True, text=True
        ).stdout
        rows = (row.split() for row in shown.splitlines()[1:])
        return sum(int(row[3], 16).bit_count() for row in rows if row[1] == "16")

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def close(self) -> None:
        self.process.terminate()
        self.process.communicate()


def test_monitor(host: Space, web: Space) -> None:
    n = f"-n {web.name}"
    host.graft(f"{n} table set max-sockets 7")  # the first writer is whom notices go to
    monitor = Monitor(host, "-j", "all", 2)
    try:

        def heard() -> dict[str, object]:
            value: dict[str, object] = json.loads(monitor.line())
            return value

        host.graft(f"{n} add e type ipv4 addr {host.address} port any proto tcp")
        notice = heard()
        assert (notice["kind"], notice["netns_name"]) == ("endpoint", web.name)
        assert notice["endpoint"]["name"] == "e"  # type: ignore[index]
        host.graft(f"{n} rule add ingress endpoint e")
        notice = heard()
        assert (notice["kind"], notice["rules"]) == ("rules", 1)
        host.graft(f"{n} acl add deny port 9 verb connect")
        assert heard()["kind"] == "acl"
        host.graft(f"{n} freeze")
        notice = heard()
        assert (notice["kind"], notice["frozen"]) == ("table", True)
        with web.socket() as refused, pytest.raises(PermissionError):
            refused.bind((web.address, 80))
        notice = heard()
        assert (notice["kind"], notice["reason"], notice["errno"]) == ("denied", "frozen", "EACCES")
        assert (notice["endpoint"], notice["pid"]) == ("e", os.getpid())
        host.graft(f"{n} unfreeze")
        assert heard()["kind"] == "table"
        with web.socket() as listener:
            listener.bind((web.address, 80))
        notice = heard()
        assert (notice["kind"], notice["verbs"]) == ("grafted", ["listen"])
        with Client.open(host.fd) as owner:
            owner.claim("graftd")
        assert heard() == {"kind": "claim", "claimant": "graftd", "claimant_pid": os.getpid()}
        assert heard() == {"kind": "claim", "claimant": None, "claimant_pid": None}
        host.graft(f"{n} del e")
        notice = heard()
        assert (notice["kind"], notice["name"]) == ("endpoint-deleted", "e")
    finally:
        monitor.close()


def test_monitor_of_one_namespace_and_of_one_group(host: Space, web: Space) -> None:
    other = Space("other", "10.8.0.2")
    try:
        for space in (web, other):
            host.graft(f"-n {space.name} table set max-sockets 7")
        monitor = Monitor(host, f"-n {web.name}", "table", 1)
        try:
            host.graft(f"-n {other.name} add o type unix path @x")
            host.graft(f"-n {web.name} add e type unix path @x")
            assert monitor.line() == f"netns {web.name} endpoint e: type unix path @x target {host.name}\n"
        finally:
            monitor.close()
    finally:
        other.close()


def test_a_target_that_is_gone(host: Space, web: Space) -> None:
    gone = Space("gone", "10.7.0.2")
    try:
        graft(f"-n {web.name} add e type unix path @x netns {gone.name}")
    finally:
        gone.close()
    while "target gone" not in graft(f"-n {web.name} show").out:
        pass


def test_the_installed_program() -> None:
    asked = subprocess.run([PROGRAM, "-j", "info"], capture_output=True, text=True, check=True)
    assert '"version"' in asked.stdout
    asked = subprocess.run([PROGRAM, "del"], capture_output=True, text=True, check=False)
    assert (asked.returncode, asked.stderr) == (2, "ip-graft: the endpoint's name is missing after 'del'\n")
