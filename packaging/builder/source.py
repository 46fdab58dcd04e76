# SPDX-License-Identifier: Apache-2.0
"""What packages are made of: the checkout's files, its version, and the time that is written into them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from lab.graftlab.tree import Tree

CHECKOUT = Path(__file__).resolve().parents[2]
_MAINTAINER = re.compile(r"^Maintainer: (.*)$", re.MULTILINE)
_VERSION = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)


@dataclass(frozen=True)
class Source:
    """A checkout. ``version`` is graftd's; ``epoch``, in seconds, is when its last commit was made."""

    version: str
    epoch: int

    @classmethod
    def of_checkout(cls) -> Source:
        found = _VERSION.search((CHECKOUT / "graftd/__init__.py").read_text())
        assert found is not None, "graftd/__init__.py has no __version__"
        git = ["git", "-c", "safe.directory=*", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"]
        epoch = subprocess.run(git, capture_output=True, text=True, check=True).stdout
        return cls(found[1], int(epoch))

    @property
    def maintainer(self) -> str:
        """Who looks after the packages, as packaging/deb/control says."""
        found = _MAINTAINER.search(self.read("packaging/deb/control"))
        assert found is not None, "packaging/deb/control has no Maintainer"
        return found[1]

    @property
    def date(self) -> str:
        """The time of the last commit, as Debian's changelogs have it."""
        return formatdate(self.epoch)

    def read(self, name: str) -> str:
        """The text of a file."""
        return (CHECKOUT / name).read_text()

    def copy(self, target: Path) -> None:
        """Copy all files of the checkout to ``target``."""
        tree = Tree(CHECKOUT)
        tree.copy(tree.files("."), target)
