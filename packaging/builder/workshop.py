# SPDX-License-Identifier: Apache-2.0
"""Roots of Debian releases in which packages are built, without a network."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from builder.source import CHECKOUT, Source
from lab.graftlab import host, roots
from lab.graftlab.cache import Cache, default_root
from lab.graftlab.errors import LabError
from lab.graftlab.suites import SUITES

FOLDER = CHECKOUT / "build" / "packages"


class Workshop:
    """Builds packages and collects them in build/packages."""

    def __init__(self) -> None:
        host.prepare()
        self._cache = Cache(default_root())

    def run(
        self,
        name: str,
        release: str,
        packages: Sequence[str],
        source: Source,
        script: str,
        files: Mapping[str, str],
        results: str,
    ) -> list[Path]:
        """Run ``script`` beside the folder ``tree`` and ``files``, and collect what it leaves there as ``results``.

        It runs in a root of ``release`` with ``packages`` installed. Raises LabError with the end of what was printed.
        """
        suite = SUITES[release].release
        pockets = tuple(pocket for pocket in suite.pockets if not pocket.endswith("-backports"))
        root = roots.root(self._cache, f"packages-{name}", roots.Recipe(suite.name, pockets, tuple(packages)))
        with tempfile.TemporaryDirectory(prefix="graft-packages.") as scratch:
            work = Path(scratch)
            source.copy(work / "tree")
            for file, text in files.items():
                (work / file).write_text(text)
            command = ["env", f"SOURCE_DATE_EPOCH={source.epoch}", "sh", "-ec", script]
            done = roots.run_inside(root, work, command, log=lambda line: print(f"{name}: {line}", flush=True))
            if done.returncode:
                raise LabError(f"the {name} packages could not be built: it ended with status {done.returncode}, see above")
            FOLDER.mkdir(parents=True, exist_ok=True)
            made = sorted(work.glob(results))
            for path in made:
                shutil.copy(path, FOLDER)
        return [FOLDER / path.name for path in made]
