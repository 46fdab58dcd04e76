# SPDX-License-Identifier: Apache-2.0
"""What --help of each program is made of, read from where it stands.

Only Python's standard library is needed: a module that imports more than that is read, not imported.
"""

from __future__ import annotations

import argparse
import ast
import re
from dataclasses import dataclass, field
from pathlib import Path

from graftcli.commands import COMMANDS, GLOBAL, Command
from graftcli.exits import MEANINGS
from graftd import __version__
from graftd.__main__ import parser
from ip_graft.main import COMMANDS as IP_GRAFT_COMMANDS
from ip_graft.main import HOMES
from ip_graft.main import USAGE as IP_GRAFT_USAGE

ROOT = Path(__file__).resolve().parents[3]

__all__ = [
    "COMMANDS",
    "GLOBAL",
    "GRAFT_TRANSPARENT_FLAGS",
    "IP_GRAFT_USAGE",
    "MEANINGS",
    "ROOT",
    "Command",
    "Flag",
    "Usage",
    "__version__",
    "graft",
    "graft_transparent",
    "graft_usage",
    "graftd_options",
    "ip_graft_commands",
    "ip_graft_usages",
]


@dataclass(frozen=True, slots=True)
class Flag:
    """An option. names: as they are written, the short one first. value: what follows; empty for none."""

    names: tuple[str, ...]
    value: str
    help: str


@dataclass(frozen=True, slots=True)
class Usage:
    """A help text. synopsis: its lines. options: those that are explained. paragraphs: the rest."""

    synopsis: tuple[str, ...]
    options: tuple[Flag, ...] = ()
    paragraphs: tuple[str, ...] = field(default=())


def graftd_options() -> list[Flag]:
    """graftd's."""
    found = []
    for action in parser()._actions:  # noqa: SLF001 argparse has no other way to ask for them
        value = action.metavar if action.nargs is None else ""
        text = "print the version and exit" if isinstance(action, argparse._VersionAction) else action.help  # noqa: SLF001
        found.append(Flag(tuple(action.option_strings), str(value), str(text)))
    return found


def graft_usage() -> str:
    """What `graft --help` prints: the C string of that name."""
    source = (ROOT / "clients/preload/graft.c").read_text()
    body = re.search(r"\busage\[\] =\n((?:\t\".*\"\n?)+)", source.replace('";\n', '"\n'))
    if body is None:
        raise ValueError(
            "clients/preload/graft.c has no string 'usage' any more: tell graft_man/sources.py what it is called"
        )
    return "".join(ast.literal_eval(line) for line in body[1].splitlines())


def graft() -> Usage:
    """graft's."""
    synopsis, options, paragraph = graft_usage().rstrip("\n").split("\n\n")
    lines = synopsis.splitlines()
    # An option that is too long for its column has its text on the next line.
    joined = re.sub(r"\n {20,}", "   ", options)
    flags = []
    for line in joined.splitlines():
        words, _, text = line.strip().partition("  ")
        names, _, value = words.replace(", ", ",").partition(" ")
        flags.append(Flag(tuple(names.split(",")), value, text.strip()))
    return Usage((lines[0].removeprefix("Usage: "),), tuple(flags), (" ".join(lines[1:]), *_paragraphs(paragraph)))


# Its usage has them in its first lines alone.
GRAFT_TRANSPARENT_FLAGS = (
    Flag(("--json",), "", "the status as an object"),
    Flag(("-h", "--help"), "", "print help and exit"),
    Flag(("-V", "--version"), "", "print the version and exit"),
)


def graft_transparent() -> tuple[Flag, ...]:
    """The words that graft-transparent takes, each with its explanation."""
    source = (ROOT / "clients/go/cmd/graft-transparent/main.go").read_text()
    _, _, usage = source.partition("const usage = `")
    found = re.findall(r"^  ([a-z]+) {2,}(\S.*)$", usage.partition("`")[0], re.MULTILINE)
    if not found:
        raise ValueError(
            "clients/go/cmd/graft-transparent/main.go has no 'usage' with a line for each word any more: tell"
            " graft_man/sources.py where they are"
        )
    return tuple(Flag((word,), "", text) for word, text in found)


def ip_graft_commands() -> tuple[str, ...]:
    """ip-graft's commands, without `help`."""
    return tuple(command for command in IP_GRAFT_COMMANDS if command != "help")


def ip_graft_usages() -> dict[tuple[str, ...], Usage]:
    """ip-graft's help, by the commands that it is of."""
    homes: dict[str, list[str]] = {}
    for command in ip_graft_commands():
        homes.setdefault(HOMES.get(command, command), []).append(command)
    return {tuple(commands): _usage(_literal(home)) for home, commands in homes.items()}


def _literal(home: str) -> str:
    """USAGE of a module, which is not imported: it would want pyroute2."""
    path = ROOT / "clients/cli/ip_graft" / f"{home}.py"
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "USAGE":
            return str(ast.literal_eval(statement.value))
    raise ValueError(f"{path} has no USAGE, which is the help of its commands")


def _usage(text: str) -> Usage:
    synopsis, _, rest = text.partition("\n\n")
    found = synopsis.replace("Usage:", " " * 6, 1).splitlines()
    # Definitions, as of SELECTOR, are at the margin already.
    margin = next((place for place, line in enumerate(found) if not line.startswith(" ")), len(found))
    return Usage((*(line[7:] for line in found[:margin]), *found[margin:]), (), _paragraphs(rest))


def _paragraphs(text: str) -> tuple[str, ...]:
    return tuple(" ".join(one.split()) for one in text.split("\n\n"))
