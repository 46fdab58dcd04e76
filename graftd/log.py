# SPDX-License-Identifier: Apache-2.0
"""Log records: structured fields in the journal, or lines on standard error; audit records among them.

The journal, or whoever reads standard error, may be slow. So one thread writes, and who logs does not wait for it: what
its queue cannot hold is lost, counted, and the count is logged. A killed process loses what was still queued.

No value forges a record: whatever does not print is escaped, in every format. Only a traceback has lines, which stay
in a field of their own or are indented.
"""

from __future__ import annotations

import enum
import functools
import itertools
import json
import logging
import math
import os
import re
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias, cast

import structlog
from structlog.typing import FilteringBoundLogger

from graftd._log_words import Format, Level
from graftd.errors import GraftError

IDENTIFIER: Final = "graftd"
TEXT_MAX: Final = 4096  # characters of one value; a traceback may have eight times as many
QUEUE_MAX: Final = 8192  # records that wait
AUDIT_QUEUE_MAX: Final = 8 * QUEUE_MAX  # and with so many waiting, audit records are lost as well

ITEMS_MAX: Final = 100  # of a list or a mapping

_STDERR = 2
_DEPTH_MAX = 4  # of lists in lists
_FIELD_BYTES_MAX = 64  # of a field's name, in the journal

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = "Scalar | list[Value] | dict[str, Value]"
Fields: TypeAlias = dict[str, Value]


class LogError(GraftError):
    """Records cannot be written as configured."""


class Outcome(enum.StrEnum):
    """What became of a request. FAILED: it was allowed, and could not be done."""

    DONE = "done"
    REFUSED = "refused"
    FAILED = "failed"


# MESSAGE_ID of audit records: `journalctl MESSAGE_ID=...`, documented, never reused.
MESSAGE_IDS: Final[Mapping[Outcome, str]] = {
    Outcome.DONE: "f14c7b6d63014a48bcf6ba2223d7a7e8",
    Outcome.REFUSED: "320e455820b045c4a1e4bac30cc69c9d",
    Outcome.FAILED: "66b785db467d480c9ed5043d8a9d2f73",
}
LEFT_OUT_ID: Final = "46c3372b4312402db3587ce073d72b1e"  # MESSAGE_ID of `Log.audit_left_out`

_RANKS = {"debug": 0, "info": 1, "notice": 1, "warning": 2, "error": 3, "critical": 4}
_PRIORITIES = {"debug": 7, "info": 6, "notice": 5, "warning": 4, "error": 3, "critical": 2}  # syslog(3)
_LEVELS = {"warn": "warning", "exception": "error", "fatal": "critical", "msg": "info", "log": "info"}
_AUDIT_LEVELS = {Outcome.DONE: "notice", Outcome.REFUSED: "warning", Outcome.FAILED: "warning"}


def logger(**values: object) -> FilteringBoundLogger:
    """A logger whose records all have `values`: `logger(part="store").info("opened", path=...)`."""
    return cast(FilteringBoundLogger, structlog.get_logger(**values))


