# SPDX-License-Identifier: Apache-2.0
"""The ACL of one namespace: rows with an id and a place from 0 on.

The log says where a rule is put. Whoever keeps a list and puts (or moves) what was created or updated to its
index, and takes out what was deleted, change by change, has the list.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from graftd.errors import AlreadyExistsError, IndexRangeError
from graftd.model import AclRule, ChangeKind, Identified, RuleRecord
from graftd.store import _codec
from graftd.store._codec import Kind, Row
from graftd.store._writer import Writer


class AclWriter:
    def __init__(self, writer: Writer, namespace: str, namespace_id: int) -> None:
        self._writer = writer
        self._database = writer.database
        self._namespace = namespace
        self._namespace_id = namespace_id

    def add(self, wanted: Identified[AclRule], index: int | None) -> RuleRecord[AclRule]:
        """index None: at the end. An id of "" becomes one that is free."""
        if wanted.id and self._has(wanted.id):
            raise AlreadyExistsError(
                f"ACL rule '{wanted.id}' of namespace '{self._namespace}' exists: update it, or choose another id",
                kind="acl rule",
                namespace=self._namespace,
                id_=wanted.id,
            )
        count = self._count()
        place = count if index is None else self._place(index, count, count)
        self._shift(place, count, 1)
        return self._create(wanted, place)

    def update(self, row: Row, rule: AclRule) -> RuleRecord[AclRule]:
        """Where it stands."""
        before = _codec.acl_record(row)
        return before if before.rule == rule else self._put(row, rule, row.place, before)

    def move(self, row: Row, index: int) -> RuleRecord[AclRule]:
        """The version stays. index: the place that it has afterwards."""
        before = _codec.acl_record(row)
        count = self._count()
        place = self._place(index, count - 1, count)
        if place == row.place:
            return before
        if place < row.place:
            self._shift(place, row.place - 1, 1)
        else:
            self._shift(row.place + 1, place, -1)
        return self._put(row, before.rule, place, before)

    def delete(self, row: Row) -> RuleRecord[AclRule]:
        was = self._drop(row)
        self._shift(row.place + 1, self._count(), -1)
        return was

    def replace(self, rows: Sequence[Row], wanted: Sequence[Identified[AclRule]]) -> None:
        """Make the list, which is `rows` in order, what `wanted` says, touching what differs alone. One
        without an id is the first present one of equal content that no other takes, or a new one."""
        matched = self._match(rows, wanted)
        kept = {row.key for row in matched if row is not None}
        for gone in reversed(rows):
            if gone.key not in kept:
                self._drop(gone)
        steps = _steps([None if row is None else row.place for row in matched])
        for place, (row, one, step) in enumerate(zip(matched, wanted, steps, strict=True)):
            if row is None:
                self._create(one, place, step.at)
            elif step.moves or row.body != _codec.write_acl_rule(one.rule):
                self._put(row, one.rule, place, _codec.acl_record(row), step.at)
            elif row.place != place:
                self._set_place(row, place)

    def _match(self, rows: Sequence[Row], wanted: Sequence[Identified[AclRule]]) -> list[Row | None]:
        """For each of the wanted the row that it is."""
        there = {_codec.rule_id(row): row for row in rows}
        said = {one.id for one in wanted}
        free: defaultdict[str, list[Row]] = defaultdict(list)
        for row in reversed(rows):
            if _codec.rule_id(row) not in said:
                free[row.body].append(row)
        found: list[Row | None] = []
        for one in wanted:
            if one.id:
                found.append(there.get(one.id))
            else:
                same = free[_codec.write_acl_rule(one.rule)]
                found.append(same.pop() if same else None)
        return found

    def _create(self, wanted: Identified[AclRule], place: int, index: int | None = None) -> RuleRecord[AclRule]:
        """index: the place as of now, where others are still to move; it is what the log says."""
        rule_id = wanted.id or self._writer.free_id("acl", self._has)
        body = _codec.write_acl_rule(wanted.rule)
        row = self._writer.new(Kind.ACL, self._namespace, rule_id.encode("ascii"), body, place)
        self._database.run(
            "INSERT INTO acl (namespace_id, id, place, uid, body, revision, created, updated) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (self._namespace_id, rule_id, place, row.uid, row.body, row.revision, row.created, row.updated),
        )
        if index is not None:
            row = row._replace(place=index)
        return self._log(ChangeKind.CREATED, row, wanted.rule, None)

    def _put(
        self, row: Row, rule: AclRule, place: int, before: RuleRecord[AclRule], index: int | None = None
    ) -> RuleRecord[AclRule]:
        """index: as of _create."""
        body = _codec.write_acl_rule(rule)
        put = row if body == row.body else self._writer.changed(row, body)
        self._database.run(
            "UPDATE acl SET place = ?, body = ?, revision = ?, updated = ? WHERE namespace_id = ? AND id = ?",
            (place, put.body, put.revision, put.updated, self._namespace_id, before.id),
        )
        put = put._replace(place=place if index is None else index)
        return self._log(ChangeKind.UPDATED, put, rule, before)

    def _drop(self, row: Row) -> RuleRecord[AclRule]:
        was = _codec.acl_record(row)
        self._database.run("DELETE FROM acl WHERE namespace_id = ? AND id = ?", (self._namespace_id, was.id))
        return self._log(ChangeKind.DELETED, row, was.rule, was)

    def _log(
        self, kind: ChangeKind, row: Row, rule: AclRule, before: RuleRecord[AclRule] | None
    ) -> RuleRecord[AclRule]:
        record = RuleRecord(self._namespace, row.uid, _codec.rule_id(row), row.place, rule, _codec.version(row))
        self._writer.log(kind, row, record, before)
        self._writer.touch_acl(self._namespace_id)
        return record

    def _shift(self, first: int, last: int, by: int) -> None:
        self._database.run(
            "UPDATE acl SET place = place + ? WHERE namespace_id = ? AND place BETWEEN ? AND ?",
            (by, self._namespace_id, first, last),
        )

    def _set_place(self, row: Row, place: int) -> None:
        self._database.run(
            "UPDATE acl SET place = ? WHERE namespace_id = ? AND id = ?",
            (place, self._namespace_id, _codec.rule_id(row)),
        )

    def _place(self, index: int, last: int, count: int) -> int:
        if not 0 <= index <= last:
            raise IndexRangeError(
                f"there is no place {index} in the ACL of namespace '{self._namespace}': they go from 0 to {last}",
                count=count,
            )
        return index

    def _count(self) -> int:
        (count,) = self._database.one("SELECT count(*) FROM acl WHERE namespace_id = ?", (self._namespace_id,))
        return int(count)

    def _has(self, rule_id: str) -> bool:
        return bool(
            self._database.rows("SELECT 1 FROM acl WHERE namespace_id = ? AND id = ?", (self._namespace_id, rule_id))
        )


class _Step(NamedTuple):
    """at: where a rule is, or is put, while others are still to move. moves: whether it has to be put there."""

    at: int
    moves: bool


def _steps(places: Sequence[int | None]) -> list[_Step]:
    """How a list comes into order, from its first place to its last, the fewest of it being moved.

    places: for each that is to be, in order, the place that it has; None for a new one.
    """
    staying = _longest_rising([place for place in places if place is not None])
    # Of those that move: how many wait for it behind so many that stay.
    waiting = Counter(bisect_left(staying, place) for place in set(places) - set(staying) if place is not None)
    steps: list[_Step] = []
    passed = 0  # of those that stay
    ahead = 0  # of those that wait, before where we are
    for number, place in enumerate(places):
        stays = passed < len(staying) and place == staying[passed]
        if stays:
            ahead += waiting[passed]
            passed += 1
        elif place is not None:
            behind = bisect_left(staying, place)
            waiting[behind] -= 1
            if behind < passed:
                ahead -= 1
        steps.append(_Step(number + ahead, moves=not stays))
    return steps


def _longest_rising(places: Sequence[int]) -> list[int]:
    """The longest part of `places`, which are all different, that is in order: the fewest have to move."""
    ends: list[int] = []  # for each length, the least place that so many in order can end in
    before: dict[int, int | None] = {}
    for place in places:
        length = bisect_left(ends, place)
        before[place] = ends[length - 1] if length else None
        ends[length : length + 1] = [place]
    rising: list[int] = []
    at = ends[-1] if ends else None
    while at is not None:
        rising.append(at)
        at = before[at]
    return rising[::-1]
