# SPDX-License-Identifier: Apache-2.0
"""Lists of rules: ingress, egress and ACL alike are rows with an id and a place from 0 on.

The log says where a rule is put. Whoever keeps a list and puts (or moves) what was created or updated to its
place, and takes out what was deleted, change by change, has the list.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from graftd.errors import AlreadyExistsError, IndexRangeError
from graftd.model import ChangeKind
from graftd.store._codec import Kind, Row
from graftd.store._view import list_word
from graftd.store._writer import Writer


class Item(NamedTuple):
    """A rule as its list sees it. selector: what no two rules of a list share; None in the ACL."""

    body: str
    selector: str | None


class ListWriter:
    """Changes one list of one namespace. rows, everywhere: the list as it is, in order."""

    def __init__(self, writer: Writer, namespace: str, namespace_id: int, kind: Kind) -> None:
        self._writer = writer
        self._database = writer.database
        self._namespace = namespace
        self._namespace_id = namespace_id
        self._kind = kind

    def add(self, rows: Sequence[Row], item: Item, rule_id: str, index: int | None) -> Row:
        """index None: at the end. rule_id "": one that is free."""
        self._check_selector(item, "")
        place = self._place(len(rows), len(rows) if index is None else index)
        taken = {row.key.decode("ascii") for row in rows}
        if rule_id in taken:
            raise AlreadyExistsError(
                f"{list_word(self._kind)} '{rule_id}' of namespace '{self._namespace}' exists: "
                "update it, or choose another id"
            )
        return self._create(item, rule_id or self._free_id(taken), place, len(rows))

    def update(self, rows: Sequence[Row], row: Row, item: Item, index: int | None) -> Row:
        """Change a rule, its place, or both. What stays as it is makes no change; of a rule that
        only moves, the version stays."""
        place = row.place if index is None else self._place(len(rows) - 1, index)
        if item.body == row.body and place == row.place:
            return row
        self._check_selector(item, row.key.decode("ascii"))
        return self._put(row, item, place)

    def delete(self, row: Row) -> None:
        self._database.run("DELETE FROM rule WHERE namespace_id = ? AND list = ? AND id = ?", self._id(row))
        self._shift(row.place + 1, None, -1)
        self._writer.log_inside(ChangeKind.DELETED, row, self._namespace_id)

    def replace(self, rows: Sequence[Row], items: Sequence[Item]) -> None:
        """Make the list what `items` says, touching what differs alone."""
        wanted = self._match(rows, items)
        kept = {row.key for row in wanted if row is not None}
        for gone in reversed(rows):  # from the end, so that no other has to move up
            if gone.key not in kept:
                self.delete(gone)
        now = [one for one in rows if one.key in kept]
        taken = {one.key.decode("ascii") for one in now}
        for place, (row, item) in enumerate(zip(wanted, items, strict=True)):
            if row is None:
                made = self._create(item, self._free_id(taken), place, len(now))
                taken.add(made.key.decode("ascii"))
                now.insert(place, made)
                continue
            at = place
            while now[at].key != row.key:
                at += 1
            if at != place or row.body != item.body:
                self._put(row._replace(place=at), item, place)
                now.insert(place, now.pop(at))

    def _match(self, rows: Sequence[Row], items: Sequence[Item]) -> list[Row | None]:
        """For each item the row that it is: of the same selector, or of the same content in the ACL."""
        selectors = self._selectors()
        free: defaultdict[str, list[Row]] = defaultdict(list)
        for row in reversed(rows):
            free[selectors[row.key.decode("ascii")] or row.body].append(row)
        found: list[Row | None] = []
        for item in items:
            same = free[item.selector or item.body]
            found.append(same.pop() if same else None)
        return found

    def _selectors(self) -> dict[str, str | None]:
        return dict(
            self._database.rows(
                "SELECT id, selector FROM rule WHERE namespace_id = ? AND list = ?", (self._namespace_id, self._kind)
            )
        )

    def _create(self, item: Item, rule_id: str, place: int, length: int) -> Row:
        row = self._writer.new(self._kind, self._namespace, rule_id.encode("ascii"), item.body, place)
        if place < length:
            self._shift(place, None, 1)
        self._database.run(
            "INSERT INTO rule (namespace_id, list, id, place, selector, body, revision, created, updated) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*self._id(row), place, item.selector, row.body, row.revision, row.created, row.updated),
        )
        self._writer.log_inside(ChangeKind.CREATED, row, self._namespace_id)
        return row

    def _put(self, row: Row, item: Item, place: int) -> Row:
        if place < row.place:
            self._shift(place, row.place - 1, 1)
        elif place > row.place:
            self._shift(row.place + 1, place, -1)
        put = row._replace(place=place)
        if item.body != row.body:
            put = self._writer.stamped(put._replace(body=item.body))
        self._database.run(
            "UPDATE rule SET place = ?, selector = ?, body = ?, revision = ?, updated = ? "
            "WHERE namespace_id = ? AND list = ? AND id = ?",
            (place, item.selector, put.body, put.revision, put.updated, *self._id(row)),
        )
        self._writer.log_inside(ChangeKind.UPDATED, put, self._namespace_id)
        return put

    def _shift(self, first: int, last: int | None, by: int) -> None:
        self._database.run(
            "UPDATE rule SET place = place + ? WHERE namespace_id = ? AND list = ? AND place >= ? "
            "AND place <= coalesce(?, place)",
            (by, self._namespace_id, self._kind, first, last),
        )

    def _id(self, row: Row) -> tuple[int, int, str]:
        return self._namespace_id, self._kind, row.key.decode("ascii")

    def _check_selector(self, item: Item, but_id: str) -> None:
        other = self._database.row(
            "SELECT id FROM rule WHERE namespace_id = ? AND list = ? AND selector = ? AND id <> ?",
            (self._namespace_id, self._kind, item.selector, but_id),
        )
        if other is not None:
            raise AlreadyExistsError(
                f"{list_word(self._kind)} '{other[0]}' of namespace '{self._namespace}' matches the same network, "
                "protocols and ports: update that one"
            )

    def _place(self, last: int, index: int) -> int:
        if not 0 <= index <= last:
            raise IndexRangeError(
                f"there is no place {index} among the {list_word(self._kind)}s of namespace '{self._namespace}': "
                f"they go from 0 to {last}"
            )
        return index

    def _free_id(self, taken: set[str]) -> str:
        first = rule_id = f"r-{self._writer.next()}"
        number = 1
        while rule_id in taken:
            number += 1
            rule_id = f"{first}-{number}"
        return rule_id
