# SPDX-License-Identifier: Apache-2.0
"""What is created, changed and deleted, and what is refused."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graftd.errors import (
    AlreadyExistsError,
    EtagMismatchError,
    GraftError,
    ImmutableFieldError,
    IndexRangeError,
    NamespaceInUseError,
    NotEmptyError,
    NotFoundError,
    OwnTargetError,
    ResourceError,
    SelectorTakenError,
    StoreError,
)
from graftd.model import (
    AclRule,
    ChangeKind,
    Direction,
    EndpointRecord,
    Freeze,
    Identified,
    Namespace,
    NamespaceContent,
    NamespaceRecord,
    NetnsIdentity,
    Record,
    Rule,
    RuleRecord,
    Selector,
    SelectorKind,
    TableLimits,
    TargetedEndpoint,
)
from graftd.store import Store, Transaction
from graftd.store._acl import AclWriter
from unit.store_values import acl, content, endpoint, marks, namespace, numbered_uids, rule

REVERSED = replace(content(1), acl=(content(1).acl or ())[::-1])
EGRESS = rule(80, direction=Direction.EGRESS)

Refused = Callable[[Transaction], object]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    ticks = iter(range(1_000_000, 2_000_000_000))
    with Store.open(tmp_path / "db", clock=lambda: next(ticks)) as opened:
        with opened.transaction() as transaction:
            transaction.create_namespace(namespace())
        yield opened


def revision(store: Store) -> int:
    with store.snapshot() as view:
        return view.revision


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
    ways: list[Refused] = [
        lambda t: t.update_endpoint("web", wanted),
        lambda t: t.apply(None, "web", NamespaceContent(endpoints=(wanted,))),
        lambda t: (t.delete_endpoint("web", "a"), t.create_endpoint("web", wanted)),
    ]
    for way in ways:
        with pytest.raises(error, match=sentence), store.transaction() as transaction:
            way(transaction)
    assert revision(store) == 2


# Refusals


@pytest.mark.parametrize(
    ("refused", "error", "sentence"),
    [
        (lambda t: t.create_namespace(namespace()), AlreadyExistsError, "namespace 'web' exists: update it"),
        (lambda t: t.update_namespace(namespace("no")), NotFoundError, "there is no namespace 'no': create it"),
        (lambda t: t.identify_namespace("no", None), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.delete_namespace("no"), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.create_endpoint("no", endpoint("a")), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.create_endpoint("web", endpoint("e00")), AlreadyExistsError, "endpoint 'e00' of namespace 'web'"),
        (lambda t: t.update_endpoint("web", endpoint("no")), NotFoundError, "namespace 'web' has no endpoint 'no'"),
        (lambda t: t.delete_endpoint("web", "no"), NotFoundError, "namespace 'web' has no endpoint 'no'"),
        (lambda t: t.endpoint("web", "no"), NotFoundError, "namespace 'web' has no endpoint 'no'"),
        (lambda t: t.add_rule("web", rule(1)), SelectorTakenError, "matches the same network, protocols and ports"),
        (lambda t: t.add_rule("web", rule(9), rule_id="first"), AlreadyExistsError, "rule 'first' of namespace 'web'"),
        (lambda t: t.add_rule("web", rule(9), rule_id="-"), ValueError, "'-' cannot name a rule"),
        (lambda t: t.update_rule("web", "no", rule(9)), NotFoundError, "has no rule 'no'"),
        (lambda t: t.update_rule("web", "first", rule(1)), SelectorTakenError, "'ingress-1' .* update that one"),
        (
            lambda t: t.update_rule("web", "first", EGRESS),
            ImmutableFieldError,
            "is an ingress rule for good: delete it",
        ),
        (lambda t: t.apply(None, "web", rules_of(("first", EGRESS))), ImmutableFieldError, "add one for egress"),
        (lambda t: t.delete_rule("web", "no"), NotFoundError, "has no rule 'no'"),
        (lambda t: t.rule("web", "no"), NotFoundError, "has no rule 'no'"),
        (lambda t: t.add_acl_rule("web", acl(9), rule_id="a1"), AlreadyExistsError, "ACL rule 'a1' of namespace 'web'"),
        (lambda t: t.add_acl_rule("web", acl(9), rule_id="-"), ValueError, "'-' cannot name a rule"),
        (lambda t: t.add_acl_rule("web", acl(9), index=4), IndexRangeError, "there is no place 4 in the ACL of"),
        (lambda t: t.add_acl_rule("web", acl(9), index=-1), IndexRangeError, "no place -1"),
        (lambda t: t.update_acl_rule("web", "no", acl(9)), NotFoundError, "has no ACL rule 'no'"),
        (lambda t: t.move_acl_rule("web", "a1", 3), IndexRangeError, "they go from 0 to 2"),
        (lambda t: t.move_acl_rule("web", "no", 0), NotFoundError, "has no ACL rule 'no'"),
        (lambda t: t.delete_acl_rule("web", "no"), NotFoundError, "has no ACL rule 'no'"),
        (lambda t: t.acl_rule("web", "no"), NotFoundError, "has no ACL rule 'no'"),
        (lambda t: t.acl("no"), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.acl_etag("no"), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.targeting("no"), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.update_namespace(namespace("web", a="b"), etag="x"), EtagMismatchError, "'web' was changed since"),
        (lambda t: t.delete_namespace("web", etag="x", force=True), EtagMismatchError, "'web' was changed since"),
        (lambda t: t.update_endpoint("web", endpoint("e00"), etag="x"), EtagMismatchError, "'e00' of namespace 'web'"),
        (lambda t: t.delete_endpoint("web", "e00", etag="x"), EtagMismatchError, "'e00' of namespace 'web'"),
        (lambda t: t.update_rule("web", "first", rule(80), etag="x"), EtagMismatchError, "rule 'first'"),
        (lambda t: t.delete_rule("web", "first", etag="x"), EtagMismatchError, "rule 'first'"),
        (lambda t: t.update_acl_rule("web", "a1", acl(9), etag="x"), EtagMismatchError, "ACL rule 'a1'"),
        (lambda t: t.move_acl_rule("web", "a1", 0, etag="x"), EtagMismatchError, "ACL rule 'a1'"),
        (lambda t: t.delete_acl_rule("web", "a1", etag="x"), EtagMismatchError, "ACL rule 'a1'"),
        (lambda t: t.apply(None, "web", content(2), content_etag="x"), EtagMismatchError, "or something in it was"),
        (lambda t: t.apply(namespace("no"), "no", content(2), content_etag="x"), NotFoundError, "no namespace 'no'"),
        (lambda t: t.apply(None, "no", content(2)), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.apply(None, "no", NamespaceContent()), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.apply(namespace(), "no", content(2)), ValueError, "cannot be applied as 'no'"),
        (lambda t: t.endpoints("web", limit=0), ValueError, "a page of 0 holds nothing"),
        (lambda t: t.rules("web", limit=0), ValueError, "a page of 0 holds nothing"),
    ],
)
def test_a_refusal_leaves_nothing(store: Store, refused: Refused, error: type[Exception], sentence: str) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(1))
        transaction.add_rule("web", rule(80), rule_id="first")
    before = revision(store)

    def make_and_be_refused() -> None:
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint("made-before"))
            refused(transaction)

    with pytest.raises(error, match=sentence):
        make_and_be_refused()
    with store.snapshot() as view:
        assert view.revision == before
        assert view.find_endpoint("web", "made-before") is None


@pytest.mark.parametrize(
    ("refused", "kind", "where", "name"),
    [
        (lambda t: t.namespace("no"), "namespace", "no", "no"),
        (lambda t: t.endpoint("web", "no"), "endpoint", "web", "no"),
        (lambda t: t.rule("web", "no"), "rule", "web", "no"),
        (lambda t: t.acl_rule("web", "no"), "acl rule", "web", "no"),
        (lambda t: t.create_namespace(namespace()), "namespace", "web", "web"),
        (lambda t: t.create_endpoint("web", endpoint("e00")), "endpoint", "web", "e00"),
        (lambda t: t.add_rule("web", rule(9), rule_id="ingress-1"), "rule", "web", "ingress-1"),
        (lambda t: t.add_rule("web", rule(1)), "rule", "web", "ingress-1"),
        (lambda t: t.add_acl_rule("web", acl(9), rule_id="a0"), "acl rule", "web", "a0"),
    ],
)
def test_refusals_say_what_they_are_about(store: Store, refused: Refused, kind: str, where: str, name: str) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(1))
    with pytest.raises((NotFoundError, AlreadyExistsError)) as caught, store.transaction() as transaction:
        refused(transaction)
    error = caught.value
    assert isinstance(error, (NotFoundError, AlreadyExistsError))
    assert (error.kind, error.namespace, error.id) == (kind, where, name)


def test_refusals_say_what_is_there(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), "web", content(1))
        etag = transaction.endpoint("web", "e00").version.etag
        content_etag = transaction.content_etag("web")
    with pytest.raises(EtagMismatchError) as mismatch, store.transaction() as transaction:
        transaction.delete_endpoint("web", "e00", etag="x")
    assert mismatch.value.etag == etag
    with pytest.raises(EtagMismatchError) as mismatch, store.transaction() as transaction:
        transaction.apply(None, "web", NamespaceContent(), content_etag="x")
    assert mismatch.value.etag == content_etag
    ways: list[Refused] = [
        lambda t: t.add_acl_rule("web", acl(9), index=9),
        lambda t: t.move_acl_rule("web", "a0", 3),
    ]
    for way in ways:
        with pytest.raises(IndexRangeError) as beyond, store.transaction() as transaction:
            way(transaction)
        assert beyond.value.count == 3
    with pytest.raises(ImmutableFieldError) as immutable, store.transaction() as transaction:
        transaction.update_rule("web", "ingress-1", EGRESS)
    assert immutable.value.field == "direction"


def test_what_is_not_there_can_be_as_good_as_deleted(store: Store) -> None:
    with store.transaction() as transaction:
        assert transaction.delete_namespace("no", missing_ok=True) is None
        assert transaction.delete_endpoint("web", "no", missing_ok=True) is None
        assert transaction.delete_rule("web", "no", missing_ok=True) is None
        assert transaction.delete_acl_rule("web", "no", missing_ok=True) is None
    assert revision(store) == 1


# All or nothing


def test_a_caught_error_ends_the_transaction_all_the_same(store: Store) -> None:
    def go_on_regardless() -> None:
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint("a"))
            with pytest.raises(AlreadyExistsError):
                transaction.create_namespace(namespace())
            with pytest.raises(StoreError, match=r"the transaction has ended, .* namespace 'web' exists"):
                transaction.create_endpoint("web", endpoint("b"))

    with pytest.raises(StoreError, match=r"nothing of the transaction was kept, .* namespace 'web' exists"):
        go_on_regardless()
    assert revision(store) == 1


def test_an_exception_of_the_callers_keeps_nothing(store: Store) -> None:
    def interrupted() -> None:
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint("a"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert revision(store) == 1


def test_a_dry_run_tells_what_would_be(store: Store) -> None:
    with store.transaction(dry_run=True) as transaction:
        transaction.apply(namespace(), "web", content(1))
        assert len(transaction.changes) == 29
        assert transaction.content("web") == content(1)
    with store.snapshot() as view:
        assert view.content("web") == NamespaceContent(endpoints=(), rules=(), acl=())
        assert view.revision == 1


def test_a_view_is_of_no_use_after_its_end(store: Store) -> None:
    with store.snapshot() as view:
        pass
    with store.transaction() as transaction:
        pass
    uses: list[Callable[[], object]] = [
        view.namespaces,
        lambda: view.changes(after=0),
        lambda: view.content("web"),
        lambda: transaction.create_endpoint("web", endpoint("a")),
        lambda: transaction.changes,
        lambda: transaction.revision,
    ]
    for use in uses:
        with pytest.raises(StoreError, match="used after its end"):
            use()
    assert revision(store) == 1


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
    ways: list[tuple[Refused, bool, bool]] = [
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


# Apply


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


# Rules and the ACL

Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["add", "move", "change", "delete"]), st.integers(0, 20), st.integers(0, 20))
    | st.tuples(st.just("replace"), st.integers(0, 2**32), st.integers(0, 8)),
    max_size=12,
)


def follow(seen: list[RuleRecord[AclRule]], kind: ChangeKind, record: RuleRecord[AclRule]) -> None:
    """What a watcher does."""
    seen[:] = [one for one in seen if one.id != record.id]
    if kind is not ChangeKind.DELETED:
        seen.insert(record.index, record)


def ids_of(records: Iterable[RuleRecord[AclRule]]) -> list[tuple[str, AclRule, object]]:
    """Without the index, which others' coming and going moves."""
    return [(one.id, one.rule, one.version) for one in records]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps)
