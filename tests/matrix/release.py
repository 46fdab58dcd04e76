# SPDX-License-Identifier: Apache-2.0
"""The unit tests, and generated requests to graftd, by the Python and the libraries of a Debian release.

They run in the root that its guests are made of.

No guest runs, so they are as quick as on the machine itself.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from lab.graftlab import host, session
from lab.graftlab.cache import Cache, default_root
from lab.graftlab.errors import LabError
from lab.graftlab.roots import run_inside
from lab.graftlab.tree import Tree

_CHECKOUT = Path(__file__).resolve().parents[2]
_REPORT = "junit.xml"
# Of the project's own tools, or compiled by the machine's own compilers: nothing that a release's Python runs. And of
# callers in namespaces of their own, which nobody can make in a root that is not the machine's.
_LEFT_OUT = (
    "bench",
    "check",
    "completion",
    "driver",
    "install",
    "lab",
    "matrix",
    "packages",
    "peer",
    "preload",
)
# What is generated from proto/ is the release's protoc's. A shell that has more to do stays process 1 itself, which
# pytest is not to be.
_SCRIPT = """
make -s install DESTDIR=/tmp/stage
rm -rf build
mkdir build
ln -s /tmp/stage/usr/lib/python3/dist-packages build/stubs
python3 -m pytest -q tests/unit tests/integration/test_fuzz.py "$@" \\
    --continue-on-collection-errors --junitxml=junit.xml \\
    -o "pythonpath=. clients/cli clients/python packaging/man tests /tmp/stage/usr/lib/python3/dist-packages" || exit
"""


def main() -> int:
    """Run the tests in the root of the suite that the first argument names; the second is where the report goes."""
    suite, folder = sys.argv[1], Path(sys.argv[2])
    try:
        host.prepare()
        root, _ = session.image(Cache(default_root()), suite, "stock")
    except LabError as error:
        print(error.message, error.hint, sep="\n")
        return 1
    checkout = Tree(_CHECKOUT)
    with tempfile.TemporaryDirectory(prefix="graft-unit.") as scratch:
        work = Path(scratch)
        checkout.copy(checkout.files("."), work)
        left_out = [f"--ignore-glob=*/test_{name}*" for name in _LEFT_OUT]
        done = run_inside(root, work, ["sh", "-ec", _SCRIPT, "sh", *left_out], log=_say)
        if (work / _REPORT).exists():
            shutil.copy(work / _REPORT, folder)
    return done.returncode


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
