# SPDX-License-Identifier: Apache-2.0
"""Files that hold what `rule show` and `acl show` print."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ip_graft.words import UsageError, Words

Item = TypeVar("Item")

_PIECE = re.compile(
    r"""
    [ \t\r]+
    | (?P<comment> \# .*)
    | '(?P<single> [^']*)'
    | "(?P<double> (?: [^"\\] | \\. )*)"
    | (?P<bytes> (?: \\x[0-9a-fA-F]{2} )+)
    | \\(?P<escaped> .)
    | (?P<plain> [^ \t\r'"\\\#]+)
    """,
    re.VERBOSE | re.DOTALL,
)


def split(line: str) -> list[str]:
    """The words of a line as a shell splits them; outside quotes \\xNN is a byte, as `values.safe` writes it."""
    words = []
    word: str | None = None
    at = 0
    while at < len(line):
        piece = _PIECE.match(line, at)
        if piece is None:
            raise UsageError(
                f"what begins at '{line[at:]}' has no end: close the quotes, or write \\\\ for a backslash"
            )
        at = piece.end()
        kind = piece.lastgroup
        if kind in (None, "comment"):
            if word is not None:
                words.append(word)
            word = None
            continue
        text = piece[kind]
        if kind == "double":
            text = re.sub(r'\\(["\\])', r"\1", text)
        elif kind == "bytes":
            text = bytes.fromhex(text.replace("\\x", "")).decode("utf-8", "surrogateescape")
        word = (word or "") + text
    return words if word is None else [*words, word]


def read_lines(source: str, parse: Callable[[Words], Item]) -> list[Item]:
    """One item a line, from a file or, for '-', standard input; # starts a comment."""
    name = "standard input" if source == "-" else source
    if source == "-" and sys.stdin is None:
        raise UsageError(f"{name} cannot be read: it is closed")
    try:
        content = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{name} cannot be read: {reason}") from None
    items = []
    for number, line in enumerate(content.split("\n"), start=1):
        try:
            words = Words(split(line))
            if words:
                items.append(parse(words))
                words.end()
        except UsageError as error:
            raise UsageError(f"{name}, line {number}: {error}") from None
    return items
