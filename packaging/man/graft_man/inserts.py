# SPDX-License-Identifier: Apache-2.0
"""The parts of pages that are not written by hand. A page asks for one by a line `.\" insert NAME`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from graft_man import roff, sources
from graft_man.sources import Flag, Usage
from graftcli.commands import Option
from graftd._settings import Key, Kind, Table
from graftd.config import Config


def _flag(flag: Flag) -> list[str]:
    names = ", ".join(map(roff.bold, flag.names))
    return roff.tagged(f"{names} {_value(flag.value)}".rstrip(), roff.prose(flag.help))


def _value(text: str) -> str:
    return roff.grammar(text) if "[" in text else roff.italic(text)


# graftd


def _graftd_options() -> Iterator[str]:
    for flag in sources.graftd_options():
        yield from _flag(flag)


# graft


def _graft_synopsis() -> Iterator[str]:
    yield from map(roff.grammar, sources.graft().synopsis)


def _graft_options() -> Iterator[str]:
    for flag in sources.graft().options:
        yield from _flag(flag)


def _graft_notes() -> Iterator[str]:
    yield from _paragraphs(sources.graft())


def _paragraphs(usage: Usage) -> Iterator[str]:
    for place, paragraph in enumerate(usage.paragraphs):
        if place:
            yield ".PP"
        yield roff.prose(paragraph)


# ip-graft


def _ip_graft_synopsis() -> Iterator[str]:
    synopsis = sources.IP_GRAFT_USAGE.partition("\n\n")[0]
    yield from roff.block(roff.grammar(line[7:]) for line in synopsis.splitlines() if " := " not in line)


def _ip_graft_options() -> Iterator[str]:
    for line in sources.IP_GRAFT_USAGE.splitlines():
        if line.startswith("OPTIONS := "):
            yield from roff.block([roff.grammar(line)])


def _ip_graft_commands() -> Iterator[str]:
    for commands, usage in sources.ip_graft_usages().items():
        yield f".SS {', '.join(map(roff.literal, commands))}"
        yield from roff.block(map(roff.grammar, usage.synopsis))
        yield ".PP"
        yield from _paragraphs(usage)


# graftcli


def _option(option: Option) -> list[str]:
    names = (f"-{option.short}", f"--{option.name}") if option.short else (f"--{option.name}",)
    return _flag(Flag(names, option.metavar, option.help))


def _graftcli_options() -> Iterator[str]:
    for option in sources.GLOBAL:
        yield from _option(option)


def _graftcli_commands() -> Iterator[str]:
    for group in dict.fromkeys(command.group for command in sources.COMMANDS):
        yield f".SS {roff.prose(group)}"
        for command in sources.COMMANDS:
            if command.group == group:
                tag = f"{roff.bold(command.name)} {roff.grammar(command.arguments)}".rstrip()
                yield from roff.tagged(tag, roff.prose(command.summary))
                yield from _notes(command.notes)
                yield from _nested(command.options)


def _notes(text: str) -> Iterator[str]:
    """Notes of several lines are a grammar, and sentences that begin at the margin."""
    if not text:
        return
    lines = text.splitlines() if "\n" in text else []
    code = [roff.grammar(line) for line in lines if line.startswith((" ", "graftcli "))]
    if code:
        yield ".IP"
        yield from roff.block(code)
        text = " ".join(line for line in lines if not line.startswith((" ", "graftcli ")))
    yield ".IP"
    yield roff.prose(" ".join(text.split()))


def _nested(options: tuple[Option, ...]) -> Iterator[str]:
    if options:
        yield ".RS"
        for option in options:
            yield from _option(option)
        yield ".RE"


def _graftcli_status() -> Iterator[str]:
    for number, meaning in sources.MEANINGS.items():
        yield from roff.tagged(roff.bold(str(number)), roff.prose(meaning))


# graftd.toml


def _settings() -> Iterator[str]:
    yield from _table(Table(Config), "")


def _table(table: Table, where: str) -> Iterator[str]:
    inner: list[tuple[str, Key, Table]] = []
    for name, key in table.keys.items():
        if isinstance(key.kind, Table):
            inner.append((name, key, key.kind))
        else:
            yield from roff.tagged(roff.bold(name), *_key(key, key.kind, table.defaults, name))
    for name, key, kind in inner:
        header = f"[[{where}{name}]]" if kind.many else f"[{where}{name}]"
        yield f".SS {roff.literal(header)}"
        yield roff.prose(key.text)
        yield from _table(kind, f"{where}{name}.")


def _right(kind: Kind) -> str:
    return f"{kind.right[0].upper()}{kind.right[1:]}."


def _key(key: Key, kind: Kind, defaults: dict[str, Any], name: str) -> Iterator[str]:
    yield f"{roff.prose(key.text)}\n{roff.prose(_right(kind))}"
    told = []
    if name not in defaults:
        told.append("It has to be there.")
    elif defaults[name] is None:
        told.append("Not set by default.")
    else:
        told.append(f"Default: `{kind.write(defaults[name])}`.")
    if key.shown is not None:
        told.append(f"Example: `{kind.write(key.shown)}`.")
    if key.restart:
        told.append("A change takes a restart.")
    yield roff.prose(" ".join(told))


INSERTS: dict[str, Callable[[], Iterator[str]]] = {
    "graftd-options": _graftd_options,
    "graftd-settings": _settings,
    "graft-synopsis": _graft_synopsis,
    "graft-options": _graft_options,
    "graft-notes": _graft_notes,
    "ip-graft-synopsis": _ip_graft_synopsis,
    "ip-graft-options": _ip_graft_options,
    "ip-graft-commands": _ip_graft_commands,
    "graftcli-options": _graftcli_options,
    "graftcli-commands": _graftcli_commands,
    "graftcli-status": _graftcli_status,
}
