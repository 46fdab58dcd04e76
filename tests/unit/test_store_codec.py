# SPDX-License-Identifier: Apache-2.0
"""What the store is given, it gives back, also after it was closed."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from graftd.errors import StoreDamagedError
from graftd.model import (
    AclRule,
    ChangeKind,
    Freeze,
    Identified,
    Namespace,
    NamespaceContent,
    NetnsIdentity,
    Rule,
    TargetedEndpoint,
)
from graftd.store import Store
from unit.generated import acl_rules, identities, names, namespaces, rules, targeted
from unit.store_values import acl, content, endpoint, namespace, rule

# A store for each example would be a file for each.
one_store = hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "db") as opened:
        yield opened


@one_store
@given(namespaces, st.none() | identities)
def test_namespaces(store: Store, wanted: Namespace, identity: NetnsIdentity | None) -> None:
    with store.transaction() as transaction:
        made = transaction.create_namespace(wanted)
        identified = transaction.identify_namespace(wanted.name, identity)
    with store.snapshot() as view:
        found = view.namespace(wanted.name)
        assert view.namespaces() == [found]
    assert (made.namespace, made.identity) == (wanted, None)
    assert found == identified
    assert (found.namespace, found.identity) == (wanted, identity)
    with store.transaction() as transaction:
        assert transaction.delete_namespace(wanted.name) == found


@one_store
@given(targeted)
def test_endpoints(store: Store, wanted: TargetedEndpoint) -> None:
    name = wanted.endpoint.name
    assume(wanted.target != "web")
    with store.transaction() as transaction:
        transaction.create_namespace(namespace())
        if wanted.target:
            transaction.create_namespace(namespace(wanted.target))
        made = transaction.create_endpoint("web", wanted)
        in_transaction = transaction.changes[-1]
    with store.snapshot() as view:
        assert made == view.endpoint("web", name)
        assert view.endpoints("web") == [made]
        assert made.value == wanted
        change = view.changes(after=view.revision - 1).changes[-1]
        assert change == in_transaction
        assert (change.kind, change.record) == (ChangeKind.CREATED, made)
    with store.transaction() as transaction:
        transaction.delete_namespace("web", force=True)
        transaction.delete_namespace(wanted.target, missing_ok=True)


@one_store
@given(
    st.lists(targeted, max_size=5, unique_by=lambda one: one.endpoint.name),
    st.dictionaries(names, rules, max_size=5).filter(
        lambda some: len({rule.selector for rule in some.values()}) == len(some)
    ),
    st.dictionaries(names, acl_rules, max_size=5),
)
def test_contents(
    store: Store, endpoints: list[TargetedEndpoint], some: dict[str, Rule], acl_some: dict[str, AclRule]
) -> None:
    wanted = NamespaceContent(
        endpoints=tuple(sorted(endpoints, key=lambda one: one.endpoint.name.encode("utf-8", "surrogateescape"))),
        rules=tuple(Identified(name, some[name]) for name in sorted(some)),
        acl=tuple(Identified(name, one) for name, one in acl_some.items()),
    )
    with store.transaction() as transaction:
        targets = {one.target for one in endpoints}
        assume("web" not in targets)
        for target in targets - {""}:
            transaction.create_namespace(namespace(target))
        transaction.apply(namespace(), "web", wanted)
        made = transaction.changes
    with store.snapshot() as view:
        assert view.content("web") == wanted
        assert view.changes(after=view.revision - 1).changes == made
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", wanted)
        assert transaction.changes == ()
    with store.transaction() as transaction:
        for name in ("web", *targets):
            transaction.delete_namespace(name, force=True, missing_ok=True)


def test_all_is_there_after_a_restart(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db") as store:
        with store.transaction() as transaction:
            transaction.apply(namespace(), "web", content(7))
            transaction.identify_namespace("web", NetnsIdentity("boot", 2**64 - 1))
        with store.transaction() as transaction:
            transaction.set_freeze(Freeze("fire"))
        with store.snapshot() as view:
            before = (view.history_id, view.endpoints("web"), view.rules("web"), view.acl("web"))
    with Store.open(tmp_path / "db") as store, store.snapshot() as view:
        assert view.content("web") == content(7)
        assert view.namespace("web").identity == NetnsIdentity("boot", 2**64 - 1)
        assert view.changes(after=0).through == view.revision == 1
        assert (view.history_id, view.endpoints("web"), view.rules("web"), view.acl("web")) == before
        assert view.freeze == Freeze("fire")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ("{", "JSONDecodeError"),
        ("[]", "TypeError"),
        ('{"name":"a"}', "KeyError: 'type'"),
        ('{"name":"a","type":3,"path":"p"} ', "something follows the end"),
        ('{"name":"a","type":3,"path":"p","labels":["a"]}', "AttributeError"),
        ('{"name":"a","type":3,"path":"p","target":"-"}', "cannot name a namespace"),
        ('{"name":"a","type":1,"address":"10.0.0.300","ports":[1,1]}', "AddressValueError|ValueError"),
        ('{"name":"a","type":1,"address":"10.0.0.2","ports":[1]}', "TypeError"),
        ('{"name":"a","type":3,"path":"p","colour":1}', "this graftd knows no field colour"),
    ],
)
def test_a_row_that_makes_no_sense(tmp_path: Path, body: str, why: str) -> None:
    with Store.open(tmp_path / "db") as store:
        with store.transaction() as transaction:
            transaction.create_namespace(namespace())
            transaction.create_endpoint("web", endpoint("a"))
            transaction.create_endpoint("web", endpoint("b"))
        with sqlite3.connect(tmp_path / "db") as other:
            other.execute("UPDATE endpoint SET body = ? WHERE name = ?", (body, b"a"))
        other.close()
        with store.snapshot() as view, pytest.raises(StoreDamagedError, match=why) as caught:
            view.endpoints("web")
        assert "of namespace 'web', revision 1, makes no sense" in str(caught.value)
        assert "put the newest backup in the database's place" in str(caught.value)
        with store.snapshot() as view:
            assert view.endpoint("web", "b").value == endpoint("b")


def test_bodies_are_small_and_say_nothing_of_defaults(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.create_namespace(namespace())
        transaction.create_endpoint("web", endpoint("a"))
        transaction.add_rule("web", rule(5))
        transaction.add_acl_rule("web", acl(1))
        bodies = [
            json.loads(transaction._database.one(f"SELECT body FROM {table}")[0])
            for table in ("namespace", "endpoint", "rule", "acl")
        ]
    assert bodies == [
        {"selector": ["netns", "web"]},
        {"name": "a", "type": 1, "address": "10.0.0.2", "ports": [80, 80]},
        {"direction": 1, "verdict": 3, "ports": [5, 5]},
        {"allow": True, "network": "10.0.1.0/24"},
    ]
