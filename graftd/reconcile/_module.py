# SPDX-License-Identifier: Apache-2.0
"""Whether the kernel module is there, and whose its tables are."""

from __future__ import annotations

import errno

from graftd.errors import KernelError, ModuleNotLoadedError, TablesClaimedError
from graftd.model import ModuleInfo
from graftd.ports import Kernel
from graftd.reconcile._event import NodeEventKind
from graftd.reconcile._news import News, now
from graftd.reconcile._status import Condition, ModuleState

_NOT_LOADED = "the kernel module graft is not loaded: load it with 'modprobe graft'"


class Module:
    """As last seen. info: None where it is not loaded. condition: what is wrong, None for nothing."""

    def __init__(self, kernel: Kernel, news: News) -> None:
        self._kernel = kernel
        self._news = news
        self.state = ModuleState.NOT_LOADED
        self.info: ModuleInfo | None = None
        self.condition: Condition | None = None

    @property
    def loaded(self) -> bool:
        """Whether it is there and lets graftd write."""
        return self.state is ModuleState.LOADED

    def meet(self) -> bool:
        """See whether it is there, and claim the tables. Whether it came just now, with tables that are all empty."""
        before = self.state
        try:
            self.info = self._kernel.info()
            self._kernel.claim()
        except ModuleNotLoadedError:
            self.info = None
            self._be(ModuleState.NOT_LOADED, "MODULE_NOT_LOADED", _NOT_LOADED)
        except KernelError as error:
            self._be(ModuleState.REFUSING, *self._refusal(error))
        else:
            self.state, self.condition = ModuleState.LOADED, None
        if self.state is not before:
            self._tell(before)
        return before is ModuleState.NOT_LOADED and self.state is not before

    def missing(self) -> ModuleNotLoadedError:
        """What to raise where it is gone."""
        return ModuleNotLoadedError(errno.ENOENT, self.condition.message if self.condition else _NOT_LOADED)

    def check(self) -> None:
        """Raise ModuleNotLoadedError or TablesClaimedError unless it lets graftd write; another KernelError where it
        refuses graftd for another reason."""
        if self.loaded:
            return
        if self.state is ModuleState.NOT_LOADED:
            raise self.missing()
        message = self.condition.message if self.condition else "the module does not let graftd write"
        if self.condition is None or self.condition.reason != "TABLES_CLAIMED" or self.info is None:
            raise KernelError(errno.EPERM, message)
        raise TablesClaimedError(message, claimant=self.info.claimant, pid=self.info.claimant_pid)

    def _refusal(self, error: KernelError) -> tuple[str, str]:
        if error.errno != errno.EBUSY or self.info is None:
            return "KERNEL_REFUSED", f"the module does not let graftd write: {error.message}"
        who = self.info.claimant or "another process"
        return (
            "TABLES_CLAIMED",
            f"{who} (pid {self.info.claimant_pid}) has claimed the tables: end it, and graftd takes over",
        )

    def _be(self, state: ModuleState, reason: str, message: str) -> None:
        self.state = state
        known = self.condition
        if known is None or (known.reason, known.message) != (reason, message):
            self.condition = Condition(reason, message, now())

    def _tell(self, before: ModuleState) -> None:
        if before is ModuleState.NOT_LOADED:
            self._news.event(NodeEventKind.MODULE_LOADED, "the module graft is there")
        if self.loaded:
            self._news.event(NodeEventKind.CLAIMED, "graftd writes the tables of this node")
        elif self.state is ModuleState.NOT_LOADED:
            self._news.event(NodeEventKind.MODULE_UNLOADED, "the module graft is gone, and every table with it")
        elif self.condition is not None:
            self._news.event(NodeEventKind.CLAIM_LOST, self.condition.message)
