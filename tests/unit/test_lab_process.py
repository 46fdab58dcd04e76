# SPDX-License-Identifier: Apache-2.0
"""What the lab starts ends with it."""

import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
# Namespaces take root and have no part in this.
LAB = """
import sys
sys.path.insert(0, sys.argv[1])
from lab.graftlab import process
process._ISOLATED = ()
process.run_isolated(["sh", "-c", "echo begun; exec sleep 600"], lambda line: print(line, flush=True))
"""


def test_a_command_ends_with_a_lab_that_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", LAB, TESTS], stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout is not None
        assert lab.stdout.readline() == "begun\n"
        children = Path(f"/proc/{lab.pid}/task/{lab.pid}/children").read_text().split()
        lab.kill()
    assert len(children) == 1
    stat = Path("/proc", children[0], "stat")
    for _ in range(100):
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "XZ":
            return
        time.sleep(0.1)
    raise AssertionError(f"process {children[0]} outlives its lab")
