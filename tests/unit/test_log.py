# SPDX-License-Identifier: Apache-2.0
"""What is written for what is logged, in each format, and that nobody waits for who does not read."""

import asyncio
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from graftd import log
from graftd._log_words import Format, Level
from graftd.log import Log, LogError, Outcome, logger, set_up

ROOT = Path(__file__).resolve().parents[2]
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00"


class Pipe:
    """A log into a pipe, and what came out of it."""

    def __init__(self, form: Format, level: Level = Level.INFO) -> None:
        self.out, self._in = os.pipe()
        self.log = set_up(level, form, fd=self._in)

    def read(self) -> str:
        """End the log; all that was written. It has to fit into the pipe."""
        assert self.log.close()
        os.close(self._in)
        with open(self.out, encoding="utf-8") as file:
            return file.read()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.read().splitlines()]


@pytest.fixture(autouse=True)
def own_logging() -> Iterator[None]:
    """What a test sets up, ends with it."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = before
    root.setLevel(level)


# Formats


def test_a_line_has_time_level_message_and_fields() -> None:
    pipe = Pipe(Format.CONSOLE)
    logger(part="store").warning("opened", path="/var/lib/a b", revision=7, empty="", odd='a="b"')
    wanted = rf"{TIME} warning opened part=store path=\"/var/lib/a b\" revision=7 empty=\"\" odd=\"a=\\\"b\\\"\"\n"
    assert re.fullmatch(wanted, pipe.read())


def test_json_has_one_object_on_each_line() -> None:
    pipe = Pipe(Format.JSON)
    logger().error("failed", names=["a", "b"], limits={"x": 1}, ratio=0.5, found=None, ok=True, path=Path("/x"))
    logger().info("second")
    first, second = pipe.records()
    assert re.fullmatch(TIME, first.pop("time"))
    assert first == {
        "level": "error", "message": "failed", "names": ["a", "b"], "limits": {"x": 1}, "ratio": 0.5,
        "found": None, "ok": True, "path": "/x",
    }  # fmt: skip
    assert (second["level"], second["message"]) == ("info", "second")


JOURNAL = """
import json, os, socket
os.makedirs("/run/systemd/journal")
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
    journald.bind("/run/systemd/journal/socket")
    journald.settimeout(10)
    from graftd._log_words import Format, Level
    from graftd.log import Outcome, logger, set_up
    log = set_up(Level.INFO, Format.JOURNAL)
    logger().error("one\\nPRIORITY=0", path="/x", Weird_key9="1\\nMESSAGE=two", listed=[1, "a"])
    log.audit(who={"uid": 1000}, where="graftd.sock", method="DeleteEndpoint", resource="namespaces/w/endpoints/e",
              outcome=Outcome.REFUSED, detail="no role")
    try:
        raise ValueError("first\\nsecond")
    except ValueError:
        logger().exception("broke")
    log.close()
    for _ in range(3):
        data, fields = journald.recv(1 << 20), []
        while data:  # systemd.io/JOURNAL_NATIVE_PROTOCOL
            line, _, data = data.partition(b"\\n")
            name, equals, value = line.partition(b"=")
            if not equals:
                size = int.from_bytes(data[:8], "little")
                value, data = data[8:8 + size], data[8 + size + 1:]
            fields.append((name.decode(), value.decode()))
        print(json.dumps(fields))
