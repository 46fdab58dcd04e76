# SPDX-License-Identifier: Apache-2.0
"""Name resolution in a box whose only interface is lo: the C library's own resolver, by the egress rules."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from box import Box
from commands import Program, has_port, run, running
from tables import egress
from world import HOST4, HOST6, LAN4, LAN6, PEER4, PEER6

INET, INET6 = "2", "10"
AI_ADDRCONFIG = "32"
# More than a datagram of 512 bytes holds, and as many as musl takes.
MANY = 45
COMPILERS = {"glibc": "gcc", "musl": "musl-gcc"}


@pytest.fixture(scope="module")
def resolvers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program that resolves, by C library."""
    source = Path(__file__).with_name("preload") / "resolve.c"
    folder = tmp_path_factory.mktemp("resolvers")
    for libc, compiler in COMPILERS.items():
        subprocess.run([compiler, "-o", folder / libc, source], check=True, timeout=60)
    return {libc: folder / libc for libc in COMPILERS}


@pytest.fixture(params=COMPILERS)
def resolver(request: pytest.FixtureRequest, resolvers: dict[str, Path]) -> Path:
    return resolvers[request.param]


@pytest.fixture
def server(box: Box, tmp_path: Path) -> Iterator[Program]:
    """A name server in the peer, which the box reaches through ep-dns, and through ep-dns6 by IPv6."""
    hosts = tmp_path / "names"
    lines = [f"{PEER4} www.graft.test", f"{PEER6} www.graft.test", f"{PEER4} old.graft.test"]
    lines += [f"192.0.2.{number} many.graft.test" for number in range(1, MANY + 1)]
    hosts.write_text("\n".join(lines) + "\n")
    command = ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", f"--addn-hosts={hosts}"]
    command += ["--conf-file=/dev/null", "--user=root", "--log-queries=extra", "--log-facility=-", "--bind-interfaces"]
    command += [f"--listen-address={PEER4},{PEER6}", "--pid-file=", "--local=/test/", "--edns-packet-max=1232"]
    box.endpoint("ep-dns", HOST4)
    box.endpoint("ep-dns6", HOST6)
    with running(box.world.peer, command) as program:
        program.wait_for(lambda: has_port(box.world.peer, 53) and has_port(box.world.peer, 53, "udp"), "it serves")
        yield program


def container(
    tmp_path: Path, *command: str | Path, resolv: str, hosts: str = "", patience: str = "timeout:5 attempts:2"
) -> list[str | Path]:
    """Return ``command`` with its own /etc/resolv.conf and /etc/hosts."""
    own = {"resolv.conf": f"{resolv}\noptions {patience}\n", "hosts": f"127.0.0.1 localhost\n{hosts}"}
    mounts = []
    for name, content in own.items():
        (tmp_path / name).write_text(content)
        mounts.append(f"mount --bind {tmp_path / name} $(realpath /etc/{name})")
    return ["unshare", "--mount", "sh", "-ec", "\n".join([*mounts, 'exec "$@"']), "sh", *command]


def sources(server: Program, protocol: str = "") -> set[str]:
    """From where questions came, optionally those by one protocol: for each TCP connection dnsmasq forks."""
    questions = re.findall(r"dnsmasq\[(\d+)\]: \d+ (\S+)/\d+ query", server.output)
    wanted = {"": ("tcp", "udp")}.get(protocol, (protocol,))
    return {source for pid, source in questions if ("udp" if int(pid) == server.process.pid else "tcp") in wanted}


@pytest.mark.parametrize("own_rules", [True, False], ids=["of-the-program", "of-the-namespace"])
def test_both_families_and_a_search_domain(
    box: Box, server: Program, resolver: Path, tmp_path: Path, *, own_rules: bool
) -> None:
    graft: tuple[str, ...] = ("graft", "-e", f"{LAN4}:53=ep-dns", "--")
    if not own_rules:
        box.rules(egress("ep-dns", LAN4, 53))
        graft = ("graft", "--")
    asked = container(tmp_path, *graft, resolver, "0", "0", "www", resolv=f"nameserver {PEER4}\nsearch graft.test")
    assert set(run(box.ns, *asked).split()) == {PEER4, PEER6}
    assert sources(server) == {HOST4}


