# SPDX-License-Identifier: Apache-2.0
"""A command line as its command, options and arguments. It imports next to nothing: --help waits for it."""

from __future__ import annotations

from graftcli.commands import ALIASES, COMMANDS, GLOBAL, Command, Option


class UsageError(Exception):
    """The command line, a file or a value makes no sense; the sentence says what would."""


class Args:
    """What was given. Options are asked for by their names."""

    def __init__(self, command: Command, options: dict[str, list[str]], words: list[str]) -> None:
        self.command = command
        self.words = words
        self._options = options

    def __contains__(self, name: str) -> bool:
        return name in self._options

    def text(self, name: str) -> str | None:
        """An option's value; None where it was not given."""
        values = self._options.get(name)
        return values[-1] if values else None

    def many(self, name: str) -> list[str]:
        """The values of an option that may come several times."""
        return self._options.get(name, [])


def either(words: tuple[str, ...] | list[str]) -> str:
    """'a, b or c'"""
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def nearest(word: str, known: list[str] | tuple[str, ...], what: str) -> UsageError:
    """The error for a word that is none of a few."""
    return _unknown(word, list(known), what, f"expected {either(list(known))}")


def _unknown(word: str, known: list[str], what: str, otherwise: str) -> UsageError:
    from difflib import get_close_matches

    found = get_close_matches(word, known, n=1)
    hint = f"did you mean '{found[0]}'?" if found else otherwise
    return UsageError(f"unknown {what} '{word}': {hint}")


def command_named(word: str) -> Command:
    word = ALIASES.get(word, word)
    for command in COMMANDS:
        if command.name == word:
            return command
    raise _unknown(word, [command.name for command in COMMANDS], "command", "graftcli help lists them")


def parse(arguments: list[str]) -> Args:
    """Read a command line. Options may stand anywhere; after -- there are none."""
    command: Command | None = None
    given: list[tuple[str, str | None]] = []
    words: list[str] = []
    rest = list(arguments)
    # Which options there are depends on the command, which may come after some.
    if (word := _command_word(arguments)) is not None:
        command = command_named(word)
    known = (*GLOBAL, *(command.options if command else ()))
    seen_command = False
    while rest:
        word = rest.pop(0)
        if word == "--":
            words += rest
            break
        if word.startswith("-") and word != "-":
            given += _option(word, rest, known)
        elif seen_command:
            words.append(word)
        else:
            seen_command = True
    options = _collected(given, known)
    if command is None:
        if "version" in options or "help" in options:
            return Args(command_named("version" if "version" in options else "help"), options, [])
        raise UsageError("a command is missing: graftcli help lists them")
    if "help" not in options:
        _count(command, words)
    return Args(command, options, words)


def _command_word(arguments: list[str]) -> str | None:
    """The first word that is no option and no value of one, as far as global options tell."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            return word
        try:
            _option(word, rest, GLOBAL)
        except UsageError:
            continue  # one of the command's, or what is wrong in it is told once the command is known
    return None


def _glued(word: str, option: Option) -> bool:
    """Whether it is a short option with its value, as -nweb."""
    return not word.startswith("--") and len(word) > 2 and word[1] == option.short


def _find(word: str, known: tuple[Option, ...]) -> Option | None:
    for option in known:
        if word == f"--{option.name}" or (option.short and not word.startswith("--") and word[1:2] == option.short):
            return option
    return None


def _option(word: str, rest: list[str], known: tuple[Option, ...]) -> list[tuple[str, str | None]]:
    """One word as the options that it is; a value is taken from `rest`."""
    name, equals, value = word.partition("=") if word.startswith("--") else (word, "", "")
    option = _find(name, known)
    if option is None:
        raise _unknown(name, [f"--{one.name}" for one in known], "option", "--help lists them")
    if not option.metavar:
        if equals:
            raise UsageError(f"'--{option.name}' takes no value: leave '={value}' out")
        if len(word) > 2 and not word.startswith("--"):
            return [(option.name, None), *_option(f"-{word[2:]}", rest, known)]
        return [(option.name, None)]
    if _glued(word, option):
        value = word[2:].removeprefix("=")
    elif not equals:
        if not rest:
            raise UsageError(f"{option.metavar} is missing after '{word}': {option.help}")
        value = rest.pop(0)
    return [(option.name, value)]


def _collected(given: list[tuple[str, str | None]], known: tuple[Option, ...]) -> dict[str, list[str]]:
    options: dict[str, list[str]] = {}
    by_name = {option.name: option for option in known}
    for name, value in given:
        option = by_name[name]
        values = options.setdefault(name, [])
        if value is None:
            continue
        if values and not option.many:
            raise UsageError(f"'--{name}' is said twice: once is enough")
        # Where both may be said they may be said one by one, as in tcp,udp.
        words = value.split(",") if "both" in option.choices else [value]
        if option.choices and not set(words) <= set(option.choices):
            raise nearest(value, option.choices, f"{option.metavar.lower()} of --{name}")
        values.append(value)
    return options


def _count(command: Command, words: list[str]) -> None:
    """Refuse too few words, and too many."""
    wanted = command.arguments.split()
    needed = [word for word in wanted if not word.startswith("[")]
    if len(words) < len(needed):
        raise UsageError(f"{needed[len(words)]} is missing: graftcli {command.name} {command.arguments}")
    if len(words) > len(wanted) and not command.arguments.endswith("..."):
        raise UsageError(f"'{words[len(wanted)]}' is one word too many: nothing is expected there")
