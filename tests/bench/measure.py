# SPDX-License-Identifier: Apache-2.0
"""Measuring a plan, from the host."""

from __future__ import annotations

from pathlib import Path

from bench.figures import Figure, figures
from bench.plans import PLANS
from driver.lab import Guest, meaning


class MeasureError(Exception):
    """The guest did not measure what it was to; the text is a sentence."""


def measure(plan: str, folder: Path, timeout: float, *, guests: int = 1) -> list[Figure]:
    """Measure ``plan`` in a guest whose clock counts instructions, in at most ``timeout`` seconds.

    While a limit is broken, that is done in up to so many guests, and the rounds of all of them count.
    Raises MeasureError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counted: list[list[str]] = []
    while True:
        counted.append(_count(plan, folder / f"batches-{len(counted) + 1}.jsonl", timeout))
        try:
            found = figures(PLANS[plan], *counted)
        except ValueError as error:
            raise MeasureError(f"instructions were not counted: {error}") from error
        broken = [figure for figure in found if not figure.passed]
        if not broken or len(counted) == guests:
            return found
        print(f"{broken[0].sentence()}: another guest counts as well", flush=True)


def _count(plan: str, batches: Path, timeout: float) -> list[str]:
    batches.unlink(missing_ok=True)
    guest = Guest(icount=True, timeout=timeout)
    status = guest.run(["python3", "-m", "bench.inside", plan, f"/mnt/share/{batches.name}"], share=batches.parent)
    if status:
        raise MeasureError(f"instructions were not counted: {meaning(status)}")
    return batches.read_text().splitlines()
