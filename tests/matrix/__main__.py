# SPDX-License-Identifier: Apache-2.0
"""make test: runs suites, two at a time, and adds them up.

Each suite's log is build/test/NAME.log. The last line counts passed and failed over all of them.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from driver import process
from driver.lab import CHECKOUT
from matrix.counts import Counts, failure
from matrix.suites import FOLDER, SUITES, Suite

# A guest that is emulated on two processors leaves much of them idle while its tests wait for something.
_AT_A_TIME = 2
_NOTE_SECONDS = 60.0
# A signal that comes just before a wait is seen just after it.
_LOOK_SECONDS = 1.0
_TAIL_LINES = 40


def main() -> int:
    """Run the suites that the command line names, or all; return 1 where one fails."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        return _main()
    except KeyboardInterrupt:
        print("test: interrupted; its guests are ended", file=sys.stderr)
        return 128 + signal.SIGINT


def _main() -> int:
    names = sys.argv[1:] or [name for name, suite in SUITES.items() if suite.part_of_all]
    if names == ["list"]:
        for suite in SUITES.values():
            print(f"{suite.name:16} {suite.title}")
        return 0
    unknown = [name for name in names if name not in SUITES]
    if unknown:
        print(f"test: there is no suite {', '.join(unknown)}; there are {', '.join(SUITES)}", file=sys.stderr)
        return 2
    # Once, before suites that need it run side by side.
    if subprocess.run([CHECKOUT / "tests" / "prepare"], check=False).returncode:
        print(failure("the tools could not be installed"))
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = [SUITES[name] for name in names]
    total = _run([suite for suite in wanted if not suite.alone], _AT_A_TIME)
    total += _run([suite for suite in wanted if suite.alone], 1)
    for sentence in total.failures:
        print(f"FAILED {sentence}")
    print(total)
    return 1 if total.failed else 0


def _run(suites: Sequence[Suite], at_a_time: int) -> Counts:
    """Run ``suites``, so many at a time, in order; say from time to time which are running."""
    total = Counts()
    pool = ThreadPoolExecutor(at_a_time)
    try:
        running: dict[Future[Counts], Suite] = {pool.submit(_run_one, suite): suite for suite in suites}
        noted = time.monotonic()
        while running:
            done, _ = wait(running, timeout=_LOOK_SECONDS, return_when="FIRST_COMPLETED")
            for future in done:
                total += future.result()
                del running[future]
            if time.monotonic() - noted > _NOTE_SECONDS:
                noted = time.monotonic()
                names = [suite.name for future, suite in running.items() if future.running()]
                _say(f"test: still running: {', '.join(names)}")
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        process.end_all()
        raise
    finally:
        pool.shutdown()
    return total


def _run_one(suite: Suite) -> Counts:
    begun = time.monotonic()
    folder = FOLDER / suite.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = FOLDER / f"{suite.name}.log"
    _say(f"test: {suite.name}: started ({suite.title})")
    with open(path, "w", encoding="utf-8") as log:
        try:
            counts = suite.run(folder, log)
        except OSError as error:
            counts = failure(f"it could not be run: {error}")
    text = f"test: {suite.name}: {counts} ({time.monotonic() - begun:.0f} s)"
    if counts.failed:
        tail = path.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        text = "\n".join([*(f"    {line}" for line in tail), text, f"test: {suite.name}: all of it is in {path}"])
    _say(text)
    named = tuple(f"{suite.name}: {sentence}" for sentence in counts.failures)
    return Counts(counts.passed, counts.failed, counts.skipped, named)


def _say(text: str) -> None:
    # print() writes a line's end by itself, so that the lines of two suites could run together.
    print(f"{text}\n", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
