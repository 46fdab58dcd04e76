# SPDX-License-Identifier: Apache-2.0
"""Where to look."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FinderRoots:
    """netns: where `ip netns` keeps its names. runtimes: where container runtimes keep files of namespaces.
    cgroup: a tree of version 2, or a host's mixed one (its folder `unified` is taken). proc: procfs.
    machine: the tree that those who make namespaces see, of which graftd's unit hides some from graftd."""

    netns: Path = Path("/run/netns")
    runtimes: tuple[Path, ...] = (Path("/run/docker/netns"), Path("/run/netns"))
    cgroup: Path = Path("/sys/fs/cgroup")
    proc: Path = Path("/proc")
    machine: Path = Path("/proc/1/root")

    @property
    def cgroup2(self) -> Path:
        unified = self.cgroup / "unified"
        return unified if unified.is_dir() and not (self.cgroup / "cgroup.controllers").exists() else self.cgroup
