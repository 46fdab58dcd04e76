# SPDX-License-Identifier: Apache-2.0
"""'make packages': build/packages/*.deb and *.rpm. Arguments: which of 'deb' and 'rpm', both if there is none.

--older: those that an upgrade begins with, in build/packages/older.
"""

from __future__ import annotations

import sys

from lab.graftlab.errors import LabError
from packages import deb, rpm
from packages.source import Source
from packages.workshop import FOLDER, Workshop

_FORMATS = {"deb": deb.build, "rpm": rpm.build}


def main() -> int:
    """Build packages; return the exit status."""
    older = "--older" in sys.argv
    wanted = [word for word in sys.argv[1:] if word != "--older"] or list(_FORMATS)
    if unknown := [name for name in wanted if name not in _FORMATS]:
        print(f"packages: there is no format '{unknown[0]}': expected {' or '.join(_FORMATS)}", file=sys.stderr)
        return 2
    try:
        workshop, source = Workshop(), Source.of_checkout()
        if older:
            workshop, source = Workshop(FOLDER / "older"), source.older()
        for name in wanted:
            # Those of another version would be taken for these.
            for old in workshop.folder.glob(f"*.{name}"):
                old.unlink()
            _FORMATS[name](workshop, source)
    except LabError as error:
        print("packages:", error.message, error.hint, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