def test_a_name_server_of_ipv6(box: Box, server: Program, resolver: Path, tmp_path: Path) -> None:
    graft = ("graft", "-e", f"[{LAN6.partition('/')[0]}]/64:53=ep-dns6", "--")
    asked = container(tmp_path, *graft, resolver, "0", "0", "www.graft.test", resolv=f"nameserver {PEER6}")
    assert set(run(box.ns, *asked).split()) == {PEER4, PEER6}
    assert sources(server) == {HOST6}


def test_a_truncated_answer_is_asked_for_again_by_tcp(
    box: Box, server: Program, resolver: Path, tmp_path: Path
) -> None:
    """As the same program does in the peer: musl does so from 1.2.4 on."""
    asked = container(tmp_path, resolver, INET, "0", "many.graft.test", resolv=f"nameserver {PEER4}")
    natively = len(run(box.world.peer, *asked).split())
    able = PEER4 in sources(server, "tcp")
    assert able or resolver.name == "musl"
    assert natively == MANY or not able
    assert len(run(box.ns, "graft", "-e", f"{LAN4}:53=ep-dns", "--", *asked).split()) == natively
    assert HOST4 in sources(server, "udp")
    assert (HOST4 in sources(server, "tcp")) == able


def test_etc_hosts_comes_first(box: Box, server: Program, resolver: Path, tmp_path: Path) -> None:
    graft = ("graft", "-e", f"{LAN4}:53=ep-dns", "--")
    asked = container(
        tmp_path, *graft, resolver, INET, "0", "www", resolv=f"nameserver {PEER4}", hosts="192.0.2.99 www\n"
    )
    assert run(box.ns, *asked) == "192.0.2.99\n"
    assert sources(server) == set()


def test_one_family_asked_for_is_found_without_an_interface(
    box: Box, server: Program, resolver: Path, tmp_path: Path
) -> None:
    graft = ("graft", "-e", f"{LAN4}:53=ep-dns", "--")
    for family, address in ((INET, PEER4), (INET6, PEER6)):
        asked = container(
            tmp_path, *graft, resolver, family, AI_ADDRCONFIG, "www.graft.test", resolv=f"nameserver {PEER4}"
        )
        assert run(box.ns, *asked) == f"{address}\n"
    assert sources(server) == {HOST4}


def test_without_a_rule_for_the_name_server_nothing_is_asked(
    box: Box, server: Program, resolver: Path, tmp_path: Path
) -> None:
    graft = ("graft", "-e", "192.0.2.0/24=ep-dns", "--")
    asked = container(
        tmp_path,
        *graft,
        resolver,
        INET,
        "0",
        "www.graft.test",
        resolv=f"nameserver {PEER4}",
        patience="timeout:1 attempts:1",
    )
    run(box.ns, *asked, fails=True)
    assert sources(server) == set()


def test_the_first_name_server_is_not_there(box: Box, server: Program, resolver: Path, tmp_path: Path) -> None:
    graft = ("graft", "-e", f"{LAN4}:53=ep-dns", "--")
    resolv = f"nameserver {HOST4}\nnameserver {PEER4}"
    asked = container(
        tmp_path, *graft, resolver, INET, "0", "old.graft.test", resolv=resolv, patience="timeout:1 attempts:2"
    )
    assert run(box.ns, *asked) == f"{PEER4}\n"
    assert sources(server) == {HOST4}


def test_curl_by_name(box: Box, server: Program, tmp_path: Path) -> None:
    box.endpoint("ep-web", HOST4)
    web = [sys.executable, "-m", "http.server", "8080", "-d", "/usr/share/doc"]
    with running(box.world.peer, web) as program:
        program.wait_for(lambda: has_port(box.world.peer, 8080), "the web server listens")
        graft = ("graft", "-e", f"{LAN4}:53=ep-dns", "-e", f"{LAN4}:8080=ep-web", "--")
        fetch = container(tmp_path, *graft, "curl", "-sS", "http://www.graft.test:8080/", resolv=f"nameserver {PEER4}")
        assert "Directory listing" in run(box.ns, *fetch)
        assert HOST4 in program.output
    assert sources(server) == {HOST4}
