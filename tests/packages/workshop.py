# SPDX-License-Identifier: Apache-2.0
"""Roots of Debian releases in which packages are built, without a network."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.graftlab import host, roots
from lab.graftlab.cache import Cache, default_root
from lab.graftlab.errors import LabError
from lab.graftlab.golang import Go
from lab.graftlab.suites import SUITES
from lab.graftlab.tree import Tree
from packages.source import CHECKOUT, Source

FOLDER = CHECKOUT / "build" / "packages"


@dataclass(frozen=True)
class Job:
    """One build. ``script`` runs beside the folder ``tree``, in a root of ``release`` with ``packages`` installed.

    It leaves what it made as ``results``, a pattern.
    """

    name: str
    release: str
    packages: tuple[str, ...]
    script: str
    results: str


class Workshop:
    """Builds packages and collects them in ``folder``."""

    def __init__(self, folder: Path = FOLDER) -> None:
        host.prepare()
        self.folder = folder
        self._cache = Cache(default_root())

    def run(self, job: Job, source: Source, files: Mapping[str, str]) -> None:
        """Do a job; ``files`` are there as well, and the Go programs where `make install` finds them.

        Raises LabError where it fails; what it printed was passed on, and results that there are were collected.
        """
        suite = SUITES[job.release].release
        pockets = tuple(pocket for pocket in suite.pockets if not pocket.endswith("-backports"))
        root = roots.root(self._cache, f"packages-{job.name}", roots.Recipe(suite.name, pockets, job.packages))
        programs = Go(self._cache, Tree(CHECKOUT)).programs(source.version)
        with tempfile.TemporaryDirectory(prefix="graft-packages.") as scratch:
            work = Path(scratch)
            source.copy(work / "tree")
            shutil.copytree(programs, work / "tree" / "build" / "go")
            for file, text in files.items():
                (work / file).write_text(text)
            command = ["env", f"SOURCE_DATE_EPOCH={source.epoch}", "sh", "-ec", job.script]
            done = roots.run_inside(root, work, command, log=lambda line: print(f"{job.name}: {line}", flush=True))
            self.folder.mkdir(parents=True, exist_ok=True)
            for path in work.glob(job.results):
                shutil.copy(path, self.folder)
            if done.returncode:
                raise LabError(f"the {job.name} packages are not as they should be; above is what was said of it")
