# SPDX-License-Identifier: Apache-2.0
"""'make packages': build/packages/*.deb."""

from __future__ import annotations

import sys

from builder import deb
from builder.source import Source
from builder.workshop import Workshop
from lab.graftlab.errors import LabError


def main() -> int:
    """Build every package; return the exit status."""
    try:
        deb.build(Workshop(), Source.of_checkout())
    except LabError as error:
        print("packages:", error.message, error.hint, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
