# SPDX-License-Identifier: Apache-2.0
"""Which network namespaces the registered ones are now."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace

from graftd.errors import (
    KernelError,
    ModuleNotLoadedError,
    NamespaceError,
    NamespaceTakenError,
    NotOursError,
    SelectorUnresolvedError,
    TableNotEmptyError,
)
from graftd.model import NamespaceRecord, NetnsIdentity, Selector, Table
from graftd.ports import Finder, Found, Kernel
from graftd.reconcile._difference import Resource
from graftd.reconcile._event import NodeEventKind
from graftd.reconcile._module import Module
from graftd.reconcile._news import News
from graftd.reconcile._status import ModuleState

UNKNOWN = -1


@dataclass(slots=True)
class Live:
    """What is known of a registered namespace. Other threads read it.

    identity: what its selector was last found to select, None for nothing; detail says why not.
    generation: the table's when it was last equal to the store but for `failures` and `waiting`, UNKNOWN where it is
    not known to be. seen: the table's when it was last looked at.
    failures: what the kernel refuses; replaced, and never changed, by Places.refused.
    waiting: endpoints whose target is absent, with its name.
    filling: the change that registers it is in its last part, its table.
    rival: who stands for the network namespace that it would be.
    transparent, transient: as the namespace says.
    """

    selector: Selector
    identity: NetnsIdentity | None = None
    generation: int = UNKNOWN
    seen: int = UNKNOWN
    failures: Mapping[Resource, KernelError] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    filling: bool = False
    detail: str = ""
    rival: str = ""
    transparent: bool = False
    transient: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """A namespace that is there, held open. table: None where there is no module, and fd may be -1 then."""

    fd: int
    identity: NetnsIdentity
    table: Table | None


@dataclass(frozen=True, slots=True)
class Nothing:
    """No namespace that could be opened. why: a sentence. sure: there is none; else that could not be told."""

    why: str
    sure: bool


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a look found. why: a sentence, where it is nothing that could have a table of graftd's. sure: what was there
    before is not there any more."""

    identity: NetnsIdentity | None
    generation: int = UNKNOWN
    why: str = ""
    sure: bool = True


