# SPDX-License-Identifier: Apache-2.0
"""The command line of the lab."""

from __future__ import annotations

import argparse
import math
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from . import golang, host, session, tree
from .cache import Cache, default_root
from .errors import LabError
from .module import module
from .progress import say
from .suites import DEFAULT_SUITE, SUITES
from .verdict import EXIT_LAB

_CHECKOUT = Path(__file__).resolve().parent.parent.parent.parent
_RUN_SECONDS = 600.0
_EXITS = """\
exit status of 'run':
  that of COMMAND; 99 when the kernel reported a defect of itself or of the module (printed);
  123 when SIGUSR1, sent to the lab, reset the guest;
  124 when COMMAND was not done within --timeout; 125 when the lab itself failed
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the lab with ``argv``, the process's own arguments by default; return its exit status."""
    options = _parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    # It resets a guest, and where there is none it does nothing.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    cache = Cache(default_root())
    try:
        return _dispatch(options, cache)
    except LabError as error:
        say(error.message)
        if error.hint:
            say(error.hint)
        return EXIT_LAB
    except BrokenPipeError:
        # whoever read the output has seen enough; what is still buffered goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        say(f"it could not go on: {error}")
        return EXIT_LAB
    except KeyboardInterrupt:
        say("interrupted; the guest is ended")
        return 128 + signal.SIGINT


def _dispatch(options: argparse.Namespace, cache: Cache) -> int:
    checkout = tree.Tree(_CHECKOUT)
    if options.verb == "clean":
        cache.clean()
        return 0
    if options.verb == "list":
        return _list(cache)
    host.prepare()
    if options.verb == "prepare":
        every = [DEFAULT_SUITE] if options.kernel == "debug" else sorted(SUITES)
        for name in [options.suite] if options.suite else every:
            session.prepare(cache, name, options.kernel, checkout)
        return 0
    if options.verb == "build":
        return _build(cache, checkout)
    if options.verb == "go":
        return _go(cache, checkout, options.folder)
    return session.run(cache, _request(options), checkout)


def _request(options: argparse.Namespace) -> session.Request:
    if options.icount and options.cpus not in (None, 1):
        raise LabError(
            f"--icount counts the instructions of one processor, not of {options.cpus}",
            "Leave --cpus out, or give --cpus 1.",
        )
    if options.machine and (options.kernel != "stock" or options.bare or options.no_module or options.state):
        raise LabError(
            "a machine has a stock kernel and systemd, and what COMMAND installs",
            "Leave --kernel, --bare, --no-module and --state out, or --machine.",
        )
    share = options.share.resolve() if options.share else None
    if share and not share.is_dir():
        raise LabError(f"the folder to share, {share}, does not exist", "Make it first: mkdir -p.")
    shell = options.verb == "shell"
    command = tuple(_shell_command() if shell else _command(options.command))
    return session.Request(
        suite=options.suite,
        kernel=options.kernel,
        command=command,
        icount=options.icount,
        service=not options.bare,
        load_module=not options.no_module,
        share=share,
        state=options.state.resolve() if options.state else None,
        machine=options.machine.resolve() if options.machine else None,
        timeout=options.timeout or (math.inf if shell else _RUN_SECONDS),
        cpus=1 if options.icount else options.cpus or 2,
        memory_mib=options.memory,
        append=tuple(options.append),
        shell=shell,
        verbose=options.verbose,
    )


def _command(words: Sequence[str]) -> Sequence[str]:
    found = list(words[1:] if words[:1] == ["--"] else words)
    if not found:
        raise LabError("there is no COMMAND to run in the guest", "Give it after '--': lab run -- uname -r")
    return found


def _shell_command() -> list[str]:
    size = shutil.get_terminal_size()
    term = os.environ.get("TERM", "vt100")
    return ["sh", "-c", f"stty rows {size.lines} cols {size.columns}; TERM={term} exec bash -l"]


def _build(cache: Cache, checkout: tree.Tree) -> int:
    if not checkout.has_module():
        raise LabError("there is no module to build: kmod/Makefile is missing")
    for name in sorted(SUITES):
        root, kernel = session.image(cache, name, "stock")
        module(cache, checkout, root, kernel)
        say(f"graft.ko builds for {kernel.version} without a warning")
    return 0


def _go(cache: Cache, checkout: tree.Tree, folder: Path) -> int:
    if not golang.has_programs(checkout):
        raise LabError("there are no Go programs to build: clients/go/go.mod is missing")
    programs = golang.Go(cache, checkout).programs()
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(programs, folder)
    return 0


def _list(cache: Cache) -> int:
    for entry in cache.entries():
        print(f"{entry.kind:10} {entry.name:28} {entry.key}  {_size_mib(entry.path):6} MiB")
    sys.stdout.flush()
    return 0


def _size_mib(path: Path) -> int:
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    return sum(item.lstat().st_blocks for item in paths) * 512 // 2**20


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lab",
        description="Run commands on real Debian kernels, with the current tree installed.",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    guest = argparse.ArgumentParser(add_help=False)
    guest.add_argument("--suite", choices=sorted(SUITES), default=DEFAULT_SUITE, help="default: %(default)s")
    guest.add_argument("--kernel", choices=("stock", "debug"), default="stock", help="default: %(default)s")
    guest.add_argument("--icount", action="store_true", help="one processor whose clock counts instructions")
    guest.add_argument("--bare", action="store_true", help="the module alone, no service")
    guest.add_argument("--no-module", action="store_true", help="install graft.ko but do not load it")
    guest.add_argument("--share", type=Path, metavar="DIR", help="show DIR, writable, at /mnt/share")
    guest.add_argument(
        "--state", type=Path, metavar="FILE", help="a disk for /var/lib/graftd that stays; made where it is missing"
    )
    guest.add_argument(
        "--machine", type=Path, metavar="FILE", help="a machine whose disk stays, without the tree; made where missing"
    )
    guest.add_argument("--timeout", type=_seconds, metavar="S", help="for COMMAND, default: 600; a shell has none")
    guest.add_argument("--cpus", type=_positive, metavar="N", help="default: 2")
    guest.add_argument("--memory", type=_positive, default=2048, metavar="MIB", help="default: %(default)s")
    guest.add_argument("--append", action="append", default=[], metavar="ARG", help="one more kernel argument")
    guest.add_argument("-v", "--verbose", action="store_true", help="tell how long each phase took")
    run = verbs.add_parser(
        "run",
        parents=[guest],
        help="run COMMAND as root in a guest",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND...", help="as given, without a shell")
    verbs.add_parser("shell", parents=[guest], help="a prompt in a guest, until you leave it")
    prepare = verbs.add_parser("prepare", help="build images and modules ahead of use")
    prepare.add_argument("--suite", choices=sorted(SUITES), help="default: all")
    prepare.add_argument("--kernel", choices=("stock", "debug"), default="stock")
    verbs.add_parser("build", help="compile the module for every kernel")
    go = verbs.add_parser("go", help="compile the Go programs into FOLDER, whatever was in it")
    go.add_argument("folder", type=Path, metavar="FOLDER")
    verbs.add_parser("list", help="show what the cache holds")
    verbs.add_parser("clean", help="empty the cache")
    return parser


def _seconds(text: str) -> float:
    with suppress(ValueError):
        value = float(text)
        if value > 0:
            return value
    raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds above 0")


def _positive(text: str) -> int:
    with suppress(ValueError):
        value = int(text)
        if value > 0:
            return value
    raise argparse.ArgumentTypeError(f"'{text}' is not a whole number above 0")
