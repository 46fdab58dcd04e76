# SPDX-License-Identifier: Apache-2.0
"""What the reconcile engine needs of the kernel and of the machine, as it is served by `graftd.kernel`.

Everything here blocks and is called from the engine's one thread. Tests play the kernel through these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from graftd.errors import KernelError
from graftd.model import (
    Acl,
    EndpointEntry,
    GraftedSocket,
    ModuleInfo,
    NetnsIdentity,
    Rules,
    Selector,
    Step,
    Table,
)


@dataclass(frozen=True, slots=True)
class StepResult:
    """error: what the kernel refused the step with. aborted: how many live sockets it ended."""

    error: KernelError | None = None
    aborted: int = 0


class Found(Protocol):
    """A network namespace, held open. To be closed soon: it lives as long as this does."""

    @property
    def fd(self) -> int: ...

    def close(self) -> None: ...


class Finder(Protocol):
    """Finds network namespaces."""

    def pin(self, selector: Selector) -> Selector:
        """The selector with what has to be looked up once: when a process started. Others come back as they are.

        Raises NamespaceError where there is no such process.
        """

    def find(self, selector: Selector) -> Found | None:
        """What the selector selects now; None for nothing. Raises NamespaceError for several, or for
        what is no network namespace; KernelError where that cannot be seen now."""

    def identity(self, found: Found) -> NetnsIdentity: ...

    def own(self) -> NetnsIdentity:
        """The namespace that graftd runs in."""

    def hints(self, cookies: frozenset[int]) -> dict[int, list[Selector]]:
        """Selectors that select these network namespaces, as far as names and files tell of any."""


class TransparentMap(Protocol):
    """The BPF door's map, whose keys are the cookies of the network namespaces that it serves."""

    def can_be_served(self) -> bool:
        """Whether this kernel has what the door's program attaches to."""

    def equalize(self, cookies: frozenset[int], *, whole: bool) -> bool:
        """Make the keys these, where there is a map; whether the program is there that reads it.

        whole: also where this was the last to write it. Raises KernelError where the program is there and its map
        cannot be opened, is not the door's, or refuses; some of it may be done then.
        """


class Kernel(Protocol):
    """The module. fd: a descriptor of a table's namespace.

    Every method raises ModuleNotLoadedError where there is no module, and KernelError for what it refuses.
    """

    def info(self) -> ModuleInfo: ...

    def claim(self) -> None:
        """Make the tables that are written from graftd's namespace graftd's alone, until close. Again is no error.

        Raises KernelError, EBUSY, where another process has them.
        """

    def tables(self) -> list[Table]: ...

    def table(self, fd: int) -> Table: ...

    def endpoints(self, fd: int) -> list[EndpointEntry]: ...

    def endpoint(self, fd: int, name: str) -> EndpointEntry:
        """Raises KernelError, ENOENT."""

    def rules(self, fd: int) -> Rules: ...

    def acl(self, fd: int) -> Acl: ...

    def sockets(self, fd: int | None) -> list[GraftedSocket]:
        """fd None: of every table that the module lets graftd see."""

    def carry_out(self, fd: int, steps: Sequence[Step]) -> list[StepResult]:
        """Do all steps in order, in as few exchanges as there may be. One that is refused keeps no later one
        from being done; the answer has a result for each."""

    def abort_socket(self, fd: int, cookie: int) -> int: ...

    def abort_sockets(self, fd: int, endpoint: str) -> int: ...

    def close(self) -> None: ...
