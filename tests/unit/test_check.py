# SPDX-License-Identifier: Apache-2.0
"""make check, where its tools cannot be had."""

import subprocess

import pytest

from check import __main__ as check
from lab.graftlab.errors import LabError


def test_without_its_tools_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise LabError("the lab makes root file systems, so it runs as root", "Run it with sudo.")

    monkeypatch.setattr("subprocess.run", lambda *words, **_: subprocess.CompletedProcess(words, 0))
    monkeypatch.setattr(check, "Toolbox", refuse)
    assert check.main() == 1
    assert capsys.readouterr().out == (
        "check: the lab makes root file systems, so it runs as root\ncheck: Run it with sudo.\n"
    )
