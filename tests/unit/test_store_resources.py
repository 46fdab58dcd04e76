# SPDX-License-Identifier: Apache-2.0
"""What is created, changed and deleted, and what is refused."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graftd.errors import (
    AlreadyExistsError,
    EtagMismatchError,
    GraftError,
    IndexRangeError,
    NotEmptyError,
    NotFoundError,
    StoreError,
)
from graftd.model import (
    AclRule,
    ChangeKind,
    Direction,
    NamespaceContent,
    NamespaceState,
    NetnsIdentity,
    Rule,
    RuleRecord,
    TableSettings,
)
from graftd.store import Store, Transaction
from unit.store_values import acl, content, endpoint, marks, namespace, rule


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
    frozen = replace(namespace(), settings=TableSettings(frozen=True))
    with store.transaction() as transaction:
        made = transaction.namespace("web")
        changed = transaction.update_namespace(frozen, etag=made.version.etag)
    assert changed.version.created == made.version.created < changed.version.updated
    assert (made.version.revision, changed.version.revision) == (1, 2)
    assert made.version.etag != changed.version.etag
    with store.transaction() as transaction:
        assert transaction.update_namespace(frozen) == changed
        assert transaction.delete_namespace("web", etag=changed.version.etag) == changed
        assert transaction.find_namespace("web") is None
        again = transaction.create_namespace(namespace())
    assert again.version.revision == 4
    with store.snapshot() as view:
        kinds = [change.kind for change in view.changes(after=0).changes]
    assert kinds == [ChangeKind.CREATED, ChangeKind.UPDATED, ChangeKind.DELETED, ChangeKind.CREATED]


def test_where_a_namespace_is_moves_no_version(store: Store) -> None:
    identity = NetnsIdentity("boot", 5)
    with store.transaction() as transaction:
        before = transaction.namespace("web")
        present = transaction.identify_namespace("web", identity)
        transaction.identify_namespace("web", identity)
        assert transaction.revision == 2
        assert transaction.content_revision("web") == 1
        changed = transaction.update_namespace(namespace("web", a="b"))
        absent = transaction.identify_namespace("web", None)
    assert (before.state, present.state, absent.state) == (
        NamespaceState.ABSENT,
        NamespaceState.PRESENT,
        NamespaceState.ABSENT,
    )
    assert before.version == present.version
    assert changed.identity == identity
    with store.snapshot() as view:
        assert [change.record for change in view.changes(after=1).changes] == [present, changed, absent]


def test_a_namespace_goes_with_all_that_it_holds(store: Store) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), content(1))
    with pytest.raises(NotEmptyError, match="holds endpoints or rules: delete"), store.transaction() as transaction:
        transaction.delete_namespace("web")
    with store.transaction() as transaction:
        before = transaction.revision
        transaction.delete_namespace("web", force=True)
        page = transaction.changes(after=before)
    assert {change.kind for change in page.changes} == {ChangeKind.DELETED}
    assert len(page.changes) == 30
    assert page.changes[-1].record.namespace == namespace()
    with store.snapshot() as view, pytest.raises(NotFoundError, match="there is no namespace 'web'"):
        view.content("web")


# Refusals

Refused = Callable[[Transaction], object]


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
        (lambda t: t.add_rule("web", rule(1)), AlreadyExistsError, "matches the same network, protocols and ports"),
        (lambda t: t.add_rule("web", rule(9), rule_id="first"), AlreadyExistsError, "ingress rule 'first'"),
        (lambda t: t.add_rule("web", rule(9), index=5), IndexRangeError, "there is no place 5 among"),
        (lambda t: t.add_rule("web", rule(9), index=-1), IndexRangeError, "no place -1"),
        (lambda t: t.add_rule("web", rule(9), rule_id="A"), ValueError, "cannot be a rule's id"),
        (lambda t: t.update_rule("web", "no", rule(9)), NotFoundError, "has no ingress rule 'no'"),
        (lambda t: t.update_rule("web", "first", rule(1)), AlreadyExistsError, "update that one"),
        (lambda t: t.update_rule("web", "first", rule(80), index=4), IndexRangeError, "they go from 0 to 3"),
        (lambda t: t.delete_rule("web", Direction.EGRESS, "first"), NotFoundError, "has no egress rule 'first'"),
        (lambda t: t.delete_acl_rule("web", "no"), NotFoundError, "has no ACL rule 'no'"),
        (lambda t: t.replace_rules("web", Direction.INGRESS, [rule(5), rule(5)]), ValueError, "two ingress rules"),
        (lambda t: t.update_namespace(namespace("web", a="b"), etag="x"), EtagMismatchError, "'web' was changed since"),
        (lambda t: t.delete_namespace("web", etag="x", force=True), EtagMismatchError, "'web' was changed since"),
        (lambda t: t.update_endpoint("web", endpoint("e00"), etag="x"), EtagMismatchError, "'e00' of namespace 'web'"),
        (lambda t: t.delete_endpoint("web", "e00", etag="x"), EtagMismatchError, "'e00' of namespace 'web'"),
        (lambda t: t.update_rule("web", "first", rule(80), etag="x"), EtagMismatchError, "ingress rule 'first'"),
        (lambda t: t.delete_rule("web", Direction.INGRESS, "first", etag="x"), EtagMismatchError, "'first'"),
        (lambda t: t.replace_rules("web", Direction.INGRESS, [], etag="x"), EtagMismatchError, "list of ingress rules"),
        (lambda t: t.replace_acl("web", [], etag="x"), EtagMismatchError, "the ACL of 'web'"),
        (lambda t: t.apply(namespace(), content(2), content_revision=1), EtagMismatchError, "not 1: read it again"),
        (lambda t: t.apply(namespace("new"), content(2), content_revision=1), EtagMismatchError, "at revision 0"),
        (lambda t: t.endpoints("web", limit=0), ValueError, "a page of 0 holds nothing"),
    ],
)
def test_a_refusal_leaves_nothing(store: Store, refused: Refused, error: type[Exception], sentence: str) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), content(1))
        transaction.add_rule("web", rule(80), rule_id="first", index=0)
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


def test_what_is_not_there_can_be_as_good_as_deleted(store: Store) -> None:
    with store.transaction() as transaction:
        assert transaction.delete_namespace("no", missing_ok=True) is None
        assert transaction.delete_endpoint("web", "no", missing_ok=True) is None
        assert transaction.delete_rule("web", Direction.INGRESS, "no", missing_ok=True) is None
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
        applied = transaction.apply(namespace(), content(1))
        changes = transaction.changes(after=1).changes
    assert applied.created == len(changes) == 29
    with store.snapshot() as view:
        assert view.content("web") == NamespaceContent()
        assert view.revision == 1


def test_a_view_is_of_no_use_after_its_end(store: Store) -> None:
    with store.snapshot() as view:
        pass
    with store.transaction() as transaction:
        pass
    with pytest.raises(StoreError, match="used after its end"):
        view.namespaces()
    with pytest.raises(StoreError, match="used after its end"):
        transaction.create_endpoint("web", endpoint("a"))
    assert revision(store) == 1


# Apply


def test_apply_touches_what_differs_alone(store: Store) -> None:
    with store.transaction() as transaction:
        first = transaction.apply(namespace(), content(1), content_revision=1)
        before = {one.value.endpoint.name: one for one in transaction.endpoints("web")}
        rules = transaction.rules("web", Direction.INGRESS)
        acls = transaction.acl("web")
    assert (first.created, first.updated, first.deleted, first.revision) == (29, 0, 0, 30)
    wanted = NamespaceContent(
        endpoints=(endpoint("new"), endpoint("e03", 99), *content(1).endpoints[4:]),
        ingress=(content(1).ingress[0], rule(2, "elsewhere"), content(1).ingress[2]),
        egress=content(1).egress,
        acl=(content(1).acl[0], acl(9), content(1).acl[2]),
    )
    with store.transaction() as transaction:
        second = transaction.apply(namespace("web", a="b"), wanted, content_revision=30)
        after = {one.value.endpoint.name: one for one in transaction.endpoints("web")}
        rules_after = transaction.rules("web", Direction.INGRESS)
        acls_after = transaction.acl("web")
        assert transaction.content_revision("web") == second.revision
        assert transaction.content("web").acl == wanted.acl
    # new and an ACL rule; the namespace, e03, a rule; e0 to e2 and an ACL rule
    assert (second.created, second.updated, second.deleted) == (2, 3, 4)
    assert {name for name, one in after.items() if before.get(name) != one} == {"new", "e03"}
    assert [one.id for one in rules_after.records] == [one.id for one in rules.records]
    assert [one.version.revision > 30 for one in rules_after.records] == [False, True, False]
    assert acls_after.records[0] == acls.records[0]
    assert acls_after.records[2] == acls.records[2]


def test_an_apply_that_fails_in_the_middle_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.transaction() as transaction:
        transaction.apply(namespace(), content(1))
    before = revision(store)
    original = Transaction._replace
    calls = []

    def fail_third(self: Transaction, *args: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            # What SQLite says of a rule that has no body, in the midst of the last list.
            self._database.run("UPDATE rule SET body = NULL")
        original(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(Transaction, "_replace", fail_third)
    with pytest.raises(StoreError, match="NOT NULL constraint failed"), store.transaction() as transaction:
        transaction.apply(namespace("web", new="label"), content(2, size=30))
    monkeypatch.undo()
    with store.snapshot() as view:
        assert view.revision == before
        assert view.content("web") == content(1)
        assert view.namespace("web").namespace == namespace()
    with store.transaction() as transaction:
        transaction.apply(namespace(), content(2))
        assert marks(transaction.content("web")) == {2}


# Lists

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


def ids_of(records: list[RuleRecord[AclRule]]) -> list[tuple[str, AclRule, object]]:
    """Without the index, which others' coming and going moves."""
    return [(one.id, one.rule, one.version) for one in records]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps)
