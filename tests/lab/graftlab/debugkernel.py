# SPDX-License-Identifier: Apache-2.0
"""The debug kernel: Debian's kernel source, tinyconfig and debug.config, built once and kept."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from . import roots
from .cache import Cache, recipe_key
from .errors import LabError
from .initramfs import base_archive, base_recipe
from .kernels import Kernel
from .process import tail
from .progress import Progress
from .suites import TOOLS_RELEASE

_SOURCE_PACKAGE = "linux-source-6.12"
_PACKAGES = (
    _SOURCE_PACKAGE,
    *("gcc", "make", "bc", "bison", "flex", "libelf-dev", "libc6-dev", "python3", "perl", "xz-utils", "rsync", "kmod"),
    "pahole",
)
_BUILD = """
set -e
tar -xJf /usr/src/{package}.tar.xz
mv {package} source
cd source
make -s tinyconfig
scripts/kconfig/merge_config.sh -m -O . .config ../debug.config >/dev/null
make -s olddefconfig
cp .config ../config
nice -n 10 make -j{jobs} bzImage modules
make -s modules_install INSTALL_MOD_PATH=/mnt/installed INSTALL_MOD_STRIP=1
make -s run-command KBUILD_RUN_COMMAND='$(srctree)/scripts/package/install-extmod-build /mnt/build'
cp arch/x86/boot/bzImage ../bzImage
cat include/config/kernel.release > ../release
"""


def build_root(cache: Cache) -> Path:
    """Return the root in which the debug kernel is built."""
    pockets = tuple(pocket for pocket in TOOLS_RELEASE.pockets if not pocket.endswith("-backports"))
    recipe = roots.Recipe(release=TOOLS_RELEASE.name, pockets=pockets, packages=_PACKAGES)
    return roots.root(cache, "kbuild", recipe)


def debug(cache: Cache, guest_root: Path, fragment: Path, guest_files: Path) -> Kernel:
    """Return the debug kernel, building it first where the cache lacks it: 5 to 10 minutes on two processors."""
    root = build_root(cache)
    recipe = {"root": root.name, "fragment": fragment.read_text(), "build": _BUILD}
    key = recipe_key(recipe)
    folder = cache.get("kernel", "debug", key, lambda path: _build(root, fragment, path))
    version = (folder / "release").read_text().strip()
    archive_key = recipe_key({"kernel": key, "how": base_recipe(guest_files), "root": guest_root.name})
    return Kernel(
        version=version,
        key=key,
        image=folder / "bzImage",
        initramfs=cache.get(
            "initramfs",
            version,
            archive_key,
            lambda path: path.write_bytes(base_archive(guest_root, guest_files, None)),
        ),
        build=folder / "build",
        modules=folder / "installed/lib/modules" / version,
        debug=True,
    )


def missing_settings(fragment: str, result: str) -> list[str]:
    """Return the lines of ``fragment`` that the configuration ``result`` does not hold.

    A line that turns a setting off also holds where the setting does not exist at all.
    """
    have = set(result.splitlines())
    names = {line.partition("=")[0] for line in have}
    missing = []
    for line in fragment.splitlines():
        on = line.startswith("CONFIG_")
        off = line.startswith("# CONFIG_") and line.endswith(" is not set")
        if (on and line not in have) or (off and line.split()[1] in names):
            missing.append(line)
    return missing


def _build(root: Path, fragment: Path, path: Path) -> None:
    script = _BUILD.format(package=_SOURCE_PACKAGE, jobs=os.cpu_count())
    with (
        tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as name,
        Progress("debug kernel") as progress,
    ):
        work = Path(name)
        shutil.copy(fragment, work / "debug.config")
        progress.stage("compiling (5 to 10 minutes on two processors)")
        done = roots.run_inside(root, work, ["sh", "-c", script], log=progress.detail)
        if (work / "config").exists():
            missing = missing_settings(fragment.read_text(), (work / "config").read_text())
            if missing:
                raise LabError(
                    f"the debug kernel's configuration lost these lines of {fragment.name}: {', '.join(missing)}",
                    "Add what they depend on, or take them out.",
                )
        if done.returncode != 0:
            raise LabError(f"the debug kernel could not be built:\n{tail(done)}")
        path.mkdir()
        for item in ("bzImage", "release", "config", "build", "installed"):
            shutil.move(work / item, path / item)
