# SPDX-License-Identifier: Apache-2.0
"""What becomes of running commands and waiting suites where a driver is interrupted."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from driver.process import call

TESTS = Path(__file__).resolve().parents[1]
# Tidies up for longer than subprocess.run would let it.
SLOW_TO_END = """
import pathlib, signal, sys, time
def tidy(*_):
    time.sleep(1)
    pathlib.Path(sys.argv[1]).write_text("tidied")
    sys.exit(0)
signal.signal(signal.SIGTERM, tidy)
print("begun", flush=True)
time.sleep(600)
"""
# make test with three suites of a minute each, two at a time.
MATRIX = """
import signal, sys
from pathlib import Path
# Whoever runs the tests in the background may have them ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv.pop(1))
from matrix import __main__ as matrix
from matrix.suites import SUITES, Suite, host_command
folder = Path(sys.argv.pop(1))
matrix.CHECKOUT = matrix.FOLDER = folder
SUITES.clear()
for name in ("one", "two", "three"):
    SUITES[name] = Suite(name, "sleeps", host_command("sh", "-c", "sleep 60; echo 1 passed, 0 failed"))
sys.exit(matrix.main())
"""


def test_an_interrupted_command_may_tidy_up(tmp_path: Path) -> None:
    mark, log = tmp_path / "mark", tmp_path / "log"

    def interrupt() -> None:
        while "begun" not in log.read_text():
            time.sleep(0.05)
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with open(log, "w+", encoding="utf-8") as output:
            thread = threading.Thread(target=interrupt)
            thread.start()
            with pytest.raises(KeyboardInterrupt):
                call([sys.executable, "-c", SLOW_TO_END, str(mark)], log=output)
            thread.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert mark.read_text() == "tidied"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_matrix_starts_no_more_suites(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "prepare").write_text("#!/bin/sh\n")
    (tmp_path / "tests" / "prepare").chmod(0o755)
    begun = time.monotonic()
    words = [sys.executable, "-c", MATRIX, str(TESTS), str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as matrix:
        assert matrix.stdout is not None
        assert matrix.stderr is not None
        started = [matrix.stdout.readline() for _ in range(2)]
        matrix.send_signal(number)
        assert matrix.stderr.read() == "test: interrupted; its guests are ended\n"
        assert matrix.stdout.read() == ""
    assert matrix.returncode == 130
    assert sorted(started) == ["test: one: started (sleeps)\n", "test: two: started (sleeps)\n"]
    assert time.monotonic() - begun < 20
