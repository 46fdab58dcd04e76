# SPDX-License-Identifier: Apache-2.0
"""The host's side of the resets: when it resets, and what a boot that fails counts for. A program plays the lab."""

import sys
from pathlib import Path

import pytest

from driver import lab
from matrix import resets

TESTS = Path(__file__).resolve().parents[1]
# Acknowledges change after change until it is reset; tells at how many that was.
LAB = """#!{python}
import pathlib, signal, sys, time
sys.path.insert(0, {tests!r})
from service import record
share = pathlib.Path(sys.argv[sys.argv.index("--share") + 1])
boot = len(record._boots(share))
def reset(*_):
    print("reset at", record.acknowledged(share) - before, flush=True)
    sys.exit(123)
before = record.acknowledged(share)
signal.signal(signal.SIGUSR1, reset)
if boot == {breaks}:
    sys.exit("something is missing")
if sys.argv[-1] == "last":
    sys.exit(0)
(writer,) = record.begin(share, [{{}}])
for number in range(100000):
    writer.intend({{"number": number}})
    writer.done({{"number": number}})
    time.sleep(0.001)
"""


@pytest.mark.parametrize(
    ("breaks", "passed", "sentence"),
    [
        (-1, 3, None),
        (0, 0, "the first boot failed: it exited with status 1"),
        (1, 0, "the boot after reset 1 failed: it exited with status 1"),
        (3, 2, "the boot after reset 3 failed: it exited with status 1"),
    ],
)
def test_each_reset_counts_that_the_next_boot_found_in_order(
    breaks: int, passed: int, sentence: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "lab"
    program.write_text(LAB.format(python=sys.executable, tests=str(TESTS), breaks=breaks))
    program.chmod(0o755)
    monkeypatch.setattr(lab, "_LAB", program)
    monkeypatch.setattr(resets, "_CHANGES", (5, 20))
    monkeypatch.setattr(resets, "_MORE_SECONDS", 0.1)
    with open(tmp_path / "log", "w") as log:
        counts = resets._reset(resets._Machine(tmp_path, log), 3)
    assert (counts.passed, counts.failures) == (passed, (sentence,) if sentence else ())
    printed = (tmp_path / "log").read_text().splitlines()
    assert printed[0].startswith("resets: GRAFT_SEED=")
    at = [int(line.split()[-1]) for line in printed if line.startswith("reset at")]
    assert len(at) == (3 if breaks < 0 else breaks)
    assert all(changes >= 5 for changes in at)
