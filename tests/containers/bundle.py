# SPDX-License-Identifier: Apache-2.0
"""Containers without an engine: a runtime, and a bundle whose hooks are ours."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from containers.images import PORT, UNRULED, compile_web
from containers.network import UPSTREAM

HOOK = "/usr/libexec/graft/graft-oci-hook"
_CAPABILITIES = ["CAP_NET_BIND_SERVICE", "CAP_KILL"]


def make_root(folder: Path) -> Path:
    """Make a root that has the C program at /web, linked statically, and what crun asks for."""
    root = folder / "root"
    for name in ("dev", "proc"):
        (root / name).mkdir(parents=True)
    compile_web(root / "web", "-static")
    return root


def write(bundle: Path, root: Path, annotations: Mapping[str, str]) -> None:
    """Write a bundle of a container that has no network and runs /web in ``root``."""
    bundle.mkdir()
    sets = dict.fromkeys(("bounding", "effective", "permitted"), _CAPABILITIES)
    configuration: dict[str, Any] = {
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": 0, "gid": 0},
            "args": ["/web", str(PORT), str(UNRULED), UPSTREAM],
            "env": ["PATH=/"],
            "cwd": "/",
            "capabilities": sets,
        },
        "root": {"path": str(root), "readonly": True},
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            # crun fills it, and the root is several containers'.
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "annotations": dict(annotations),
        "hooks": {stage: [{"path": HOOK, "args": [HOOK, stage]}] for stage in ("createRuntime", "poststop")},
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "mount", "ipc", "uts")]},
    }
    (bundle / "config.json").write_text(json.dumps(configuration))


def crun(*words: object) -> list[str]:
    """Return a command of crun's, which is to leave cgroups alone."""
    return ["crun", "--cgroup-manager=disabled", *map(str, words)]


def start(bundle: Path, name: str) -> int:
    """Run a bundle's container, and return the id of its process, which writes to a file beside the bundle's."""
    with (bundle / "said").open("w") as said:
        command = crun("run", "--detach", "--pid-file", bundle / "pid", "--bundle", bundle, name)
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
    assert done.returncode == 0, (bundle / "said").read_text()
    return int((bundle / "pid").read_text())
