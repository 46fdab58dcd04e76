# SPDX-License-Identifier: Apache-2.0
"""Measuring how cost grows, from the host."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.errors import BenchError
from bench.record import Amount, Curve, Missing
from bench.scale.plans import GROWTHS, MEMORIES, MEMORY
from bench.scale.results import amounts, counted_curves
from bench.scale.times import timed_curves
from driver.lab import BUILD, CHECKOUT, Guest, meaning
from driver.process import call

Found = tuple[list[Curve], list[Amount], list[Missing], dict[str, str]]

_QUICK = ("quick",)
_WHOLE = ("tables", "namespaces", "sockets")
_SECONDS = 900.0
_PYTHON = CHECKOUT / ".venv" / "bin" / "python"
_PYTHON_PATH = (".", "tests", "build/stubs", "clients/python")
_STUBS = BUILD / "stubs"
_SERVICE = ("-m", "bench.scale.service")


def measure(folder: Path, *, quick: bool) -> Found:
    """Return the curves, the amounts of kernel memory, what is missing, and the command of each part.

    ``folder`` receives what the guests write. ``quick`` measures two curves at two sizes, and nothing else.
    Raises BenchError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    curves: list[Curve] = []
    memory: list[Amount] = []
    missing: list[Missing] = []
    commands: dict[str, str] = {}
    plans = _QUICK if quick else _WHOLE
    steps = len(plans) if quick else len(plans) + 2
    for number, plan in enumerate(plans, start=1):
        _say(f"step {number} of {steps}: counting instructions, plan {plan}")
        lines, commands[f"scale, {plan}"] = _guest(plan, folder)
        curves += _read(plan, lines)
    if not quick:
        _say(f"step {steps - 1} of {steps}: kernel memory")
        lines, commands["scale, memory"] = _guest(MEMORY, folder)
        memory += _amounts(lines)
        _say(f"step {steps} of {steps}: graftd's times")
        try:
            lines, commands["scale, graftd"] = _service(folder)
            curves += timed_curves(lines)
        except ValueError as error:
            missing.append(Missing("scale-service", "graftd", f"{error}."))
    return curves, memory, missing, commands


def _say(text: str) -> None:
    print(f"scale: {text}", flush=True)


def _guest(plan: str, folder: Path) -> tuple[list[str], str]:
    """Run ``plan`` in a guest of its own; return what it wrote, and the command.

    Memory is measured under the instruction clock as well: with one processor less of it is on its way.
    """
    begun = time.monotonic()
    file = folder / f"{plan}.jsonl"
    file.unlink(missing_ok=True)
    command = ["python3", "-m", "bench.scale.inside", plan, f"/mnt/share/{file.name}"]
    status = Guest(icount=True, timeout=_SECONDS).run(command, share=folder)
    if status:
        raise BenchError(f"the scale curves' plan {plan} was not measured: {meaning(status)}")
    _say(f"plan {plan} took {time.monotonic() - begun:.0f} s")
    return file.read_text().splitlines(), f"tests/lab/lab run --icount --bare -- {' '.join(command)}"


def _read(plan: str, lines: list[str]) -> list[Curve]:
    try:
        return counted_curves(GROWTHS[plan], lines)
    except ValueError as error:
        raise BenchError(f"the scale curves' plan {plan} was not measured: {error}") from error


def _amounts(lines: list[str]) -> list[Amount]:
    try:
        return amounts(MEMORIES, lines)
    except ValueError as error:
        raise BenchError(f"kernel memory was not measured: {error}") from error


def _service(folder: Path) -> tuple[list[str], str]:
    """Time graftd on this machine.

    Raises ValueError, with a sentence, where what that needs is missing; BenchError where it fails.
    """
    for needed in (_PYTHON, _STUBS):
        if not needed.exists():
            raise ValueError(f"{needed.relative_to(CHECKOUT)} is missing, which 'make prepare' makes")
    file = folder / "service.jsonl"
    file.unlink(missing_ok=True)
    path = os.pathsep.join(str(CHECKOUT / name) for name in _PYTHON_PATH)
    # What is installed is compiled, so what is measured is as well.
    environment = ["env", "-u", "PYTHONDONTWRITEBYTECODE", f"PYTHONPATH={path}"]
    environment.append(f"PYTHONPYCACHEPREFIX={BUILD / 'cache' / 'python'}")
    status = call([*environment, str(_PYTHON), *_SERVICE, str(file)], cwd=CHECKOUT)
    if status:
        raise BenchError(f"graftd was not timed: python -m bench.scale.service exited with status {status}")
    return file.read_text().splitlines(), f".venv/bin/python {' '.join(_SERVICE)} FILE"
