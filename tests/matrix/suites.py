# SPDX-License-Identifier: Apache-2.0
"""The suites: each runs something, writes its log, and returns its counts."""

from __future__ import annotations

import filecmp
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from driver.lab import BUILD, CHECKOUT, Guest, meaning
from driver.process import call
from matrix.counts import Counts, durations, failure, from_closing_line, from_go, from_junit
from matrix.resets import resets

FOLDER = BUILD / "test"

_REPORT = "junit.xml"
_GUEST_TESTS = "/usr/src/graft/tests/guest"
_MACHINE_TESTS = "/usr/src/graft/tests/packages/machine"
_SERVICE_TESTS = "/usr/src/graft/tests/service"
_CONTAINER_TESTS = "/usr/src/graft/tests/containers"
# Of tests/service, what could differ from one release's libraries and kernel to another's.
_ON_EVERY_RELEASE = ("boot", "sandbox", "tables", "traffic")
# What is tested of packages, boot by boot.
_ALL_OF_PACKAGES = (
    ("without_module", "first_boot", "upgrade", "later_kernel"),
    ("second_boot", "removal"),
)
# Of tests/guest, what is about words that programs of ours take and print; the debug kernel looks at the kernel.
_OF_USERLAND = ("example", "ip_graft", "kernel_client", "preload_names")
# How often each race is run: less often where the module's code is another suite's, or the kernel does the looking.
_RACES = 150
_FEWER_RACES = 50
# How many containers are started and killed.
_CHURN = 20
_LONG_CHURN = 200
_LONG_FORMS = tuple(
    f"{_GUEST_TESTS}/test_{name}.py" for name in ("stress", "police_race", "police_abort", "police_exhaust")
)
_LONG = ("GRAFT_STRESS_CYCLES=1000000", "GRAFT_RACE_LOOPS=5000")

Run = Callable[[Path, IO[str]], Counts]


@dataclass(frozen=True)
class Suite:
    """A part of the tests. ``run`` takes a folder of the suite's own and its log.

    One that is ``alone`` measures time, so nothing runs beside it. One that is not part of ``all`` is run only where
    it is asked for.
    """

    name: str
    title: str
    run: Run
    alone: bool = False
    part_of_all: bool = True


def host_command(*words: str) -> Run:
    """Return a run of a command on the host that closes with its counts."""

    def run(folder: Path, log: IO[str]) -> Counts:
        del folder
        status = _call(words, log)
        counts = _counted(lambda: from_closing_line(Path(log.name).read_text(errors="replace")))
        return counts if counts.failed or not status else counts + failure(f"it exited with status {status}")

    return run


def unit_tests(folder: Path, log: IO[str]) -> Counts:
    """Run the tests that need no guest."""
    return _pytest(folder, log, "-q", "tests/unit")


def unit_tests_of(release: str) -> Run:
    """Return a run of the unit tests by the Python and the libraries of a Debian release."""

    def run(folder: Path, log: IO[str]) -> Counts:
        status = _call([sys.executable, "-m", "matrix.release", release, str(folder)], log)
        return _tested(folder / _REPORT, status, f"pytest exited with status {status}")

    return run


def integration_tests(folder: Path, log: IO[str]) -> Counts:
    """Run the tests of graftd as a process, with the kernel played."""
    return _pytest(folder, log, "-v", "tests/integration")


def go_tests(folder: Path, log: IO[str]) -> Counts:
    """Run the tests of the Go programs."""
    report = folder / "go.json"
    status = _call([sys.executable, "-m", "matrix.go", str(report)], log)
    counts = _counted(lambda: from_go(report))
    return counts if counts.failed or not status else counts + failure(f"go test exited with status {status}")


def guest_tests(guest: Guest, races: int = _RACES, left_out: Sequence[str] = ()) -> Run:
    """Return a run of the tests of tests/guest in such a guest; each race is run ``races`` times.

    ``left_out``: these files are not run.
    """

    def run(folder: Path, log: IO[str]) -> Counts:
        tests = [_GUEST_TESTS, *(f"--ignore={_GUEST_TESTS}/test_{name}.py" for name in left_out)]
        return _guest_pytest(guest, folder, log, tests, environment=[f"GRAFT_RACE_LOOPS={races}"])

    return run


def service_tests(guest: Guest, names: Sequence[str] = ()) -> Run:
    """Return a run of the tests of tests/service in such a guest; ``names``: of these files alone."""

    def run(folder: Path, log: IO[str]) -> Counts:
        tests = [f"{_SERVICE_TESTS}/test_{name}.py" for name in names] or [_SERVICE_TESTS]
        return _guest_pytest(guest, folder, log, tests)

    return run


