# SPDX-License-Identifier: Apache-2.0
"""From what became of a guest to what the lab does about it: an exit status, or one more try."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .guest import Outcome
from .splat import find_splat

EXIT_SPLAT = 99
EXIT_RESET = 123
EXIT_TIMEOUT = 124
EXIT_LAB = 125
_TAIL_LINES = 80


class Retry(Enum):
    """Why a guest is started once more; the value says it to a person."""

    NO = ""
    BOOT = "the guest ended or stood still before its init ran: a failed boot"
    INT3 = "an emulated processor met a breakpoint while the kernel patched itself, with no code of ours involved"


@dataclass(frozen=True)
class Verdict:
    """The exit status, the part of the console that explains it, a sentence on it, and whether to try again."""

    status: int
    sentence: str = ""
    console: tuple[str, ...] = ()
    retry: Retry = Retry.NO


def judge(outcome: Outcome, *, timeout: float) -> Verdict:
    """Return the verdict on a guest. A splat in which code of ours takes part is never a reason for another try."""
    splat = find_splat(outcome.console)
    if splat and splat.is_emulators_fault:
        return Verdict(EXIT_SPLAT, f"the kernel reported: {splat.title}", tuple(splat.shown()), Retry.INT3)
    if not outcome.up and not outcome.reset and not (splat and splat.is_ours):
        return Verdict(EXIT_LAB, Retry.BOOT.value, _tail(outcome), Retry.BOOT)
    if splat:
        more = f" (the first of {splat.count} such lines)" if splat.count > 1 else ""
        return Verdict(EXIT_SPLAT, f"the kernel reported: {splat.title}{more}", tuple(splat.shown()))
    if outcome.failure:
        return Verdict(EXIT_LAB, f"the guest could not be set up: {outcome.failure}", _tail(outcome))
    if outcome.reset:
        return Verdict(EXIT_RESET, "the guest was reset by SIGUSR1")
    if outcome.timed_out:
        return Verdict(EXIT_TIMEOUT, _late(outcome, timeout), _tail(outcome))
    if outcome.status is None:
        return Verdict(EXIT_LAB, "the guest ended by itself before its command did", _tail(outcome))
    if not outcome.ended:
        sentence = f"the command ended with {outcome.status}, but the guest died before it had tidied up after it"
        return Verdict(EXIT_LAB, sentence, _tail(outcome))
    return Verdict(outcome.status)


def _late(outcome: Outcome, timeout: float) -> str:
    if outcome.status is not None:
        return f"the command ended with {outcome.status}, but the guest did not tidy up after it"
    if not outcome.started:
        return "the guest's init did not come to the command"
    return f"the command was not done after {timeout:g} s; above is the end of the guest's console"


def _tail(outcome: Outcome) -> tuple[str, ...]:
    lines = [line for line in outcome.console if line]
    return tuple(lines[-_TAIL_LINES:])
