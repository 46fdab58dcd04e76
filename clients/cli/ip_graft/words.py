# SPDX-License-Identifier: Apache-2.0
"""The command line as words: keywords that may be abbreviated, and what follows them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from graftd.errors import GraftError

Item = TypeVar("Item")


class UsageError(GraftError):
    """The command line makes no sense; the sentence says what would."""


def build(cls: Callable[..., Item], *positional: Any, **named: Any) -> Item:
    """A value of the model from the command line's words, whose refusal is a misuse of them."""
    try:
        return cls(*positional, **named)
    except ValueError as error:
        raise UsageError(str(error)) from None


def either(words: Sequence[str]) -> str:
    """'a, b or c'"""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def match(word: str, keywords: Sequence[str], what: str, aliases: Mapping[str, str] | None = None) -> str:
    """The keyword that `word` is, or the only one that it begins."""
    everything = {keyword: keyword for keyword in keywords} | dict(aliases or {})
    if word in everything:
        return everything[word]
    fitting = sorted({target for name, target in everything.items() if word and name.startswith(word)})
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise UsageError(f"'{word}' may mean {either(fitting)}: write more of it")
    from difflib import get_close_matches

    nearest = get_close_matches(word, keywords, n=1)
    if nearest:
        raise UsageError(f"unknown {what} '{word}': did you mean '{nearest[0]}'?")
    raise UsageError(f"unknown {what} '{word}': expected {either(keywords)}")


class Words:
    """The words yet to be read."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._last = ""

    def __bool__(self) -> bool:
        return bool(self._words)

    def value(self, what: str) -> str:
        """The next word, whatever it is; `what` names it where it is missing."""
        if not self._words:
            after = f" after '{self._last}'" if self._last else ""
            raise UsageError(f"{what} is missing{after}")
        self._last = self._words.pop(0)
        return self._last

    def keyword(self, keywords: Sequence[str], what: str, aliases: Mapping[str, str] | None = None) -> str:
        """The next word, as one of the keywords."""
        if not self._words:
            raise UsageError(f"{what} is missing: expected {either(keywords)}")
        return match(self.value(what), keywords, what, aliases)

    def end(self) -> None:
        """Refuse what is left."""
        if self._words:
            raise UsageError(f"'{self._words[0]}' is one word too many: nothing is expected there")
