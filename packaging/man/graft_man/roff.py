# SPDX-License-Identifier: Apache-2.0
"""man(7): text as groff and mandoc print it back, unchanged."""

from __future__ import annotations

import re
from collections.abc import Iterable

# What troff would take for its own, or print as another character than the one that is typed.
_CHARACTERS = str.maketrans({"\\": r"\e", "'": r"\(aq", "`": r"\(ga", "^": r"\(ha", "~": r"\(ti", '"': r"\(dq"})
_OPTION = re.compile(r"(?<![\w\\-])-(?=[\w-])")
_LITERAL = re.compile(r"`([^`]+)`")


def literal(text: str) -> str:
    """Text that is to be typed: every hyphen is the one of the keyboard."""
    return text.translate(_CHARACTERS).replace("-", r"\-")


def verbatim(line: str) -> str:
    """A line of a block, to be typed."""
    return _first(literal(line))


def prose(text: str) -> str:
    """A sentence: `words` between backticks are bold, options have the keyboard's hyphen."""
    parts = _LITERAL.split(text)
    made = []
    for place, part in enumerate(parts):
        made.append(
            bold(part) if place % 2 else _OPTION.sub(r"\\-", part.translate(_CHARACTERS)).replace("--", r"\-\-")
        )
    return _first("".join(made))


def bold(text: str) -> str:
    return rf"\fB{literal(text)}\fR" if text else ""


def italic(text: str) -> str:
    return rf"\fI{literal(text)}\fR" if text else ""


def grammar(text: str) -> str:
    """A synopsis: what is to be typed is bold, what stands for something is italic."""

    def word(found: re.Match[str]) -> str:
        is_value = found[0].isupper() and not found[0].startswith("-")
        return italic(found[0]) if is_value else bold(found[0])

    return re.sub(r"-{1,2}\w[\w-]*|--(?= )|@?[A-Za-z]\w*(?:-\w+)*", word, text.replace("\\", r"\e"))


def block(lines: Iterable[str]) -> list[str]:
    """Lines that stay as they are; each is roff already."""
    return [".EX", *map(_first, lines), ".EE"]


def tagged(tag: str, *paragraphs: str) -> list[str]:
    """A term and what is said of it."""
    first, *others = paragraphs
    made = [".TP", _first(tag), first]
    for one in others:
        made += [".IP", one]
    return made


def _first(line: str) -> str:
    """A line that cannot be taken for a request."""
    return rf"\&{line}" if line.startswith((".", "'")) else line
