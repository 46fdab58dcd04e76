# SPDX-License-Identifier: Apache-2.0
"""The BPF door's map, made to hold the namespaces that are transparent and there."""

from __future__ import annotations

from graftd.errors import KernelError
from graftd.ports import TransparentMap
from graftd.reconcile._event import NodeEventKind
from graftd.reconcile._news import News
from graftd.reconcile._places import Places
from graftd.reconcile._status import TransparentState, TransparentStatus

_NOT_LOADED = TransparentStatus(
    TransparentState.NOT_LOADED,
    "the BPF door's program is not loaded: install graft-transparent, and systemctl start graft-transparent",
)
_KERNEL_CANNOT = TransparentStatus(
    TransparentState.KERNEL_CANNOT,
    "this kernel has nothing that the BPF door's program could attach to: it takes one from 6.6 on, with MPTCP; "
    "preload libgraft.so instead",
)


class Transparency:
    """status: as last seen. It may be read from any thread."""

    def __init__(self, transparent_map: TransparentMap, places: Places, news: News) -> None:
        self._map = transparent_map
        self._places = places
        self._news = news
        self._tried: frozenset[int] = frozenset()  # what the map was last to hold
        self.status = _NOT_LOADED if transparent_map.can_be_served() else _KERNEL_CANNOT
        self._otherwise = self.status  # how it stands without the program

    def follow(self) -> None:
        """Make the map hold who is to be there, where that is another than the last time. What fails is the status, and
        `look` tries again."""
        if self._places.transparent() != self._tried:
            self.look()

    def look(self, *, whole: bool = False) -> None:
        """See how it stands, and make the map hold who is to be there. whole: also where nobody but graftd is known to
        have written it; that reads it all."""
        wanted = self._tried = self._places.transparent()
        try:
            served = self._map.equalize(wanted, whole=whole)
        except KernelError as error:
            self._be(TransparentStatus(TransparentState.FAILED, error.message))
            return
        self._be(TransparentStatus(TransparentState.SERVED, "", len(wanted)) if served else self._otherwise)

    def _be(self, status: TransparentStatus) -> None:
        changed = status.state is not self.status.state
        self.status = status
        if changed:
            detail = status.detail or "the BPF door is served"
            self._news.event(NodeEventKind.TRANSPARENT_CHANGED, detail)
