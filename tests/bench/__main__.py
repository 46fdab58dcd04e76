# SPDX-License-Identifier: Apache-2.0
"""make bench, make bench-quick, and the gate of make test.

What was measured goes to build/bench: report.json, a page to read, and its plots. The last line counts the limits.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench import counted, gate
from bench.errors import BenchError
from bench.machine import machine
from bench.record import Counted, Curve, Report, Timed
from driver.lab import BUILD, CHECKOUT
from driver.table import table

_FOLDER = BUILD / "bench"
_SECONDS = 1800.0


@dataclass(frozen=True)
class Verdict:
    """What was held against something, and a sentence for each that fell short."""

    bound: int
    faults: Sequence[str]

    def print(self) -> int:
        """Print it; return the exit status."""
        print()
        for fault in self.faults:
            print(f"bench: {fault}")
        print(f"{self.bound - len(self.faults)} passed, {len(self.faults)} failed")
        return 1 if self.faults else 0


def main() -> int:
    """Do what the command line says."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python3 -m bench", description=__doc__)
    parser.add_argument("what", choices=_VERBS, help="'gate' is part of 'make test'; 'record' writes what it holds")
    try:
        return _VERBS[parser.parse_args().what]()
    except BenchError as error:
        print(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        print("bench: interrupted; its guests are ended")
        return 128 + signal.SIGINT


def _gate() -> int:
    """Fail where a grafted path is dearer than its limit, or than it was when it was recorded."""
    recorded = gate.load()
    found = _counted("gate", BUILD / "gate", lambda one: bool(gate.faults_of(one, recorded)))
    _print_counted(found)
    for sentence in gate.cheaper(found, recorded):
        print(f"bench: {sentence}")
    faults = gate.faults(found, recorded)
    if faults:
        print(f"\nThe ratios were recorded on {recorded.kernel}; this is {machine().kernel}.")
    return Verdict(sum(1 for one in found if one.limit), faults).print()


def _counted(plan: str, folder: Path, fails: Callable[[Counted], bool]) -> list[Counted]:
    """Count; what fails by its first boot has the rounds of another one as well.

    One of many figures is taken too far by chance, and by the boot: those of a bind differ by two percent.
    """
    found = counted.measure(plan, folder, _SECONDS)
    doubtful = [one for one in found if fails(one)]
    if not doubtful:
        return found
    print(f"once more: {', '.join(f'{one.operation} on {one.path}' for one in doubtful)}", flush=True)
    return _with(found, counted.measure_again(plan, doubtful, folder / "again", _SECONDS))


def _with(found: Sequence[Counted], again: Sequence[Counted]) -> list[Counted]:
    """Return the figures of ``found``, those that were counted again with the rounds of both."""
    second = {(one.comparison, one.operation, one.path): one for one in again}
    merged = []
    for one in found:
        other = second.get((one.comparison, one.operation, one.path))
        merged.append(counted.joined(one, other) if other else one)
    return merged


def _record() -> int:
    """Write recorded.json anew, unless a limit is not held."""
    found = _counted("gate", BUILD / "gate", lambda one: not one.passed)
    _print_counted(found)
    broken = [one.sentence() for one in found if not one.passed]
    if broken:
        raise BenchError(f"nothing is recorded, since a limit is not held: {'; '.join(broken)}")
    gate.save(machine().kernel, found)
    print(f"\nWritten to {gate.FILE.relative_to(CHECKOUT)}.")
    return 0


def _bench() -> int:
    return _report("make bench", quick=False)


def _quick() -> int:
    return _report("make bench-quick", quick=True)


_VERBS: dict[str, Callable[[], int]] = {"bench": _bench, "quick": _quick, "gate": _gate, "record": _record}


def _report(command: str, *, quick: bool) -> int:
    """Measure every part, and write what there is to read."""
    from bench import page, scale, timed

    began, clock = datetime.now(UTC), time.monotonic()
    for old in (*_FOLDER.glob("*.png"), _FOLDER / "report.json", _FOLDER / page.PAGE):
        old.unlink(missing_ok=True)
    where = machine()
    plan = "quick" if quick else "bench"
    _heading("instructions of each operation", clock)
    figures = _counted(plan, _FOLDER / "counted", lambda one: not one.passed)
    _heading("how cost grows", clock)
    curves, amounts, short, commands = scale.measure(_FOLDER / "scale", quick=quick)
    _heading("programs in real time, one after the other", clock)
    times, missing, timed_commands = timed.measure(_FOLDER / "timed", quick=quick)
    report = Report(
        command=command,
        began=began.isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - clock, 1),
        machine=where,
        commands={**counted.commands(plan, _FOLDER / "counted"), **commands, **timed_commands},
        counted=tuple(figures),
        timed=tuple(times),
        curves=tuple(curves),
        amounts=tuple(amounts),
        missing=(*short, *missing),
    )
    (_FOLDER / "report.json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
    pages = page.draw(report, _FOLDER)
    _print_counted(figures)
    _print_curves(curves)
    _print_timed(times)
    print("\nA ratio, or a speed, is the median of the rounds' own, not the quotient of two medians.")
    for one in report.missing:
        print(f"not run: {one.key} on {one.path}: {one.reason}")
    print(f"\nAfter {report.seconds:.0f} s: {_named(_FOLDER / 'report.json')}; the page to read is {_named(pages[0])}.")
    held = report.limited
    return Verdict(len(held), [one.sentence() for one in held if not one.passed]).print()


def _named(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def _heading(text: str, clock: float) -> None:
    print(f"\n=== {text} ({time.monotonic() - clock:.0f} s)", flush=True)


def _print_counted(found: Sequence[Counted]) -> None:
    """Print a table for each comparison."""
    for name in dict.fromkeys(one.comparison for one in found):
        rows = [
            (
                one.operation,
                one.path,
                f"{one.instructions:,.0f}",
                f"{one.ratio:.4f}",
                f"{one.limit}" if one.limit else "",
                "" if one.passed else "too high",
            )
            for one in found
            if one.comparison == name
        ]
        print(f"\n{table((name, 'path', 'instructions', 'ratio', 'at most', ''), rows)}")


def _print_curves(curves: Sequence[Curve]) -> None:
    for one in curves:
        rows = [(f"{point.size:,}", f"{point.value:,.4g}") for point in one.points]
        print(f"\n{one.title}, {one.path}\n{table((one.axis, one.unit), rows)}")


def _print_timed(times: Sequence[Timed]) -> None:
    for key in dict.fromkeys(one.key for one in times):
        found = [one for one in times if one.key == key]
        rows = [
            (one.path, f"{one.median:,.4g}", f"{min(one.runs):,.4g}", f"{max(one.runs):,.4g}", _ratio(one))
            for one in found
        ]
        print(f"\n{found[0].title}\n{table(('path', f'median {found[0].unit}', 'least', 'most', 'speed'), rows)}")


def _ratio(one: Timed) -> str:
    return f"{one.ratio:.3f}" if one.ratio is not None else ""


if __name__ == "__main__":
    sys.exit(main())
