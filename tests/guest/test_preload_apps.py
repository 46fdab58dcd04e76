# SPDX-License-Identifier: Apache-2.0
"""Unmodified programs under ``graft``: serving and fetching through the host, and native where no rule matches."""

import itertools
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from box import Box
from commands import Program, has_port, run, running
from netns import Namespace
from tables import egress, ingress
from uapi import U
from world import BOX4, HOST4, HOST6, LAN4, PEER4

BODY = "served by the other side\n" * 400
NOBODY = 65534

# Each test has a port of its own: what is left of the last one's connections does not stand in its way.
ports = itertools.count(5201)


class Scene:
    """A server and a client, one or both in the box.

    ``serves``: the box serves the peer through ep-in. ``fetches``: it is the peer's client, through ep-out.
    ``native``: both are in the box, and no rule matches their address.
    """

    def __init__(self, box: Box, how: str) -> None:
        self.box, self.how = box, how
        self.port = str(next(ports))
        box.endpoint("ep-in", HOST4, (1024, 65535))
        box.endpoint("ep-in6", HOST6, (1024, 65535))
        box.endpoint("ep-out", HOST4)
        self.serving = how != "fetches"
        self.fetching = how != "serves"
        self.address = {"serves": HOST4, "fetches": PEER4, "native": "127.0.0.1"}[how]
        # Where the server's socket is to be seen.
        self.at: Namespace = {"serves": box.world.host, "fetches": box.world.peer, "native": box.ns}[how]

    def graft(self, *more: str) -> list[str]:
        """The runner with the scene's rules, and with ``more`` where the box serves."""
        if self.how == "serves":
            return ["graft", "-i", f"*:{self.port}=ep-in", *more, "--"]
        if self.how == "fetches":
            return ["graft", "-e", f"{LAN4}=ep-out", "--"]
        return ["graft", "-i", "*:1=ep-in", "-e", f"{LAN4}=ep-out", "--"]

    @contextmanager
    def server(self, *command: str | Path, protocol: str = "tcp", also: tuple[str, ...] = ()) -> Iterator[Program]:
        """The server, as soon as it has the port, and there alone where it belongs; ``also`` are more rules."""
        namespace = self.box.ns if self.serving else self.box.world.peer
        port = int(self.port)
        with running(namespace, [*(self.graft(*also) if self.serving else []), *command]) as program:
            program.wait_for(lambda: has_port(self.at, port, protocol), f"{protocol} port {port} is there")
            if self.how == "serves":
                assert not has_port(self.box.ns, port, protocol), "the container's own stack has the port, too"
                assert "ep-in" in {sock["endpoint"] for sock in self.box.sockets()}
            yield program

    def client(self, *command: str | Path) -> str:
        """Run the client and return what it printed."""
        namespace = self.box.ns if self.fetching else self.box.world.peer
        return run(namespace, *(self.graft() if self.fetching else []), *command)

    def check(self) -> None:
        """The endpoints were used as the scene says, and not otherwise."""
        binds, connects = self.box.stats("ep-in")["binds"], self.box.stats("ep-out")["connects"]
        assert (binds > 0, connects > 0) == (self.how == "serves", self.how == "fetches")


