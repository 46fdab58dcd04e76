# SPDX-License-Identifier: Apache-2.0
"""Tables that no registered namespace stands for any more: emptied where graftd filled them, and no other ones."""

import errno
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graftd.errors import KernelError, StepRefusedError, StoreDamagedError
from graftd.model import DeleteEndpoint, NamespaceContent, NetnsIdentity, PutEndpoint, Selector, Table
from graftd.ports import Found
from graftd.reconcile import NodeEventKind
from integration.played import PlayedFinder, Tables
from unit.reconcile_world import KilledError, World, filled, other, refused_endpoint, refusing, selector, started
from unit.store_values import content, endpoint


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def former(world: World) -> list[tuple[NetnsIdentity, Selector]]:
    return world.engine.read(lambda view: view.former())


def is_empty(world: World, cookie: int) -> bool:
    table = world.tables.table(cookie)
    return not (table.endpoints or table.rules or table.acls or table.frozen)


def moved_away(world: World, name: str = "web") -> int:
    """A name selects another network namespace, unseen; the cookie of the one before, which `old` selects."""
    cookie = world.tables.namespaces[name]
    world.tables.set_name("old", cookie)
    world.tables.add_namespace(name)
    return cookie


def kill_restore(world: World, copy: Path) -> None:
    world.failing, world.failure = "after-commit", KilledError()
    with pytest.raises(KilledError):
        world.engine.restore(copy)


def test_a_restore_that_is_killed_after_its_commit(world: World, tmp_path: Path) -> None:
    filled(world, "moved")
    copy = world.engine.store.back_up(tmp_path / "copy")
    there = world.tables.add_namespace("there")
    world.change(lambda t: t.update_namespace(other("moved", "there")))
    gone = filled(world, "gone")
    kill_restore(world, copy)
    assert not is_empty(world, gone)
    assert not is_empty(world, there)
    world.crash()
    assert is_empty(world, gone)
    assert is_empty(world, there)
    world.check_equal()
    assert former(world) == []


def test_a_restore_whose_copy_has_the_place_under_another_name(world: World, tmp_path: Path) -> None:
    """What both hold of it stays."""
    cookie = world.create("a")
    world.change(lambda t: t.create_endpoint("a", endpoint("x")))
    copy = world.engine.store.back_up(tmp_path / "copy")
    world.change(lambda t: t.delete_namespace("a", force=True))
    world.change(lambda t: t.apply(other("b", "a"), "b", content(1)))
    world.change(lambda t: t.create_endpoint("b", endpoint("x")))
    kill_restore(world, copy)
    world.steps()
    world.crash()
    assert world.engine.namespace_of(cookie) == "a"
    assert not [step for step in world.steps() if isinstance(step, PutEndpoint)]
    world.check_equal()
    assert former(world) == []


@pytest.mark.parametrize(
    "act",
    [
        lambda world: world.engine.tick(),
        lambda world: world.engine.refresh([selector("web")]),
        lambda world: world.restart(),
        lambda world: world.change(lambda t: t.create_endpoint("web", endpoint("more"))),
        lambda world: world.change(lambda t: t.update_namespace(other("web", "elsewhere"))),
        lambda world: world.change(lambda t: t.apply(other("web", "elsewhere"), "web", content(2))),
        lambda world: world.change(lambda t: t.delete_namespace("web", force=True)),
    ],
)
def test_a_selector_that_leads_elsewhere(world: World, act: Callable[[World], object]) -> None:
    filled(world)
    world.tables.add_namespace("elsewhere")
    cookie = moved_away(world)
    act(world)
    world.engine.tick()
    assert is_empty(world, cookie)
    world.check_equal()
    assert former(world) == []


def test_a_whole_reconcile_empties_them_too(world: World) -> None:
    filled(world)
    cookie = moved_away(world)
    world.change(lambda t: t.delete_namespace("web", force=True))
    assert not is_empty(world, cookie)
    world.engine.reconcile()
    assert is_empty(world, cookie)


