# SPDX-License-Identifier: Apache-2.0
"""The command line's entry.

What is imported here is what `graftcli --help` waits for, so the rest is imported where it is used: grpc and yaml take
longer than all that is done with them.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from graftcli import exits
from graftcli.cmdline import Args, UsageError, command_named, parse

if TYPE_CHECKING:
    from graft_client import GraftdError


def main(arguments: list[str] | None = None) -> int:
    """Carry out one command line; the exit status."""
    import signal

    # As other filters: end by the signal, and without a traceback.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        return run(arguments)
    except KeyboardInterrupt:
        sys.stdout.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.raise_signal(signal.SIGINT)
        return 130


def run(arguments: list[str]) -> int:
    """As main, without its signals."""
    if not arguments:
        from graftcli import helping

        sys.stderr.write(helping.overview())
        return exits.USAGE
    try:
        args = parse(arguments)
        if args.command.name == "help" or "help" in args:
            return _help(args)
        if "version" in args:
            from graftd import __version__

            print(f"graftcli {__version__}")
            return exits.DONE
        if args.command.name == "completion":
            from graftcli.completion import script

            sys.stdout.write(script(args.words[0]))
            return exits.DONE
        return _carry_out(args)
    except UsageError as error:
        return complain(str(error), exits.USAGE)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return complain(f"{where}{error.strerror or error}", exits.FAILED)


def _help(args: Args) -> int:
    from graftcli import helping

    if args.command.name != "help":
        sys.stdout.write(helping.of_command(args.command))
    elif args.words:
        sys.stdout.write(helping.of_command(command_named(args.words[0])))
    else:
        sys.stdout.write(helping.overview())
    return exits.DONE


def _carry_out(args: Args) -> int:
    import importlib

    try:
        from graft_client import GraftdError
        from graftcli.session import Session
        from graftd.errors import GraftError
    except ModuleNotFoundError as error:
        return _lacking(error)
    module, _, function = args.command.handler.partition(":")
    try:
        handler = getattr(importlib.import_module(f"graftcli.{module}"), function)
        with Session(args) as session:
            status: int = handler(session, args)
            return status
    except GraftdError as error:
        return failed(error)
    except GraftError as error:
        # The words of a value, which ip-graft reads as well.
        return complain(str(error), exits.USAGE)
    except ModuleNotFoundError as error:
        return _lacking(error)


# What has to be installed apart, and the package of Debian's that it is in.
_PACKAGES = {
    "grpc": "python3-grpcio",
    "google": "python3-protobuf",
    "yaml": "python3-yaml",
    "pyroute2": "python3-pyroute2",
}


def _lacking(error: ModuleNotFoundError) -> int:
    name = (error.name or "").partition(".")[0]
    if name not in _PACKAGES:
        raise error
    return complain(f"the Python module {name} is missing: install the package {_PACKAGES[name]}", exits.FAILED)


def failed(error: GraftdError) -> int:
    """Say what graftd said."""
    status = complain(str(error), exits.of_error(error.status, error.reason))
    for field, description in error.fields:
        if description not in str(error):
            print(f"  {field}: {description}", file=sys.stderr)
    return status


def complain(sentence: str, status: int) -> int:
    """Say one sentence on standard error, after what was said before."""
    if sys.stdout is not None:
        with suppress(OSError):
            sys.stdout.flush()
    print(f"graftcli: {printable(sentence)}", file=sys.stderr)
    return status


def printable(text: str) -> str:
    """Text without what a terminal would obey; lines stay."""
    return "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text)