@pytest.fixture(params=["serves", "fetches", "native"])
def scene(box: Box, request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene(box, request.param)
    yield made
    made.check()


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter."""
    with tempfile.TemporaryDirectory(prefix="public.") as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize("options", [[], ["-R"], ["-u", "-b", "0"]], ids=["tcp", "reverse", "udp"])
def test_iperf3(scene: Scene, options: list[str]) -> None:
    with scene.server("iperf3", "-s", "-p", scene.port):
        printed = scene.client("iperf3", "-c", scene.address, "-p", scene.port, "-n", "1M", "-J", *options)
    result = json.loads(printed)
    total = result["end"]["sum" if "-u" in options else "sum_received"]
    assert total["bytes"] > 0
    assert result["start"]["connected"][0]["remote_host"] == scene.address


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_sockperf(scene: Scene, protocol: str) -> None:
    options = ["-p", scene.port] + (["--tcp"] if protocol == "tcp" else [])
    with scene.server("sockperf", "server", "-i", "0.0.0.0", *options, protocol=protocol):
        printed = scene.client("sockperf", "ping-pong", "-i", scene.address, *options, "-t", "1", "-m", "64")
    assert "Summary: Latency is" in printed


def test_nginx_and_curl(scene: Scene, public: Path) -> None:
    (public / "index.html").write_text(BODY)
    configuration = public / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 2; pid {public}/pid; error_log {public}/errors;\n"
        "events { }\n"
        f"http {{ access_log {public}/access; server {{ listen {scene.port}; root {public}; }} }}\n"
    )
    with scene.server("nginx", "-e", public / "errors", "-c", configuration):
        for _ in range(3):
            assert scene.client("curl", "-sS", f"http://{scene.address}:{scene.port}/") == BODY
    seen = {line.split()[0] for line in (public / "access").read_text().splitlines()}
    assert seen == {{"serves": PEER4, "fetches": HOST4, "native": "127.0.0.1"}[scene.how]}


def test_nginx_and_curl_at_localhost(box: Box, public: Path) -> None:
    """With the namespace's rules, by every name that the container has for itself; outside by the host's address."""
    port = next(ports)
    (public / "index.html").write_text(BODY)
    configuration = public / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 2; pid {public}/pid; error_log {public}/errors;\n"
        "events { }\n"
        f"http {{ access_log {public}/access; server {{ listen 80; root {public}; }} }}\n"
    )
    box.endpoint("ep-http", HOST4, port)
    box.rules(ingress("ep-http", port=80))
    with running(box.ns, ["graft", "--", "nginx", "-e", public / "errors", "-c", configuration]) as program:
        program.wait_for(lambda: has_port(box.world.host, port), "nginx has the host's port")
        for name in ("localhost", "127.0.0.1", BOX4):
            assert run(box.ns, "graft", "--", "curl", "-sS", f"http://{name}/") == BODY
        assert run(box.world.peer, "curl", "-sS", f"http://{HOST4}:{port}/") == BODY
        shown = run(box.world.host, "ss", "-tlnpH", f"sport = {port}")
        assert "nginx" in shown
        assert f"{HOST4}:{port}" in shown
        assert run(box.ns, "ss", "-tlnH") == ""


def test_redis(scene: Scene) -> None:
    options = ["--protected-mode", "no", "--save", "", "--bind", "0.0.0.0"]
    with scene.server("redis-server", "--port", scene.port, *options):
        at = ["-h", scene.address, "-p", scene.port]
        assert scene.client("redis-cli", *at, "set", "key", "value") == "OK\n"
        assert scene.client("redis-cli", *at, "get", "key") == "value\n"
        printed = scene.client("redis-benchmark", *at, "-n", "300", "-c", "5", "-q", "-t", "set,get")
    assert "SET: " in printed
    assert "GET: " in printed


SERVER = """
import asyncio, sys
async def answer(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(answer, None, int(sys.argv[1]))
    async with server:
        await server.serve_forever()
asyncio.run(main())
"""
CLIENT = """
import asyncio, sys
async def talk(number):
    reader, writer = await asyncio.open_connection(sys.argv[1], int(sys.argv[2]))
    for turn in range(5):
        writer.write(b"line %d of %d\\n" % (turn, number))
        assert await reader.readline() == b"LINE %d OF %d\\n" % (turn, number)
    writer.close()
    await writer.wait_closed()
async def main():
    await asyncio.gather(*(talk(number) for number in range(10)))
    print("all said")
asyncio.run(main())
"""


def test_python_asyncio(scene: Scene) -> None:
    """By itself the server binds two sockets: 0.0.0.0, and :: for IPv6 alone, which an endpoint of IPv6 serves."""
    also = ("-i", f"[::]:{scene.port}=ep-in6")
    with scene.server(sys.executable, "-c", SERVER, scene.port, also=also):
        assert scene.client(sys.executable, "-c", CLIENT, scene.address, scene.port) == "all said\n"
        if scene.how == "serves":
            assert scene.client(sys.executable, "-c", CLIENT, HOST6, scene.port) == "all said\n"
            assert scene.box.stats("ep-in6")["accepts"] == 10


def test_rules_of_the_namespace_apply_without_options(box: Box) -> None:
    port = next(ports)
    box.endpoint("ep-in", HOST4, (1024, 65535))
    box.rules(ingress("ep-in", port=port))
    with running(box.ns, ["graft", "iperf3", "-s", "-p", str(port)]) as server:
        server.wait_for(lambda: has_port(box.world.host, port), "iperf3 listens in the host")
        run(box.world.peer, "iperf3", "-c", HOST4, "-p", str(port), "-n", "64K")
    assert box.stats("ep-in")["accepts"] >= 2


def test_options_replace_the_rules_of_the_namespace(box: Box, public: Path) -> None:
    port = next(ports)
    box.endpoint("ep-out", HOST4)
    box.rules(egress("deny", LAN4))
    (public / "file").write_text(BODY)
    fetch = ("curl", "-sS", f"http://{PEER4}:{port}/file")
    with running(box.world.peer, [sys.executable, "-m", "http.server", str(port), "-d", public]) as server:
        server.wait_for(lambda: has_port(box.world.peer, port), "the server listens")
        run(box.ns, "graft", "--", *fetch, fails=True)
        assert run(box.ns, "graft", "-e", f"{LAN4}=ep-out", "--", *fetch) == BODY
        by_shell = ("sh", "-c", f"{' '.join(fetch)}; true")
        assert run(box.ns, "graft", "-e", f"{LAN4}=ep-out", *by_shell) == BODY


def test_an_endpoint_that_is_not_in_the_table_is_an_error(box: Box) -> None:
    fetch = ("curl", "-sS", "-v", f"http://{PEER4}:9/")
    assert "Cannot assign requested address" in run(box.ns, "graft", "-e", f"{LAN4}=nosuch", *fetch, fails=True)


def test_without_the_runner_the_program_is_native(box: Box) -> None:
    box.endpoint("ep-out", HOST4)
    box.rules(egress("ep-out", LAN4))
    assert "unreachable" in run(box.ns, "curl", "-sS", "-v", f"http://{PEER4}:9/", fails=True).lower()
    assert box.stats("ep-out")["connects"] == 0


def test_native_and_deny_in_options(box: Box, public: Path) -> None:
    port = next(ports)
    box.endpoint("ep-out", HOST4)
    (public / "file").write_text(BODY)
    fetch = ("curl", "-sS", f"http://{PEER4}:{port}/file")
    with running(box.world.peer, [sys.executable, "-m", "http.server", str(port), "-d", public]) as server:
        server.wait_for(lambda: has_port(box.world.peer, port), "the server listens")
        for verdict, due in (("deny", "Permission denied"), ("native", "Network is unreachable")):
            rules = ("-e", f"{LAN4}=ep-out", "-e", f"{PEER4}:{port}={verdict}", "--")
            assert due in run(box.ns, "graft", *rules, *fetch, "-v", fails=True)
        narrower = ("-e", f"{LAN4}=deny", "-e", f"{PEER4}:{port},udp=deny", "-e", f"{PEER4}:{port},tcp=ep-out", "--")
        assert run(box.ns, "graft", *narrower, *fetch) == BODY


def test_the_kernel_takes_every_form_of_rule(box: Box) -> None:
    ingress_forms = (
        "10.0.0.2:80",
        "0.0.0.0:8000-8099",
        "*:0",
        "*:0-65535",
        "10.0.0.0/24:80",
        "[::]:80",
        "[fd00::]/64:1",
    )
    egress_forms = ("0.0.0.0/0", "10.10.0.1", "10.10.0.0/24:443", "*", "*:1-1023", "::/0", "fd00::1", "[fd00::]/8:53")
    options = [word for form in ingress_forms for word in ("-i", f"{form}=ep", "-i", f"{form},udp=deny")]
    options += [word for form in egress_forms for word in ("-e", f"{form}=ep", "-e", f"{form},tcp=native")]
    assert "graft: the kernel serves IPPROTO_GRAFT" in run(box.ns, "graft", "-v", *options, "true")


def test_verbose_says_that_the_kernel_serves(box: Box) -> None:
    printed = run(box.ns, "graft", "-v", "-e", f"{LAN4}=ep-out", "true").splitlines()
    assert printed == [
        "graft: the library is /usr/lib/graft/libgraft.so",
        "graft: LD_PRELOAD is /usr/lib/graft/libgraft.so",
        f"graft: rule -e {LAN4}=ep-out",
        "graft: the kernel serves IPPROTO_GRAFT",
    ]


def compiled(folder: Path, compiler: str, *options: str) -> Path:
    """Return the program made of preload/state.c."""
    source = Path(__file__).with_name("preload") / "state.c"
    uapi = Path(__file__).parents[2] / "kmod" / "uapi"
    # musl's compiler does not look where the kernel's own headers are.
    headers = [f"-I{uapi}", "-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"]
    subprocess.run([compiler, *headers, "-o", folder / "state", source, *options], check=True, timeout=60)
    return folder / "state"


@pytest.mark.parametrize("compiler", ["gcc", "musl-gcc"])
def test_one_library_for_both_c_libraries(box: Box, public: Path, compiler: str) -> None:
    program = compiled(public, compiler)
    assert run(box.ns, program) == "native\n"
    assert run(box.ns, "graft", program) == f"state {U.STATE_UNDECIDED}\n"
    assert run(box.ns, "graft", "-e", "*=ep", program, user=NOBODY) == f"state {U.STATE_UNDECIDED}\n"


def test_a_setgid_program_is_native(box: Box, public: Path) -> None:
    """Even where the library is one of its own, so that the loader does not leave it out."""
    library = ("-Wl,--no-as-needed", "/usr/lib/graft/libgraft.so", "-Wl,-rpath,/usr/lib/graft")
    program = compiled(public, "gcc", *library)
    assert run(box.ns, program, user=NOBODY) == f"state {U.STATE_UNDECIDED}\n"
    program.chmod(0o2755)
    assert run(box.ns, program, user=NOBODY) == "native\n"
    assert run(box.ns, "graft", program, user=NOBODY) == "native\n"
