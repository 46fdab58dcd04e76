# SPDX-License-Identifier: Apache-2.0
"""Images of the machine's own files: a program, what it is linked with, and a few empty folders."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.place import run

# The program of every image listens on both ports in its container, and fetches from what it is told.
PORT, UNRULED = 80, 81
_PROGRAMS = Path(__file__).resolve().parent / "programs"
_GO = Path("/usr/lib/graft/tests/web")
_FOLDERS = ("etc", "dev", "proc", "sys", "run", "tmp", "var/log/nginx", "var/lib/nginx")
_NGINX = "/etc/nginx.conf"
_SCRIPT = "/srv/web.js"


@dataclass(frozen=True)
class Program:
    """What an image is made for. It is started with ``command``.

    ``root`` is a folder that stands for an image.
    """

    name: str
    command: tuple[str, ...]
    root: str = ""


def programs(upstream: str) -> dict[str, Program]:
    """Return the programs, each of which fetches from ``upstream``, an ADDRESS:PORT."""
    ports = (str(PORT), str(UNRULED), upstream)
    return {
        "nginx": Program("nginx", ("/usr/sbin/nginx", "-c", _NGINX)),
        "go": Program("go", ("/srv/web", *ports)),
        "musl": Program("musl", ("/srv/web", *ports)),
        # Its libraries would take a minute to be copied into an image: it gets the machine's root, behind an overlay.
        "node": Program("node", ("/usr/bin/node", _SCRIPT, *ports), root="/"),
    }


def make(name: str, upstream: str, work: Path) -> Path:
    """Make the root of a program's image, and return it as a tar."""
    root = work / name
    for folder in _FOLDERS:
        (root / folder).mkdir(parents=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/:/\n")
    (root / "etc/group").write_text("root:x:0:\n")
    match name:
        case "nginx":
            text = (_PROGRAMS / "nginx.conf").read_text()
            for word, value in (("PORT", PORT), ("UNRULED", UNRULED), ("UPSTREAM", upstream)):
                text = re.sub(rf"\b{word}\b", str(value), text)
            (root / _NGINX[1:]).write_text(text)
            _copy(root, "/usr/sbin/nginx", *_linked("/usr/sbin/nginx"))
        case "go":
            place_go(root, "/srv/web")
        case "musl":
            compile_web(root / "srv/web")
            _copy(root, "/lib/ld-musl-x86_64.so.1")
    tar = work / f"{name}.tar"
    run("tar", "-C", root, "-cf", tar, ".")
    return tar


def make_root() -> None:
    """Put what node runs into the machine's root."""
    _place(Path("/"), _PROGRAMS / "web.js", _SCRIPT)


def place_go(root: Path, where: str) -> None:
    """Copy the Go program, which is linked statically, to a path in a root."""
    _place(root, _GO, where)


def compile_web(target: Path, *options: str) -> None:
    """Compile the C program against musl."""
    target.parent.mkdir(parents=True, exist_ok=True)
    run("musl-gcc", "-O2", "-Wall", "-Wextra", "-Werror", *options, "-o", target, _PROGRAMS / "web.c")


def _linked(program: str) -> Sequence[str]:
    return re.findall(r"(/\S+) \(", run("ldd", program))


def _copy(root: Path, *paths: str) -> None:
    for path in paths:
        _place(root, Path(path), path)


def _place(root: Path, path: Path, where: str) -> None:
    target = root / where[1:]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(path, target)
