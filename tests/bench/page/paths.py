# SPDX-License-Identifier: Apache-2.0
"""The paths: what they are, their order and how they look, the same in every plot."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from bench.record import Report


@dataclass(frozen=True)
class Look:
    """A path's colour, and its marker where points are drawn, for whom colours are alike."""

    colour: str
    marker: str


# After Okabe and Ito's palette, moved so that each stands out on white and on black.
_KNOWN = {
    "host": (
        Look("#808080", "o"),
        'a program of the host\'s, as one in a container of --network host is; "bound": one that binds first',
    ),
    "loopback": (Look("#5c6670", "h"), "two programs of the host over its loopback"),
    "graft": (Look("#0b7dc4", "D"), "an unmodified program in a container, grafted by the container's rules"),
    "container's own stack": (Look("#7d8a5c", "d"), "a program in a container that is not grafted"),
    "af-graft": (
        Look("#46a9dc", "s"),
        "a program in a container that opens AF_GRAFT sockets, the published API",
    ),
    "nat": (Look("#d55e00", "^"), "a container behind a veth pair, a bridge and NAT"),
    "bridge": (Look("#d98e04", "v"), "a container behind a veth pair and a bridge, without NAT"),
    "ipvlan": (Look("#009e73", "P"), "a container with an ipvlan interface"),
    "netkit": (Look("#c0699b", "X"), "a container with a netkit interface"),
    "pasta": (Look("#8f6fc9", "<"), "a container whose network pasta plays in user space"),
    "bypass4netns": (Look("#a0702c", ">"), "a rootless container whose sockets bypass4netns exchanges"),
}
_TWO_PROGRAMS = "two host programs"
_SPARE = (Look("#b84a62", "p"), Look("#6f8f1f", "*"), Look("#3d8f8f", "d"), Look("#7a5c8e", "8"))


class Paths:
    """The paths of one report."""

    def __init__(self, report: Report) -> None:
        names = [counted.path for counted in report.counted]
        names += [timed.path for timed in report.timed]
        names += [curve.path for curve in report.curves]
        known = list(_KNOWN)
        self._bases = sorted(
            {base(name) for name in names}, key=lambda name: known.index(name) if name in _KNOWN else 99
        )
        strangers = sorted(name for name in self._bases if name not in _KNOWN)
        self._spare = {name: _SPARE[index % len(_SPARE)] for index, name in enumerate(strangers)}

    def look(self, path: str) -> Look:
        """Return how a path looks; its variants, named after a comma, look as it does."""
        name = base(path)
        return _KNOWN[name][0] if name in _KNOWN else self._spare[name]

    def ordered(self, paths: Iterable[str]) -> list[str]:
        """Return each of ``paths`` once, in the order that all plots have."""
        return sorted(dict.fromkeys(paths), key=lambda path: self._bases.index(base(path)))

    def described(self) -> list[tuple[str, str]]:
        """Return the known paths of the report, and what they are."""
        return [(name, _KNOWN[name][1]) for name in self._bases if name in _KNOWN]


def base(path: str) -> str:
    """Return what a path is a variant of: "graft" for "graft, IPv6" and for "two containers, graft"."""
    parts = [part.strip().lower() for part in path.split(",")]
    if parts[0] == _TWO_PROGRAMS:
        return "loopback"
    return next((part for part in parts if part in _KNOWN), parts[0])
