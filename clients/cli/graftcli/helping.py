# SPDX-License-Identifier: Apache-2.0
"""What --help prints."""

from __future__ import annotations

from graftcli.commands import COMMANDS, GLOBAL, Command, Option
from graftcli.exits import MEANINGS

_HEAD = """\
Usage: graftcli [OPTIONS] COMMAND ...
       graftcli help COMMAND

What graftd keeps: which namespaces may use which of the host's addresses.
"""


def overview() -> str:
    """Of everything."""
    parts = [_HEAD]
    for group in dict.fromkeys(command.group for command in COMMANDS):
        lines = [f"  {one.name:<18}{one.summary}" for one in COMMANDS if one.group == group]
        parts.append("\n".join([f"{group}:", *lines, ""]))
    parts.append("\n".join(["Options of every command:", *map(_option, GLOBAL), ""]))
    parts.append("\n".join(["Exit status:", *(f"  {number}  {text}" for number, text in MEANINGS.items()), ""]))
    return "\n".join(parts)


def of_command(command: Command) -> str:
    """Of one command."""
    usage = " ".join(filter(None, ("graftcli", command.name, "[OPTIONS]", command.arguments)))
    parts = [f"Usage: {usage}", "", f"{command.summary[:1].upper()}{command.summary[1:]}."]
    if command.notes:
        parts += ["", command.notes]
    if command.options:
        parts += ["", "Options:", *map(_option, command.options)]
    parts += ["", "Options of every command:", *map(_option, GLOBAL)]
    return "\n".join(parts) + "\n"


def _option(option: Option) -> str:
    short = f"-{option.short}, " if option.short else "    "
    words = f"  {short}--{option.name} {option.metavar}".rstrip()
    return f"{words:<34}{option.help}" if len(words) < 34 else f"{words}\n{'':<34}{option.help}"
