# SPDX-License-Identifier: Apache-2.0
"""ip-graft's usage lines as what may be said where: per command and verb, its keywords and what follows each."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from graft_man import sources

_MARKS = ("[", "]", "]...", "}", "|", "...")


@dataclass(slots=True)
class Place:
    """What may follow a command, or a command and its verb. keywords: in the order of the usage. values: what follows
    a keyword; of what is not a word to be typed, what stands for it, as in NAME."""

    keywords: dict[str, None] = field(default_factory=dict)
    values: dict[str, dict[str, None]] = field(default_factory=dict)


def options() -> dict[str, str]:
    """Options as they are written in full, each with what follows it; empty for nothing."""
    line = next(line for line in sources.IP_GRAFT_USAGE.splitlines() if line.startswith("OPTIONS := "))
    return {f"-{begin}{rest}": value for begin, rest, value in re.findall(r"-(\w)\[(\w+)\] ?([A-Z]*)", line)}


def places() -> dict[str, Place]:
    """By `COMMAND` or `COMMAND VERB`. What there is at a command alone are its verbs, if it has any."""
    found: dict[str, Place] = {command: Place() for command in sources.ip_graft_commands()}
    for commands, usage in sources.ip_graft_usages().items():
        for line in _whole_lines(usage.synopsis):
            _read(line, commands, found)
    found["help"] = Place(dict.fromkeys(sources.ip_graft_commands()))
    return found


def _whole_lines(synopsis: tuple[str, ...]) -> list[list[str]]:
    """Each line with what it goes on with, its definitions put in, as words."""
    lines: list[str] = []
    for line in synopsis:
        if line.startswith("ip-graft ") or " := " in line:
            lines.append(line)
        else:
            lines[-1] += line
    defined = dict(line.split(" := ", 1) for line in lines if " := " in line)
    whole = []
    for line in lines:
        if line.startswith("ip-graft "):
            text = re.sub(r"\b[A-Z]+\b", lambda found: defined.get(found[0], found[0]), line)
            whole.append(re.sub(r"\[ -\w \] ", "", text).split()[1:])
    return whole


def _read(tokens: list[str], commands: tuple[str, ...], found: dict[str, Place]) -> None:
    heads, at = _choice(tokens, 0)
    verbs, after = _choice(tokens, at)
    if verbs and all(map(is_literal, verbs)):
        at = after
        for head in heads:
            found[head].keywords.update(dict.fromkeys(verbs))
    else:
        verbs = []
    # What follows directly may be left out, as the name in `show [ NAME ]`.
    first, _ = _choice(tokens, at + (tokens[at : at + 1] == ["["]))
    for head in heads:
        for verb in verbs or [""]:
            place = found.setdefault(f"{head} {verb}".strip(), Place())
            if not all(map(is_literal, first)):
                place.values.setdefault(verb or head, {}).update(dict.fromkeys(first))
            if "..." in tokens:
                like = found[commands[0]]
                place.keywords.update(like.keywords)
                place.values.update({word: values for word, values in like.values.items() if word in like.keywords})
            _scan(tokens[at:], place)


def _scan(tokens: list[str], place: Place) -> None:
    at = 0
    while at < len(tokens):
        word, at = tokens[at], at + 1
        if is_literal(word):
            place.keywords[word] = None
            values, at = _choice(tokens, at)
            if values:
                place.values.setdefault(word, {}).update(dict.fromkeys(values))


def is_literal(word: str) -> bool:
    """Whether it is typed as it stands."""
    return re.fullmatch(r"[a-z][a-z0-9-]*", word) is not None


def _choice(tokens: list[str], at: int) -> tuple[list[str], int]:
    """The words of which one stands there, alone or in braces, and where it goes on; none where it is no choice."""
    if at < len(tokens) and tokens[at] == "{":
        end = tokens.index("}", at)
        words = tokens[at + 1 : end]
        return (words[::2], end + 1) if set(words[1::2]) == {"|"} and "|" not in words[::2] else ([], at)
    return (tokens[at : at + 1], at + 1) if at < len(tokens) and tokens[at] not in _MARKS else ([], at)
