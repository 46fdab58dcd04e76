# SPDX-License-Identifier: Apache-2.0
"""The root that holds the tools for C and shell, made by the lab, so that every machine checks with the same."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from check.tree import CHECKOUT, files
from lab.graftlab import host, roots
from lab.graftlab.cache import Cache, default_root
from lab.graftlab.suites import TOOLS_RELEASE

_SOURCE = "linux-source-6.12"
_PACKAGES = (
    *("gcc", "make", "sparse", "linux-headers-amd64", "perl", "xz-utils", _SOURCE),
    *("clang-format", "shellcheck", "groff-base", "mandoc", "systemd"),
)
# checkpatch has no package of its own: it comes with the kernel's source.
_CHECKPATCH = (
    f'chroot "$1" tar -C /usr/src --strip-components=1 -xJf /usr/src/{_SOURCE}.tar.xz'
    f" {_SOURCE}/scripts/checkpatch.pl {_SOURCE}/scripts/spelling.txt"
    f" {_SOURCE}/scripts/const_structs.checkpatch"
)
_DROP_SOURCE = f'rm "$1/usr/src/{_SOURCE}.tar.xz"'
CHECKPATCH = "/usr/src/scripts/checkpatch.pl"


class Toolbox:
    """The root, and a copy of the tree inside it."""

    def __init__(self) -> None:
        host.prepare()
        recipe = roots.Recipe(
            release=TOOLS_RELEASE.name,
            pockets=tuple(pocket for pocket in TOOLS_RELEASE.pockets if not pocket.endswith("-backports")),
            packages=_PACKAGES,
            customize_hooks=(_CHECKPATCH, _DROP_SOURCE),
        )
        self._root = roots.root(Cache(default_root()), "check", recipe)

    def run(self, command: Sequence[str], *built: str) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in the root, in a copy of the tree; its output is one text. ``built`` files come along."""
        with tempfile.TemporaryDirectory(prefix="graft-check.") as scratch:
            work = Path(scratch)
            for name in (*files(), *built):
                copy = work / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(CHECKOUT / name, copy, follow_symlinks=False)
            return roots.run_inside(self._root, work, command)
