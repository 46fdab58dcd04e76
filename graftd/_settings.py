# SPDX-License-Identifier: Apache-2.0
"""Tables of TOML as frozen dataclasses: each key's kind and explanation stand with its field, or with the table.

`Reader` makes the dataclasses from what tomllib read and says every problem, `example` writes a commented file, and
`changed` tells which keys differ. Nothing here knows a key of graftd's.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, get_type_hints

_SHOWN_MAX = 60
_WIDTH = 110
_NEAR = 0.6  # how alike a word has to be to be meant, as difflib counts


class Kind(Protocol):
    """What values a key takes."""

    @property
    def right(self) -> str:
        """Completes "it has to be ..."."""

    def read(self, value: object) -> Any:
        """The value, from tomllib's. Raises ValueError: a sentence, or nothing where `right` says it all."""

    def write(self, value: Any) -> str:
        """TOML that `read` makes this value of."""


@dataclass(frozen=True, slots=True)
class Whole:
    low: int
    high: int
    unit: str = ""

    @property
    def right(self) -> str:
        return f"a whole number{self.unit and ' of ' + self.unit} from {self.low} to {self.high}"

    def read(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise ValueError
        return value

    def write(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Seconds:
    low: float
    high: float

    @property
    def right(self) -> str:
        return f"a number of seconds from {self.low:g} to {self.high:g}"

    def read(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError
        if not self.low <= value <= self.high:
            raise ValueError
        return float(value)

    def write(self, value: float) -> str:
        return str(int(value)) if value == int(value) else repr(value)


@dataclass(frozen=True, slots=True)
class Flag:
    right = "either true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise ValueError
        return value

    def write(self, value: bool) -> str:  # noqa: FBT001 as every kind's
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Choice:
    """words: those that can be said, with their values."""

    words: Mapping[str, Any]

    @property
    def right(self) -> str:
        *most, last = (f'"{word}"' for word in self.words)
        return f"{', '.join(most)} or {last}"

    def read(self, value: object) -> Any:
        if not isinstance(value, str):
            raise ValueError
        if value not in self.words:
            near = _near(value, [*self.words])
            raise ValueError(f'did you mean "{near}"? It has to be {self.right}' if near else "")
        return self.words[value]

    def write(self, value: Any) -> str:
        return next(_quoted(word) for word, one in self.words.items() if one == value)


@dataclass(frozen=True, slots=True)
class Text:
    """check: makes the value of a text, or raises ValueError as `Kind.read` does."""

    right: str
    check: Callable[[str], Any] = str
    show: Callable[[Any], str] = str

    def read(self, value: object) -> Any:
        if not isinstance(value, str) or not value.isprintable() or not value:
            raise ValueError
        return self.check(value)

    def write(self, value: Any) -> str:
        return _quoted(self.show(value))


@dataclass(frozen=True, slots=True)
class ListOf:
    """Read as a tuple."""

    kind: Kind

    @property
    def right(self) -> str:
        return f"a list, each element {self.kind.right}"

    def read(self, value: object) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError
        found = []
        for number, one in enumerate(value, 1):
            try:
                found.append(self.kind.read(one))
            except ValueError as error:
                said = str(error) or f"it has to be {self.kind.right}"
                raise ValueError(f"element {number} is {shown(one)}: {said}") from None
        twice = next((one for place, one in enumerate(found) if one in found[:place]), None)
        if twice is not None:
            raise ValueError(f"{self.kind.write(twice)} stands there twice: once is enough")
        return tuple(found)

    def write(self, value: tuple[Any, ...]) -> str:
        return f"[{', '.join(self.kind.write(one) for one in value)}]"


@dataclass(frozen=True, slots=True)
class Table:
    """A table of its own: `[name]`, or with `many` any number of `[[name]]`, read as a tuple."""

    cls: type[Any]
    many: bool = False
    described: Mapping[str, Key] | None = None  # the keys, where cls' fields are not Annotated[type, Key]

    @property
    def keys(self) -> Mapping[str, Key]:
        """By name, as they are declared."""
        if self.described is not None:
            return self.described
        hints = get_type_hints(self.cls, include_extras=True)
        return {field.name: hints[field.name].__metadata__[0] for field in dataclasses.fields(self.cls)}

    @property
    def defaults(self) -> dict[str, Any]:
        """Those that there are; what has none has to be there."""
        found = {}
        for field in dataclasses.fields(self.cls):
            if field.default is not dataclasses.MISSING:
                found[field.name] = field.default
            elif field.default_factory is not dataclasses.MISSING:
                found[field.name] = field.default_factory()
        return found


def absolute_path(most: int) -> Callable[[str], Path]:
    """A check of Text: an absolute path of at most so many bytes."""

    def check(text: str) -> Path:
        if not text.startswith("/") or len(text.encode()) > most:
            raise ValueError
        return Path(text)

    return check


@dataclass(frozen=True, slots=True)
class Key:
    """kind: of its values. text: what it is for. restart: a change takes a restart. shown: the example's value, where
    that is not the default."""

    kind: Kind | Table
    text: str
    restart: bool = False
    shown: Any = None


# Reading


class Reader:
    """Reads a file's tables; `problems` has a sentence for whatever is wrong in it, so far."""

    def __init__(self, root: Table) -> None:
        self.problems: list[str] = []
        self._homes = dict(_homes(root, ""))

    def read(self, table: Table, data: Mapping[str, object], where: str = "") -> Any:
        """The table's value, or None where something in it is wrong. where: its header; empty for the whole file."""
        before, known, defaults = len(self.problems), table.keys, table.defaults
        self.problems += [
            f"{_at(where)}{self._unknown(name, value, [*known])}" for name, value in data.items() if name not in known
        ]
        values = {name: self._value(name, one, data[name], where) for name, one in known.items() if name in data}
        for name, one in known.items():
            if name not in data and name not in defaults and not isinstance(one.kind, Table):
                self.problems.append(f"{_at(where)}{name} is missing: it has to be {one.kind.right}")
        if len(self.problems) > before:
            return None
        try:
            return table.cls(**values)
        except ValueError as error:
            self.problems.append(f"{_at(where)}{error}")
            return None

    def _value(self, name: str, one: Key, value: object, where: str) -> object:
        kind = one.kind
        if isinstance(kind, Table):
            return self._tables(_inside(where, name), name, kind, value, where)
        try:
            return kind.read(value)
        except ValueError as error:
            said = str(error) or f"it has to be {kind.right}"
            # What is wrong in a list, the sentence about its element shows.
            what = name if isinstance(value, list) and str(error) else f"{name} is {shown(value)}"
            self.problems.append(f"{_at(where)}{what}: {said}")
            return None

    def _tables(self, full: str, name: str, table: Table, value: object, where: str) -> object:
        if not table.many:
            if isinstance(value, dict):
                return self.read(table, value, f"[{full}]")
            self.problems.append(f"{_at(where)}{name} is {shown(value)}: it has to be a table, [{full}]")
            return None
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            self.problems.append(f"{_at(where)}{name} is {shown(value)}: write [[{full}]] in front of each of them")
            return None
        return tuple(self.read(table, each, f"[[{full}]] number {number}") for number, each in enumerate(value, 1))

    def _unknown(self, name: str, value: object, known: list[str]) -> str:
        near = _near(name, known)
        far = None if near else _near(name, [*self._homes])
        if name in self._homes:
            hint = f"it belongs {_place(self._homes[name])}"
        elif near is not None:
            hint = f"did you mean '{near}'?"
        elif far is not None:
            hint = f"did you mean '{far}', which belongs {_place(self._homes[far])}?"
        else:
            hint = f"there are {', '.join(known)}"
        said = _cut(name) if name.isprintable() else json.dumps(_cut(name))
        return f"there is no {'table' if isinstance(value, dict) else 'key'} '{said}' here: {hint}"


def _place(home: str) -> str:
    return f"into {home}" if home else "in front of every table"


def _homes(table: Table, where: str) -> Iterator[tuple[str, str]]:
    """Each key's name and the header of the table that it is in."""
    for name, one in table.keys.items():
        if isinstance(one.kind, Table):
            full = _inside(where, name)
            yield from _homes(one.kind, f"[[{full}]]" if one.kind.many else f"[{full}]")
        yield name, where


def _inside(where: str, name: str) -> str:
    return f"{where.strip('[]')}.{name}" if where else name


def _at(where: str) -> str:
    return f"{where}: " if where else ""


def _near(word: str, words: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(word, words, 1, _NEAR)), None)


def shown(value: object) -> str:
    """A value as a sentence tells it."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return _cut(str(value))
        case str():
            return json.dumps(_cut(value), ensure_ascii=not value.isprintable())
        case list():
            return "a list"
        case dict():
            return "a table"
    return "a date or a time"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


# Comparing


def changed(table: Table, old: Any, new: Any, where: str = "") -> Iterator[tuple[str, bool]]:
    """The full names of the keys that differ, each with whether that takes a restart."""
    for name, one in table.keys.items():
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        if isinstance(one.kind, Table) and not one.kind.many and None not in (before, after):
            yield from changed(one.kind, before, after, f"{where}{name}.")
        else:
            yield f"{where}{name}", one.restart


# The example


def example(root: Table) -> str:
    """Every key of every table, explained, and commented out with its default."""
    return "".join(_example(root, "", live=True)).lstrip("\n")


def _example(table: Table, where: str, *, live: bool) -> Iterator[str]:
    """live: the table is there by default, so that the headers of those in it are no comments."""
    defaults = table.defaults
    inner: list[tuple[str, Key, Table]] = []
    for name, one in table.keys.items():
        if isinstance(one.kind, Table):
            inner.append((name, one, one.kind))
            continue
        value = defaults.get(name) if one.shown is None else one.shown
        yield f"\n{_comment(_explained(one, one.kind, needed=name not in defaults))}#{name} = {one.kind.write(value)}\n"
    for name, one, kind in inner:
        there = live and not kind.many and defaults.get(name) is not None
        header = f"[[{where}{name}]]" if kind.many else f"[{where}{name}]"
        yield f"\n\n{_comment(one.text)}{'' if there else '#'}{header}\n"
        yield from _example(kind, f"{where}{name}.", live=there)


def _explained(one: Key, kind: Kind, *, needed: bool) -> str:
    right = f"{kind.right[0].upper()}{kind.right[1:]}."
    return " ".join([one.text, right, *["It has to be there."] * needed, *["A change takes a restart."] * one.restart])


def _comment(text: str) -> str:
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, _WIDTH, break_on_hyphens=False))


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # what prints is written alike in JSON and TOML
