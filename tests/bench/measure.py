# SPDX-License-Identifier: Apache-2.0
"""Measuring a plan, from the host."""

from __future__ import annotations

from pathlib import Path

from bench.figures import Figure, figures
from bench.plans import PLANS
from driver.lab import Guest, meaning


class MeasureError(Exception):
    """The guest did not measure what it was to; the text is a sentence."""


def measure(plan: str, folder: Path, timeout: float) -> list[Figure]:
    """Measure ``plan`` in a guest whose clock counts instructions, in at most ``timeout`` seconds.

    Raises MeasureError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    batches = folder / "batches.jsonl"
    batches.unlink(missing_ok=True)
    guest = Guest(icount=True, timeout=timeout)
    status = guest.run(["python3", "-m", "bench.inside", plan, f"/mnt/share/{batches.name}"], share=folder)
    if status:
        raise MeasureError(f"instructions were not counted: {meaning(status)}")
    try:
        return figures(PLANS[plan], batches.read_text().splitlines())
    except ValueError as error:
        raise MeasureError(f"instructions were not counted: {error}") from error
