# SPDX-License-Identifier: Apache-2.0
"""A namespace's table: what it is to be, what it is, and how it becomes that."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from graftd.errors import KernelError, ModuleNotLoadedError, StepRefusedError, TablesClaimedError
from graftd.model import (
    DeleteEndpoint,
    EndpointEntry,
    EndpointRecord,
    Namespace,
    NamespaceRecord,
    PutEndpoint,
    SetAcl,
    SetRules,
    SetTable,
    Step,
    TableLimits,
    TableSettings,
)
from graftd.ports import Kernel, StepResult
from graftd.reconcile._difference import (
    LIMITS,
    Actual,
    Desired,
    Difference,
    Planned,
    Resource,
    ResourceKind,
    Wanted,
    difference,
)
from graftd.reconcile._event import NodeEventKind
from graftd.reconcile._module import Module
from graftd.reconcile._news import News
from graftd.reconcile._places import UNKNOWN, Live, Place, Places
from graftd.store import ALL, View

# The module's own, kmod/table.h.
DEFAULT_LIMITS = TableLimits(max_sockets=65536, max_ephemeral=16384, max_endpoints=131072)
BLANK = Desired(
    TableSettings(DEFAULT_LIMITS.max_sockets, DEFAULT_LIMITS.max_ephemeral, DEFAULT_LIMITS.max_endpoints, frozen=False),
    {},
    (),
    (),
)
_TARGETS_OPEN = 100  # at a time; a process may have 1,024 descriptors


@dataclass(slots=True)
class Sent:
    """What the kernel made of steps. aborted: how many live sockets ended. waits: some were not sent, for their target
    had gone."""

    refused: list[tuple[Planned, KernelError]] = field(default_factory=list)
    done: list[Planned] = field(default_factory=list)
    aborted: int = 0
    waits: bool = False

    def check(self, namespace: str) -> None:
        """Raise StepRefusedError for the first that was refused."""
        for planned, error in self.refused:
            raise StepRefusedError(error, namespace=namespace, endpoint=_endpoint_of(planned.step)) from error


class Tables:
    """The tables of the namespaces that are there. View: the store's, as it is to be in the kernel."""

    def __init__(self, kernel: Kernel, module: Module, places: Places, news: News) -> None:
        self._kernel = kernel
        self._module = module
        self._places = places
        self._news = news

    def equalize(self, view: View, name: str, *, whole: bool, strict: bool = False) -> tuple[Difference, ...]:
        """Make a namespace's table what the store says, if the namespace is there; what differed, but for what the
        kernel refuses.

        whole: also where its generation is the known one. strict: StepRefusedError for what is refused. Raises
        ModuleNotLoadedError, TablesClaimedError, and KernelError where the table cannot be read.
        """
        record, live = view.find_namespace(name), self._places.live(name)
        if record is None or live is None:
            return ()
        with self._places.open(name) as place:
            if place is None:
                return ()
            if place.table is None:
                raise self._module.missing()
            if not whole and live.generation == place.table.generation and not live.failures:
                return ()
            was_equal, failed = live.generation != UNKNOWN, frozenset(live.failures)
            desired, waiting = self.desired(view, record)
            planned = difference(name, desired, self.actual(place))
            live.waiting = waiting
            sent = self.send(name, place, planned)
        self._places.refused(name, {what: error for one, error in sent.refused for what in _resources(one)})
        if strict and sent.refused:
            live.generation = UNKNOWN
            sent.check(name)
        done = _differences(sent.done)
        if was_equal and any(one.resource not in failed for one in done):
            self._news.event(
                NodeEventKind.DRIFT_REPAIRED,
                f"the table of namespace '{name}' had been changed in the kernel and is as it is to be again",
                name,
                done,
            )
        return done

    def compare(self, view: View, name: str) -> tuple[Difference, ...]:
        """What equalize would do."""
        record = view.find_namespace(name)
        if record is None:
            return ()
        with self._places.open(name) as place:
            if place is None:
                return ()
            desired, _ = self.desired(view, record)
            return _differences(difference(name, desired, self.actual(place)))

    def clear(self, name: str, *, abort: bool) -> int | None:
        """Empty a namespace's table; how many live sockets that ended, of those that `abort` is to end. None where it
        is not there.

        Raises StepRefusedError.
        """
        with self._places.open(name) as place:
            if place is None or place.table is None:
                return None
            planned = difference(name, BLANK, self.actual(place))
            sent = self.send(name, place, [aborting(one) for one in planned] if abort else planned)
        sent.check(name)
        return sent.aborted

    def empty(self, place: Place, *, abort: bool) -> None:
        """Empty a table that no registered namespace stands for. Raises KernelError for what is refused."""
        if planned := difference("", BLANK, self.actual(place)):
            steps = [(aborting(one) if abort else one).step for one in planned]
            for result in self._carried_out(place.fd, steps):
                if result.error is not None:
                    raise result.error

    def desired(self, view: View, record: NamespaceRecord) -> tuple[Desired, dict[str, str]]:
        """What a namespace's table is to be, and which endpoints wait for their target."""
        name = record.namespace.name
        endpoints: dict[str, Wanted] = {}
        waiting: dict[str, str] = {}
        for one in view.endpoints(name, limit=ALL):
            wanted = self.wanted(one)
            if wanted is None:
                waiting[one.value.endpoint.name] = one.value.target
            else:
                endpoints[one.value.endpoint.name] = wanted
        rules, acl = view.rules(name, limit=ALL), view.acl(name)
        return Desired(settings_of(view, record.namespace), endpoints, rules, acl), waiting

    def actual(self, place: Place) -> Actual:
        """What a table is. Raises ModuleNotLoadedError."""
        table = place.table
        if table is None:
            raise self._module.missing()
        entries = self._kernel.endpoints(place.fd) if table.endpoints else []
        rules = self._kernel.rules(place.fd).rules if table.rules else ()
        acl = self._kernel.acl(place.fd).rules if table.acls else ()
        return Actual(table, {entry.endpoint.name: entry for entry in entries}, frozenset(rules), acl)

    def seen_anew(self, place: Place) -> Place:
        """The same one, with its table as it is now. Raises ModuleNotLoadedError."""
        return replace(place, table=self._kernel.table(place.fd))

    def wanted(self, record: EndpointRecord) -> Wanted | None:
        """What the kernel is to have of an endpoint; None while its target is absent."""
        value = record.value
        if not value.target:
            return Wanted(value.endpoint, self._places.own.cookie)
        self._places.leads_to(record.namespace, value.target)
        identity = self._places.identity_of(value.target)
        return None if identity is None else Wanted(value.endpoint, identity.cookie, value.target)

    def send(self, name: str, place: Place, planned: Sequence[Planned]) -> Sent:
        """Have steps done, in their order, as far as the kernel does them; what it refuses keeps no other from being
        done, but for this: where it refuses an ACL, nothing is opened that this one is to guard.

        Raises ModuleNotLoadedError, TablesClaimedError; some may be done then.
        """
        live, table = self._places.live(name), place.table
        if live is None or table is None:
            raise self._module.missing()
        sent = Sent()
        for batch in _batches(planned):
            with ExitStack() as held:
                ready = list(self._ready(batch, live, sent, held))
                results = self._carried_out(place.fd, [step for _, step in ready]) if ready else []
            for (one, _), result in zip(ready, results, strict=True):
                sent.aborted += result.aborted
                if result.error is None:
                    sent.done.append(one)
                else:
                    sent.refused.append((one, result.error))
        # Each step that is done moves it by one; where it is elsewhere, the next look finds out.
        live.generation = UNKNOWN if sent.waits else table.generation + len(sent.done)
        return sent

    def freeze(self, view: View, namespace: Namespace) -> bool:
        """Carry a freeze, or its end, to a namespace that is there; whether it denies new grafts now. What is refused
        is for a reconcile to repeat."""
        name, settings = namespace.name, settings_of(view, namespace)
        live = self._places.live(name)
        with self._places.open(name) as place:
            if live is None or place is None:
                return False
            if place.table is None:
                raise self._module.missing()
            if place.table.frozen == settings.frozen:
                return place.table.frozen
            known = live.generation == place.table.generation
            (result,) = self._carried_out(place.fd, [SetTable(TableSettings(frozen=settings.frozen))])
            if result.error is not None or not known:
                live.generation = UNKNOWN
            else:
                live.generation += 1
            return result.error is None and bool(settings.frozen)

    def stands(self, name: str, place: Place, endpoint: str) -> bool:
        """Whether the kernel has an endpoint, of a table that is known but for what the kernel refuses."""
        live = self._places.live(name)
        if live is None or endpoint in live.waiting:
            return False
        if Resource(ResourceKind.ENDPOINT, name, endpoint) not in live.failures:
            return True
        return self.entry(place, endpoint) is not None

    def entry(self, place: Place, endpoint: str) -> EndpointEntry | None:
        """An endpoint as the kernel has it; None where it has none. Raises KernelError."""
        with _if_there():
            return self._kernel.endpoint(place.fd, endpoint)
        return None

    def abort(self, place: Place, cookies: Iterable[int], endpoints: Iterable[str]) -> int:
        """End live sockets, by their cookies and by their endpoints; how many. Those that are gone already are none."""
        aborted = 0
        for cookie in cookies:
            with _if_there():
                aborted += self._kernel.abort_socket(place.fd, cookie)
        for endpoint in endpoints:
            with _if_there():
                aborted += self._kernel.abort_sockets(place.fd, endpoint)
        return aborted

    # Inside

    def _ready(
        self, batch: Sequence[Planned], live: Live, sent: Sent, held: ExitStack
    ) -> Iterator[tuple[Planned, Step]]:
        """The steps that can be sent, each with the descriptor of its target, which `held` closes."""
        fds: dict[str, int | None] = {}
        acl = next((error for one, error in sent.refused if isinstance(one.step, SetAcl)), None)
        for one in batch:
            step = one.step
            if acl is not None and _opens(step):
                sent.refused.append((one, acl))
                continue
            if isinstance(step, PutEndpoint) and one.target:
                if one.target not in fds:
                    target = held.enter_context(self._places.open(one.target))
                    fds[one.target] = None if target is None else target.fd
                fd = fds[one.target]
                if fd is None:  # it went since it was looked at: the next look finds out
                    live.waiting[step.endpoint.name] = one.target
                    sent.waits = True
                    continue
                step = replace(step, target_fd=fd)
            yield one, step

    def _carried_out(self, fd: int, steps: Sequence[Step]) -> list[StepResult]:
        try:
            results = self._kernel.carry_out(fd, steps)
            for result in results:
                if isinstance(result.error, (ModuleNotLoadedError, TablesClaimedError)):
                    raise result.error
        except (ModuleNotLoadedError, TablesClaimedError):
            self._places.meet_module()
            raise
        return results