def test_what_no_name_or_file_leads_to(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process or a container may be: its own selector finds it."""
    copy = world.engine.store.back_up(tmp_path / "copy")
    cookie = filled(world)
    monkeypatch.setattr(PlayedFinder, "hints", lambda *_: {})
    world.engine.restore(copy)
    assert is_empty(world, cookie)


def test_what_may_be_a_registered_ones(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its selector leads there, and could not be looked at just now."""
    filled(world)
    world.change(lambda t: t.create_namespace(other("heir", "old")))
    cookie = moved_away(world)
    find, lacking = PlayedFinder.find, ["old"]

    def lack_once(finder: PlayedFinder, wanted: Selector) -> Found | None:
        if wanted.value in lacking:
            lacking.remove(wanted.value)
            raise KernelError(errno.EMFILE, "no descriptor is left")
        return find(finder, wanted)

    monkeypatch.setattr(PlayedFinder, "find", lack_once)
    world.engine.tick()
    assert not lacking
    assert not is_empty(world, cookie)
    world.engine.tick()
    assert world.engine.namespace_of(cookie) == "heir"
    world.check_equal()
    assert former(world) == []


def test_changes_that_empty_the_table_leave_no_record(world: World) -> None:
    filled(world)
    world.tables.set_name("alias", world.tables.namespaces["web"])
    world.tables.add_namespace("elsewhere")
    for value in ("alias", "elsewhere"):
        wanted = other("web", value)
        world.change(lambda t, wanted=wanted: t.update_namespace(wanted))  # type: ignore[misc]
        assert former(world) == []
    world.change(lambda t: t.delete_namespace("web", force=True))
    assert former(world) == []


@pytest.mark.parametrize("point", ["before-netlink", "after-netlink", "before-commit"])
def test_a_change_that_fails_leaves_no_record(world: World, point: str) -> None:
    cookie = filled(world)
    world.tables.add_namespace("elsewhere")
    for act in (
        lambda t: t.update_namespace(other("web", "elsewhere")),
        lambda t: t.delete_namespace("web", force=True),
    ):
        world.failing, world.failure = point, RuntimeError("failed")
        with pytest.raises(RuntimeError):
            world.change(act)
        assert former(world) == []
        world.check_equal()
    assert len(world.tables.endpoints(cookie)) == 20


def test_a_change_that_is_taken_back_leaves_no_record(world: World) -> None:
    world.create()
    world.tables.add_namespace("new")
    refused = NamespaceContent((endpoint("a"), refused_endpoint("b")))
    for name in ("web", "made"):
        wanted = other(name, "new")
        with pytest.raises(StepRefusedError):
            world.change(lambda t, wanted=wanted: t.apply(wanted, wanted.name, refused))  # type: ignore[misc]
        assert former(world) == []
        world.check_equal()


def test_who_is_absent_keeps_its_table(world: World) -> None:
    """It may come back as what it was."""
    cookie = filled(world)
    world.tables.unset_name("web")
    world.tables.set_name("old", cookie)
    world.engine.tick()
    world.restart()
    assert former(world) == [(NetnsIdentity("played-boot", cookie), selector("web"))]
    assert len(world.tables.endpoints(cookie)) == 20
    world.tables.set_name("web", cookie)
    world.steps()
    world.engine.tick()
    assert world.steps() == []
    assert former(world) == []
    world.tables.unset_name("web")
    world.engine.tick()
    world.change(lambda t: t.delete_namespace("web", force=True))
    world.engine.tick()
    assert is_empty(world, cookie)
    assert former(world) == []


def test_what_is_not_graftds(world: World) -> None:
    """Tables that it did not fill, or that another namespace writes now."""
    filled(world)
    theirs, cookie = world.tables.add_namespace("theirs"), moved_away(world)
    world.tables.carry_out(theirs, [PutEndpoint(endpoint("x").endpoint)])
    world.tables.own_by(cookie, 77)
    world.engine.tick()
    assert len(world.tables.endpoints(theirs)) == 1
    assert len(world.tables.endpoints(cookie)) == 20
    assert former(world) == []


def test_what_was_another_boots(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the kernel says."""
    filled(world)
    cookie = moved_away(world)

    def refuse(_tables: Tables) -> list[Table]:
        raise KernelError(errno.EMFILE, "no descriptor is left")

    monkeypatch.setattr(Tables, "tables", refuse)
    world.engine.tick()
    assert former(world) == [(NetnsIdentity("played-boot", cookie), selector("web"))]
    world.tables.boot_id = "next boot"
    world.restart()
    assert len(world.tables.endpoints(cookie)) == 20
    assert former(world) == []


def test_without_the_module_there_are_no_tables(world: World) -> None:
    filled(world)
    cookie = moved_away(world)
    world.tables.load(loaded=False)
    world.engine.tick()
    assert former(world) == []
    for number in range(3):
        world.tables.remove_namespace("web")
        assert world.tables.add_namespace("web") != cookie
        world.engine.tick()
        assert former(world) == [], number
    world.tables.load(loaded=True)
    world.heard.kinds()
    world.engine.tick()
    assert NodeEventKind.RECONCILE_FAILED not in world.heard.kinds()
    world.check_equal()


def test_a_record_that_makes_no_sense(world: World, caplog: pytest.LogCaptureFixture) -> None:
    cookie = filled(world)
    moved_away(world)
    world.change(lambda t: t.delete_namespace("web", force=True))
    world.engine.store._writer.run("INSERT INTO former (boot_id, cookie, selector) VALUES ('a boot', '0', '[]')")
    world.failing = "before-commit"
    world.engine.tick()
    assert not caplog.messages
    world.engine.tick()
    assert world.engine.conditions() == []
    assert is_empty(world, cookie)
    assert former(world) == []
    world.engine.tick()
    (message,) = caplog.messages
    assert message.startswith("what the database held of former network namespaces made no sense and was dropped (1 ")


def test_records_that_cannot_be_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(world)

    def fail(_: object) -> None:
        raise StoreDamagedError("the database is damaged")

    monkeypatch.setattr("graftd.store._former.known", fail)
    world.engine.tick()
    assert [one.reason for one in world.engine.conditions()] == ["STORE_DAMAGED"]


def test_an_import_makes_it_somebodys(world: World) -> None:
    cookie = filled(world)
    moved_away(world)
    world.change(lambda t: t.delete_namespace("web", force=True))
    world.engine.adopt(other("again", "old"), lambda _view: None, lambda *_: None)
    world.steps()
    world.restart()
    assert world.steps() == []
    assert len(world.tables.endpoints(cookie)) == 20
    assert former(world) == []


def test_what_is_gone_or_cannot_be_found(world: World) -> None:
    cookie = filled(world)
    moved_away(world)
    world.tables.unset_name("old")
    world.engine.tick()
    assert not is_empty(world, cookie)
    assert len(former(world)) == 1
    world.tables.set_name("old", cookie)
    world.tables.remove_namespace("old")
    world.engine.tick()
    assert former(world) == []


def test_what_is_refused_is_told_once_and_tried_again(world: World) -> None:
    cookie = filled(world)
    moved_away(world)
    world.kernel.refuse = refusing(DeleteEndpoint)
    world.engine.tick()
    assert NodeEventKind.RECONCILE_FAILED in world.heard.kinds()
    world.engine.tick()
    assert NodeEventKind.RECONCILE_FAILED not in world.heard.kinds()
    assert len(former(world)) == 1
    world.kernel.refuse = lambda _step: None
    world.tables.claim_for("another")
    world.engine.tick()
    assert len(former(world)) == 1
    world.tables.claim_for(None)
    world.engine.tick()
    assert is_empty(world, cookie)
    assert former(world) == []


def test_a_store_that_cannot_be_written_now(world: World) -> None:
    cookie = filled(world)
    moved_away(world)
    world.change(lambda t: t.delete_namespace("web", force=True))
    world.failing = "before-commit"
    world.engine.tick()
    assert [one.reason for one in world.engine.conditions()] == ["STORE_FULL"]
    assert len(former(world)) == 1
    world.engine.tick()
    assert is_empty(world, cookie)
    assert former(world) == []


def test_changes_of_endpoints_do_not_ask_for_it(world: World) -> None:
    filled(world)
    statements: list[str] = []
    world.engine.store._writer.raw.set_trace_callback(statements.append)
    world.change(lambda t: t.create_endpoint("web", endpoint("more")))
    assert "COMMIT" in statements
    assert not [one for one in statements if "former" in one]