"""


def test_the_journal_gets_fields() -> None:
    # A tmpfs over /run, in namespaces of its own: libsystemd's address cannot be changed.
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    done = subprocess.run(
        ["unshare", *as_root, "--mount", "sh", "-c",
         'mount -t tmpfs none /run && exec "$0" -c "$1"', sys.executable, JOURNAL],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    plain, audited, broke = (json.loads(line) for line in done.stdout.splitlines())
    assert [pair for pair in plain if not pair[0].startswith("CODE_")] == [
        ["MESSAGE", "one\\nPRIORITY=0"],
        ["PRIORITY", "3"],
        ["SYSLOG_IDENTIFIER", "graftd"],
        ["GRAFT_PATH", "/x"],
        ["GRAFT_WEIRD_KEY9", "1\\nMESSAGE=two"],
        ["GRAFT_LISTED", '[1, "a"]'],
    ]
    fields = dict(audited)
    assert fields["MESSAGE"] == "uid 1000 by graftd.sock: DeleteEndpoint namespaces/w/endpoints/e: refused: no role"
    assert (fields["GRAFT_AUDIT"], fields["PRIORITY"], fields["GRAFT_WHO_UID"]) == ("1", "4", "1000")
    assert fields["MESSAGE_ID"] == log.MESSAGE_IDS[Outcome.REFUSED]
    fields = dict(broke)
    assert (fields["MESSAGE"], fields["PRIORITY"]) == ("broke", "3")
    assert fields["GRAFT_EXCEPTION"].endswith("ValueError: first\nsecond")


def test_the_journal_without_its_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "systemd", None)
    with pytest.raises(LogError, match=r"install python3-systemd, or set format = \"console\" or \"json\""):
        set_up(Level.INFO, Format.JOURNAL)


def test_the_journal_is_chosen_where_standard_error_goes_there(monkeypatch: pytest.MonkeyPatch) -> None:
    out, into = os.pipe()
    status = os.fstat(into)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    assert log.stderr_is_journal(fd=into)
    assert not log.stderr_is_journal({}, fd=into)
    assert not log.stderr_is_journal({"JOURNAL_STREAM": "1:1"}, fd=into)
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr("systemd.journal.sendv", lambda *fields: sent.append(fields))
    chosen = set_up(fd=into)
    logger().info("here")
    assert chosen.close()
    assert "MESSAGE=here" in sent[0]
    os.close(into)
    os.close(out)


def test_lines_are_chosen_where_the_journals_module_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "stderr_is_journal", lambda **_: True)
    monkeypatch.setitem(sys.modules, "systemd", None)
    pipe = Pipe(Format.AUTO)
    assert re.fullmatch(rf"{TIME} warning records have no fields .* python3-systemd is not installed\n", pipe.read())


# Levels


@pytest.mark.parametrize("level", list(Level))
def test_a_level_keeps_what_is_below_it_out_and_no_audit_record(level: Level) -> None:
    pipe = Pipe(Format.JSON, level)
    for name in ("debug", "info", "warning", "error", "critical"):
        getattr(logger(), name)(name)
    pipe.log.audit(who={}, where="here", method="M", resource="", outcome=Outcome.DONE)
    names = ["debug", "info", "warning", "error"]
    wanted = [*names[names.index(level) :], "critical", "somebody unknown by here: M: done"]
    assert [record["message"] for record in pipe.records()] == wanted


def test_a_level_can_be_changed_for_loggers_that_are_there() -> None:
    pipe = Pipe(Format.JSON)
    bound = logger().bind(part="x")
    bound.debug("one")
    pipe.log.set_level(Level.DEBUG)
    bound.debug("two")
    pipe.log.set_level(Level.ERROR)
    bound.warning("three")
    assert [record["message"] for record in pipe.records()] == ["two"]


# Audit records


def test_an_audit_record_says_who_what_from_where_and_what_became_of_it() -> None:
    pipe = Pipe(Format.JSON)
    pipe.log.audit(
        who={"uid": 1000, "pid": 42},
        where="graftd.sock",
        method="CreateEndpoint",
        resource="namespaces/web/endpoints/http",
        outcome=Outcome.DONE,
        revision=12,
    )
    (record,) = pipe.records()
    del record["time"]
    assert record == {
        "level": "notice",
        "message": "uid 1000 pid 42 by graftd.sock: CreateEndpoint namespaces/web/endpoints/http: done",
        "audit": 1, "message_id": log.MESSAGE_IDS[Outcome.DONE], "who_uid": 1000, "who_pid": 42, "where": "graftd.sock",
        "method": "CreateEndpoint", "resource": "namespaces/web/endpoints/http", "outcome": "done", "detail": "",
        "revision": 12,
    }  # fmt: skip


def test_refusals_without_a_record_are_told_at_every_level() -> None:
    pipe = Pipe(Format.JSON, Level.ERROR)
    pipe.log.audit_left_out({"uid 1000": 40, "others": 2})
    (record,) = pipe.records()
    assert (record["count"], record["callers"], record["audit"]) == (42, {"uid 1000": 40, "others": 2}, 1)
    assert record["message_id"] == log.LEFT_OUT_ID not in log.MESSAGE_IDS.values()
    assert record["message"].startswith("42 more calls or connections were refused")


def test_message_ids_are_ids_of_the_journal_and_differ() -> None:
    assert set(log.MESSAGE_IDS) == set(Outcome)
    assert len(set(log.MESSAGE_IDS.values())) == len(Outcome)
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in log.MESSAGE_IDS.values())


# Values that would be something else


@given(st.text(), st.text(), st.text())
def test_no_value_makes_a_second_line_or_hides(message: str, value: str, who: str) -> None:
    for form in (Format.CONSOLE, Format.JSON):
        pipe = Pipe(form)
        logger().info(message, value=value)
        pipe.log.audit(who={"certificate": who}, where="here", method="M", resource=value, outcome=Outcome.FAILED)
        text = pipe.read()
        assert len(text.splitlines()) == text.count("\n") == 2
        assert text.replace("\n", "").isprintable()


def test_what_does_not_print_is_escaped() -> None:
    pipe = Pipe(Format.CONSOLE)
    logger().info("a\nb\x1b[31m\u202e\u2028\x85\udc80", keyed="x\r\ny")
    assert pipe.read().split(" ", 2)[2] == "   a\\nb\\x1b[31m\\u202e\\u2028\\x85\\udc80 keyed=x\\r\\ny\n"


def test_a_traceback_is_indented_on_a_terminal() -> None:
    pipe = Pipe(Format.CONSOLE)
    try:
        raise ValueError("one\n2026-01-01T00:00:00.000+00:00 info forged\x07")
    except ValueError:
        logger().exception("broke")
    first, *rest = pipe.read().splitlines()
    assert first.endswith("error   broke")
    assert all(line.startswith("    | ") for line in rest)
    assert rest[-1] == "    | 2026-01-01T00:00:00.000+00:00 info forged\\x07"


def test_long_and_deep_and_odd_values_are_cut() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError

    loop: list[Any] = []
    loop.append(loop)
    pipe = Pipe(Format.JSON)
    logger().info("x", long="a" * 5000, loop=loop, many=list(range(1000)), nan=float("nan"), big=2**70, odd=Odd())
    (record,) = pipe.records()
    assert record["long"] == "a" * log.TEXT_MAX + " (904 characters more)"
    assert record["loop"] == [[[["[[...]]"]]]]
    assert record["many"] == list(range(log.ITEMS_MAX))
    assert (record["nan"], record["big"]) == ("nan", str(2**70))
    assert record["odd"] == "Odd that cannot be shown (RuntimeError)"


# The standard library's logging


def test_what_others_log_comes_along() -> None:
    pipe = Pipe(Format.JSON)
    logging.getLogger("asyncio").error("task %s\n", "x")
    logging.getLogger("grpc").warning("%d arguments", "no")
    logging.getLogger("grpc").debug("too much")
    first, second = pipe.records()
    assert (first["logger"], first["level"], first["message"]) == ("asyncio", "error", "task x\\n")
    assert (second["level"], second["message"]) == ("warning", "%d arguments")


# Who does not read


class Stuck:
    """A sink that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.taken: list[dict[str, Any]] = []
        self.log = Log(Level.INFO, dict, self._write)

    def _write(self, payload: dict[str, Any]) -> None:
        assert self.go.wait(20)
        self.taken.append(payload)

    def put(self, text: str, *, is_audit: bool = False) -> None:
        self.log._writer.put({"event": text}, is_audit=is_audit)


