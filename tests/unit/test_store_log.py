# SPDX-License-Identifier: Apache-2.0
"""The log of changes, pages, snapshots, and requests that are remembered."""

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from graftd.errors import RequestIdReusedError, RevisionGoneError
from graftd.model import ChangeKind, Direction, EndpointRecord, NamespaceRecord
from graftd.store import Limits, Store
from unit.store_values import acl, endpoint, namespace, rule

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


def test_the_time_of_a_change_is_its_transactions(tmp_path: Path) -> None:
    clock = Clock()
    with Store.open(tmp_path / "db", clock=clock) as store, store.transaction() as transaction:
        made = transaction.create_namespace(namespace())
        (change,) = transaction.changes(after=0).changes
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
    with Store.open(tmp_path / "db", limits=Limits(changes=2)) as store:
        with store.transaction() as transaction:
            for number in range(4):
                transaction.add_acl_rule("web", acl(number))
        with store.snapshot() as view:
            assert view.revision == 14
            assert [change.revision for change in view.changes(after=12).changes] == [13, 14]
            with pytest.raises(RevisionGoneError):
                view.changes(after=11)


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
            first = view.changes(after=0, limit=1, namespace="db")
            assert first.through == 7


def test_nothing_is_logged_where_nothing_changes(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        grow(store, 1)
        with store.transaction() as transaction:
            transaction.update_endpoint("web", endpoint("e0000"))
            transaction.update_namespace(namespace())
            transaction.replace_rules("web", Direction.INGRESS, [])
            transaction.replace_acl("web", [])
            assert transaction.revision == 2


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


def test_a_repeated_request_gets_the_first_result(tmp_path: Path) -> None:
    with Store.open(tmp_path / "db") as store:
        with store.transaction() as transaction:
            first = transaction.create_namespace(namespace(), request_id="n")
            made = transaction.create_endpoint("web", endpoint("a"), request_id="e")
            ruled = transaction.add_rule("web", rule(1), request_id="r")
            acled = transaction.add_acl_rule("web", acl(1), request_id="a", index=0)
        before = transaction_revision(store)
        with store.transaction() as transaction:
            transaction.update_endpoint("web", endpoint("a", 5))
            transaction.delete_rule("web", Direction.INGRESS, ruled.id)
    with Store.open(tmp_path / "db") as store, store.transaction() as transaction:
        assert transaction.create_namespace(namespace(), request_id="n") == first
        assert transaction.create_endpoint("web", endpoint("a"), request_id="e") == made
        assert transaction.add_rule("web", rule(1), request_id="r") == ruled
        assert transaction.add_acl_rule("web", acl(1), request_id="a", index=0) == acled
        assert transaction.revision == before + 2
        assert transaction.endpoint("web", "a").value == endpoint("a", 5)
        assert isinstance(first, NamespaceRecord)


def transaction_revision(store: Store) -> int:
    with store.snapshot() as view:
        return view.revision


def test_a_request_id_is_for_one_request(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with store.transaction() as transaction:
            transaction.create_endpoint("web", endpoint("a"), request_id="x")
        for other in (endpoint("b"), endpoint("a", 1)):
            with pytest.raises(RequestIdReusedError, match="request id 'x' came with another request before"):  # noqa: SIM117
                with store.transaction() as transaction:
                    transaction.create_endpoint("web", other, request_id="x")
        with pytest.raises(RequestIdReusedError), store.transaction() as transaction:
            transaction.create_namespace(namespace("a"), request_id="x")


def test_a_request_of_which_nothing_was_kept_is_not_remembered(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        with store.transaction(dry_run=True) as transaction:
            transaction.create_endpoint("web", endpoint("a"), request_id="x")
        with store.transaction() as transaction:
            made = transaction.create_endpoint("web", endpoint("b"), request_id="x")
        assert made.version.revision == 2


@pytest.mark.parametrize(("later", "known"), [(3599, True), (3601, False)])
def test_requests_are_forgotten_with_time(tmp_path: Path, later: int, known: bool) -> None:
    clock = Clock()
    limits = Limits(request_age=timedelta(hours=1))
    with Store.open(tmp_path / "db", clock=clock, limits=limits) as store:
        with store.transaction() as transaction:
            first = transaction.create_namespace(namespace(), request_id="x")
            transaction.create_namespace(namespace("other"), request_id="y")
            transaction.delete_namespace("web")
        clock.now += later * SECOND
        with store.transaction() as transaction:
            second = transaction.create_namespace(namespace(), request_id="x")
            assert (second == first) == known
        (count,) = store._writer.one("SELECT count(*) FROM request")
        assert count == (2 if known else 1)


def test_requests_are_forgotten_with_number(tmp_path: Path) -> None:
    with opened(tmp_path, requests=3) as store:
        with store.transaction() as transaction:
            for number in range(5):
                transaction.create_endpoint("web", endpoint(f"e{number}"), request_id=f"x{number}")
        assert store._writer.rows("SELECT id FROM request ORDER BY sequence") == [("x2",), ("x3",), ("x4",)]
