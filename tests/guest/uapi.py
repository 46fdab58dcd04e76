# SPDX-License-Identifier: Apache-2.0
"""The module's constants, read from its uapi header so that they are written once.

``U.AF_GRAFT`` and ``U.IPPROTO_GRAFT`` keep their names; the others lose ``GRAFT_``: ``U.CMD_INFO_GET``.
"""

import re
from pathlib import Path
from types import SimpleNamespace

HEADER = Path(__file__).resolve().parents[2] / "kmod/uapi/linux/graft.h"


def _constants(text: str) -> dict[str, int]:
    """Return every enumerator and every macro of ``text`` that stands for a number."""
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)
    found: dict[str, int] = {}
    for macro, value, enumerators in re.findall(
        r"^#define[ \t]+(\w+)[ \t]+([^\n\"]+)$|^enum \w+ \{([^}]*)\};", text, re.MULTILINE
    ):
        if macro:
            found.setdefault(macro, _number(value, found))
            continue
        following = 0
        for item in filter(None, (part.strip() for part in enumerators.split(","))):
            name, _, given = (part.strip() for part in item.partition("="))
            found[name] = _number(given, found) if given else following
            following = found[name] + 1
    return found


def _number(expression: str, known: dict[str, int]) -> int:
    return int(eval(expression, {"__builtins__": {}}, known))


CONSTANTS = {name.removeprefix("GRAFT_"): value for name, value in _constants(HEADER.read_text()).items()}
U = SimpleNamespace(**CONSTANTS)
