# SPDX-License-Identifier: Apache-2.0
"""The rootless peers: a user of no privileges runs pasta, and podman with bypass4netns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path as File
from pwd import getpwnam

from bench.timed import tools
from bench.timed.machines import PeerError, peer_command
from bench.timed.paths import BYPASS4NETNS, OTHER_MACHINE, PASTA, End, Path
from driver import testbed

_USER = "graft-timed"
_START_SECONDS = 60.0
_CONTAINER = "timed"
_LINKS = ("bin", "sbin", "lib", "lib64")  # of a merged /usr
_FOLDERS = ("usr", "etc", "proc", "sys", "dev", "run", "tmp", "var")
# Seen in what 0.4.1 says with --debug: "socket type=0x2", "socket is registered (state=NotBypassable)".
_NO_DATAGRAMS = "bypass4netns replaces TCP sockets alone; it leaves UDP to slirp4netns, which would be another measure"
# What bypass4netns takes over.
_NOTIFIED = ("bind", "close", "connect", "setsockopt", "fcntl", "_exit", "exit_group", "getpeername")
# Each 'crun exec' makes a filter, and bypass4netns spins once the last process of one has ended; so one stays.
# What crun started ends with crun.
_STAY = ("setpriv", "--pdeathsig", "TERM", "sh", "-c", 'sleep infinity </dev/null >/dev/null 2>&1 & exec "$@"', "sh")


@contextmanager
def user() -> Iterator[None]:
    """The user, with ids of its own to give to containers, until the block ends."""
    peer_command(testbed.HOST, "useradd", "--create-home", _USER)
    runtime = _runtime()
    try:
        runtime.mkdir(parents=True, mode=0o700)
        shutil.chown(runtime, _USER, _USER)
        yield
    finally:
        subprocess.run(("pkill", "-KILL", "-u", _USER), check=False)
        shutil.rmtree(runtime, ignore_errors=True)
        subprocess.run(("userdel", "--force", "--remove", _USER), stderr=subprocess.DEVNULL, check=False)


@contextmanager
def pasta(number: int, ports: Sequence[int]) -> Iterator[Path]:
    """A namespace that pasta connects, without privileges."""
    with tempfile.TemporaryDirectory() as folder:
        _open_tun()
        forwarded = ",".join(map(str, ports))
        words = [*_as_user(), "pasta", "--foreground", "--config-net", "--interface", "eth0", "--no-map-gw"]
        words += ["--tcp-ports", forwarded, "--udp-ports", forwarded, "--tcp-ns", "none", "--udp-ns", "none"]
        ready = File(folder, "ready")
        os.chmod(folder, 0o777)
        words += ["--", "sh", "-c", f"touch {ready}; exec sleep infinity"]
        with _daemon(words, ready.exists) as process:
            # The only process that pasta started is the namespace's.
            child = File(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            if len(child) != 1:
                raise PeerError(f"pasta has {len(child)} processes below it, so which is its namespace's is not known")
            testbed.run("ip", "netns", "attach", PASTA, child[0])
            try:
                yield Path(PASTA, number, End(PASTA, PASTA, testbed.HOST_ADDRESS), OTHER_MACHINE, ours=False)
            finally:
                testbed.run("ip", "netns", "del", PASTA)


@contextmanager
def bypass4netns(number: int, ports: Sequence[int]) -> Iterator[Path]:
    """A container of rootless podman and crun, behind slirp4netns, whose sockets bypass4netns replaces."""
    with _writable_folder():
        _open_tun()
        home = File(getpwnam(_USER).pw_dir)
        socket = _runtime() / "bypass4netns.sock"
        profile = home / "seccomp.json"
        profile.write_text(json.dumps(_profile(socket)), encoding="utf-8")
        root = _root(home)
        published = [word for port in ports for word in ("-p", f"{port}:{port}")]
        with _daemon([*_as_user(), "bypass4netns", *published], socket.exists):
            options = ["--rootfs", "--cgroups=disabled", "--network=slirp4netns"]
            options += ["--security-opt", f"seccomp={profile}", "-v", "/usr:/usr:ro", "-v", "/etc:/etc:ro"]
            options += ["-v", f"{tools.FOLDER}:{tools.FOLDER}"]
            podman = [*_as_user(), "podman"]
            container = peer_command(
                testbed.HOST, *podman, "run", "-d", "--name", _CONTAINER, *options, str(root), "sleep", "infinity"
            )
            # The last line is the container's name; warnings stand before it. The container ends with the user.
            prefix = (*_as_user(), "crun", "exec", container.split()[-1], *_STAY)
            near = End(testbed.HOST, testbed.HOST, testbed.HOST_ADDRESS, prefix)
            yield Path(BYPASS4NETNS, number, near, OTHER_MACHINE, ours=False, no_datagrams=_NO_DATAGRAMS)


def _runtime() -> File:
    return File("/run/user", str(getpwnam(_USER).pw_uid))


def _as_user() -> tuple[str, ...]:
    home, runtime = getpwnam(_USER).pw_dir, _runtime()
    # 'ip netns exec' shows a /sys without cgroups; containers need the machine's own.
    machine = ("nsenter", "--mount=/proc/1/ns/mnt")
    user = ("setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups", "--inh-caps=-all")
    environment = (f"HOME={home}", f"XDG_RUNTIME_DIR={runtime}", "PATH=/usr/sbin:/usr/bin")
    return (*machine, *user, "env", f"--chdir={home}", *environment)


@contextmanager
def _writable_folder() -> Iterator[None]:
    """The servers' folder belongs to the user until the block ends."""
    before = tools.FOLDER.stat()
    shutil.chown(tools.FOLDER, _USER)
    try:
        yield
    finally:
        shutil.chown(tools.FOLDER, before.st_uid)


@contextmanager
def _daemon(words: Sequence[str], ready: Callable[[], bool]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command in the host until the block ends; the block starts once it is ready. Raises PeerError."""
    command = ["ip", "netns", "exec", testbed.HOST, *words]
    with (
        tempfile.TemporaryFile("a+", errors="replace") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        try:
            until = time.monotonic() + _START_SECONDS
            while not ready():
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise PeerError(f"'{' '.join(words)}' did not start: {log.read().strip() or 'it printed nothing'}")
                time.sleep(0.1)
            yield process
        finally:
            process.kill()


def _open_tun() -> None:
    peer_command(testbed.HOST, "modprobe", "tun")
    # As udev has it where it runs.
    os.chmod("/dev/net/tun", 0o666)


def _profile(listener: File) -> dict[str, object]:
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "listenerPath": str(listener),
        "syscalls": [{"names": list(_NOTIFIED), "action": "SCMP_ACT_NOTIFY"}],
    }


def _root(home: File) -> File:
    """Make the root of a container that has this machine's programs."""
    root = home / "root"
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    for name in _LINKS:
        (root / name).symlink_to(f"usr/{name}")
    for made in (root, *root.iterdir()):
        os.chown(made, home.stat().st_uid, home.stat().st_gid, follow_symlinks=False)
    return root
