# SPDX-License-Identifier: Apache-2.0
"""What is refused, and that nothing of a transaction stays that was not kept whole."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graftd.errors import (
    AlreadyExistsError,
    EtagMismatchError,
    GraftError,
    ImmutableFieldError,
    IndexRangeError,
    NotFoundError,
    SelectorTakenError,
    StoreError,
)
from graftd.model import Direction, NamespaceContent
from graftd.store import Store
from unit.store_values import Act, acl, content, endpoint, namespace, revision, rule, rules_of, web_store

EGRESS = rule(80, direction=Direction.EGRESS)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with web_store(tmp_path) as opened:
        yield opened


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
        (lambda t: t.apply(namespace("no"), "no", content(2), content_etag="x"), EtagMismatchError, "'no' is not"),
        (lambda t: t.apply(None, "no", content(2)), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.apply(None, "no", NamespaceContent()), NotFoundError, "there is no namespace 'no'"),
        (lambda t: t.apply(namespace(), "no", content(2)), ValueError, "cannot be applied as 'no'"),
        (lambda t: t.endpoints("web", limit=0), ValueError, "a page of 0 holds nothing"),
        (lambda t: t.rules("web", limit=0), ValueError, "a page of 0 holds nothing"),
    ],
)
def test_a_refusal_leaves_nothing(store: Store, refused: Act, error: type[Exception], sentence: str) -> None:
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
def test_refusals_say_what_they_are_about(store: Store, refused: Act, kind: str, where: str, name: str) -> None:
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
    ways: list[Act] = [
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


def test_every_refusal_is_one_that_can_be_shown() -> None:
    assert issubclass(NotFoundError, GraftError)
    assert not issubclass(NotFoundError, StoreError)


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
