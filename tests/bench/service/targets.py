# SPDX-License-Identifier: Apache-2.0
"""What is measured, and what it is to keep within."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Measure:
    """most: the target, in the unit; None where the figure is there to compare with."""

    key: str
    text: str
    unit: str
    most: float | None = None


MEASURES = (
    Measure("create_p50", "one Create, durable: median", "ms", 1.5),
    Measure("create_p99", "one Create, durable: 99th of 100", "ms", 10),
    Measure("batch", "BatchCreate of 10,000", "s", 5),
    Measure("restart", "restart to ready, the kernel equal with 10,000", "s", 2),
    Measure("list", "List of 10,000, in pages of 5,000", "s", 1),
    Measure("memory", "resident memory with 10,000", "MB", 120),
    Measure("memory_peak", "its peak", "MB"),
    Measure("watch", "an event at the last of 1,000 watchers", "s", 1),
    Measure("cni_add", "graft-cni ADD, a container's start", "ms", 60),
    Measure("cni_del", "graft-cni DEL, its end", "ms", 40),
    Measure("help", "graftcli --help", "ms", 150),
    Measure("version_p50", "beside: GetVersion, which reads nothing: median", "ms"),
    Measure("version_p99", "beside: the same, 99th of 100", "ms"),
    Measure("echo_p50", "beside: a bare grpc.aio server's answer: median", "ms"),
    Measure("echo_p99", "beside: the same, 99th of 100", "ms"),
    Measure("sync_p50", "beside: a write of 4 KiB and fdatasync: median", "ms"),
    Measure("sync_p99", "beside: the same, 99th of 100", "ms"),
    Measure("start_bare", "beside: start to ready of an empty store", "s"),
)


@dataclass(frozen=True)
class Figure:
    """runs: one value each."""

    measure: Measure
    runs: tuple[float, ...]

    @property
    def median(self) -> float:
        return median(self.runs)

    @property
    def held(self) -> bool | None:
        """None where there is no target."""
        return None if self.measure.most is None else self.median <= self.measure.most


def figures(runs: list[dict[str, float]]) -> list[Figure]:
    """The measures over all runs, each of which has every one."""
    return [Figure(one, tuple(run[one.key] for run in runs)) for one in MEASURES]
