# SPDX-License-Identifier: Apache-2.0
"""Files that hold what `rule show` and `acl show` print."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ip_graft.words import UsageError, Words

Item = TypeVar("Item")


def read_lines(source: str, parse: Callable[[Words], Item]) -> list[Item]:
    """One item a line, from a file or, for '-', standard input; # starts a comment."""
    name = "standard input" if source == "-" else source
    try:
        content = sys.stdin.read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{name} cannot be read: {reason}") from None
    items = []
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            words = Words(shlex.split(line, comments=True))
            if words:
                items.append(parse(words))
                words.end()
        except (UsageError, ValueError) as error:
            raise UsageError(f"{name}, line {number}: {error}") from None
    return items
