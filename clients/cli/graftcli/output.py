# SPDX-License-Identifier: Apache-2.0
"""Tables, fields, JSON, YAML, and colours where they are wanted."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from ip_graft.values import safe_sentence as safe

Item = TypeVar("Item")

_CODES = {"good": "32", "bad": "31", "warn": "33", "head": "1"}
# What a cell says, and how that is.
_MOODS = {
    "in-sync": "good",
    "present": "good",
    "ready": "good",
    "loaded": "good",
    "pending": "warn",
    "absent": "warn",
    "degraded": "bad",
    "failed": "bad",
    "frozen": "bad",
    "refusing": "bad",
    "not-loaded": "bad",
}


def colors_wanted(when: str) -> bool:
    """As https://no-color.org has it: a terminal that can, and nobody who said no."""
    if when != "auto":
        return when == "always"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") not in (None, "dumb")


@dataclass(frozen=True, slots=True)
class Colors:
    on: bool

    def paint(self, text: str, mood: str | None) -> str:
        return f"\x1b[{_CODES[mood]}m{text}\x1b[0m" if self.on and mood else text

    def cell(self, text: str) -> str:
        return self.paint(text, _MOODS.get(text.partition(" ")[0].partition(":")[0]))


@dataclass(frozen=True, slots=True)
class Column(Generic[Item]):
    """`wide`: only in the form wide, and where one thing is told about."""

    head: str
    value: Callable[[Item], str]
    wide: bool = False


def write_table(items: Sequence[Item], columns: Sequence[Column[Item]], colors: Colors) -> None:
    """Nothing at all where there are no items, as for a list that is read by a program."""
    if not items:
        return
    rows = [[safe(column.value(item)) or "-" for column in columns] for item in items]
    widths = [
        max(map(len, (column.head, *cells))) for column, cells in zip(columns, zip(*rows, strict=True), strict=True)
    ]
    heads = "  ".join(f"{column.head:<{width}}" for column, width in zip(columns, widths, strict=True)).rstrip()
    print(colors.paint(heads, "head"))
    for row in rows:
        cells = [f"{colors.cell(cell)}{'':{width - len(cell)}}" for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())


def write_fields(item: Item, columns: Sequence[Column[Item]], colors: Colors) -> None:
    """A line for each field that has a value."""
    found = [(column.head.lower(), safe(column.value(item))) for column in columns]
    width = max(len(head) for head, _ in found) + 2
    for head, value in found:
        if value:
            print(f"{colors.paint(f'{head}:', 'head')}{'':{width - len(head) - 1}}{colors.cell(value)}")


def counted(count: int, what: str) -> str:
    """1 socket, 2 sockets"""
    return f"{count} {what}{'' if count == 1 else 's'}"


def write_value(value: Any, form: str) -> None:
    """As json or yaml."""
    if form == "json":
        print(json.dumps(value, indent=2))
    else:
        from graftcli.yamls import dump

        sys.stdout.write(dump([value]))
