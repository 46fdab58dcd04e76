# SPDX-License-Identifier: Apache-2.0
"""backup, restore"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from graftcli import exits
from graftcli.cmdline import Args, UsageError
from graftcli.session import Session

_MIB = 1 << 20


def backup(session: Session, args: Args) -> int:
    """The file is there whole or not at all, also after a crash of the machine, and for its owner alone."""
    file = Path(args.words[0])
    if file.is_dir():
        raise UsageError(f"{file} is a folder: name a file in it")
    if not file.parent.is_dir():
        raise UsageError(f"there is no folder {file.parent}")
    force = "force" in args
    if file.exists() and not force:
        raise _is_there(file)
    if session.dry_run:
        session.client.status()
        session.done(f"{file} written")
        return exits.DONE
    progress = session.progress()
    # Made with mode 0600, in the folder where it is to be: a rename is atomic within a file system alone.
    fd, partial = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(fd, "wb") as out:

            def write(data: bytes) -> None:
                out.write(data)
                progress(f"{out.tell() / _MIB:.1f} MiB")

            revision = session.client.backup(write)
            size = out.tell()
            out.flush()
            os.fsync(out.fileno())
        _put_in_place(Path(partial), file, force=force)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(partial)
        raise
    finally:
        progress("")
    session.done(f"{file} written: revision {revision}, {size} bytes")
    return exits.DONE


def _is_there(file: Path) -> UsageError:
    return UsageError(f"{file} is there already: name another file, or say --force to replace it")


def _put_in_place(partial: Path, file: Path, *, force: bool) -> None:
    """Give the file its name; without `force`, only if nobody has it."""
    if force:
        os.replace(partial, file)
    else:
        try:
            os.link(partial, file)
        except FileExistsError:
            raise _is_there(file) from None
        os.unlink(partial)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def restore(session: Session, args: Args) -> int:
    file = Path(args.words[0])
    try:
        with file.open("rb") as copy:
            session.confirm(f"Replace everything that graftd at {session.client.target} keeps by {file}?")
            answer = session.client.restore(copy, validate_only=session.dry_run)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    session.done(f"{file} restored: revision {answer.revision}")
    return exits.DONE
