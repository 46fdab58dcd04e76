# SPDX-License-Identifier: Apache-2.0
"""One run of the command: its options, its netlink socket, and its output."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from graftd.errors import GraftError
from graftd.kernel import Client, netns
from graftd.model import Counters


@dataclass(frozen=True, slots=True)
class Options:
    netns: str | None = None
    json: bool = False
    pretty: bool = False
    statistics: bool = False
    oneline: bool = False


@dataclass
class Session:
    options: Options
    stack: ExitStack = field(default_factory=ExitStack)
    _names: dict[int, str] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def client(self, target_fd: int | None = None) -> Client:
        """A client in the namespace behind `target_fd`, or in this one."""
        return self.stack.enter_context(Client.open(target_fd))

    def target_fd(self, selector: str | None) -> int | None:
        """The namespace that `selector` means; None, this one, where there is none."""
        return None if selector is None else self._opened(selector)

    def table_fd(self, *, elsewhere: bool = False) -> int | None:
        """The table namespace: -n's, or this one. None where the client is in it already;
        `elsewhere` says that the client is not."""
        if self.options.netns is not None:
            return self._opened(self.options.netns)
        return self._kept(netns.open_current()) if elsewhere else None

    def name_of(self, cookie: int) -> str:
        """What `ip netns` calls the namespace; "" where it has no name here."""
        if self._names is None:
            self._names = _names()
        return self._names.get(cookie, "")

    def namespace_text(self, cookie: int) -> str:
        if cookie == 0:
            return "gone"
        name = self.name_of(cookie)
        if name:
            return name
        return "current" if cookie == netns.cookie_of() else f"cookie {cookie}"

    def show(self, objects: list[dict[str, Any]], lines: Iterable[str]) -> None:
        """Print either form. Text of more than one line goes to one line with -o."""
        if self.options.json:
            print(self.json_text(objects))
            return
        for line in lines:
            print(line.replace("\n", "\\") if self.options.oneline else line)

    def json_text(self, value: Any) -> str:
        return json.dumps(value, indent=4 if self.options.pretty else None)

    def say(self, sentence: str) -> None:
        """A remark on what was done, for people."""
        if not self.options.json:
            print(sentence, file=sys.stderr)

    def _opened(self, selector: str) -> int:
        return self._kept(netns.open_selected(selector))

    def _kept(self, fd: int) -> int:
        self.stack.callback(os.close, fd)
        return fd


def _names() -> dict[int, str]:
    """Cookie to name, of the namespaces that `ip netns` keeps and this process may enter."""
    names: dict[int, str] = {}
    try:
        entries = sorted((path.name for path in netns.NAMED.iterdir()), reverse=True)
    except OSError:
        return names
    for name in entries:
        try:
            fd = netns.open_selected(name)
        except GraftError:
            continue
        try:
            names[netns.cookie_of(fd)] = name
        except (GraftError, OSError):
            continue
        finally:
            os.close(fd)
    return names


def say_aborted(session: Session, count: int) -> None:
    if count:
        session.say(f"{count} live socket{'' if count == 1 else 's'} aborted")


def counters_text(counters: Counters) -> str:
    words = [
        f"active {counters.active} binds {counters.binds}",
        f"connects {counters.connects} accepts {counters.accepts}",
    ]
    if counters.denials:
        denials = (f"{reason.word} {count}" for reason, count in counters.denials.items())
        words.append("denials " + " ".join(denials))
    return "    " + " ".join(words)


def counters_json(counters: Counters) -> Mapping[str, Any]:
    return {
        "active": counters.active,
        "binds": counters.binds,
        "connects": counters.connects,
        "accepts": counters.accepts,
        "denials": {reason.word: count for reason, count in counters.denials.items()},
    }