def stderr_is_journal(environ: Mapping[str, str] = os.environ, fd: int = _STDERR) -> bool:
    """Whether standard error goes into the journal: JOURNAL_STREAM names its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


class Log:
    """Where the process's records go, from `set_up` to `close`."""

    def __init__(self, level: Level, render: _Render, write: Callable[[Any], None]) -> None:
        self.level = level
        self._writer = _Writer(write, lambda text: render({"level": "error", "event": text}))
        self._render = render

    def set_level(self, level: Level) -> None:
        """Holds from the next record on, for loggers that there are as well."""
        self.level = level

    @property
    def lost(self) -> int:
        """How many records were lost since `set_up`."""
        return self._writer.lost

    def close(self, seconds: float = 2.0) -> bool:
        """Wait for what is queued; False where that took longer. Records that come later are written at once."""
        return self._writer.close(seconds)

    def audit(
        self,
        *,
        who: Mapping[str, object],
        where: str,
        method: str,
        resource: str,
        outcome: Outcome,
        detail: str = "",
        **values: object,
    ) -> None:
        """Log who asked for what, from where, and what became of it.

        who: what is known of the caller, as in {"uid": 1000, "pid": 4711} or {"certificate": "ci"}; each is a field
            GRAFT_WHO_... . where: the socket or address that the request came in by. resource: its name; empty where
            the method has none. detail: why it was refused or failed. values: fields of their own, such as a revision.
        """
        caller = " ".join(f"{key} {value}" for key, value in who.items()) or "somebody unknown"
        of = f" {resource}" if resource else ""
        why = f": {detail}" if detail else ""
        event = {
            **values,
            **{f"who_{key}": value for key, value in who.items()},
            "event": f"{caller} by {where}: {method}{of}: {outcome.value}{why}",
            "where": where,
            "method": method,
            "resource": resource,
            "outcome": outcome.value,
            "detail": detail,
            "audit": 1,
            "message_id": MESSAGE_IDS[outcome],
        }
        self._writer.put(self._rendered(_AUDIT_LEVELS[outcome], event), is_audit=True)

    def audit_left_out(self, callers: Mapping[str, int]) -> None:
        """Log how many refusals had no audit record of their own, by caller."""
        count = sum(callers.values())
        event = {
            "event": f"{count} more calls or connections were refused, and have no records of their own: too many came",
            "callers": callers,
            "count": count,
            "audit": 1,
            "message_id": LEFT_OUT_ID,
        }
        self._writer.put(self._rendered("warning", event), is_audit=True)

    def process(
        self, _logger: object, method: str, event: MutableMapping[str, Any]
    ) -> tuple[tuple[object], dict[str, object]]:
        """structlog's last processor: an event becomes what `write` takes."""
        level = str(event.pop("level", _LEVELS.get(method, method)))
        if _RANKS.get(level, 1) < _RANKS[self.level]:
            raise structlog.DropEvent
        return (self._rendered(level, event),), {}

    def put(self, payload: object) -> None:
        self._writer.put(payload, is_audit=False)

    def _rendered(self, level: str, event: Mapping[str, object]) -> object:
        fields = {key: _clean(value) for key, value in event.items() if key != "exception"}
        if "exception" in event:
            fields["exception"] = _clean_lines(str(event["exception"]), 8 * TEXT_MAX)
        return self._render({**fields, "level": level})


def set_up(level: Level = Level.INFO, form: Format = Format.AUTO, *, fd: int = _STDERR) -> Log:
    """Make structlog, and through it the standard library's logging, write to one place.

    fd: where lines go. Raises LogError for a journal without systemd's Python module.
    """
    missing = False
    if form is Format.AUTO:
        form = Format.JOURNAL if stderr_is_journal(fd=fd) else Format.CONSOLE
        missing = form is Format.JOURNAL and not _journal_is_there()
        form = Format.CONSOLE if missing else form
    log = _make(level, form, fd)
    last = _Last(log)
    structlog.configure(
        processors=[structlog.processors.format_exc_info, log.process],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG),
        logger_factory=lambda *_: last,
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(handlers=[_Bridge()], level=logging.INFO, force=True)
    if missing:
        logger().warning("records have no fields in the journal: python3-systemd is not installed")
    return log


def _make(level: Level, form: Format, fd: int) -> Log:
    if form is Format.JOURNAL:
        return Log(level, _to_journal, _journal_write())
    return Log(level, _to_json if form is Format.JSON else _to_line, lambda line: _write_all(fd, line))


class _Last:
    """What structlog takes for the logger that it wraps."""

    def __init__(self, log: Log) -> None:
        self.debug = self.info = self.warning = self.warn = self.error = self.critical = log.put
        self.exception = self.fatal = self.msg = self.log = log.put


class _Bridge(logging.Handler):
    """Records of the standard library's logging, such as asyncio's."""

    def emit(self, record: logging.LogRecord) -> None:
        name = record.levelname.lower()
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # its arguments do not go with it
            message = str(record.msg)
        level = name if name in _RANKS else "info"
        logger().info(message, logger=record.name, level=level, exc_info=record.exc_info or None)


# Writing


class _Writer:
    """A thread and its queue."""

    def __init__(self, write: Callable[[Any], None], notice: Callable[[str], object]) -> None:
        self.lost = self._audits_lost = 0
        self._told = self._audits_told = 0  # of those lost; the thread's own
        self._write = write
        self._notice = notice
        self._queue: deque[tuple[object, bool]] = deque()
        self._change = threading.Condition()  # guards the queue, the counts and the next two
        self._closing = False
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, payload: object, *, is_audit: bool) -> None:
        with self._change:
            if not self._ended:
                if len(self._queue) < (AUDIT_QUEUE_MAX if is_audit else QUEUE_MAX):
                    self._queue.append((payload, is_audit))
                    self._change.notify()
                else:
                    self._lose(is_audit=is_audit)
                return
        self._try(payload, is_audit=is_audit)

    def close(self, seconds: float) -> bool:
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._change:
                while not self._queue and not self._closing:
                    self._change.wait()
                if not self._queue:
                    self._ended = True
                    return
                payload, is_audit = self._queue.popleft()
            if self._try(payload, is_audit=is_audit):
                self._tell()

    def _try(self, payload: object, *, is_audit: bool) -> bool:
        try:
            self._write(payload)
        except (OSError, ValueError):
            with self._change:
                self._lose(is_audit=is_audit)
            return False
        return True

    def _lose(self, *, is_audit: bool) -> None:
        self.lost += 1
        self._audits_lost += is_audit

    def _tell(self) -> None:
        with self._change:
            lost, audits = self.lost, self._audits_lost
        if lost == self._told:
            return
        text = (
            f"{lost - self._told} log records were lost, {audits - self._audits_told} of them audit records: "
            "more came than were taken"
        )
        try:
            self._write(self._notice(text))
        except (OSError, ValueError):
            return
        self._told, self._audits_told = lost, audits


