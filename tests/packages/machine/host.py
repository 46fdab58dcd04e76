# SPDX-License-Identifier: Apache-2.0
"""Commands of the machine, as an administrator types them, and containers on it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_SHARE = Path("/mnt/share")
NEW = sorted(map(str, _SHARE.glob("graft*.deb")))
# What an upgrade begins with; none where there is no upgrade.
OLDER = sorted(map(str, (_SHARE / "older").glob("graft*.deb")))
FIRST = OLDER or NEW
PACKAGES = (
    *("graft", "graft-dkms", "graftd", "graftcli", "python3-graft", "libgraft-preload"),
    *("graft-cni", "graft-oci-hook", "graft-transparent"),
)
# files_of_ours() before anything was installed.
BEFORE = Path("/var/tmp/before")
SERVICE_PACKAGES = ("graftd", "graftcli", "python3-graft")
UNITS = ("graftd.service", "graftd.socket", "graftd-admin.socket", "graftd-read-only.socket")
DOOR = "graft-transparent.service"
MODULE = Path("/sys/module/graft")
CONFIGURATION = Path("/etc/graftd/graftd.toml")
DATABASE = Path("/var/lib/graftd/graftd.db")
ADDRESS = "10.9.0.1"
ENDPOINTS = ["namespaces/pod/endpoints/ep-http", "namespaces/web/endpoints/ep-echo"]

_POD = "grafted"
_IMAGE = Path("/var/tmp/image")
_NGINX = """
user root root;
pid /run/nginx.pid;
daemon off;
error_log stderr;
events {}
http { access_log off; server { listen 80; return 200 grafted; } }
"""


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


def of_packages(paths: list[str], *names: str) -> list[str]:
    """The files of these packages."""
    return [path for path in paths if Path(path).name.removeprefix("graft+").partition("_")[0] in names]


def verify(*names: str) -> str:
    """What differs from what packages hold. Documentation is not on the lab's machines."""
    lines = run("dpkg", "--verify", *names, check=False).splitlines()
    return "\n".join(line for line in lines if "/usr/share/doc/" not in line and "/usr/share/man/" not in line)


def files_of_ours() -> set[str]:
    """All files whose path tells of the project, but for the lab's and those in podman's image."""
    found = run("find", "/etc", "/usr", "/var/lib", "/run", "-xdev", "-path", "*graft*").splitlines()
    return {path for path in found if not path.startswith(("/usr/lib/graft-lab", "/var/lib/containers/"))}


def version_of(paths: list[str]) -> str:
    return Path(paths[0]).name.split("_")[1]


def eventually(condition: Callable[[], bool], what: str, seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"{what}: not within {seconds} s"
        time.sleep(0.5)


def is_active(unit: str) -> bool:
    return run("systemctl", "is-active", unit, check=False).strip() == "active"


def asked(*words: str) -> Any:
    """What graftcli answers, as data."""
    return json.loads(run("graftcli", *words, "-o", "json"))


def endpoints() -> list[str]:
    return sorted(run("graftcli", "-A", "list-endpoints", "-o", "name").split())


def kernels() -> list[str]:
    """Those whose headers are installed."""
    return sorted(path.parent.name for path in Path("/lib/modules").glob("*/build"))


def built_for() -> list[str]:
    """The kernels that DKMS has installed the module for, as `VERSION KERNEL`."""
    return sorted(" ".join(found) for found in re.findall(r"graft/(\S+), (\S+), .*: installed", run("dkms", "status")))


def network() -> None:
    """An address of the host's, and the namespace `web`, which has lo alone."""
    run("ip", "link", "add", "uplink", "type", "dummy")
    run("ip", "address", "add", f"{ADDRESS}/24", "dev", "uplink")
    run("ip", "link", "set", "uplink", "up")
    run("ip", "netns", "add", "web")
    run("ip", "-n", "web", "link", "set", "lo", "up")


def image() -> None:
    """An image for podman, of nginx, the runner, and what the machine links them with."""
    programs = ["/usr/sbin/nginx", "/usr/bin/graft", "/usr/lib/graft/libgraft.so"]
    libraries = re.findall(r"(/\S+) \(", run("ldd", *programs))
    for path in {*programs, *libraries}:
        copy = _IMAGE / path[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    for name in ("etc", "run", "tmp", "var/log/nginx", "var/lib/nginx"):
        (_IMAGE / name).mkdir(parents=True)
    (_IMAGE / "etc/passwd").write_text("root:x:0:0:root:/:/\n")
    (_IMAGE / "etc/group").write_text("root:x:0:\n")
    (_IMAGE / "etc/nginx.conf").write_text(_NGINX)
    run("tar", "-C", str(_IMAGE), "-cf", f"{_IMAGE}.tar", ".")
    run("podman", "import", f"{_IMAGE}.tar", _POD)


def pod() -> str:
    """A container without a network that runs nginx, unmodified; its id."""
    command = ("graft", "--", "nginx", "-c", "/etc/nginx.conf")
    return run("podman", "create", "--name", _POD, "--network", "none", _POD, *command).split()[-1]


def start_pod() -> None:
    """Start it when its table is there: nginx binds but once."""
    run("podman", "init", _POD)
    eventually(lambda: state_of("pod") == "present", "graftd finds the container")
    run("podman", "start", _POD)


def stop_pod() -> None:
    run("podman", "stop", "--time", "1", _POD)


def state_of(namespace: str) -> str:
    return str(asked("show-namespace", namespace)["state"])


def kernel_has_door() -> bool:
    return " update_socket_protocol\n" in Path("/proc/kallsyms").read_text()


def door() -> str:
    """The state of the BPF door, as its own program says."""
    return str(json.loads(run("graft-transparent", "status", "--json", check=False))["state"])


def pod_answers() -> bool:
    return run("curl", "-s", "-m", "30", f"http://{ADDRESS}/", check=False) == "grafted"
