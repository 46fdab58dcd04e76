# SPDX-License-Identifier: Apache-2.0
"""Commands of the machine, as an administrator types them, and a container on it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path

DEBS = sorted(map(str, Path("/mnt/share").glob("*.deb")))
ADDRESS = "10.9.0.1"
UNITS = ("graftd.service", "graftd.socket", "graftd-admin.socket", "graftd-read-only.socket")
MODULE = Path("/sys/module/graft")


def run(*words: str, check: bool = True) -> str:
    """What a command prints; one that fails fails the test with it."""
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "DEBIAN_FRONTEND": "noninteractive",
        "HOME": "/root",
        "LANG": "C.UTF-8",
    }
    done = subprocess.run(
        words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0 or not check, f"{words}: status {done.returncode}: {done.stdout[-4000:]}"
    return done.stdout


def apt(*words: str) -> str:
    return run("apt-get", "--yes", "--no-install-recommends", *words)


def eventually(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.5)


def container() -> None:
    """The namespace `web`, which has lo alone, and an address of the host's."""
    run("ip", "link", "add", "uplink", "type", "dummy")
    run("ip", "address", "add", f"{ADDRESS}/24", "dev", "uplink")
    run("ip", "link", "set", "uplink", "up")
    run("ip", "netns", "add", "web")
    run("ip", "-n", "web", "link", "set", "lo", "up")


def serves() -> None:
    """nginx inside the container answers at the host's address."""
    config = "daemon off; events {} http { access_log off; server { listen 80; return 200 grafted; } }"
    Path("/tmp/nginx.conf").write_text(f"error_log stderr; pid /tmp/nginx.pid; {config}")
    with subprocess.Popen(["ip", "netns", "exec", "web", "graft", "--", "nginx", "-c", "/tmp/nginx.conf"]) as server:
        try:
            url = f"http://{ADDRESS}/"
            eventually(lambda: run("curl", "-s", "-m", "5", url, check=False) == "grafted", "nginx answers")
        finally:
            server.terminate()