def container_tests(guest: Guest, names: Sequence[str] = (), *, churn: int = _CHURN) -> Run:
    """Return a run of the tests of tests/containers in such a guest; ``names``: of these files alone.

    ``churn`` is how many containers are started and killed at random.
    """

    def run(folder: Path, log: IO[str]) -> Counts:
        tests = [f"{_CONTAINER_TESTS}/test_{name}.py" for name in names] or [_CONTAINER_TESTS]
        return _guest_pytest(guest, folder, log, tests, environment=[f"GRAFT_CHURN={churn}"])

    return run


def packages(guest: Guest, *boots: Sequence[str], older: bool = False) -> Run:
    """Return a run of what the deb packages do on a machine that is booted once for each of these names of tests.

    ``older``: the machine begins with older packages.
    """

    def run(folder: Path, log: IO[str]) -> Counts:
        builds = [["--into", str(folder), "deb"]]
        builds += [["--into", str(folder / "older"), "--older", "deb"]] if older else []
        if any(_packages(words, log) for words in builds):
            return failure("the packages cannot be built")
        counts, disk = Counts(), folder / "disk"
        try:
            for number, names in enumerate(boots, 1):
                report = f"boot-{number}.xml"
                tests = [f"{_MACHINE_TESTS}/test_{name}.py" for name in names]
                command = ["python3", "-m", "pytest", "-v", f"--junitxml=/mnt/share/{report}", *tests]
                status = guest.run(command, share=folder, machine=disk, log=log)
                counts += _tested(folder / report, status, meaning(status))
        finally:
            disk.unlink(missing_ok=True)
        return counts

    return run


def package_builds(folder: Path, log: IO[str]) -> Counts:
    """Build every package twice, with the linters' consent and byte by byte alike, and take the rpms through a root."""
    first, second = folder / "first", folder / "second"
    status = _packages(["--into", str(first), "--test"], log)
    counts = _tested(first / "rpm.xml", status, "the packages are not as they should be")
    if _packages(["--into", str(second)], log):
        return counts + failure("the packages cannot be built a second time")
    built = [path for path in first.iterdir() if path.suffix in {".deb", ".rpm"}]
    differ = [path.name for path in built if not _is_in(second, path)]
    if differ or not built:
        return counts + failure(f"of {len(built)} packages a second build makes others: {', '.join(differ)}")
    return counts + Counts(passed=1)


def _packages(words: Sequence[str], log: IO[str]) -> int:
    return _call([sys.executable, "-m", "packages", *words], log)


def _is_in(folder: Path, path: Path) -> bool:
    other = folder / path.name
    return other.exists() and filecmp.cmp(path, other, shallow=False)


def soak(guest: Guest) -> Run:
    """Return a run of the long forms of the stress tests, which also prints how long each took."""

    def run(folder: Path, log: IO[str]) -> Counts:
        counts = _guest_pytest(guest, folder, log, _LONG_FORMS, environment=_LONG)
        for name, seconds in durations(folder / _REPORT):
            print(f"soak: {name}: {seconds:.0f} s with {', '.join(_LONG)}", flush=True)
        return counts

    return run


def soak_integration(folder: Path, log: IO[str]) -> Counts:
    """Kill graftd five hundred times, and send a thousand generated requests to each method."""
    tests = [f"tests/integration/test_{name}.py" for name in ("crash", "fuzz")]
    return _pytest(folder, log, "-v", "-s", *tests, environment=["GRAFT_CRASHES=500", "GRAFT_FUZZ=1000"])


def soak_service(folder: Path, log: IO[str]) -> Counts:
    """Kill graftd fifty times in a guest."""
    guest = Guest(service=True, timeout=3600.0)
    return _guest_pytest(guest, folder, log, [f"{_SERVICE_TESTS}/test_crash.py"], environment=["GRAFT_CRASHES=50"])


def _pytest(folder: Path, log: IO[str], *arguments: str, environment: Sequence[str] = ()) -> Counts:
    report = folder / _REPORT
    status = _call(["env", *environment, str(CHECKOUT / ".venv/bin/pytest"), *arguments, f"--junitxml={report}"], log)
    return _tested(report, status, f"pytest exited with status {status}")


def _guest_pytest(
    guest: Guest, folder: Path, log: IO[str], tests: Sequence[str], *, environment: Sequence[str] = ()
) -> Counts:
    command = [*environment, "python3", "-m", "pytest", "-v", f"--junitxml=/mnt/share/{_REPORT}", *tests]
    status = guest.run(command, share=folder, log=log)
    return _tested(folder / _REPORT, status, meaning(status))


def demo(folder: Path, log: IO[str]) -> Counts:
    """Run the demo as a test."""
    del folder
    if status := _call([sys.executable, "-m", "demo"], log):
        return failure(f"make demo exited with status {status}")
    return Counts(passed=1)