class Places:
    """The registered namespaces, by name. Nothing of them is held open between two calls."""

    def __init__(self, finder: Finder, kernel: Kernel, module: Module, news: News) -> None:
        self._finder = finder
        self._kernel = kernel
        self._module = module
        self._news = news
        self.own = finder.own()
        self._live: dict[str, Live] = {}
        self._names: dict[int, str] = {}  # cookie -> the namespace that stands for it
        self._sources: dict[str, set[str]] = {}  # target -> namespaces that have, or had, endpoints to it
        self._failing: set[str] = set()
        self.unkept: set[str] = set()  # those whose identity the store does not have yet
        self.awakened: set[str] = set()  # those with endpoints to a target that moved
        self.gone: dict[str, str] = {}  # transient ones whose network namespace is gone -> why

    # What is known

    def live(self, name: str) -> Live | None:
        return self._live.get(name)

    def names(self) -> list[str]:
        return list(self._live)

    def name_of(self, cookie: int) -> str:
        """The namespace that stands for it, "" for none."""
        return self._names.get(cookie, "")

    def identity_of(self, name: str) -> NetnsIdentity | None:
        live = self._live.get(name)
        return None if live is None else live.identity

    def transparent(self) -> frozenset[int]:
        """The cookies of those that are there and whose sockets come through the BPF door."""
        return frozenset(
            live.identity.cookie
            for live in self._live.values()
            if live.transparent and live.identity is not None and live.identity.boot_id == self.own.boot_id
        )

    def transient(self, names: Iterable[str]) -> list[str]:
        """Those of these that go with their network namespace."""
        return [name for name in names if (live := self._live.get(name)) is not None and live.transient]

    def present(self) -> int:
        return sum(live.identity is not None for live in list(self._live.values()))

    def selected(self, selectors: Collection[Selector]) -> list[str]:
        return [name for name, live in self._live.items() if live.selector in selectors]

    def doubtful(self) -> list[str]:
        """Those whose table may not be as it is to be."""
        return [
            name
            for name, live in self._live.items()
            if live.identity is not None
            and (live.generation == UNKNOWN or live.generation != live.seen or live.failures)
        ]

    def heirs(self, names: Collection[str]) -> list[str]:
        """Those that would stand for a network namespace if one of these did not."""
        return [name for name, live in self._live.items() if live.rival in names]

    def failures(self) -> list[tuple[Resource, KernelError]]:
        return [found for name in list(self._failing) for found in self._live[name].failures.items()]

    # What becomes of it

    def register(self, record: NamespaceRecord) -> Live:
        """Know a namespace as it is kept."""
        name, identity = record.namespace.name, record.identity
        live = self._live[name] = Live(record.namespace.selector, identity)
        self.describe(record)
        if identity is not None and identity.boot_id == self.own.boot_id:
            self._names.setdefault(identity.cookie, name)
        return live

    def describe(self, record: NamespaceRecord) -> None:
        """Know what a namespace says of itself, its selector excepted."""
        if (live := self._live.get(record.namespace.name)) is not None:
            live.transparent, live.transient = record.namespace.transparent, record.namespace.transient

    def add(self, name: str, selector: Selector) -> Live:
        """Know one that is new, and not what it is."""
        return self._live.setdefault(name, Live(selector))

    def remove(self, name: str) -> None:
        self._release(name)
        self._live.pop(name, None)
        self._failing.discard(name)
        self.unkept.discard(name)
        self.awakened.discard(name)
        self.gone.pop(name, None)
        for sources in self._sources.values():
            sources.discard(name)
        self._sources.pop(name, None)

    def refused(self, name: str, failures: Mapping[Resource, KernelError]) -> None:
        """Keep in mind what the kernel refuses of a namespace."""
        live = self._live.get(name)
        if live is None:
            return
        live.failures = dict(failures)
        if failures:
            self._failing.add(name)
        else:
            self._failing.discard(name)

    def leads_to(self, name: str, target: str) -> None:
        """Keep in mind that a namespace has endpoints whose target this one is."""
        self._sources.setdefault(target, set()).add(name)

    def awaken(self, name: str) -> None:
        """Take a namespace's table for equal no more: what it leads to is another one."""
        if (live := self._live.get(name)) is not None:
            live.generation = UNKNOWN
            self.awakened.add(name)

    def meet_module(self) -> None:
        """See whether the module is there, and whether every table is another one since."""
        if self._module.meet():
            self.doubt()

    def doubt(self) -> None:
        """Take no table for equal any more."""
        for live in self._live.values():
            live.generation = UNKNOWN

    def remember(self, names: Iterable[str]) -> Callable[[], None]:
        """What to call to know of these again what is known now."""
        saved = {name: None if (live := self._live.get(name)) is None else replace(live) for name in names}

        def again() -> None:
            for name, live in saved.items():
                if live is None:
                    self.remove(name)
                else:
                    self._release(name)
                    self._live[name] = live
                    self.refused(name, live.failures)
                    live.generation = UNKNOWN
            for name, live in saved.items():
                if live is not None and live.identity is not None:
                    self._names.setdefault(live.identity.cookie, name)

        return again

    # Finding

    @contextmanager
    def place(self, selector: Selector) -> Iterator[Place | Nothing]:
        """What a selector selects, held open; or why there is nothing. Raises KernelError."""
        with ExitStack() as held:
            place: Place | Nothing
            try:
                found = self._finder.find(selector)
                if found is None:
                    place = Nothing(f"there is no {_WORDS[selector.kind.value]} '{selector.value}'", sure=True)
                else:
                    held.callback(found.close)
                    place = self._at(found)
            except NamespaceError as error:
                place = Nothing(str(error), sure=False)
            yield place

    @contextmanager
    def open(self, name: str) -> Iterator[Place | None]:
        """A registered namespace, if it is there and still the one that it was."""
        live = self._live.get(name)
        if live is None or live.identity is None:
            yield None
            return
        place: Place | Nothing
        with ExitStack() as held:
            try:
                place = held.enter_context(self.place(live.selector))
            except ModuleNotLoadedError:  # then nobody tells whose table it is, and there is none
                place = Place(-1, live.identity, None)
            yield place if isinstance(place, Place) and place.identity == live.identity else None

    def look(self, names: Iterable[str] | None = None) -> None:
        """Find namespaces anew, None for all, and who stands for what they are now."""
        found: dict[str, _Seen] = {}
        tried: set[str] = set()
        wanted = set(self._live if names is None else names)
        while wanted:
            tried |= wanted
            found |= {name: seen for name in sorted(wanted) if (seen := self._see(name)) is not None}
            # Who stands for what is found now may do so no more.
            cookies = {seen.identity.cookie for seen in found.values() if seen.identity is not None}
            wanted = {self._names[cookie] for cookie in cookies.intersection(self._names)} - tried
        found = {name: seen for name, seen in found.items() if not self._is_over(name, seen)}
        taken = self._claims(found)
        for name, seen in found.items():
            self._settle(name, seen, taken)

    def settle(self, name: str, place: Place | Nothing) -> None:
        """Keep in mind that this is what a namespace is now."""
        seen = self._seen(place)
        if seen.identity is not None and self._names.get(seen.identity.cookie, name) != name:
            self.look([name])
        else:
            self._settle(name, seen, {} if seen.identity is None else {seen.identity.cookie: name})

    def check(self, name: str, place: Place) -> None:
        """Raise NotOursError or NamespaceTakenError where a namespace cannot have a table of graftd's for `name`."""
        if place.identity.cookie == self.own.cookie:
            raise NotOursError(
                f"'{name}' would be the namespace that graftd runs in, which needs no grafts: select another one",
                namespace=name,
            )
        cookie = place.identity.cookie
        if self._names.get(cookie, name) != name:
            self.look([self._names[cookie]])
        other = self._names.get(cookie, name)
        if other != name:
            raise NamespaceTakenError(
                f"namespace '{other}' stands for that network namespace already: use it, or select another one",
                namespace=name,
                other=other,
            )
        if (owner := self._other_owner(place.table)) is not None:
            raise NotOursError(
                f"the table of '{name}' is written by another namespace (cookie {owner}): empty it from there first",
                namespace=name,
                owner=owner,
            )

    def check_empty(self, name: str, place: Place) -> None:
        """Raise TableNotEmptyError where the table holds anything."""
        table = place.table
        if table is not None and (table.endpoints or table.rules or table.acls):
            raise TableNotEmptyError(
                f"the table of '{name}' in the kernel holds {table.endpoints} endpoints, {table.rules} rules and "
                f"{table.acls} ACL rules that graftd did not put there: import the namespace, or empty the table",
                namespace=name,
                endpoints=table.endpoints,
                rules=table.rules,
                acl_rules=table.acls,
            )

    # Inside

    def _at(self, found: Found) -> Place:
        if self._module.state is ModuleState.NOT_LOADED:
            return Place(found.fd, self._finder.identity(found), None)
        try:
            table = self._kernel.table(found.fd)
        except ModuleNotLoadedError:
            self.meet_module()
            return Place(found.fd, self._finder.identity(found), None)
        return Place(found.fd, NetnsIdentity(self.own.boot_id, table.netns_cookie), table)

    def _see(self, name: str) -> _Seen | None:
        """None: the kernel does not tell, and what is known stays."""
        live = self._live.get(name)
        if live is None:
            return None
        try:
            with self.place(live.selector) as place:
                return self._seen(place)
        except KernelError as error:
            if live.identity is None:
                live.detail = error.message
            return None

    def _seen(self, place: Place | Nothing) -> _Seen:
        if isinstance(place, Nothing):
            return _Seen(None, why=place.why, sure=place.sure)
        if place.identity.cookie == self.own.cookie:
            return _Seen(None, why="its selector selects the namespace that graftd runs in")
        if (owner := self._other_owner(place.table)) is not None:
            return _Seen(None, why=f"its table is written by another namespace (cookie {owner})", sure=False)
        return _Seen(place.identity, UNKNOWN if place.table is None else place.table.generation)

    def _other_owner(self, table: Table | None) -> int | None:
        return None if table is None or table.owner_cookie in (0, self.own.cookie) else table.owner_cookie

    def _claims(self, found: Mapping[str, _Seen]) -> dict[int, str]:
        """Who stands for a network namespace: who did so before, or else the first by name."""
        taken: dict[int, str] = {}
        for name in sorted(found):
            if (identity := found[name].identity) is not None:
                if self._names.get(identity.cookie) == name:
                    taken[identity.cookie] = name
                taken.setdefault(identity.cookie, name)
        # Whom the kernel did not tell of keeps what it has.
        return {cookie: self._names[cookie] if self._keeps(cookie, found) else name for cookie, name in taken.items()}

    def _keeps(self, cookie: int, found: Mapping[str, _Seen]) -> bool:
        holder = self._names.get(cookie)
        return holder is not None and holder not in found

    def _settle(self, name: str, seen: _Seen, taken: Mapping[int, str]) -> None:
        live = self._live[name]
        if self._is_over(name, seen):
            return
        identity, why, rival = seen.identity, seen.why, ""
        if identity is not None and (other := taken[identity.cookie]) != name:
            identity, why, rival = None, f"namespace '{other}' stands for that network namespace already", other
        live.detail, live.rival, live.seen = why, rival, seen.generation
        if live.identity == identity:
            return
        self._release(name)
        live.identity, live.generation, live.waiting = identity, UNKNOWN, {}
        self.refused(name, {})
        self.unkept.add(name)
        for source in self._sources.get(name, ()):
            self.awaken(source)
        if identity is None:
            self._news.event(NodeEventKind.NAMESPACE_ABSENT, f"namespace '{name}' is gone: {why}", name)
        else:
            self._names[identity.cookie] = name
            self._news.event(NodeEventKind.NAMESPACE_PRESENT, f"namespace '{name}' is there", name)

    def _is_over(self, name: str, seen: _Seen) -> bool:
        """Whether what a transient one was is not there any more, or cannot be told of: then it keeps what it has."""
        live = self._live[name]
        if not live.transient:
            return False
        if name in self.gone:
            return True
        if seen.identity is None:
            live.detail = seen.why
            if not seen.sure:
                return True
            self.gone[name] = seen.why
        elif live.identity is not None and live.identity != seen.identity:
            self.gone[name] = "its selector selects another network namespace"
        else:
            return False
        self._release(name)
        live.identity, live.generation, live.waiting = None, UNKNOWN, {}
        self.refused(name, {})
        return True

    def _release(self, name: str) -> None:
        live = self._live.get(name)
        if live is not None and live.identity is not None and self._names.get(live.identity.cookie) == name:
            del self._names[live.identity.cookie]


def unresolved(name: str, nothing: Nothing) -> SelectorUnresolvedError:
    """What to raise where a namespace has to be there."""
    return SelectorUnresolvedError(f"the network namespace of '{name}' is not there: {nothing.why}", namespace=name)


_WORDS = {
    "netns": "namespace of ip netns",
    "path": "namespace file",
    "pid": "process",
    "container": "container",
    "unit": "running unit",
}
