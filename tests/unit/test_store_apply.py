# SPDX-License-Identifier: Apache-2.0
"""Apply: what differs is changed, the rest is left, and all of it is kept or nothing."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graftd.errors import StoreError
from graftd.model import EndpointRecord, Identified, NamespaceContent, NamespaceRecord, Record, TargetedEndpoint
from graftd.store import Store
from graftd.store._acl import AclWriter
from unit.store_values import acl, content, endpoint, marks, namespace, revision, rule, rules_of, web_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with web_store(tmp_path) as opened:
        yield opened


def test_apply_touches_what_differs_alone(store: Store) -> None:
    with store.transaction() as transaction:
        etag = transaction.content_etag("web")
        transaction.apply(namespace(), "web", content(1), content_etag=etag)
        assert len(transaction.changes) == 29
        before = {one.value.endpoint.name: one for one in transaction.endpoints("web")}
        rules = {one.id: one for one in transaction.rules("web")}
        acls = transaction.acl("web")
    wanted = NamespaceContent(
        endpoints=(endpoint("new"), endpoint("e03", 99), *endpoints_of(content(1))[4:]),
        rules=tuple(Identified("", rule(port, "elsewhere" if port == 2 else "to-1")) for port in (3, 2, 4)),
        acl=tuple(Identified("", one) for one in (acl(9), acls[0].rule, acls[2].rule)),
    )
    with store.transaction() as transaction:
        transaction.apply(namespace("web", a="b"), "web", wanted, content_etag=transaction.content_etag("web"))
        changes = transaction.changes
        after = {one.value.endpoint.name: one for one in transaction.endpoints("web")}
        rules_after = {one.id: one for one in transaction.rules("web")}
        acls_after = transaction.acl("web")
    told = sorted((change.kind.word, name_of(change.record)) for change in changes)
    assert told == [
        ("created", "acl-3-14"),
        ("created", "new"),
        ("created", "rule-3-12"),
        *(("deleted", name) for name in ("a1", "e00", "e01", "e02", "egress-1", "egress-2", "egress-3", "ingress-1")),
        *(("updated", name) for name in ("e03", "ingress-2", "web")),
    ]
    assert {name for name, one in after.items() if before.get(name) != one} == {"new", "e03"}
    assert after["e03"].uid == before["e03"].uid
    assert [one.id for one in rules_after.values()] == ["ingress-2", "ingress-3", "rule-3-12"]
    assert rules_after["ingress-3"] == rules["ingress-3"]
    assert rules_after["ingress-2"].uid == rules["ingress-2"].uid
    assert [(one.id, one.index) for one in acls_after] == [("acl-3-14", 0), ("a0", 1), ("a2", 2)]
    assert acls_after[1:] == (replace(acls[0], index=1), acls[2])
    assert all(change.before == before["e03"] for change in changes if name_of(change.record) == "e03")


def test_apply_leaves_what_it_is_not_told_of(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace("web", a="b"), "web", content(1))
    with store.transaction() as transaction:
        transaction.apply(None, "web", NamespaceContent())
        assert transaction.changes == ()
        found = transaction.apply(None, "web", NamespaceContent(rules=()))
        assert found.namespace == namespace("web", a="b")
        assert transaction.content("web") == replace(content(1), rules=())
        transaction.apply(None, "web", NamespaceContent(acl=()))
        assert transaction.content("web") == replace(content(1), rules=(), acl=())
        transaction.apply(None, "web", NamespaceContent(endpoints=()))
        assert transaction.counts() == (1, 0, 0, 0)


def test_apply_goes_by_ids_where_they_are_said(store: Store) -> None:
    """Selectors and contents change hands, and no id does."""
    with store.transaction() as transaction:
        transaction.apply(None, "web", rules_of(("a", rule(1)), ("b", rule(2)), ("c", rule(3))))
        uids = {one.id: one.uid for one in transaction.rules("web")}
    with store.transaction() as transaction:
        transaction.apply(None, "web", rules_of(("a", rule(2)), ("b", rule(1)), ("", rule(3, "x")), ("d", rule(4))))
        found = {one.id: one for one in transaction.rules("web")}
    assert {name: one.rule for name, one in found.items()} == {
        "a": rule(2),
        "b": rule(1),
        "c": rule(3, "x"),
        "d": rule(4),
    }
    assert {name: one.uid for name, one in found.items() if name != "d"} == uids
    with store.transaction() as transaction:
        # The one that has the selector is said to be another now: this is a new one.
        transaction.apply(None, "web", rules_of(("a", rule(5)), ("", rule(2))))
        assert {one.id: one.rule for one in transaction.rules("web")} == {"a": rule(5), "rule-4-5": rule(2)}


def test_apply_of_an_acl_goes_by_ids_or_contents(store: Store) -> None:
    def of(*pairs: tuple[str, int]) -> NamespaceContent:
        return NamespaceContent(acl=tuple(Identified(name, acl(number)) for name, number in pairs))

    with store.transaction() as transaction:
        transaction.apply(None, "web", of(("a", 1), ("b", 1), ("c", 2), ("d", 1)))
    with store.transaction() as transaction:
        # a is spoken for, so the first without an id is b; no other has 3.
        transaction.apply(None, "web", of(("", 1), ("a", 2), ("", 3), ("", 1), ("e", 1)))
        found = [(one.id, one.rule) for one in transaction.acl("web")]
    assert [name for name, _ in found] == ["b", "a", "acl-3-4", "d", "e"]
    assert [one for _, one in found] == [acl(1), acl(2), acl(3), acl(1), acl(1)]


def test_an_apply_that_fails_in_the_middle_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(1))
    before = revision(store)
    original = AclWriter.replace

    def fail(self: AclWriter, *args: object) -> None:
        # What SQLite says of a rule that has no body, before the last part.
        self._database.run("UPDATE rule SET body = NULL")
        original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(AclWriter, "replace", fail)
    with pytest.raises(StoreError, match="NOT NULL constraint failed"), store.transaction() as transaction:
        transaction.apply(namespace("web", new="label"), "web", content(2, size=30))
    monkeypatch.undo()
    with store.snapshot() as view:
        assert view.revision == before
        assert view.content("web") == content(1)
        assert view.namespace("web").namespace == namespace()
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(2))
        assert marks(transaction.content("web")) == {2}


def endpoints_of(found: NamespaceContent) -> tuple[TargetedEndpoint, ...]:
    assert found.endpoints is not None
    return found.endpoints


def name_of(record: Record) -> str:
    if isinstance(record, NamespaceRecord):
        return record.namespace.name
    return record.value.endpoint.name if isinstance(record, EndpointRecord) else record.id