def test_an_acl_is_a_list_and_the_log_tells_its_changes(store: Store, todo: list[Step]) -> None:
    model: list[AclRule] = []
    seen: list[RuleRecord[AclRule]] = []
    told = 0
    with store.transaction(dry_run=True) as transaction:
        for number, step in enumerate(todo):
            before = transaction.acl("web")
            _do(transaction, model, step, number)
            now = transaction.acl("web")
            assert [one.rule for one in now] == model
            assert [one.index for one in now] == list(range(len(model)))
            known = {(one.id, one.rule): one.version for one in before}
            assert all(known.get((one.id, one.rule), one.version) == one.version for one in now)
            for change in transaction.changes[told:]:
                assert isinstance(change.record, RuleRecord)
                follow(seen, change.kind, change.record)  # type: ignore[arg-type]
                told += 1
            assert ids_of(seen) == ids_of(now)


def _do(transaction: Transaction, model: list[AclRule], step: Step, number: int) -> None:
    verb, first, second = step
    records = transaction.acl("web")
    if verb == "add":
        index = first % (len(model) + 1)
        transaction.add_acl_rule("web", acl(number), index=index)
        model.insert(index, acl(number))
    elif verb == "replace":
        # Some of them twice, which an ACL may hold.
        wanted = [acl((first >> (4 * place)) % 6) for place in range(second)]
        transaction.apply(None, "web", NamespaceContent(acl=tuple(Identified("", one) for one in wanted)))
        model[:] = wanted
    elif model:
        at = first % len(model)
        if verb == "move":
            to = second % len(model)
            transaction.move_acl_rule("web", records[at].id, to)
            model.insert(to, model.pop(at))
        elif verb == "change":
            model[at] = acl(number, allow=False)
            transaction.update_acl_rule("web", records[at].id, model[at])
        else:
            transaction.delete_acl_rule("web", records[at].id)
            del model[at]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(st.permutations("abcdefgh"), st.permutations("abcdefgh"), st.integers(0, 8), st.integers(0, 8))
