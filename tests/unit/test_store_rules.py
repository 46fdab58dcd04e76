# SPDX-License-Identifier: Apache-2.0
"""Rules and the ACL: their ids, their order, and the log of their moves."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graftd.errors import AlreadyExistsError, SelectorTakenError
from graftd.model import AclRule, ChangeKind, Direction, Identified, NamespaceContent, RuleRecord
from graftd.store import Store, Transaction
from unit.store_values import acl, content, rule, web_store

Step = tuple[str, int, int]
steps = st.lists(
    st.tuples(st.sampled_from(["add", "move", "change", "delete"]), st.integers(0, 20), st.integers(0, 20))
    | st.tuples(st.just("replace"), st.integers(0, 2**32), st.integers(0, 8)),
    max_size=12,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with web_store(tmp_path) as opened:
        yield opened


# The order of an ACL


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


# Ids and selectors


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
