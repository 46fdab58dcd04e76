# SPDX-License-Identifier: Apache-2.0
"""HTML from parts: text is escaped, always; only what was made here goes in as it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_VOID = frozenset({"img", "meta"})


@dataclass(frozen=True)
class Html:
    """A piece of HTML."""

    text: str


def element(name: str, /, *children: Html | str, **attributes: str) -> Html:
    """Return the element ``name``; text among ``children`` is escaped, ``class_`` stands for class."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{written}>")
    return Html(f"<{name}{written}>{join(children).text}</{name}>")


def join(parts: Iterable[Html | str], between: str = "") -> Html:
    """Return the parts one after the other, text among them escaped."""
    return Html(
        escape(between).join(part.text if isinstance(part, Html) else escape(part, quote=False) for part in parts)
    )


def paragraph(*children: Html | str) -> Html:
    """Return a paragraph."""
    return element("p", *children)


def bullets(items: Iterable[Html | str]) -> Html:
    """Return a list without numbers."""
    return element("ul", *(element("li", item) for item in items))


def folded(summary: str, *children: Html | str) -> Html:
    """Return what a reader opens by its summary."""
    return element("details", element("summary", summary), *children)


@dataclass(frozen=True)
class Group:
    """Rows of a table that belong together, under a heading of their own unless that is empty."""

    heading: str
    rows: Sequence[Sequence[Html | str]]


def table(caption: Html | str, kind: str, head: Sequence[str], groups: Sequence[Group], *, text: int = 1) -> Html:
    """Return a table of ``kind`` ("time", "count", ...); the first ``text`` columns hold words, the others figures."""
    columns = ["words" if column < text else "figures" for column in range(len(head))]
    heads = (element("th", name, scope="col", class_=how) for name, how in zip(head, columns, strict=True))
    bodies = [element("thead", element("tr", *heads))]
    for group in groups:
        rows = [_row(row, columns) for row in group.rows]
        if group.heading:
            heading = element("th", group.heading, scope="rowgroup", colspan=str(len(head)), class_="group")
            rows.insert(0, element("tr", heading))
        bodies.append(element("tbody", *rows))
    made = element("table", element("caption", caption), *bodies, data_kind=kind)
    return element("div", made, class_="wide", role="group", tabindex="0", aria_label=f"Table of kind {kind}")


def _row(cells: Sequence[Html | str], columns: Sequence[str]) -> Html:
    made = [
        element("th", cell, scope="row", class_=how) if column == 0 else element("td", cell, class_=how)
        for column, (cell, how) in enumerate(zip(cells, columns, strict=True))
    ]
    return element("tr", *made)
