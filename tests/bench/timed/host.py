# SPDX-License-Identifier: Apache-2.0
"""Timing on the host's side: starts the guest, and makes its lines what the report holds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.record import Missing, Timed
from bench.timed.plans import PLANS, Figure, Measure, Plan
from driver.lab import Guest, meaning

_FULL_SECONDS = 1800.0
_QUICK_SECONDS = 300.0


def measure(folder: Path, *, quick: bool) -> tuple[list[Timed], list[Missing], dict[str, str]]:
    """Time the programs in a guest of one processor; return what was found, what is missing, and the guest's command.

    The guest's lines stay in ``folder``. Raises BenchError.
    """
    plan = "quick" if quick else "full"
    folder.mkdir(parents=True, exist_ok=True)
    lines = folder / "timed.jsonl"
    lines.unlink(missing_ok=True)
    command = ["python3", "-m", "bench.timed.inside", plan, f"/mnt/share/{lines.name}"]
    guest = Guest(timed=True, timeout=_QUICK_SECONDS if quick else _FULL_SECONDS)
    status = guest.run(command, share=folder)
    if status:
        raise BenchError(f"the programs were not timed: {meaning(status)}")
    timed, missing = read(PLANS[plan], lines.read_text(encoding="utf-8").splitlines())
    return timed, missing, {"timed": f"tests/lab/lab run --bare --cpus 1 -- {' '.join(command)}"}


def read(plan: Plan, lines: Iterable[str]) -> tuple[list[Timed], list[Missing]]:
    """Return what a guest's lines say, in the plan's order.

    A path that failed in one round is missing, whatever it did in the others. Raises BenchError where there is
    neither a figure nor a reason for one of a figure's paths, or not one for each round.
    """
    entries = [json.loads(line) for line in lines]
    timed: list[Timed] = []
    missing: list[Missing] = []
    for each in plan.measures:
        for figure in each.figures:
            of_figure = [entry for entry in entries if entry["key"] == figure.key]
            reasons = {entry["path"]: entry["missing"] for entry in of_figure if "missing" in entry}
            missing += [Missing(figure.key, path, reason) for path, reason in reasons.items()]
            runs = [entry for entry in of_figure if "result" in entry and entry["path"] not in reasons]
            absent = sorted(set(each.paths(plan)) - {entry["path"] for entry in of_figure})
            if absent:
                raise BenchError(f"{figure.key}: there is neither a figure nor a reason for {', '.join(absent)}")
            timed += _of_figure(plan, each, figure, runs)
    return timed, missing


def _of_figure(plan: Plan, each: Measure, figure: Figure, runs: list[dict[str, Any]]) -> list[Timed]:
    by_path: dict[str, list[dict[str, Any]]] = {}
    for run in sorted(runs, key=lambda run: int(run["round"])):
        by_path.setdefault(run["path"], []).append(run)
    found = []
    for path, of_path in by_path.items():
        rounds = [run["round"] for run in of_path]
        if rounds != list(range(1, plan.rounds + 1)):
            raise BenchError(f"{figure.key}, {path}: there are rounds {rounds}, not each of 1 to {plan.rounds} once")
        results = tuple(float(run["result"]) for run in of_path)
        base = () if path == each.base else (float(run["result"]) for run in by_path[each.base])
        found.append(
            Timed(
                key=figure.key,
                title=figure.title,
                path=path,
                unit=figure.unit,
                more_is_better=figure.more_is_better,
                server=of_path[0]["server"],
                client=of_path[0]["client"],
                runs=results,
                ratios=tuple(_ratio(figure, result, other) for other, result in zip(base, results, strict=False)),
            )
        )
    return found


def _ratio(figure: Figure, result: float, base: float) -> float:
    return result / base if figure.more_is_better else base / result
