# SPDX-License-Identifier: Apache-2.0
"""Rules of one namespace, of both directions: rows with an id, without an order."""

from __future__ import annotations

from collections.abc import Iterable

from graftd.errors import AlreadyExistsError, ImmutableFieldError, SelectorTakenError
from graftd.model import ChangeKind, Identified, Rule, RuleRecord
from graftd.store import _codec
from graftd.store._codec import Kind, Row
from graftd.store._writer import Writer


class RuleWriter:
    def __init__(self, writer: Writer, namespace: str, namespace_id: int) -> None:
        self._writer = writer
        self._database = writer.database
        self._namespace = namespace
        self._namespace_id = namespace_id

    def add(self, wanted: Identified[Rule]) -> RuleRecord[Rule]:
        """An id of "" becomes one that is free."""
        if wanted.id and self._has(wanted.id):
            raise AlreadyExistsError(
                f"rule '{wanted.id}' of namespace '{self._namespace}' exists: update it, or choose another id",
                kind="rule",
                namespace=self._namespace,
                id_=wanted.id,
            )
        self._check_selector(wanted.rule, wanted.id)
        return self._create(wanted)

    def update(self, row: Row, rule: Rule) -> RuleRecord[Rule]:
        before = self._before(row, rule)
        if before.rule == rule:
            return before
        self._check_selector(rule, before.id)
        return self._put(row, rule, before)

    def delete(self, row: Row) -> RuleRecord[Rule]:
        was = _codec.rule_record(row)
        self._database.run("DELETE FROM rule WHERE namespace_id = ? AND id = ?", (self._namespace_id, was.id))
        return self._log(ChangeKind.DELETED, row, was.rule, was)

    def replace(self, rows: Iterable[Row], wanted: Iterable[Identified[Rule]]) -> None:
        """Make the rows what `wanted` says, touching what differs alone. One without an id is the present
        one of its selector that no other takes, or a new one."""
        there = {_codec.rule_id(row): row for row in rows}
        said = {one.id for one in wanted}
        by_selector = {
            selector: rule_id
            for rule_id, selector in self._database.rows(
                "SELECT id, selector FROM rule WHERE namespace_id = ?", (self._namespace_id,)
            )
        }
        kept: dict[str, Rule] = {}
        new: list[Identified[Rule]] = []
        for one in wanted:
            selector = _codec.rule_selector(one.rule)
            rule_id = one.id
            if not rule_id and by_selector.get(selector, "") not in said:
                rule_id = by_selector.get(selector, "")
            if rule_id in there:
                kept[rule_id] = one.rule
            else:
                new.append(one)
        for rule_id, row in there.items():
            if rule_id not in kept:
                self.delete(row)
        differing = {rule_id: rule for rule_id, rule in kept.items() if there[rule_id].body != _codec.write_rule(rule)}
        # No selector is in another's way while they change hands.
        self._database.run_each(
            "UPDATE rule SET selector = '-' || id WHERE namespace_id = ? AND id = ?",
            [(self._namespace_id, rule_id) for rule_id in differing],
        )
        for rule_id, rule in differing.items():
            self._put(there[rule_id], rule, self._before(there[rule_id], rule))
        for one in new:
            self._create(one)

    def _create(self, wanted: Identified[Rule]) -> RuleRecord[Rule]:
        rule_id = wanted.id or self._writer.free_id("rule", self._has)
        row = self._writer.new(Kind.RULE, self._namespace, rule_id.encode("ascii"), _codec.write_rule(wanted.rule))
        self._database.run(
            "INSERT INTO rule (namespace_id, id, selector, uid, body, revision, created, updated) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._namespace_id,
                rule_id,
                _codec.rule_selector(wanted.rule),
                row.uid,
                row.body,
                row.revision,
                row.created,
                row.updated,
            ),
        )
        return self._log(ChangeKind.CREATED, row, wanted.rule, None)

    def _put(self, row: Row, rule: Rule, before: RuleRecord[Rule]) -> RuleRecord[Rule]:
        put = self._writer.changed(row, _codec.write_rule(rule))
        self._database.run(
            "UPDATE rule SET selector = ?, body = ?, revision = ?, updated = ? WHERE namespace_id = ? AND id = ?",
            (_codec.rule_selector(rule), put.body, put.revision, put.updated, self._namespace_id, before.id),
        )
        return self._log(ChangeKind.UPDATED, put, rule, before)

    def _log(self, kind: ChangeKind, row: Row, rule: Rule, before: RuleRecord[Rule] | None) -> RuleRecord[Rule]:
        record = RuleRecord(self._namespace, row.uid, _codec.rule_id(row), 0, rule, _codec.version(row))
        self._writer.log(kind, row, record, before)
        self._writer.touch_content(self._namespace_id)
        return record

    def _before(self, row: Row, rule: Rule) -> RuleRecord[Rule]:
        before = _codec.rule_record(row)
        if before.rule.direction is not rule.direction:
            raise ImmutableFieldError(
                f"rule '{before.id}' of namespace '{self._namespace}' is an {before.rule.direction.word} rule for "
                f"good: delete it, and add one for {rule.direction.word}",
                field="direction",
            )
        return before

    def _check_selector(self, rule: Rule, but_id: str) -> None:
        other = self._database.row(
            "SELECT id FROM rule WHERE namespace_id = ? AND selector = ? AND id <> ?",
            (self._namespace_id, _codec.rule_selector(rule), but_id),
        )
        if other is not None:
            raise SelectorTakenError(
                f"{rule.direction.word} rule '{other[0]}' of namespace '{self._namespace}' matches the same network, "
                "protocols and ports: update that one",
                kind="rule",
                namespace=self._namespace,
                id_=other[0],
            )

    def _has(self, rule_id: str) -> bool:
        return bool(
            self._database.rows("SELECT 1 FROM rule WHERE namespace_id = ? AND id = ?", (self._namespace_id, rule_id))
        )
