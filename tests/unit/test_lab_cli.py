# SPDX-License-Identifier: Apache-2.0
"""The lab's command line."""

import errno
import math
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