def test_an_acl_comes_into_order_by_the_fewest_moves(
    store: Store, first: list[str], second: list[str], before: int, after: int
) -> None:
    def of(names: list[str]) -> NamespaceContent:
        return NamespaceContent(acl=tuple(Identified(name, acl(ord(name))) for name in names))

    first, second = first[:before], second[:after]
    with store.transaction(dry_run=True) as transaction:
        transaction.apply(None, "web", of(first))
        seen = list(transaction.acl("web"))
        told = len(transaction.changes)
        transaction.apply(None, "web", of(second))
        changes = transaction.changes[told:]
        assert [(one.id, one.index) for one in transaction.acl("web")] == [(name, at) for at, name in enumerate(second)]
    for change in changes:
        assert isinstance(change.record, RuleRecord)
        follow(seen, change.kind, change.record)  # type: ignore[arg-type]
    assert [one.id for one in seen] == second
    kept = [name for name in first if name in second]
    in_order = max(
        len(some)
        for size in range(len(kept) + 1)
        for some in itertools.combinations(kept, size)
        if list(some) == sorted(some, key=second.index)
    )
    moves = [change for change in changes if change.kind is ChangeKind.UPDATED]
    assert len(moves) == len(kept) - in_order


def test_ids_of_rules(store: Store) -> None:
    with store.transaction() as transaction:
        taken = transaction.add_rule("web", rule(1), rule_id="rule-2-2")
        made = transaction.add_rule("web", rule(2))
        egress = transaction.add_rule("web", rule(2, direction=Direction.EGRESS))
        listed = transaction.add_acl_rule("web", acl(1))
        assert [one.id for one in (taken, made, egress, listed)] == ["rule-2-2", "rule-2-3", "rule-2-4", "acl-2-4"]
        with pytest.raises(AlreadyExistsError):  # of the other direction
            transaction.add_rule("web", rule(3, direction=Direction.EGRESS), rule_id="rule-2-2")
        transaction._failure = None
        assert transaction.rule("web", "rule-2-2") == taken
        assert transaction.delete_rule("web", "rule-2-2", etag=taken.version.etag) == taken
        assert transaction.rules("web") == [made, egress]
    with store.transaction() as transaction:
        assert transaction.add_rule("web", rule(3)).id == "rule-3"
    with store.transaction() as transaction:
        assert transaction.add_acl_rule("web", acl(3)).id == "acl-4"


