# SPDX-License-Identifier: Apache-2.0
"""'make packages': build/packages/*.deb and *.rpm. Arguments: which of 'deb' and 'rpm', both if there is none.

--into FOLDER: there instead.
--older: those that an upgrade begins with.
--test: install the rpms into a root as well, and write rpm.xml with what was found.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.graftlab.errors import LabError
from packages import deb, rpm
from packages.source import Source
from packages.workshop import FOLDER, Workshop

_FORMATS = {"deb": deb.build, "rpm": rpm.build}


def main() -> int:
    """Build packages; return the exit status."""
    parser = argparse.ArgumentParser(prog="packages")
    parser.add_argument("formats", nargs="*", metavar="FORMAT", help=" or ".join(_FORMATS))
    parser.add_argument("--into", metavar="FOLDER", type=Path, default=FOLDER)
    parser.add_argument("--older", action="store_true")
    parser.add_argument("--test", action="store_true")
    options = parser.parse_args()
    if unknown := [name for name in options.formats if name not in _FORMATS]:
        parser.error(f"there is no format '{unknown[0]}': expected {' or '.join(_FORMATS)}")
    try:
        workshop, source = Workshop(options.into), Source.of_checkout()
        if options.older:
            source = source.older()
        for name in options.formats or _FORMATS:
            # Those of another version would be taken for these.
            for old in workshop.folder.glob(f"*.{name}"):
                old.unlink()
            _FORMATS[name](workshop, source)
        if options.test:
            rpm.test(workshop, source)
    except LabError as error:
        print("packages:", error.message, error.hint, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
