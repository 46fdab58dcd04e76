# SPDX-License-Identifier: Apache-2.0
"""What is created, changed and deleted: namespaces, targets of endpoints, uids and etags."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from graftd.errors import (
    NamespaceInUseError,
    NotEmptyError,
    NotFoundError,
    OwnTargetError,
    ResourceError,
    SelectorTakenError,
)
from graftd.model import (
    ChangeKind,
    Freeze,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    NetnsIdentity,
    Selector,
    SelectorKind,
    TableLimits,
)
from graftd.store import Store
from unit.store_values import Act, acl, content, endpoint, namespace, numbered_uids, revision, rule, web_store

REVERSED = replace(content(1), acl=(content(1).acl or ())[::-1])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with web_store(tmp_path) as opened:
        yield opened


# Namespaces


def test_a_namespaces_life(store: Store) -> None:
    frozen = replace(namespace(), limits=TableLimits(max_sockets=5), freeze=Freeze("fire"))
    with store.transaction() as transaction:
        made = transaction.namespace("web")
        changed = transaction.update_namespace(frozen, etag=made.version.etag)
    assert changed.version.created == made.version.created < changed.version.updated
    assert (made.version.revision, changed.version.revision) == (1, 2)
    assert made.version.etag != changed.version.etag
    assert made.uid == changed.uid
    with store.transaction() as transaction:
        assert transaction.update_namespace(frozen) == changed
        assert transaction.delete_namespace("web", etag=changed.version.etag) == changed
        assert transaction.find_namespace("web") is None
    with store.transaction() as transaction:
        again = transaction.create_namespace(namespace())
    assert again.version.revision == 4
    assert again.uid != made.uid
    with store.snapshot() as view:
        kinds = [change.kind for change in view.changes(after=0).changes]
    assert kinds == [ChangeKind.CREATED, ChangeKind.UPDATED, ChangeKind.DELETED, ChangeKind.CREATED]


def test_where_a_namespace_is_moves_no_version(store: Store) -> None:
    identity = NetnsIdentity("boot", 5)
    with store.transaction() as transaction:
        before = transaction.namespace("web")
        etag = transaction.content_etag("web")
        present = transaction.identify_namespace("web", identity)
        transaction.identify_namespace("web", identity)
        assert len(transaction.changes) == 1
        assert transaction.content_etag("web") == etag
        changed = transaction.update_namespace(namespace("web", a="b"))
        absent = transaction.identify_namespace("web", None)
    assert (before.identity, present.identity, absent.identity) == (None, identity, None)
    assert before.version == present.version
    assert changed.identity == identity
    with store.snapshot() as view:
        assert [change.record for change in view.changes(after=1).changes] == [present, changed, absent]


def test_a_namespace_goes_with_all_that_it_holds(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(1))
    with pytest.raises(NotEmptyError, match="holds endpoints or rules: delete"), store.transaction() as transaction:
        transaction.delete_namespace("web")
    with store.transaction() as transaction:
        transaction.delete_namespace("web", force=True)
        changes = transaction.changes
    assert {change.kind for change in changes} == {ChangeKind.DELETED}
    assert len(changes) == 30
    assert isinstance(changes[-1].record, NamespaceRecord)
    with store.snapshot() as view, pytest.raises(NotFoundError, match="there is no namespace 'web'"):
        view.content("web")
    with store.snapshot() as view:
        assert view.counts() == (0, 0, 0, 0)


@pytest.mark.parametrize("part", ["endpoints", "rules", "acl"])
def test_a_namespace_that_holds_anything_is_not_empty(store: Store, part: str) -> None:
    one = NamespaceContent(**{part: getattr(content(1), part)[:1]})
    with store.transaction() as transaction:
        transaction.apply(None, "web", one)
    with pytest.raises(NotEmptyError), store.transaction() as transaction:
        transaction.delete_namespace("web")


def test_no_two_namespaces_have_one_selector(store: Store) -> None:
    web = namespace().selector
    with pytest.raises(SelectorTakenError, match="namespace 'web' has the selector netns 'web' already") as caught:  # noqa: SIM117
        with store.transaction() as transaction:
            transaction.create_namespace(Namespace("other", web))
    assert (caught.value.id, caught.value.kind) == ("web", "namespace")
    with store.transaction() as transaction:
        transaction.create_namespace(namespace("other"))
    with pytest.raises(SelectorTakenError), store.transaction() as transaction:
        transaction.update_namespace(Namespace("other", web))
    with store.transaction() as transaction:
        transaction.update_namespace(namespace("other", a="b"))
        # One that is free again.
        transaction.update_namespace(Namespace("web", Selector(SelectorKind.PID, "5", 7)))
        transaction.update_namespace(Namespace("other", web))
        transaction.create_namespace(Namespace("later", Selector(SelectorKind.PID, "5", 8)))


def test_a_node_is_frozen_outside_of_the_log(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.set_freeze(Freeze("fire"))
        assert transaction.freeze == Freeze("fire")
    with store.snapshot() as view:
        assert view.freeze == Freeze("fire")
        assert view.revision == 1
    with store.transaction(dry_run=True) as transaction:
        transaction.set_freeze(None)
    with store.snapshot() as view:
        assert view.freeze == Freeze("fire")
    with store.transaction() as transaction:
        transaction.set_freeze(None)
    with store.snapshot() as view:
        assert view.freeze is None


def test_how_many_there_are(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.create_namespace(namespace("other"))
        transaction.apply(None, "web", content(1, size=4))
        transaction.apply(None, "other", NamespaceContent(acl=content(1).acl))
        assert transaction.counts() == (2, 4, 6, 6)


# Targets


def test_targets(store: Store) -> None:
    with store.transaction() as transaction:
        for name in ("db", "front"):
            transaction.create_namespace(namespace(name))
        assert transaction.targeting("db") == (0, None)
        transaction.create_endpoint("web", endpoint("a", target="db"))
        transaction.apply(None, "front", NamespaceContent(endpoints=(endpoint("b", target="db"), endpoint("c"))))
        assert transaction.targeting("db") == (2, ("web", "a"))
        assert transaction.targeting("web") == (0, None)
    in_use = r"is the target of 2 endpoints of other .*, as of 'a' of 'web'"
    with pytest.raises(NamespaceInUseError, match=in_use) as caught, store.transaction() as transaction:
        transaction.delete_namespace("db", force=True)
    assert (caught.value.count, caught.value.example) == (2, ("web", "a"))
    with store.transaction() as transaction:
        transaction.update_endpoint("web", endpoint("a"))
        assert transaction.targeting("db") == (1, ("front", "b"))
        transaction.update_endpoint("web", endpoint("a", target="front"))
        transaction.delete_endpoint("front", "b")
        transaction.delete_namespace("db")
        assert transaction.targeting("front") == (1, ("web", "a"))
    with store.transaction() as transaction:
        transaction.delete_namespace("web", force=True)
        transaction.delete_namespace("front", force=True)


@pytest.mark.parametrize(
    ("target", "error", "sentence"),
    [
        ("no", NotFoundError, "there is no namespace 'no': create it first"),
        ("web", OwnTargetError, "endpoint 'a' of namespace 'web' cannot have its own namespace as its target: name"),
    ],
)
def test_what_can_be_no_target(store: Store, target: str, error: type[ResourceError], sentence: str) -> None:
    wanted = endpoint("a", target=target)
    with store.transaction() as transaction:
        transaction.create_endpoint("web", endpoint("a"))
        transaction.create_namespace(namespace("other"))
    ways: list[Act] = [
        lambda t: t.update_endpoint("web", wanted),
        lambda t: t.apply(None, "web", NamespaceContent(endpoints=(wanted,))),
        lambda t: (t.delete_endpoint("web", "a"), t.create_endpoint("web", wanted)),
    ]
    for way in ways:
        with pytest.raises(error, match=sentence), store.transaction() as transaction:
            way(transaction)
    assert revision(store) == 2


# Uids, etags


def test_uids(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db", new_uid=numbered_uids()) as store:
        with store.transaction() as transaction:
            made = [
                transaction.create_namespace(namespace()).uid,
                transaction.create_endpoint("web", endpoint("a")).uid,
                transaction.add_rule("web", rule(1)).uid,
                transaction.add_acl_rule("web", acl(1)).uid,
            ]
            assert [int(uid.rpartition("-")[2]) for uid in made] == [2, 3, 4, 5]
        with store.snapshot() as view:
            assert view.history_id == "00000000-0000-4000-8000-000000000001"
            assert [change.record.uid for change in view.changes(after=0).changes] == made


def test_uids_are_uuids(store: Store) -> None:
    with store.snapshot() as view:
        found = [UUID(view.history_id), UUID(view.namespace("web").uid)]
    assert {one.version for one in found} == {4}
    assert found[0] != found[1]


def test_what_etags_of_a_whole_tell(store: Store) -> None:
    """Whether the content's and the ACL's etag change with each way to change something."""
    identity = NetnsIdentity("boot", 5)
    with store.transaction() as transaction:
        transaction.apply(None, "web", content(1))
        transaction.create_namespace(namespace("other"))
    ways: list[tuple[Act, bool, bool]] = [
        (lambda t: t.update_namespace(namespace("web", a="b")), True, False),
        (lambda t: t.identify_namespace("web", identity), False, False),
        (lambda t: t.create_endpoint("web", endpoint("new")), True, False),
        (lambda t: t.update_endpoint("web", endpoint("new", 3)), True, False),
        (lambda t: t.update_endpoint("web", endpoint("new", 3)), False, False),
        (lambda t: t.delete_endpoint("web", "new"), True, False),
        (lambda t: t.add_rule("web", rule(9), rule_id="r"), True, False),
        (lambda t: t.update_rule("web", "r", rule(10)), True, False),
        (lambda t: t.delete_rule("web", "r"), True, False),
        (lambda t: t.add_acl_rule("web", acl(9), rule_id="a"), True, True),
        (lambda t: t.update_acl_rule("web", "a", acl(10)), True, True),
        (lambda t: t.update_acl_rule("web", "a", acl(10)), False, False),
        (lambda t: t.move_acl_rule("web", "a", 0), True, True),
        (lambda t: t.move_acl_rule("web", "a", 0), False, False),
        (lambda t: t.delete_acl_rule("web", "a"), True, True),
        (lambda t: t.apply(None, "web", content(1)), False, False),
        (lambda t: t.apply(None, "web", REVERSED), True, True),
        (lambda t: t.create_endpoint("other", endpoint("new")), False, False),
    ]
    seen: set[tuple[str, str]] = set()
    for number, (way, content_changes, acl_changes) in enumerate(ways):
        with store.snapshot() as view:
            before = (view.content_etag("web"), view.acl_etag("web"))
            seen.add(before)
        with store.transaction() as transaction:
            way(transaction)
        with store.snapshot() as view:
            after = (view.content_etag("web"), view.acl_etag("web"))
        assert (before[0] != after[0], before[1] != after[1]) == (content_changes, acl_changes), number
        assert (after in seen) == (not content_changes)
