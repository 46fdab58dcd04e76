# SPDX-License-Identifier: Apache-2.0
"""The lab's command line."""

import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.graftlab import cli


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        (["run", "--", "true"], 600),
        (["run", "--timeout", "5", "--", "true"], 5),
        (["shell"], math.inf),
        (["shell", "--timeout", "5"], 5),
    ],
)
def test_a_command_has_ten_minutes_and_a_shell_has_no_end(words: list[str], seconds: float) -> None:
    assert cli._request(cli._parser().parse_args(words)).timeout == seconds


def test_what_the_system_refuses_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device", "/cache/root")

    monkeypatch.setenv("GRAFT_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr(cli, "_list", full)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert cli.main(["list"]) == 125
    assert capsys.readouterr().err == "lab: it could not go on: [Errno 28] No space left on device: '/cache/root'\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--timeout", "x"], "argument --timeout: 'x' is not a number of seconds above 0"),
        (["--timeout", "0"], "argument --timeout: '0' is not a number of seconds above 0"),
        (["--cpus", "many"], "argument --cpus: 'many' is not a whole number above 0"),
    ],
)
def test_a_wrong_number_is_answered_with_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli._parser().parse_args(["run", *words, "--", "true"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"{sentence}\n")


@pytest.mark.parametrize("other", [["--bare"], ["--no-module"], ["--kernel", "debug"], ["--state", "s"]])
def test_a_machine_is_no_guest_with_the_tree(
    other: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRAFT_LAB_CACHE", str(tmp_path))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert cli.main(["run", "--machine", str(tmp_path / "disk"), *other, "--", "true"]) == 125
    assert "a machine has a stock kernel and systemd, and what COMMAND installs" in capsys.readouterr().err


def test_a_reader_that_has_seen_enough_ends_the_list_without_a_word(tmp_path: Path) -> None:
    entry = tmp_path / "kind" / "name@0123456789ab"
    entry.mkdir(parents=True)
    end, broken = os.pipe()
    os.close(end)
    done = subprocess.run(
        [sys.executable, cli._CHECKOUT / "tests/lab/lab", "list"],
        env=os.environ | {"GRAFT_LAB_CACHE": str(tmp_path)},
        stdout=broken,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(broken)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, b"")
