# SPDX-License-Identifier: Apache-2.0
"""The command line's entry: options, then an object or a verb.

Exit status: 0 done, 1 refused by the kernel or the system, 2 the command line makes no sense.
What is imported here is what `ip-graft --help` waits for, so the rest is imported where it is used.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ip_graft.session import Options, Session
    from ip_graft.words import Words

USAGE = """\
Usage: ip-graft [ OPTIONS ] { add | change | replace | del | show } ...
       ip-graft [ OPTIONS ] { rule | acl | table | sockets | info | monitor } ...
       ip-graft [ OPTIONS ] { freeze | unfreeze }
       ip-graft help [ COMMAND ]
OPTIONS := { -n[etns] NETNS | -j[son] | -p[retty] | -s[tatistics] | -o[neline] | -V[ersion] | -h[elp] }

-n is the namespace whose table is meant: a name that `ip netns` knows, a process id or a path.
`ip-graft help add` and the like tell the rest.
"""

COMMANDS = (
    "add",
    "change",
    "replace",
    "del",
    "show",
    "rule",
    "acl",
    "table",
    "freeze",
    "unfreeze",
    "sockets",
    "info",
    "monitor",
    "help",
)
ALIASES = {"delete": "del", "list": "show", "lst": "show"}
# Commands whose module does not bear their name.
HOMES = {
    "add": "endpoint",
    "change": "endpoint",
    "replace": "endpoint",
    "del": "endpoint",
    "show": "endpoint",
    "freeze": "table",
    "unfreeze": "table",
}
# Said alone with these, help is an endpoint's name; the others take more than that.
_TAKE_A_NAME = ("del", "show")
_FLAGS = ("json", "pretty", "statistics", "oneline")


def main(arguments: list[str] | None = None) -> int:
    # As other filters and monitors do: end by the signal, and without a traceback.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        sys.stderr.write(USAGE)
        return 2
    if arguments[0] in ("-h", "-help", "--help"):
        sys.stdout.write(USAGE)
        return 0
    if arguments[0] in ("-V", "-Version", "--version"):
        from graftd import __version__

        print(f"ip-graft {__version__}")
        return 0
    return run(arguments)


def run(arguments: list[str]) -> int:
    """Carry out one command line; the exit status."""
    from graftd.errors import GraftError, KernelError
    from ip_graft.words import UsageError

    try:
        _dispatch(arguments)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "pyroute2":
            raise
        return _complain("pyroute2 is missing: install the package python3-pyroute2", 1)
    except UsageError as error:
        return _complain(str(error), 2)
    except KernelError as error:
        from ip_graft.refusal import sentence

        return _complain(sentence(error, _asked(arguments)), 1)
    except GraftError as error:
        return _complain(str(error), 1)
    except OSError as error:
        return _complain(f"{error.strerror or error}", 1)
    return 0


def _complain(sentence: str, status: int) -> int:
    print(f"ip-graft: {sentence}", file=sys.stderr)
    return status


def _dispatch(arguments: list[str]) -> None:
    from ip_graft.session import Session
    from ip_graft.words import Words

    words, options = _options(arguments)
    rest = Words(words)
    command = rest.keyword(COMMANDS, "command", ALIASES)
    if command == "help":
        sys.stdout.write(_help(rest))
        return
    if words[1:] in (["-h"], ["-help"], ["--help"]) or (words[1:] == ["help"] and command not in _TAKE_A_NAME):
        sys.stdout.write(_module(command).USAGE)
        return
    with Session(options) as session:
        _handler(command)(session, rest)


def _options(arguments: list[str]) -> tuple[list[str], Options]:
    """The words after the options. Options are long or short, behind one dash or two, as ip's."""
    from ip_graft.session import Options
    from ip_graft.words import UsageError, match

    words = list(arguments)
    netns = None
    flags: set[str] = set()
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        name = match(word.lstrip("-"), ("netns", *_FLAGS, "help"), "option")
        if name == "netns":
            if not words:
                raise UsageError(f"the namespace is missing after '{word}'")
            netns = words.pop(0)
        elif name == "help":
            words.insert(0, "help")
            break
        else:
            flags.add(name)
    return words, Options(netns, **dict.fromkeys(flags, True))


def _asked(arguments: list[str]) -> str:
    """A command line that could be read, as far as it tells what was asked for and where."""
    words, options = _options(arguments)
    return " ".join((*(("-n", options.netns) if options.netns is not None else ()), *words[:2]))


def _module(command: str) -> ModuleType:
    """Where the command's USAGE is."""
    import importlib

    return importlib.import_module(f"ip_graft.{HOMES.get(command, command)}")


def _help(words: Words) -> str:
    if not words:
        return USAGE
    command = words.keyword(COMMANDS, "command", ALIASES)
    words.end()
    return USAGE if command == "help" else str(_module(command).USAGE)


def _handler(command: str) -> Callable[[Session, Words], None]:
    from functools import partial

    from ip_graft import endpoint, table

    own: dict[str, Callable[[Session, Words], None]] = {
        "add": partial(endpoint.put, create=True, replace=False),
        "change": partial(endpoint.put, create=False, replace=True),
        "replace": partial(endpoint.put, create=True, replace=True),
        "del": endpoint.delete,
        "show": endpoint.show,
        "freeze": partial(table.freeze, frozen=True),
        "unfreeze": partial(table.freeze, frozen=False),
    }
    if command in own:
        return own[command]
    handler: Callable[[Session, Words], None] = _module(command).run
    return handler