def test_lists_are_lists_and_the_log_tells_their_changes(store: Store, todo: list[Step]) -> None:
    model: list[AclRule] = []
    seen: list[RuleRecord[AclRule]] = []
    with store.transaction(dry_run=True) as transaction:
        for number, step in enumerate(todo):
            before = transaction.acl("web").records
            revision_before = transaction.revision
            _do(transaction, model, step, number)
            now = transaction.acl("web").records
            assert [one.rule for one in now] == model
            assert [one.index for one in now] == list(range(len(model)))
            known = {(one.id, one.rule): one.version for one in before}
            assert all(known.get((one.id, one.rule), one.version) == one.version for one in now)
            for change in transaction.changes(after=revision_before).changes:
                assert isinstance(change.record, RuleRecord)
                follow(seen, change.kind, change.record)  # type: ignore[arg-type]
            assert ids_of(seen) == ids_of(list(now))


def _do(transaction: Transaction, model: list[AclRule], step: Step, number: int) -> None:
    verb, first, second = step
    records = transaction.acl("web").records
    if verb == "add":
        index = first % (len(model) + 1)
        transaction.add_acl_rule("web", acl(number), index=index)
        model.insert(index, acl(number))
    elif verb == "replace":
        # Some of them twice, which an ACL may hold.
        wanted = [acl((first >> (4 * place)) % 6) for place in range(second)]
        transaction.replace_acl("web", wanted)
        model[:] = wanted
    elif model:
        at = first % len(model)
        if verb == "move":
            to = second % len(model)
            transaction.update_acl_rule("web", records[at].id, model[at], index=to)
            model.insert(to, model.pop(at))
        elif verb == "change":
            model[at] = acl(number, allow=False)
            transaction.update_acl_rule("web", records[at].id, model[at])
        else:
            transaction.delete_acl_rule("web", records[at].id)
            del model[at]


