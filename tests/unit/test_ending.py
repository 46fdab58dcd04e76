# SPDX-License-Identifier: Apache-2.0
"""How a process that has used grpcio ends: without exit(3), with its status, and with all that it said."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("graftcli --version", 0, "graftcli "),
        ("graftcli list-endpoints --port 1", 2, "graftcli: "),
        ("graftd --check-config /nonexistent", 78, "/nonexistent"),
    ],
)
def test_the_programs_leave_exit_out(line: str, status: int, said: str) -> None:
    words = line.split()
    done = python(f"import runpy; sys.argv = {words!r}; runpy.run_module({words[0]!r}, run_name='__main__')")
    assert done.returncode == status
    assert said in done.stdout + done.stderr
    assert "exit(3)" not in done.stdout


def test_what_was_said_comes_out() -> None:
    done = python("from graftd.ending import end; sys.stdout.write('x' * 100_000); end(3)")
    assert (done.returncode, len(done.stdout), done.stderr) == (3, 100_000, "")


@pytest.mark.parametrize(("status", "seen"), [(0, 1), (5, 5)])
def test_what_cannot_be_said_is_no_success(status: int, seen: int) -> None:
    program = f"from graftd.ending import end; sys.argv = ['/usr/bin/graftcli']; print(1); end({status})"
    with Path("/dev/full").open("w") as full:
        done = python(program, full.fileno())
    assert (done.returncode, done.stderr) == (seen, "graftcli: standard output: No space left on device\n")


def test_without_standard_output() -> None:
    assert python("from graftd.ending import end; sys.stdout = None; end(4)").returncode == 4
