# SPDX-License-Identifier: Apache-2.0
"""What packages are made of: the checkout's files, its version, and the time that is written into them."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path

from lab.graftlab.errors import LabError
from lab.graftlab.tree import Tree

CHECKOUT = Path(__file__).resolve().parents[2]
_MAINTAINER = re.compile(r"^Maintainer: (.*)$", re.MULTILINE)
_VERSION = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)


# The version that an upgrade begins with, until there is a tag to begin with.
OLDER = "0.0.9"
_DAY = 24 * 60 * 60  # seconds
_AFTER_SCHEMAS = "def check_version("
# What is kept in a table of the second schema is not kept.
_FORMER = "graftd/store/_former.py"
_NO_FORMER = """
def known(*_):
    return []

def add(*_):
    pass

def drop_senseless(_):
    return 0

forget = carry_over = add
"""


@dataclass(frozen=True)
class Edit:
    """``new`` for ``old``, which a file has once."""

    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Source:
    """A checkout. ``version`` is graftd's; ``epoch``, in seconds, is when its last commit was made.

    ``edits`` make its copies differ from it.
    """

    version: str
    epoch: int
    edits: Sequence[Edit] = ()

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

    def older(self) -> Source:
        """The same under a lower version, with a database of the first schema, and from the day before.

        Python takes what it compiled for a source of the same time and size, and so would take the older version's for
        the newer one's, where a program ran while dpkg unpacked.
        """
        edits = [Edit(name, f'"{self.version}"', f'"{OLDER}"') for name in ("graftd/__init__.py", "kmod/graft.h")]
        edits.append(
            Edit("graftd/store/_schema.py", _AFTER_SCHEMAS, f"MIGRATIONS = MIGRATIONS[:1]\n\n\n{_AFTER_SCHEMAS}")
        )
        edits.append(Edit(_FORMER, self.read(_FORMER), _NO_FORMER))
        return replace(self, version=OLDER, epoch=self.epoch - _DAY, edits=edits)

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
        for edit in self.edits:
            path = target / edit.name
            text = path.read_text()
            if text.count(edit.old) != 1:
                raise LabError(f"{edit.name} has {edit.old!r} {text.count(edit.old)} times: once was expected")
            path.write_text(text.replace(edit.old, edit.new))


def _field(name: str, pattern: re.Pattern[str]) -> str:
    found = pattern.search((CHECKOUT / name).read_text())
    if found is None:
        raise LabError(f"{name} has no line like {pattern.pattern}")
    return found[1]
