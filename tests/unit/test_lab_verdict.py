# SPDX-License-Identifier: Apache-2.0
"""What the lab makes of a guest's end: which exit status, and whether there is another try."""

import pytest

from lab.graftlab.guest import Outcome
from lab.graftlab.verdict import EXIT_LAB, EXIT_RESET, EXIT_SPLAT, EXIT_TIMEOUT, Retry, Verdict, judge

OURS = ["[9] BUG: kernel NULL pointer dereference, address: 08", "[9] RIP: 0010:graft_bind+0x5/0x90 [graft]"]
NOT_OURS = ["[9] BUG: kernel NULL pointer dereference, address: 08", "[9] RIP: 0010:inet_bind+0x5/0x90"]
INT3 = ["[9] int3: 0000 [#1] SMP NOPTI", "[9] RIP: 0010:schedule+0x5/0x90"]


def _judge(**changes: object) -> Verdict:
    outcome = Outcome(console=["[1] Linux version 6.12"], up=True, started=True, status=0, ended=True)
    for name, value in changes.items():
        assert hasattr(outcome, name)
        setattr(outcome, name, value)
    return judge(outcome, timeout=60)


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_a_silent_console_passes_the_commands_status_on(status: int) -> None:
    assert _judge(status=status) == Verdict(status)


@pytest.mark.parametrize("console", [OURS, NOT_OURS])
@pytest.mark.parametrize("status", [0, 1, None])
def test_a_splat_outweighs_the_status_and_is_not_retried(console: list[str], status: int | None) -> None:
    verdict = _judge(console=console, status=status)
    assert verdict.status == EXIT_SPLAT
    assert verdict.retry is Retry.NO
    assert verdict.console == tuple(console)


def test_a_splat_outweighs_a_timeout() -> None:
    assert _judge(console=OURS, status=None, timed_out=True).status == EXIT_SPLAT


def test_an_int3_of_the_emulator_is_retried() -> None:
    assert _judge(console=INT3, status=None).retry is Retry.INT3


def test_an_int3_with_our_code_is_not_retried() -> None:
    verdict = _judge(console=[*INT3, "[9]  graft_poll+0x1/0x2 [graft]"], status=None)
    assert (verdict.status, verdict.retry) == (EXIT_SPLAT, Retry.NO)


@pytest.mark.parametrize("console", [["[1] Linux version 6.12"], NOT_OURS])
def test_a_guest_that_never_came_up_is_a_failed_boot(console: list[str]) -> None:
    verdict = _judge(console=console, up=False, started=False, status=None, ended=False)
    assert (verdict.status, verdict.retry) == (EXIT_LAB, Retry.BOOT)


def test_a_boot_that_our_code_broke_is_not_retried() -> None:
    verdict = _judge(console=OURS, up=False, started=False, status=None, ended=False)
    assert (verdict.status, verdict.retry) == (EXIT_SPLAT, Retry.NO)


def test_a_reset_has_a_status_of_its_own_and_is_no_failed_boot() -> None:
    for up in (True, False):
        verdict = _judge(reset=True, up=up, started=up, status=None, ended=False)
        assert (verdict.status, verdict.retry) == (EXIT_RESET, Retry.NO)
    assert _judge(reset=True, status=None, ended=False, console=OURS).status == EXIT_SPLAT


def test_a_timeout_shows_the_consoles_end() -> None:
    verdict = _judge(console=[f"[1] line {number}" for number in range(500)], status=None, timed_out=True)
    assert verdict.status == EXIT_TIMEOUT
    assert "60 s" in verdict.sentence
    assert verdict.console[-1] == "[1] line 499"
    assert len(verdict.console) == 80


def test_a_guest_that_could_not_be_set_up_says_why() -> None:
    verdict = _judge(failure="the kernel refused graft.ko (modprobe graft)", status=1)
    assert verdict.status == EXIT_LAB
    assert "refused graft.ko" in verdict.sentence


def test_a_guest_that_ends_before_its_command_does_is_no_success() -> None:
    assert _judge(status=None, ended=False).status == EXIT_LAB


def test_a_guest_that_does_not_tidy_up_is_no_success() -> None:
    assert _judge(status=0, ended=False, timed_out=True).status == EXIT_TIMEOUT


@pytest.mark.parametrize("status", [0, 1])
def test_a_guest_that_dies_while_it_tidies_up_is_no_success(status: int) -> None:
    verdict = _judge(status=status, ended=False)
    assert verdict.status == EXIT_LAB
    assert verdict.sentence == (f"the command ended with {status}, but the guest died before it had tidied up after it")
    assert verdict.console == ("[1] Linux version 6.12",)
