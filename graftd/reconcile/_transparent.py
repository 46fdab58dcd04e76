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
        self._held: frozenset[int] = frozenset()
        self.status = _NOT_LOADED if transparent_map.can_be_served() else _KERNEL_CANNOT
        self._otherwise = self.status  # how it stands without a map

    def follow(self, *, whole: bool = False) -> None:
        """Make the map hold who is to be there, where there is one. whole: also where nothing has changed, as far as is
        known. What fails is the status, and the next time tries again."""
        wanted = self._places.transparent()
        served = self.status.state is TransparentState.SERVED
        if not whole and wanted == (self._held if served else frozenset()):
            return
        try:
            served = self._map.equalize(wanted, whole=whole)
        except KernelError as error:
            self._be(TransparentStatus(TransparentState.FAILED, error.message))
            return
        if served:
            self._held = wanted
        self._be(TransparentStatus(TransparentState.SERVED, "", len(wanted)) if served else self._otherwise)

    def _be(self, status: TransparentStatus) -> None:
        changed = status.state is not self.status.state
        self.status = status
        if changed:
            detail = status.detail or "the BPF door is served"
            self._news.event(NodeEventKind.TRANSPARENT_CHANGED, detail)
