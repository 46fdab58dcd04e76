# SPDX-License-Identifier: Apache-2.0
"""The module as the reconcile engine wants it: `graftd.ports.Kernel`."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from graftd.errors import KernelError, ModuleNotLoadedError, NamespaceError, TablesClaimedError
from graftd.kernel import _requests, netns
from graftd.kernel._client import Client
from graftd.kernel._lack import check_lack
from graftd.kernel._requests import Request
from graftd.model import (
    Acl,
    DeleteEndpoint,
    EndpointEntry,
    GraftedSocket,
    ModuleInfo,
    PutEndpoint,
    Rules,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    Table,
)
from graftd.ports import StepResult

Answer = TypeVar("Answer")

_CLAIMANT = "graftd"


class KernelAdapter:
    """One netlink socket of graftd's own namespace, the initial one. Blocks, and belongs to one thread.

    The module may come, go and come again under it: every call raises ModuleNotLoadedError while it is not there, and a
    claim that went with it is made again by the first call that finds it back. Where the tables are another
    process's, what would write raises, or answers with, TablesClaimedError.
    """

    def __init__(
        self,
        client: Client | None = None,
        module: Path = Path("/sys/module/graft/initstate"),
        count: Callable[[str], None] = lambda _outcome: None,
    ) -> None:
        """module: what says `live` while the module is loaded, and something else already while it goes. The kernel
        would load it again for who asks for its family, and undo what an operator did. count: told of each request,
        with "ok", "refused" or "unreachable"."""
        self._client = client or Client.open()
        self._module = module
        self._count = count
        self._claims = False
        self._claimed: int | None = None  # the module's family when it was claimed

    def close(self) -> None:
        self._client.close()

    def info(self) -> ModuleInfo:
        return self._ask(self._client.info)

    def claim(self) -> None:
        """Make the tables that are written from graftd's namespace graftd's alone, until close. Again is no error.

        Raises TablesClaimedError.
        """
        self._claims = True
        # The module tells everybody of each claim, of one that is made again as well.
        if self._claimed is None or self._client.family != self._claimed:
            self._claim()

    def tables(self) -> list[Table]:
        return self._ask(self._client.tables)

    def table(self, fd: int) -> Table:
        return self._ask(lambda: self._client.table(fd))

    def endpoints(self, fd: int) -> list[EndpointEntry]:
        return self._ask(lambda: self._client.endpoints(fd))

    def endpoint(self, fd: int, name: str) -> EndpointEntry:
        """Raises KernelError, ENOENT."""
        return self._ask(lambda: self._client.endpoint(name, fd))

    def rules(self, fd: int) -> Rules:
        return self._ask(lambda: self._client.rules(fd))

    def acl(self, fd: int) -> Acl:
        return self._ask(lambda: self._client.acl(fd))

    def sockets(self, fd: int | None) -> list[GraftedSocket]:
        """fd None: of every table, for graftd is in the initial namespace."""
        return self._ask(lambda: self._client.sockets(fd))

    def carry_out(self, fd: int, steps: Sequence[Step]) -> list[StepResult]:
        """Do all steps in order, a hundred in an exchange. One that is refused keeps no later one from being done."""
        outcomes = self._exchange(lambda: self._client.batch([self._request(fd, step) for step in steps]))
        results = []
        for step, outcome in zip(steps, outcomes, strict=True):
            error = outcome.error
            if isinstance(step, DeleteEndpoint) and error is not None and error.errno == errno.ENOENT:
                error = None
            self._count("ok" if error is None else _outcome(error))
            results.append(StepResult(error and self._named(error), outcome.aborted))
        return results

    def abort_socket(self, fd: int, cookie: int) -> int:
        return self._ask(lambda: self._client.abort_socket(cookie, fd))

    def abort_sockets(self, fd: int, endpoint: str) -> int:
        return self._ask(lambda: self._client.abort_sockets(endpoint, fd))

    def cookie_of(self, fd: int) -> int:
        """A namespace's cookie, for Finder. The module tells it at once; without it, a thread enters the namespace.
        Raises KernelError where that is not permitted either."""
        try:
            return self.table(fd).netns_cookie
        except KernelError as error:
            try:
                return netns.cookie_of(fd)
            except NamespaceError:  # graftd's unit lets it enter none
                raise error from None

    def _ask(self, question: Callable[[], Answer]) -> Answer:
        answer = self._exchange(question)
        self._count("ok")
        return answer

    def _exchange(self, question: Callable[[], Answer]) -> Answer:
        try:
            self._check_loaded()
            answer = question()
        except KernelError as error:
            self._count(_outcome(error))
            raise self._named(error) from None
        if self._claims and self._client.family != self._claimed:
            self._claim_again()
        return answer

    def _check_loaded(self) -> None:
        try:
            state = self._module.read_bytes()
        except OSError as error:
            check_lack(error, str(self._module))
            state = b""
        if state.strip() != b"live":
            raise ModuleNotLoadedError(errno.ENOENT, "the kernel module graft is not loaded")

    def _claim(self) -> None:
        self._check_loaded()
        try:
            self._client.claim(_CLAIMANT)
        except KernelError as error:
            raise self._named(error) from None
        self._claimed = self._client.family

    def _claim_again(self) -> None:
        """Whoever has the tables now is told of by what is to be written."""
        try:
            self._claim()
        except TablesClaimedError:
            self._claimed = None

    def _named(self, error: KernelError) -> KernelError:
        """EBUSY with who has the tables; anything else as it is."""
        if error.errno != errno.EBUSY or isinstance(error, TablesClaimedError):
            return error
        info = self._client.info()
        return TablesClaimedError(error.message, claimant=info.claimant, pid=info.claimant_pid)

    def _request(self, fd: int, step: Step) -> Request:
        match step:
            case SetTable(settings):
                return _requests.table_set(fd, settings)
            case PutEndpoint(endpoint, target_fd, abort):
                return self._client.endpoint_request(
                    endpoint, fd, target_fd=target_fd, create=True, replace=True, abort=abort
                )
            case DeleteEndpoint(name, abort):
                return _requests.endpoint_del(fd, name, abort=abort)
            case SetRules(rules):
                return _requests.rules_set(fd, rules)
            case SetAcl(acl, abort):
                return _requests.acl_set(fd, acl, abort=abort)


def _outcome(error: KernelError) -> str:
    """What the count of requests calls it."""
    silent = error.errno in (errno.ETIMEDOUT, errno.ENOBUFS)
    return "unreachable" if silent or isinstance(error, ModuleNotLoadedError) else "refused"
