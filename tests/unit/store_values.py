# SPDX-License-Identifier: Apache-2.0
"""Short ways to say what the store's tests put into it."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path

from graftd.model import (
    AclRule,
    Direction,
    Endpoint,
    EndpointType,
    Identified,
    Namespace,
    NamespaceContent,
    PortRange,
    Rule,
    Selector,
    SelectorKind,
    TargetedEndpoint,
    Verdict,
)
from graftd.store import Store, Transaction

# What is done in a transaction.
Act = Callable[[Transaction], object]


def namespace(name: str = "web", **labels: str) -> Namespace:
    return Namespace(name, Selector(SelectorKind.NETNS, name), labels=labels)


def endpoint(name: str, mark: int = 0, target: str = "") -> TargetedEndpoint:
    address = IPv4Address("10.0.0.2")
    made = Endpoint(name, EndpointType.IPV4, address=address, ports=PortRange.single(80), mark=mark)
    return TargetedEndpoint(made, target)


def rule(port: int, to: str = "", direction: Direction = Direction.INGRESS) -> Rule:
    """Of its own selector for each port."""
    verdict = Verdict.ENDPOINT if to else Verdict.DENY
    return Rule(direction, verdict, ports=PortRange.single(port), endpoint=to)


def acl(number: int, *, allow: bool = True) -> AclRule:
    return AclRule(allow=allow, network=ip_network(f"10.0.{number}.0/24"))


def content(mark: int, size: int = 20) -> NamespaceContent:
    """All of one mark, so that half of it shows: `size` endpoints, 6 rules, 3 ACL rules, in the order of their ids."""
    to = f"to-{mark}"
    return NamespaceContent(
        endpoints=tuple(endpoint(f"e{number:02}", mark) for number in range(size)),
        rules=tuple(
            Identified(f"{direction.word}-{port}", rule(port, to, direction))
            for direction in reversed(Direction)
            for port in range(1, 4)
        ),
        acl=tuple(
            Identified(f"a{number}", AclRule(allow=True, endpoint=to, network=acl(number).network))
            for number in range(3)
        ),
    )


def marks(found: NamespaceContent) -> set[int]:
    """The marks of which a content is made."""
    names = [one.rule.endpoint for one in found.rules or ()] + [one.rule.endpoint for one in found.acl or ()]
    return {one.endpoint.mark for one in found.endpoints or ()} | {int(name.removeprefix("to-")) for name in names}


def numbered_uids() -> Callable[[], str]:
    """Uids that tell in which order they were given."""
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012}"


def rules_of(*pairs: tuple[str, Rule]) -> NamespaceContent:
    """These rules, each with its id."""
    return NamespaceContent(rules=tuple(Identified(name, one) for name, one in pairs))


@contextmanager
def web_store(folder: Path) -> Iterator[Store]:
    """At revision 1, with namespace web; its clock goes on by a microsecond with each look."""
    ticks = iter(range(1_000_000, 2_000_000_000))
    with Store.open(folder / "db", clock=lambda: next(ticks)) as opened:
        with opened.transaction() as transaction:
            transaction.create_namespace(namespace())
        yield opened


def revision(store: Store) -> int:
    with store.snapshot() as view:
        return view.revision