def test_who_logs_waits_for_nobody_and_what_is_lost_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "QUEUE_MAX", 10)
    monkeypatch.setattr(log, "AUDIT_QUEUE_MAX", 20)
    stuck = Stuck()
    stuck.put("held by the thread")
    while stuck.log._writer._queue:
        time.sleep(0.001)
    for number in range(15):
        stuck.put(f"plain {number}")
    for number in range(12):
        stuck.put(f"audit {number}", is_audit=True)
    assert stuck.log.lost == 7
    stuck.go.set()
    assert stuck.log.close()
    texts = [one["event"] for one in stuck.taken]
    assert texts.pop(1) == "7 log records were lost, 2 of them audit records: more came than were taken"
    assert texts == ["held by the thread", *(f"plain {n}" for n in range(10)), *(f"audit {n}" for n in range(10))]


def test_a_loop_runs_on_while_nobody_reads() -> None:
    pipe = Pipe(Format.CONSOLE)

    async def flood() -> float:
        begun = time.monotonic()
        for _ in range(3000):
            logger().info("x" * 100)
            await asyncio.sleep(0)
        return time.monotonic() - begun

    asyncio.run(flood())  # more than a pipe holds: it would wait here
    assert not pipe.log.close(seconds=0.05)
    reader = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(pipe.out, 65536), b"")])
    reader.start()
    assert pipe.log.close(seconds=20)
    os.close(pipe._in)
    reader.join()
    os.close(pipe.out)


def test_a_close_that_takes_too_long_says_so_and_loses_nothing() -> None:
    stuck = Stuck()
    stuck.put("one")
    assert not stuck.log.close(seconds=0.01)
    stuck.put("two")
    stuck.go.set()
    assert stuck.log.close(seconds=20)
    stuck.put("three")  # at once, there is no thread any more
    assert [one["event"] for one in stuck.taken] == ["one", "two", "three"]


def test_a_reader_that_is_gone_costs_records_and_no_more() -> None:
    out, into = os.pipe()
    gone = set_up(Level.INFO, Format.CONSOLE, fd=into)
    os.close(out)
    logger().info("one")
    logger().info("two")
    assert gone.close()
    assert gone.lost == 2
    os.close(into)


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    pipe = Pipe(Format.CONSOLE)
    os.set_blocking(pipe._in, False)
    for _ in range(100):
        logger().info("x" * 2000)
    chunks: list[bytes] = []
    reader = threading.Thread(target=lambda: chunks.extend(iter(lambda: os.read(pipe.out, 65536), b"")))
    reader.start()
    assert pipe.log.close(seconds=20)
    os.close(pipe._in)
    reader.join()
    os.close(pipe.out)
    assert b"".join(chunks).count(b"\n") == 100
