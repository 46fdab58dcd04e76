# SPDX-License-Identifier: Apache-2.0
"""The tree under test: its files, and what 'make install' makes of them for a guest."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from . import roots
from .cache import Cache, files_key, recipe_key
from .errors import LabError
from .progress import Progress

# What 'make install' reads, whole folders and C programs; a change elsewhere installs nothing anew.
_INSTALLED_FROM = ("Makefile", "pyproject.toml", "proto", "graftd", "clients", "packaging", "kmod/uapi")
_PROGRAMS_FROM = ("tests/guest", "tests/bench")
# Then its user is made, and units are enabled, those that the service's own unit names as well.
_INSTALL = """
make -C /mnt/tree DESTDIR=/mnt/stage install install-tests
if [ -e /mnt/stage/usr/lib/systemd/system/graftd.service ]; then
    cp -a /etc/passwd /etc/group /etc/shadow /etc/gshadow /mnt/stage/etc/
    systemd-sysusers --root=/mnt/stage
    systemctl --root=/mnt/stage enable graftd.service
fi
"""


@dataclass(frozen=True)
class Tree:
    """A checkout of this project."""

    path: Path

    def files(self, *below: str) -> list[Path]:
        """Return the files under the given names that exist.

        Where git knows the checkout these are its files and the new ones that it does not ignore.
        """
        names = [name for name in below if (self.path / name).exists()]
        if not names:
            return []
        git = ["git", "-c", "safe.directory=*", "-C", str(self.path)]
        command = [*git, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *names]
        try:
            listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (FileNotFoundError, subprocess.CalledProcessError):
            return sorted({path for name in names for path in _walk(self.path / name)})
        found = {self.path / name for name in listing.split("\0") if name}
        return sorted(path for path in found if os.path.lexists(path))

    def copy(self, files: Iterable[Path], target: Path) -> None:
        """Copy files of the checkout to the same places below ``target``."""
        for path in files:
            copy = target / path.relative_to(self.path)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy, follow_symlinks=False)

    def has_module(self) -> bool:
        """Tell whether there is a module to build."""
        return (self.path / "kmod" / "Makefile").exists()


def stage(cache: Cache, tree: Tree, root: Path, programs: Path | None = None) -> Path | None:
    """Return the folder that 'make install' and 'make install-tests' fill, run inside ``root``.

    What is written in C so links against the guest's own libraries. ``programs`` is the folder of those in Go, which
    depend on none. None where the tree has no Makefile.
    """
    if not (tree.path / "Makefile").exists():
        return None
    files = tree.files(*_INSTALLED_FROM)
    files += [path for path in tree.files(*_PROGRAMS_FROM) if path.suffix in {".c", ".h"} or path.name == "Makefile"]
    go = programs.name if programs else ""
    recipe = {"root": root.name, "files": files_key(tree.path, files), "go": go, "how": _INSTALL}
    name = root.name.rpartition("@")[0]

    def build(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="graft-lab.") as scratch, Progress(f"tree for {name}") as progress:
            work = Path(scratch)
            tree.copy(files, work / "tree")
            if programs:
                shutil.copytree(programs, work / "tree" / "build" / "go")
            (work / "stage").mkdir()
            done = roots.run_inside(root, work, ["sh", "-ec", _INSTALL], log=progress.detail)
            if done.returncode != 0:
                raise LabError(f"'make install install-tests' failed in {name}:\n{done.stdout.rstrip()}")
            shutil.copytree(work / "stage", path, symlinks=True)

    return cache.get("tree", name, recipe_key(recipe), build)


def _walk(start: Path) -> Iterable[Path]:
    if start.is_file():
        return [start]
    return [path for path in start.rglob("*") if path.is_file() or path.is_symlink()]
