# SPDX-License-Identifier: Apache-2.0
"""graft.ko: built from the tree for one kernel, in the root that has this kernel's headers and compiler."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from . import roots
from .cache import Cache, files_key, recipe_key
from .errors import LabError
from .kernels import Kernel
from .progress import Progress
from .tree import Tree

_MAKE = ("M=/mnt/kmod", "KCFLAGS=-Werror", "modules")
# The index that modprobe reads covers all of a kernel's modules, so it is made anew with graft.ko among them.
_INSTALL = """
set -e
strip --strip-debug kmod/graft.ko
base=/mnt/index/lib/modules/$1
mkdir -p "$base/updates" /mnt/installed/updates
cp kmod/graft.ko "$base/updates/"
ln -s "$2/kernel" "$base/kernel"
cp "$2/modules.order" "$2/modules.builtin" "$2/modules.builtin.modinfo" "$base/"
depmod -b /mnt/index "$1"
mv "$base/updates/graft.ko" /mnt/installed/updates/
cd "$base"
mv modules.dep modules.dep.bin modules.alias modules.alias.bin modules.symbols modules.symbols.bin /mnt/installed/
"""
# Kbuild says this of a compiler that is one package revision newer than the kernel; it says nothing of the code.
_NO_WARNING = "warning: the compiler differs from the one used to build the kernel"


def module(cache: Cache, tree: Tree, root: Path, kernel: Kernel) -> Path:
    """Return the folder with graft.ko as built from ``tree`` for ``kernel``; a warning fails the build.

    ``installed`` in it goes into the guest's /lib/modules/VERSION; ``graft.ko`` beside it has its debugging
    information still, and ``build.log`` is the build's output.
    """
    files = tree.files("kmod")
    recipe = {"kernel": kernel.key, "files": files_key(tree.path, files), "how": [*_MAKE, _INSTALL]}

    def build(path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="graft-lab.") as scratch, Progress(f"module for {name}") as progress:
            work = Path(scratch)
            tree.copy(files, work)
            log = _compile(root, kernel, work, progress)
            path.mkdir()
            (path / "build.log").write_text(log)
            shutil.copy(work / "kmod/graft.ko", path)
            _install(root, kernel, work)
            shutil.copytree(work / "installed", path / "installed")

    name = f"{kernel.version}"
    return cache.get("module", name, recipe_key(recipe), build)


def warnings(log: str) -> list[str]:
    """Return the lines of a build's output in which the compiler, the linker or modpost warns."""
    return [line for line in log.splitlines() if "warning:" in line.lower() and not line.startswith(_NO_WARNING)]


def _compile(root: Path, kernel: Kernel, work: Path, progress: Progress) -> str:
    folder, mounts = f"/lib/modules/{kernel.version}/build", []
    if kernel.build:
        folder, mounts = "/mnt/kernel", [(kernel.build, "/mnt/kernel")]
        (work / "kernel").mkdir()
    make = ["make", f"-j{os.cpu_count()}", "-C", folder, *_MAKE]
    done = roots.run_inside(root, work, make, log=progress.detail, also=mounts)
    if done.returncode != 0 or warnings(done.stdout):
        raise LabError(
            f"graft.ko does not build for {kernel.version}:\n{done.stdout.rstrip()}",
            "The module must build without a warning on every kernel.",
        )
    return done.stdout


def _install(root: Path, kernel: Kernel, work: Path) -> None:
    folder, mounts = f"/lib/modules/{kernel.version}", []
    if kernel.modules:
        folder, mounts = "/mnt/modules", [(kernel.modules, "/mnt/modules")]
        (work / "modules").mkdir()
    done = roots.run_inside(root, work, ["sh", "-c", _INSTALL, "sh", kernel.version, folder], also=mounts)
    if done.returncode != 0:
        raise LabError(f"graft.ko could not be installed for {kernel.version}:\n{done.stdout.rstrip()}")