def test_ids_of_rules(store: Store) -> None:
    with store.transaction() as transaction:
        taken = transaction.add_rule("web", rule(1), rule_id="r-3")
        made = transaction.add_rule("web", rule(2))
        egress = transaction.add_rule("web", rule(2, direction=Direction.EGRESS), rule_id="r-3")
        assert (taken.id, made.id, egress.id) == ("r-3", "r-3-2", "r-3")
        assert transaction.rule("web", Direction.INGRESS, "r-3") == taken
        assert transaction.rule("web", Direction.EGRESS, "r-3") == egress
        assert transaction.delete_rule("web", Direction.INGRESS, "r-3", etag=taken.version.etag) == taken
        assert transaction.rules("web", Direction.INGRESS).rules == (rule(2),)


def test_a_rule_takes_the_selector_of_one_that_left_it(store: Store) -> None:
    with store.transaction() as transaction:
        one = transaction.add_rule("web", rule(1))
        transaction.update_rule("web", one.id, rule(2))
        transaction.add_rule("web", rule(1))
        with pytest.raises(AlreadyExistsError):
            transaction.add_rule("web", rule(2))
        transaction._failure = None


def test_rules_swap_their_verdicts(store: Store) -> None:
    def to(*names: str) -> list[Rule]:
        return [rule(port, name) for port, name in enumerate(names, 1)]

    with store.transaction() as transaction:
        first = transaction.replace_rules("web", Direction.INGRESS, to("a", "b", "c"))
        second = transaction.replace_rules("web", Direction.INGRESS, to("b", "a", "c"), etag=first.etag)
        third = transaction.replace_rules("web", Direction.INGRESS, reversed(to("b", "a", "c")), etag=second.etag)
    assert second.rules == tuple(to("b", "a", "c"))
    assert [one.id for one in third.records] == [one.id for one in reversed(second.records)]
    assert [one.version for one in third.records] == [one.version for one in reversed(second.records)]
    assert second.records[2] == first.records[2]


def test_every_refusal_is_one_that_can_be_shown() -> None:
    assert issubclass(NotFoundError, GraftError)
    assert not issubclass(NotFoundError, StoreError)
