# SPDX-License-Identifier: Apache-2.0
"""The log of changes, pages, snapshots, and requests that are remembered."""

import contextlib
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from graftd.errors import RequestIdReusedError, RevisionGoneError
from graftd.model import Change, ChangeKind, EndpointRecord, NamespaceContent
from graftd.store import Limits, Store, Transaction
from unit.store_values import endpoint, namespace

SECOND = 1_000_000


class Clock:
    def __init__(self) -> None:
        self.now = 1_700_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


def grow(store: Store, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint(f"e{number:04}"))


def grow_inside(transaction: Transaction, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        transaction.create_endpoint("web", endpoint(f"e{number:04}"))


def opened(path: Path, **limits: int) -> Store:
    store = Store.open(path / "db", limits=Limits(**limits))  # type: ignore[arg-type]
    with store.transaction() as transaction:
        transaction.create_namespace(namespace())
    return store


# The log


def test_a_watch_resumes_where_it_was(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        grow(store, 9)
        seen: list[int] = []
        after = 0
        while True:
            with store.snapshot() as view:
                page = view.changes(after=after, limit=4)
            if not page.changes:
                break
            assert len(page.changes) <= 4
            seen += [change.revision for change in page.changes]
            after = page.through
        assert seen == list(range(1, 11))
        assert after == 10
        with store.transaction() as transaction:
            transaction.delete_endpoint("web", "e0003")
        with store.snapshot() as view:
            (change,) = view.changes(after=after).changes
        assert isinstance(change.record, EndpointRecord)
        assert (change.revision, change.kind, change.record.version.revision) == (11, ChangeKind.DELETED, 5)


def test_one_revision_for_each_transaction(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with store.transaction() as transaction:
            assert transaction.revision == 2
            grow_inside(transaction, 3)
            transaction.update_namespace(namespace("web", a="b"))
            assert transaction.revision == 2
            changes = transaction.changes
        with store.snapshot() as view:
            assert view.revision == 2
            page = view.changes(after=1)
        assert [change.revision for change in changes] == [2] * 4
        assert [replace(change, before=None) for change in changes] == list(page.changes)
        assert [change.before is None for change in changes] == [True, True, True, False]
        assert {change.record.version.revision for change in page.changes} == {2}


def test_pages_of_changes_end_where_revisions_do(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for first, count in ((0, 2), (10, 3), (20, 7), (30, 1)):
            with store.transaction() as transaction:
                grow_inside(transaction, count, first)
        sizes = {1: 1, 2: 2, 3: 3, 4: 7, 5: 1}
        for limit in range(1, 16):
            after = 0
            seen: list[Change] = []
            while after < 5:
                with store.snapshot() as view:
                    page = view.changes(after=after, limit=limit)
                revisions = [change.revision for change in page.changes]
                assert revisions == [r for r in range(after + 1, page.through + 1) for _ in range(sizes[r])]
                assert len(revisions) <= limit or page.through == after + 1
                # As many as there is room for.
                assert page.through == 5 or len(revisions) + sizes[page.through + 1] > limit
                after = page.through
                seen += page.changes
            names = [one.record.value.endpoint.name for one in seen if isinstance(one.record, EndpointRecord)]
            assert names == sorted(names)
            assert len(names) == 13


def test_the_time_of_a_change_is_its_transactions(tmp_path: Path) -> None:
    clock = Clock()
    with Store.open(tmp_path / "db", clock=clock) as store, store.transaction() as transaction:
        made = transaction.create_namespace(namespace())
        (change,) = transaction.changes
    assert change.time == made.version.created == datetime.fromtimestamp(1_700_000_000, UTC)


def test_the_log_is_bounded_and_says_so(tmp_path: Path) -> None:
    with opened(tmp_path, changes=5) as store:
        grow(store, 9)
        with store.snapshot() as view:
            assert [change.revision for change in view.changes(after=5).changes] == [6, 7, 8, 9, 10]
            with pytest.raises(RevisionGoneError, match="revision 4 is older than the log of changes") as caught:
                view.changes(after=4)
            assert (caught.value.revision, caught.value.oldest, caught.value.newest) == (4, 5, 10)
            assert "list everything anew and watch from the revision" in str(caught.value)
            with pytest.raises(RevisionGoneError, match="revision 11 was never reached here"):
                view.changes(after=11)
            assert view.changes(after=10).changes == ()


@pytest.mark.parametrize(
    ("kept", "sizes", "left"),
    [
        (5, [2, 2, 2], [2, 2]),
        (6, [2, 2, 2], [2, 2, 2]),
        (4, [2, 2, 2], [2, 2]),
        (3, [2, 2, 2], [2]),
        (1, [2, 2, 2], [2]),
        (1, [1, 9], [9]),
        (20, [30, 1], [1]),
        (3, [1, 1, 1, 1, 1, 3], [3]),
        (4, [1, 1, 1, 1, 1, 3], [1, 3]),
    ],
)
def test_the_log_is_cut_between_revisions(tmp_path: Path, kept: int, sizes: list[int], left: list[int]) -> None:
    with opened(tmp_path) as store:
        for number, size in enumerate(sizes[:-1]):
            with store.transaction() as transaction:
                grow_inside(transaction, size, 100 * number)
    with Store.open(tmp_path / "db", limits=Limits(changes=kept)) as store:
        with store.transaction() as transaction:
            grow_inside(transaction, sizes[-1], 100 * len(sizes))
        with store.snapshot() as view:
            newest = 1 + len(sizes)
            # The namespace's own creation, revision 1, goes first.
            at_first = 0 if kept > sum(sizes) else newest - len(left)
            assert (view.oldest_revision, view.revision) == (at_first, newest)
            found = Counter(change.revision for change in view.changes(after=at_first).changes)
            assert [found[revision] for revision in sorted(found)] == ([1] if kept > sum(sizes) else []) + left
            if at_first:
                with pytest.raises(RevisionGoneError):
                    view.changes(after=at_first - 1)


def test_a_log_that_is_shortened_stays_so(tmp_path: Path) -> None:
    with opened(tmp_path, changes=5) as store:
        for number in range(50):
            with store.transaction() as transaction:
                grow_inside(transaction, 1 + number % 3, 10 * number)
            (count,) = store._writer.one("SELECT count(*) FROM change")
            assert count <= 5


def test_a_watch_of_one_namespace_passes_over_the_others(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        grow(store, 5)
        with store.transaction() as transaction:
            other = transaction.create_namespace(namespace("db"))
        grow(store, 5, start=5)
        with store.snapshot() as view:
            page = view.changes(after=0, limit=2, namespace="db")
            assert [change.record for change in page.changes] == [other]
            assert page.through == view.revision == 12
        with store.transaction() as transaction:
            transaction.create_endpoint("db", endpoint("a"))
        with store.snapshot() as view:
            first = view.changes(after=0, limit=1, namespace="db")
            assert [change.record for change in first.changes] == [other]
            assert first.through == 12  # 7 is all of that namespace's before 13


def test_nothing_is_logged_where_nothing_changes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        grow(store, 1)
        with store.transaction() as transaction:
            transaction.update_endpoint("web", endpoint("e0000"))
            transaction.update_namespace(namespace())
            transaction.apply(namespace(), "web", NamespaceContent(rules=(), acl=()))
            assert transaction.changes == ()
        with store.snapshot() as view:
            assert view.revision == 2


# Pages and snapshots


def test_pages_while_others_write(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        grow(store, 30)
        seen: list[str] = []
        after = ""
        for round_ in range(100):
            with store.snapshot() as view:
                page = view.endpoints("web", after=after, limit=4)
            if not page:
                break
            names = [one.value.endpoint.name for one in page]
            seen += names
            after = names[-1]
            with store.transaction() as transaction:
                # Behind it, before it, and the very one that the next page comes after.
                transaction.create_endpoint("web", endpoint(f"a{round_}"))
                transaction.create_endpoint("web", endpoint(f"e0029-{round_}"))
                transaction.delete_endpoint("web", after)
            if len(seen) > 200:
                break
        steady = [f"e{number:04}" for number in range(30)]
        assert [name for name in seen if name in steady] == steady
        assert len(set(seen)) == len(seen)
        assert not any(name.startswith("a") for name in seen)


def test_pages_of_namespaces(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with store.transaction() as transaction:
            for name in ("b", "a", "Z", "c"):
                transaction.create_namespace(namespace(name))
        with store.snapshot() as view:
            first = view.namespaces(limit=3)
            second = view.namespaces(after=first[-1].namespace.name, limit=3)
        assert [one.namespace.name for one in (*first, *second)] == ["Z", "a", "b", "c", "web"]


def test_names_that_are_no_text_have_their_place(tmp_path: Path) -> None:
    names = [
        raw.decode("utf-8", "surrogateescape") for raw in (b"a", b"\x80", "é".encode(), b"\xff", "\U0001f600".encode())
    ]
    with opened(tmp_path) as store:
        with store.transaction() as transaction:
            for name in names:
                transaction.create_endpoint("web", endpoint(name))
        seen = []
        with store.snapshot() as view:
            after = ""
            for _ in names:
                (record,) = view.endpoints("web", after=after, limit=1)
                after = record.value.endpoint.name
                seen.append(after)
            assert view.endpoints("web", after=after, limit=1) == []
            assert view.count_endpoints("web") == 5
    assert seen == sorted(names, key=lambda name: name.encode("utf-8", "surrogateescape"))


def test_a_snapshot_stands_while_the_store_is_written(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with store.snapshot() as view:
            grow(store, 3)
            assert view.revision == 1
            assert view.endpoints("web") == []
            assert view.changes(after=0).through == 1
        with store.snapshot() as view:
            assert view.revision == 4
            assert view.count_endpoints("web") == 3


def test_another_thread_is_refused(tmp_path: Path) -> None:
    failures: list[BaseException] = []

    def use(store: Store) -> None:
        try:
            store.check()
        except Exception as error:  # noqa: BLE001 whatever it is, it is looked at
            failures.append(error)

    with opened(tmp_path) as store:
        thread = threading.Thread(target=use, args=(store,))
        thread.start()
        thread.join()
        store.check()
    assert "thread" in str(failures[0])


# Requests


def remember(store: Store, request_id: str, answer: bytes = b"answer", caller: str = "0") -> None:
    with store.transaction() as transaction:
        transaction.remember(caller, request_id, b"print", answer)


def known(store: Store) -> list[str]:
    return [request_id for (request_id,) in store._writer.rows("SELECT id FROM request ORDER BY sequence")]


def test_a_request_that_was_served_is_answered_again(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db") as store, store.transaction() as transaction:
        assert transaction.recall("0", "x", b"print") is None
        transaction.create_namespace(namespace())
        transaction.remember("0", "x", b"print", b"\0answer")
        assert transaction.recall("0", "x", b"print") == b"\0answer"
    with Store.open(tmp_path / "db") as store:
        with store.snapshot() as view:
            assert view.recall("0", "x", b"print") == b"\0answer"
            assert view.recall("1", "x", b"print") is None
            assert view.recall("0", "y", b"print") is None
            with pytest.raises(RequestIdReusedError, match="request id 'x' came with another request before"):
                view.recall("0", "x", b"other")
        remember(store, "x", b"mine", caller="1")
        with store.snapshot() as view:
            assert view.recall("0", "x", b"print") == b"\0answer"
            assert view.recall("1", "x", b"print") == b"mine"
            assert view.revision == 1


def test_a_request_of_which_nothing_was_kept_is_not_remembered(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with store.transaction(dry_run=True) as transaction:
            transaction.remember("0", "x", b"print", b"")
        with contextlib.suppress(KeyError), store.transaction() as transaction:
            transaction.remember("0", "x", b"print", b"")
            raise KeyError
        with store.snapshot() as view:
            assert view.recall("0", "x", b"print") is None


def test_an_answer_that_is_taken_back(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for number in range(3):
            remember(store, f"x{number}")
        remember(store, "x2", caller="1")
        for request_id in ("x0", "x2", "never"):
            with store.transaction() as transaction:
                transaction.forget("0", request_id)
        assert known(store) == ["x1", "x2"]
        with store.snapshot() as view:
            assert view.recall("0", "x2", b"print") is None
            assert view.recall("1", "x2", b"print") == b"answer"
        for request_id in ("x1", "x2"):
            with store.transaction() as transaction:
                transaction.forget("0", request_id)
                transaction.forget("1", request_id)
        assert known(store) == []
        remember(store, "x2")
        assert known(store) == ["x2"]


@pytest.mark.parametrize(("later", "there"), [(3600, True), (3601, False)])
def test_requests_are_forgotten_with_time(tmp_path: Path, later: int, there: bool) -> None:
    clock = Clock()
    with Store.open(tmp_path / "db", clock=clock) as store:
        remember(store, "x")
        remember(store, "y")
        clock.now += later * SECOND
        with store.snapshot() as view:
            assert view.recall("0", "x", b"print") == (b"answer" if there else None)
            if not there:
                assert view.recall("0", "x", b"other") is None
        remember(store, "z")
        assert known(store) == (["x", "y", "z"] if there else ["z"])
        remember(store, "x")
        assert known(store) == (["y", "z", "x"] if there else ["z", "x"])


def test_requests_are_forgotten_with_number(tmp_path: Path) -> None:
    with opened(tmp_path, requests=3) as store:
        for number in range(5):
            remember(store, f"x{number}")
        assert known(store) == ["x2", "x3", "x4"]


@pytest.mark.parametrize(("most", "left"), [(60, 5), (59, 4), (40, 4), (39, 3), (13, 1), (12, 1), (1, 1)])
def test_requests_are_forgotten_with_size(tmp_path: Path, most: int, left: int) -> None:
    # 20 bytes, then 8, 10, 11 and 11.
    answers = [bytes(size) for size in (20, 8, 10, 11, 11)]
    with opened(tmp_path, request_bytes=most) as store:
        for number, answer in enumerate(answers):
            remember(store, f"x{number}", answer)
        assert known(store) == [f"x{number}" for number in range(5 - left, 5)]
        (size,) = store._writer.one("SELECT sum(length(answer)) FROM request")
        assert size <= most or left == 1


def test_how_much_is_remembered_by_itself() -> None:
    limits = Limits()
    assert (limits.changes, limits.requests, limits.request_bytes) == (50_000, 20_000, 33_554_432)
    assert limits.request_age == timedelta(hours=1)
