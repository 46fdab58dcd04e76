# SPDX-License-Identifier: Apache-2.0
"""make check: every check in turn, all that they complain about, and how many passed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial

from check import rules, tools
from check.toolbox import Toolbox
from check.tree import CHECKOUT
from lab.graftlab.errors import LabError


def main() -> int:
    """Run the checks; return 1 where one complains."""
    if subprocess.run([CHECKOUT / "tests" / "prepare"], check=False).returncode:
        return 1
    try:
        toolbox = Toolbox()
    except LabError as error:
        print(f"check: {error.message}", error.hint, sep="\ncheck: ")
        return 1
    checks: dict[str, Callable[[], Iterable[str]]] = {
        "layout": rules.layout,
        "licences": rules.spdx,
        "white space": rules.white_space,
        "executables": rules.executables,
        "ruff format": tools.ruff_format,
        "ruff": tools.ruff,
        "mypy": tools.mypy,
        "buf format": tools.buf_format,
        "buf lint": tools.buf_lint,
        "buf breaking": tools.buf_breaking,
        "clang-format": partial(tools.clang_format, toolbox),
        "shellcheck": partial(tools.shellcheck, toolbox),
        "manual pages": partial(tools.manual_pages, toolbox),
        "completion": partial(tools.completion, toolbox),
        "sandbox": partial(tools.sandbox, toolbox),
        "checkpatch": partial(tools.checkpatch, toolbox),
        "sparse": partial(tools.sparse, toolbox),
        "go": tools.go,
    }
    wanted = sys.argv[1:] or list(checks)
    failed = [name for name in wanted if not _check(name, checks[name])]
    print(f"{len(wanted) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


def _check(name: str, check: Callable[[], Iterable[str]]) -> bool:
    begun = time.monotonic()
    complaints = list(check())
    for line in complaints:
        print(line)
    print(f"check: {name}: {'failed' if complaints else 'passed'} ({time.monotonic() - begun:.1f} s)", flush=True)
    return not complaints


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