def _write_all(fd: int, line: bytes) -> None:
    rest = memoryview(line)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            ready = select.poll()
            ready.register(fd, select.POLLOUT)
            ready.poll()


def _journal_is_there() -> bool:
    try:
        _journal_write()
    except LogError:
        return False
    return True


def _journal_write() -> Callable[[Sequence[str]], None]:
    try:
        from systemd import journal
    except ImportError as error:
        raise LogError(
            f"the journal's format needs systemd's Python module ({error}): install python3-systemd, "
            'or set format = "console" or "json" in [log]'
        ) from error
    return lambda fields: journal.sendv(*fields)


# Rendering: from clean fields, `event` and `level` among them, to what is written

_Render: TypeAlias = Callable[[Fields], object]


def _to_journal(fields: Fields) -> list[str]:
    level = str(fields.pop("level"))
    lines = [
        f"MESSAGE={fields.pop('event', '')}",
        f"PRIORITY={_PRIORITIES.get(level, 6)}",
        f"SYSLOG_IDENTIFIER={IDENTIFIER}",
    ]
    if "message_id" in fields:
        lines.append(f"MESSAGE_ID={fields.pop('message_id')}")
    return lines + [f"{_field_name(key)}={_word(value)}" for key, value in fields.items()]


def _to_json(fields: Fields) -> bytes:
    level, message = fields.pop("level"), fields.pop("event", "")
    return json.dumps({**fields, "time": _now(), "level": level, "message": message}).encode() + b"\n"


def _to_line(fields: Fields) -> bytes:
    level, message, lines = fields.pop("level"), fields.pop("event", ""), str(fields.pop("exception", ""))
    words = "".join(f" {key}={_quoted(_word(value))}" for key, value in fields.items())
    trace = "".join(f"\n    | {line}" for line in lines.split("\n") if lines)
    return f"{_now()} {level:<7} {message}{words}{trace}\n".encode()


def _now() -> str:
    return datetime.fromtimestamp(time.time(), UTC).isoformat(timespec="milliseconds")


@functools.lru_cache(maxsize=256)
def _field_name(key: str) -> str:
    return ("GRAFT_" + re.sub(r"[^A-Z0-9_]", "_", key.upper()))[:_FIELD_BYTES_MAX]


def _word(value: Value) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _quoted(word: str) -> str:
    return word if word and not re.search(r'[\s"=]', word) else json.dumps(word, ensure_ascii=False)


# Cleaning: whatever was logged becomes plain values whose text prints


def _clean(value: object, depth: int = 0) -> Value:
    match value:
        case str():
            pass  # as most are: whether it is a Mapping takes long to ask
        case bool() | None:
            return value
        case int():
            return int(value) if value.bit_length() <= 64 else str(value)
        case float():
            return value if math.isfinite(value) else str(value)
        case Mapping() if depth < _DEPTH_MAX:
            some = itertools.islice(value.items(), ITEMS_MAX)
            return {_clean_text(str(key), TEXT_MAX): _clean(one, depth + 1) for key, one in some}
        case list() | tuple() | set() | frozenset() if depth < _DEPTH_MAX:
            return [_clean(one, depth + 1) for one in itertools.islice(value, ITEMS_MAX)]
    return _clean_text(_text(value), TEXT_MAX)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 a value that cannot be shown must not fail what is logged
        return f"{type(value).__name__} that cannot be shown ({type(error).__name__})"


def _clean_text(text: str, most: int) -> str:
    rest = len(text) - most
    text = text[:most] if rest > 0 else text
    if not text.isprintable():
        text = "".join(one if one.isprintable() else _escaped(one) for one in text)
    return f"{text} ({rest} characters more)" if rest > 0 else text


def _clean_lines(text: str, most: int) -> str:
    # What matters of a traceback is at its end.
    return "\n".join(_clean_text(line, TEXT_MAX) for line in text[-most:].split("\n"))


def _escaped(one: str) -> str:
    return one.encode("unicode_escape").decode()