def settings_of(view: View, namespace: Namespace) -> TableSettings:
    """What a table's are to be, with the module's own where nothing is said."""
    found = {
        word: getattr(DEFAULT_LIMITS, word) if (said := getattr(namespace.limits, word)) is None else said
        for word in LIMITS
    }
    return TableSettings(**found, frozen=namespace.freeze is not None or view.freeze is not None)


def aborting(planned: Planned) -> Planned:
    """The step with an end to the live sockets that depend on what it changes."""
    step = planned.step
    if isinstance(step, (PutEndpoint, DeleteEndpoint, SetAcl)):
        return replace(planned, step=replace(step, abort=True))
    return planned


def cured(failures: Iterable[Resource], sent: Sent) -> set[Resource]:
    """Which failures are none any more after what was done."""
    kinds = {_LISTS[type(one.step)] for one in sent.done if type(one.step) in _LISTS}
    done = {what for one in sent.done for what in _resources(one)}
    return {what for what in failures if what in done or what.kind in kinds}


# Steps that are about all that there is of a kind.
_LISTS: dict[type, ResourceKind] = {
    SetRules: ResourceKind.RULE,
    SetAcl: ResourceKind.ACL_RULE,
}


def _batches(planned: Sequence[Planned]) -> Iterator[list[Planned]]:
    """An ACL ends one, for what comes after depends on it, and so does the last target that may be open at once."""
    batch: list[Planned] = []
    targets: set[str] = set()
    for one in planned:
        if one.target and one.target not in targets and len(targets) == _TARGETS_OPEN:
            yield batch
            batch, targets = [], set()
        batch.append(one)
        if one.target:
            targets.add(one.target)
        if isinstance(one.step, SetAcl):
            yield batch
            batch, targets = [], set()
    if batch:
        yield batch


def _opens(step: Step) -> bool:
    return isinstance(step, PutEndpoint) or (isinstance(step, SetTable) and step.settings.frozen is False)


def _resources(planned: Planned) -> set[Resource]:
    return {one.resource for one in planned.differences}


def _differences(planned: Iterable[Planned]) -> tuple[Difference, ...]:
    return tuple(dict.fromkeys(each for one in planned for each in one.differences))


def _endpoint_of(step: Step) -> str:
    if isinstance(step, PutEndpoint):
        return step.endpoint.name
    return step.name if isinstance(step, DeleteEndpoint) else ""


@contextmanager
def _if_there() -> Iterator[None]:
    """What is not there (ENOENT) is no error, unless it is the module."""
    try:
        yield
    except KernelError as error:
        if error.errno != errno.ENOENT or isinstance(error, ModuleNotLoadedError):
            raise