def _tested(report: Path, status: int, trouble: str) -> Counts:
    """Return a report's counts. A failure that none of its tests accounts for counts as well."""
    if not report.exists():
        return failure(f"it ended without a report of its tests: {trouble}")
    counts = _counted(lambda: from_junit(report))
    # Status 1 is pytest's own for a test that failed.
    return counts if not status or (status == 1 and counts.failed) else counts + failure(trouble)


def _counted(count: Callable[[], Counts]) -> Counts:
    try:
        return count()
    except ValueError as error:
        return failure(str(error))


def _call(words: Sequence[str], log: IO[str]) -> int:
    log.flush()
    return call(words, log=log, cwd=CHECKOUT)


# In the order in which they begin: after the quickest to fail the longest, so that none of these runs on alone.
SUITES = {
    suite.name: suite
    for suite in (
        Suite("check", "formatters, linters, types", host_command(sys.executable, "-m", "check")),
        Suite("unit", "what needs no kernel module", unit_tests),
        Suite("packages", "the deb packages on a machine of Debian 13, all they go through",
              packages(Guest(timeout=3000.0), *_ALL_OF_PACKAGES, older=True)),
        Suite("guest-debug", "kernel 6.12 with KASAN, lockdep and leak detection",
              guest_tests(Guest(kernel="debug", timeout=3600.0), _FEWER_RACES, _OF_USERLAND)),
        Suite("integration", "graftd as a process, the kernel played", integration_tests),
        Suite("go", "the Go programs, with the race detector", go_tests),
        Suite("guest-6.1", "kernel 6.1 of Debian 12", guest_tests(Guest(suite="bookworm", timeout=2400.0))),
        Suite("guest-6.12", "kernel 6.12 of Debian 13", guest_tests(Guest(suite="trixie", timeout=2400.0))),
        Suite("guest-7.3", "kernel 7.3 of Debian 13's backports",
              guest_tests(Guest(suite="trixie-backports", timeout=2400.0), _FEWER_RACES)),
        Suite("service", "graftd under systemd, on Debian 13", service_tests(Guest(service=True, timeout=2400.0))),
        Suite("bench-gate", "instructions per operation, against their limits and what was recorded",
              host_command(sys.executable, "-m", "bench", "gate")),
        Suite("service-bookworm", "graftd under systemd, on Debian 12",
              service_tests(Guest(suite="bookworm", service=True, timeout=2400.0), _ON_EVERY_RELEASE)),
        Suite("containers", "podman, docker and CNI, on Debian 13",
              container_tests(Guest(suite="trixie-containers", service=True, timeout=2400.0))),
        Suite("containers-bookworm", "podman and the preload library, on Debian 12",
              container_tests(Guest(suite="bookworm-containers", service=True, timeout=2400.0), ["preload"])),
        Suite("containers-debug", "containers started and killed at random, debug kernel",
              container_tests(Guest(kernel="debug", service=True, timeout=2400.0), ["churn"])),
        Suite("resets", "guests that are reset while graftd works, on Debian 13", resets(3)),
        Suite("unit-bookworm", "unit tests with the libraries of Debian 12", unit_tests_of("bookworm")),
        Suite("unit-trixie", "unit tests with the libraries of Debian 13", unit_tests_of("trixie"), part_of_all=False),
        Suite("packages-bookworm", "the deb packages on a machine of Debian 12: installation, reboot, removal",
              packages(Guest(suite="bookworm", timeout=3000.0), ["first_boot"], ["second_boot", "removal"]),
              part_of_all=False),
        Suite("packages-built", "packages built twice, linted, and the rpms in a root", package_builds),
        Suite("demo", "make demo", demo, alone=True),
        Suite("soak-6.12", "long stress, kernel 6.12", soak(Guest(timeout=7200.0)), part_of_all=False),
        Suite("soak-integration", "five hundred kills of graftd, the kernel played", soak_integration,
              part_of_all=False),
        Suite("soak-service", "fifty kills of graftd, with the module", soak_service, part_of_all=False),
        Suite("soak-containers", "two hundred containers started and killed at random",
              container_tests(Guest(suite="trixie-containers", service=True, timeout=7200.0), ["churn"],
                              churn=_LONG_CHURN), part_of_all=False),
        Suite("soak-resets", "twenty resets of guests", resets(20), part_of_all=False),
        Suite("soak-packages", "the deb packages on a machine of Debian 12, all they go through",
              packages(Guest(suite="bookworm", timeout=5400.0), *_ALL_OF_PACKAGES, older=True), part_of_all=False),
        Suite("soak-debug", "long stress, debug kernel", soak(Guest(kernel="debug", timeout=14400.0)),
              part_of_all=False),
    )
}  # fmt: skip