def test_pages_of_rules(store: Store) -> None:
    names = ["Z", "a", "b", "a-1", "a.1", "9", "r_1"]
    with store.transaction() as transaction:
        for port, name in enumerate(names, 1):
            direction = Direction.EGRESS if port % 2 else Direction.INGRESS
            transaction.add_rule("web", rule(port, direction=direction), rule_id=name)
    with store.snapshot() as view:
        pages = [view.rules("web", limit=3)]
        while pages[-1] and len(pages) < 9:
            pages.append(view.rules("web", after=pages[-1][-1].id, limit=3))
        assert [len(page) for page in pages] == [3, 3, 1, 0]
        assert [one.id for page in pages for one in page] == sorted(names)
        assert {one.index for page in pages for one in page} == {0}
        assert view.rules("web", after="a+") == view.rules("web")[3:]


def test_a_rule_takes_the_selector_of_one_that_left_it(store: Store) -> None:
    with store.transaction() as transaction:
        one = transaction.add_rule("web", rule(1))
        assert transaction.update_rule("web", one.id, rule(2)).uid == one.uid
        transaction.add_rule("web", rule(1))
        with pytest.raises(SelectorTakenError) as caught:
            transaction.add_rule("web", rule(2))
        transaction._failure = None
    assert caught.value.id == one.id


