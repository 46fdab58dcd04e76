# SPDX-License-Identifier: Apache-2.0
"""The pages, whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from graft_man import roff
from graft_man.inserts import INSERTS
from graft_man.sources import __version__

HERE = Path(__file__).resolve().parents[1]
EXAMPLES = HERE / "examples"
_PAGE = re.compile(r"[a-z_.-]+\.[1-8]")
_WANTED = re.compile(r'\.\\" (insert|include) (\S+)')
# Names are searched for as they are written: none is broken.
_PREAMBLE = (".nr HY 0", ".nh", ".ad l")


def pages() -> dict[str, str]:
    """Each page by its file's name."""
    return {path.name: page(path.read_text()) for path in sorted(HERE.iterdir()) if _PAGE.fullmatch(path.name)}


def page(text: str) -> str:
    """A page with what it asks for by lines `.\\" insert NAME`, of INSERTS, and `.\\" include FILE`, of examples/.

    Raises ValueError for what there is not.
    """
    return "".join(f"{line}\n" for line in _lines(text.replace("@VERSION@", __version__)))


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        found = _WANTED.fullmatch(line)
        if found is None:
            yield line
        elif found[1] == "include":
            yield from _example(found[2])
        elif found[2] in INSERTS:
            yield from INSERTS[found[2]]()
        else:
            raise ValueError(f"a page wants '{found[2]}' inserted: there are {', '.join(INSERTS)}")
        if line.startswith(".TH "):
            yield from _PREAMBLE


def _example(name: str) -> Iterator[str]:
    path = EXAMPLES / name
    if not path.is_file():
        raise ValueError(f"a page wants the example '{name}' included: it is not in {EXAMPLES}")
    for line in path.read_text().splitlines():
        if not line.startswith("# SPDX"):
            yield roff.verbatim(line.expandtabs(8))
