# SPDX-License-Identifier: Apache-2.0
"""What others wrote into a table: found by ticks, notices and reconciles, repaired and told."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd.errors import NotFoundError, TablesClaimedError
from graftd.model import DeleteEndpoint, PutEndpoint, SetAcl, SetRules, Step
from graftd.reconcile import Report
from unit.reconcile_world import Events, World, filled, ids, refusing, started
from unit.store_values import endpoint


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def test_drift_is_repaired_and_told(world: World) -> None:
    cookie = filled(world)
    repaired = world.engine.reconciled.repaired
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint), SetRules(()), SetAcl(())])
    world.steps()
    world.engine.tick()
    assert [type(step) for step in world.steps()] == [DeleteEndpoint, SetAcl, SetRules]
    (event,) = world.heard.events
    assert (event.kind, event.namespace) == (Events.DRIFT_REPAIRED, "web")
    assert ("theirs", "deleted") in ids(event.repairs)
    assert len(event.repairs) == 1 + 6 + 3
    assert world.engine.reconciled.repaired == repaired + 10
    world.check_equal()
    world.heard.kinds()
    world.engine.tick(whole=True)
    assert world.steps() == []
    assert world.heard.kinds() == []


def test_drift_that_undoes_itself_is_none(world: World) -> None:
    cookie = filled(world)
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint), DeleteEndpoint("theirs")])
    world.steps()
    world.engine.tick()
    assert world.steps() == []
    assert world.heard.kinds() == []


def test_own_changes_are_no_news(world: World) -> None:
    cookie = filled(world)
    world.change(lambda t: t.create_endpoint("web", endpoint("a")))
    world.steps()
    generation = world.tables.table(cookie).generation
    calls: list[object] = []
    world.kernel.between = calls.append
    world.engine.noticed({cookie: generation, 12345: 1})
    assert calls == []
    world.kernel.between = lambda _step: None
    world.tables.carry_out(cookie, [DeleteEndpoint("a")])
    world.engine.noticed({cookie: generation + 1})
    assert world.heard.kinds() == [Events.DRIFT_REPAIRED]
    world.check_equal()


def test_a_notice_beside_a_failure(world: World) -> None:
    """What was refused moved no generation, so the next one is news."""
    cookie = filled(world)
    world.tables.carry_out(cookie, [DeleteEndpoint("e01"), DeleteEndpoint("e02")])
    world.kernel.refuse = refusing(PutEndpoint)
    world.engine.tick()
    world.kernel.refuse = lambda _step: None
    world.tables.carry_out(cookie, [PutEndpoint(endpoint("theirs").endpoint)])
    world.engine.noticed({cookie: world.tables.table(cookie).generation})
    world.check_equal()


def test_drift_whose_repair_is_broken_off_is_told_when_it_ends(world: World) -> None:
    cookie = filled(world)
    world.tables.carry_out(cookie, [DeleteEndpoint("e01"), SetRules(())])

    def claim(step: Step | None) -> None:
        if isinstance(step, SetRules):
            world.tables.claim_for("other")

    world.kernel.between = claim
    world.engine.tick()
    assert world.heard.kinds() == [Events.CLAIM_LOST, Events.DEGRADED]
    world.kernel.between = lambda _step: None
    world.tables.claim_for(None)
    world.engine.tick()
    assert world.heard.kinds() == [Events.CLAIMED, Events.DRIFT_REPAIRED, Events.RECOVERED]
    world.check_equal()


def test_a_reconcile_tells_what_it_does(world: World) -> None:
    cookie, db = filled(world), filled(world, "db")
    for where in (cookie, db):
        world.tables.carry_out(where, [DeleteEndpoint("e01")])
    world.steps()
    dry = world.engine.reconcile(dry_run=True)
    assert world.steps() == []
    assert world.heard.kinds() == []
    revision = world.engine.read(lambda view: view.revision)
    assert ids(dry.repairs) == [("e01", "created"), ("e01", "created")]
    assert dry.revision == revision
    one = world.engine.reconcile("db")
    web = tuple(each for each in dry.repairs if each.resource.namespace == "web")
    assert one.repairs == tuple(each for each in dry.repairs if each.resource.namespace == "db")
    assert world.engine.reconcile() == Report(web, (), revision)
    assert world.engine.reconcile() == Report((), (), revision)
    status = world.engine.reconciled
    assert status.last is not None
    assert status.took.total_seconds() >= 0
    with pytest.raises(NotFoundError):
        world.engine.reconcile("nothing")
    world.tables.claim_for("other")
    with pytest.raises(TablesClaimedError):
        world.engine.reconcile()
    world.check_equal()
