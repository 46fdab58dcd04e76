# SPDX-License-Identifier: Apache-2.0
"""From batches of instructions to ratios, and the guest in which they are counted."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.errors import BenchError
from bench.limits import limit
from bench.plans import PLANS, Comparison
from bench.record import Counted
from driver.lab import Guest, meaning

_BATCHES = "batches.jsonl"


def measure(plan: str, folder: Path, timeout: float) -> list[Counted]:
    """Count what ``plan`` says in a guest whose clock counts instructions, in at most ``timeout`` seconds.

    Raises BenchError.
    """
    return _measure(plan, folder, timeout)


def measure_again(plan: str, doubtful: Iterable[Counted], folder: Path, timeout: float) -> list[Counted]:
    """Count the operations of ``doubtful``, which are of ``plan``, in another guest; as measure()."""
    wanted = {(one.comparison, one.operation) for one in doubtful}
    chosen = []
    for comparison in PLANS[plan]:
        operations = tuple(each for each in comparison.operations if (comparison.name, each) in wanted)
        if operations:
            chosen.append(replace(comparison, operations=operations, of=""))
    return _measure(plan, folder, timeout, chosen)


def joined(first: Counted, second: Counted) -> Counted:
    """Return one figure of both's rounds."""
    counts, bases = first.rounds + second.rounds, first.bases + second.bases
    ratio = median(count / base for count, base in zip(counts, bases, strict=True))
    return replace(first, ratio=ratio, rounds=counts, bases=bases)


def _measure(plan: str, folder: Path, timeout: float, chosen: Sequence[Comparison] = ()) -> list[Counted]:
    """Measure all of a plan, or what is ``chosen`` of it."""
    folder.mkdir(parents=True, exist_ok=True)
    batches = folder / _BATCHES
    batches.unlink(missing_ok=True)
    words = command(plan, f"/mnt/share/{batches.name}")
    words += [f"{one.name}:{each}" for one in chosen for each in one.operations]
    status = Guest(icount=True, timeout=timeout).run(words, share=folder)
    if status:
        raise BenchError(f"instructions were not counted: {meaning(status)}")
    try:
        return figures(chosen or PLANS[plan], batches.read_text().splitlines())
    except ValueError as error:
        raise BenchError(f"instructions were not counted: {error}") from error


def commands(plan: str, folder: Path) -> dict[str, str]:
    """Return how ``plan`` was counted into ``folder``: the guest's command, and in it each comparison's."""
    found = {"counted": f"tests/lab/lab run --icount --bare -- {shlex.join(command(plan, 'FILE'))}"}
    for line in map(json.loads, (folder / _BATCHES).read_text().splitlines()):
        if "command" in line:
            found[f"counted, {line['comparison']}"] = line["command"]
    return found


def command(plan: str, file: str) -> list[str]:
    """Return the command that counts in the guest; the operations that are wanted may follow, not to count all."""
    return ["python3", "-m", "bench.inside", plan, file]


def figures(comparisons: Iterable[Comparison], lines: Iterable[str]) -> list[Counted]:
    """Return the figures of the batches that opcost printed as ``lines``.

    A ratio is the median over the rounds of the ratios within a round, in which all paths met the same machine.
    Raises ValueError where a batch is missing.
    """
    batches: dict[tuple[str, str, str], dict[int, float]] = {}
    for batch in map(json.loads, lines):
        if "command" in batch:
            continue
        key = (batch["comparison"], batch["operation"], batch["path"])
        batches.setdefault(key, {})[batch["round"]] = batch["instructions"]
    found = []
    for comparison in comparisons:
        wanted = range(1, comparison.rounds + 1)
        measured = comparison.of or comparison.name
        for operation in comparison.operations:
            base = batches.get((measured, operation, comparison.paths[0]), {})
            for path in comparison.paths:
                rounds = batches.get((measured, operation, path), {})
                if set(rounds) != set(wanted) or set(base) != set(wanted):
                    raise ValueError(f"{operation} on {path} was not measured in each of {comparison.rounds} rounds")
                ratio = median(rounds[number] / base[number] for number in wanted)
                bound = limit(operation, path, comparison.paths[0])
                counts, bases = (tuple(of[number] for number in wanted) for of in (rounds, base))
                found.append(Counted(comparison.name, operation, path, ratio, bound, counts, bases))
    return found