def test_a_move_keeps_the_version(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.apply(None, "web", content(1))
    with store.transaction() as transaction:
        before = transaction.acl_rule("web", "a0")
        moved = transaction.move_acl_rule("web", "a0", 2)
        assert moved == replace(before, index=2) == transaction.find_acl_rule("web", "a0")
        assert [one.id for one in transaction.acl("web")] == ["a1", "a2", "a0"]
        (change,) = transaction.changes
        assert (change.kind, change.record, change.before) == (ChangeKind.UPDATED, moved, before)


def test_how_many_there_are(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.create_namespace(namespace("other"))
        transaction.apply(None, "web", content(1, size=4))
        transaction.apply(None, "other", NamespaceContent(acl=content(1).acl))
        assert transaction.counts() == (2, 4, 6, 6)


def test_every_refusal_is_one_that_can_be_shown() -> None:
    assert issubclass(NotFoundError, GraftError)
    assert not issubclass(NotFoundError, StoreError)


def endpoints_of(found: NamespaceContent) -> tuple[TargetedEndpoint, ...]:
    assert found.endpoints is not None
    return found.endpoints


def rules_of(*pairs: tuple[str, Rule]) -> NamespaceContent:
    return NamespaceContent(rules=tuple(Identified(name, one) for name, one in pairs))


def name_of(record: Record) -> str:
    if isinstance(record, NamespaceRecord):
        return record.namespace.name
    return record.value.endpoint.name if isinstance(record, EndpointRecord) else record.id
