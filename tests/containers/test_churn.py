# SPDX-License-Identifier: Apache-2.0
"""Containers that are started and killed at random instants, by crun and the hook alone.

GRAFT_CHURN: how many; 20 unless it is said.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from containers import bundle
from containers.annotations import grafted
from containers.network import Peer
from service.place import eventually, run

_CONTAINERS = int(os.environ.get("GRAFT_CHURN", "20"))
_AT_ONCE = 4
_FIRST_PORT = 9000
PATIENCE = 120 + 15 * _CONTAINERS  # seconds


class _Life:
    """One container's, from its creation to its end, with a kill somewhere between."""

    def __init__(self, name: str, folder: Path, chance: random.Random) -> None:
        self._name = name
        self._bundle = folder / name
        self._chance = chance
        self.served = False
        self.said: list[str] = []

    def live(self, root: Path, port: int, peer: Peer) -> None:
        bundle.write(self._bundle, root, grafted(port))
        try:
            if self._created() and self._chance.random() < 0.7:
                assert self._run("start", self._name) == 0, self.said
                time.sleep(self._chance.uniform(0, 0.5))
                self.served = peer.answered(port)
                if not self.served and self._chance.random() < 0.5:
                    peer.await_answer(port)
                    self.served = True
            if self._chance.random() < 0.5:
                self._run("kill", self._name, "KILL")
        finally:
            self._run("delete", "--force", self._name)

    def _created(self) -> bool:
        """Create it, unless crun is killed while it does so: in a third of the lives.

        Otherwise only the hook may keep crun from it, and says why.
        """
        crun = self._begin("create", "--bundle", str(self._bundle), self._name)
        if self._chance.random() < 0.33:
            time.sleep(self._chance.uniform(0, 1.0))
            crun.kill()
        status = self._end(crun)
        if status not in {0, -signal.SIGKILL}:
            eventually(self._was_refused, f"{self._name}: crun ended with {status}, {self.said}, and the hook says why")
        return status == 0

    def _was_refused(self) -> bool:
        told = run("journalctl", "--quiet", "--output=cat", "--boot", "--identifier=graft-oci-hook")
        return f"container {self._name}: " in told

    def _run(self, *words: str) -> int:
        return self._end(self._begin(*words))

    def _begin(self, *words: str) -> subprocess.Popen[str]:
        # What it says goes to a file: the container that it starts would hold a pipe.
        with (self._bundle / "said").open("a") as said:
            return subprocess.Popen(bundle.crun(*words), stdin=subprocess.DEVNULL, stdout=said, stderr=said, text=True)

    def _end(self, crun: subprocess.Popen[str]) -> int:
        status = crun.wait()
        self.said = (self._bundle / "said").read_text().splitlines()
        return status


def test_containers_started_and_killed_at_random_leave_nothing(tmp_path: Path, peer: Peer) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    root = bundle.make_root(tmp_path)
    lives = [_Life(f"churn{number}", tmp_path, random.Random(f"{seed} {number}")) for number in range(_CONTAINERS)]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        ended = [pool.submit(life.live, root, _FIRST_PORT + number, peer) for number, life in enumerate(lives)]
    for one in ended:
        one.result()
    served = sum(life.served for life in lives)
    print(f"{_CONTAINERS} containers, of which {served} served")
    assert served, "no container served: " + "; ".join(line for life in lives for line in life.said)
