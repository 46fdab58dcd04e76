# SPDX-License-Identifier: Apache-2.0
"""What packages are made of: the checkout's files, its version, and the time that is written into them."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path

from lab.graftlab.errors import LabError
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
        """The one that this file is in. Raises LabError where git does not know it."""
        git = ["git", "-c", "safe.directory=*", "-C", str(CHECKOUT), "log", "-1", "--format=%ct"]
        done = subprocess.run(git, capture_output=True, text=True, check=False)
        if done.returncode:
            raise LabError(
                f"git does not know when the tree's last commit was made: {done.stderr.strip()}",
                "Packages bear that time: build them in a clone.",
            )
        return cls(_field("graftd/__init__.py", _VERSION), int(done.stdout))

    @property
    def maintainer(self) -> str:
        """Who looks after the packages, as packaging/deb/control says."""
        return _field("packaging/deb/control", _MAINTAINER)

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


def _field(name: str, pattern: re.Pattern[str]) -> str:
    found = pattern.search((CHECKOUT / name).read_text())
    if found is None:
        raise LabError(f"{name} has no line like {pattern.pattern}")
    return found[1]
