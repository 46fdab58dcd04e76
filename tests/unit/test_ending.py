# SPDX-License-Identifier: Apache-2.0
"""How a process that has used grpcio ends: without exit(3), with its status, and with all that it said."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
PATH = [str(TREE), str(TREE / "clients/cli"), str(TREE / "clients/python"), str(TREE / "build/stubs")]
WITNESS = "import atexit; atexit.register(print, 'exit(3) was called')"


def python(program: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    program = f"import sys; sys.path[:0] = {PATH!r}\n{WITNESS}\n{program}"
    return subprocess.run(
        [sys.executable, "-E", "-c", program], stdout=stdout, stderr=subprocess.PIPE, text=True, check=False
    )


def ending(main: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[str]:
    """A program whose main has this body."""
    return python(f"from graftd.ending import run\ndef main():\n    {main}\nrun('graftcli', main)", stdout)


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("graftcli --version", 0, "graftcli "),
        ("graftcli list-endpoints --port 1", 2, "graftcli: "),
        ("graftcli --target unix:/nonexistent --timeout 1 list-namespaces", 6, "graftcli: "),
        ("graftd --check-config /nonexistent", 78, "/nonexistent"),
    ],
)
@pytest.mark.parametrize("how", ["runpy.run_module({name!r}, run_name='__main__')", "runpy.run_path({script!r})"])
def test_the_programs_leave_exit_out(line: str, status: int, said: str, how: str) -> None:
    words = line.split()
    run = how.format(name=words[0], script=str(TREE / "packaging/bin" / words[0]))
    done = python(f"import runpy; sys.argv = {words!r}; {run}")
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert "exit(3)" not in done.stdout


def test_what_was_said_comes_out() -> None:
    done = ending("sys.stdout.write('x' * 100_000); return 3")
    assert (done.returncode, len(done.stdout), done.stderr) == (3, 100_000, "")


def test_what_nobody_caught_is_told() -> None:
    done = ending("print('before'); raise ValueError('wrong')")
    assert (done.returncode, done.stdout) == (1, "before\n")
    assert done.stderr.endswith("ValueError: wrong\n")


@pytest.mark.parametrize(
    ("status", "seen", "said"), [(0, 1, "graftcli: standard output: No space left on device\n"), (5, 5, "")]
)
def test_what_cannot_be_said_is_no_success(status: int, seen: int, said: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = ending(f"print(1); return {status}", full.fileno())
    assert (done.returncode, done.stderr) == (seen, said)


@pytest.mark.parametrize("line", ["completion bash", "help apply", "--version", "nonsense"])
@pytest.mark.parametrize("buffered", [True, False])
def test_graftcli_with_nowhere_to_write(line: str, buffered: bool) -> None:
    program = (
        f"import runpy; sys.argv = {['graftcli', *line.split()]!r}; runpy.run_module('graftcli', run_name='__main__')"
    )
    if not buffered:
        program = f"sys.stdout.reconfigure(write_through=True)\n{program}"
    with Path("/dev/full").open("w") as full:
        done = python(program, full.fileno())
    assert done.returncode == (2 if line == "nonsense" else 1)
    assert done.stderr.startswith("graftcli: ")
    assert len(done.stderr.splitlines()) == 1


def test_a_complaint_after_what_cannot_be_said() -> None:
    with Path("/dev/full").open("w") as full:
        done = ending("from graftcli.main import complain; print(1); return complain('wrong', 2)", full.fileno())
    assert (done.returncode, done.stderr) == (2, "graftcli: wrong\n")


_WAITING = """
import time
from graftd.ending import run

class Full:
    def flush(self):
        print("waits", file=sys.stderr, flush=True)
        time.sleep(60)

sys.stdout = Full()
run("graftcli", lambda: 0)
"""


def test_a_reader_that_reads_no_more_can_be_given_up() -> None:
    program = f"import sys; sys.path[:0] = {PATH!r}{_WAITING}"
    with subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "waits\n"
        process.send_signal(signal.SIGINT)
    assert process.returncode == -signal.SIGINT


def test_without_standard_output() -> None:
    assert ending("sys.stdout = None; return 4").returncode == 4
