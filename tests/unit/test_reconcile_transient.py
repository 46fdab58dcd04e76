# SPDX-License-Identifier: Apache-2.0
"""Transient namespaces: they go with their network namespace, and never on doubt."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from graftd.errors import (
    ImmutableFieldError,
    KernelError,
    NamespaceError,
    NamespaceInUseError,
    NotFoundError,
    SelectorUnresolvedError,
    StoreFullError,
)
from graftd.model import ChangeKind, DeleteEndpoint, EndpointRecord, Namespace, NamespaceRecord
from graftd.reconcile import NodeEventKind
from integration.played import OWN_COOKIE
from unit.reconcile_world import KilledError, World, filled, other, refusing, selector, started
from unit.store_values import content, endpoint, namespace


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with started(tmp_path) as world:
        yield world


def transient(name: str = "web", value: str | None = None) -> Namespace:
    return replace(other(name, value or name), transient=True)


def made(world: World, name: str = "web", size: int = 3) -> int:
    """A transient namespace that holds something; its cookie."""
    cookie = world.tables.add_namespace(name)
    world.change(lambda t: t.apply(transient(name), name, content(1, size)))
    world.heard.kinds()
    world.heard.changes.clear()
    return cookie


def names(world: World) -> list[str]:
    return [one.namespace.name for one in world.engine.read(lambda view: view.namespaces())]


def test_it_goes_when_its_network_namespace_does(world: World) -> None:
    made(world)
    filled(world, "other")
    before = world.engine.read(lambda view: view.revision)
    world.tables.remove_namespace("web")
    world.heard.changes.clear()
    world.engine.refresh([selector("web")])
    assert names(world) == ["other"]
    assert world.engine.read(lambda view: view.revision) == before + 1
    assert {one.kind for one in world.heard.changes} == {ChangeKind.DELETED}
    last = world.heard.changes[-1].record
    assert isinstance(last, NamespaceRecord)
    assert last.namespace.name == "web"
    (event,) = world.heard.events
    assert (event.kind, event.namespace) == (NodeEventKind.NAMESPACE_ABSENT, "web")
    assert event.detail == (
        "namespace 'web' was transient and is deleted, with all that it held: there is no namespace of ip netns 'web'"
    )
    assert world.engine.read(lambda view: view.former()) == []
    world.check_equal()


@pytest.mark.parametrize("between", ["a restart", "a restore"])
def test_its_sockets_end_when_its_table_is_found_later(world: World, tmp_path: Path, between: str) -> None:
    copy = world.engine.store.back_up(tmp_path / "copy")
    cookie = made(world)
    world.tables.add_socket(cookie, 7, "e00")
    world.tables.unset_name("web")
    world.engine.tick()
    assert names(world) == []
    assert world.tables.sockets(cookie)
    if between == "a restore":
        world.engine.restore(copy)
    world.restart()
    world.tables.set_name("kept", cookie)
    world.engine.tick()
    assert not world.tables.table(cookie).endpoints
    assert not world.tables.sockets(cookie)
    assert world.engine.read(lambda view: view.former()) == []


def test_one_that_is_not_transient_stays(world: World) -> None:
    filled(world)
    world.tables.remove_namespace("web")
    world.engine.refresh([selector("web")])
    assert names(world) == ["web"]


@pytest.mark.parametrize("how", ["tick", "start", "reboot", "start without the module"])
def test_every_way_to_see_it(world: World, how: str) -> None:
    made(world)
    if how != "reboot":
        world.tables.remove_namespace("web")
    match how:
        case "tick":
            world.engine.tick()
        case "start":
            world.restart()
        case "start without the module":
            world.tables.load(loaded=False)
            world.restart()
        case "reboot":  # where its selector selects something at once, but nothing that was
            world.tables.boot_id = "another boot"
            world.tables.load(loaded=False)
            world.tables.load(loaded=True)
            world.restart()
    assert names(world) == []
    assert world.engine.registered() == 0


def test_another_network_namespace_on_its_path(world: World) -> None:
    """Its table is emptied where it goes on, and what is grafted there ends."""
    cookie = made(world)
    world.tables.add_socket(cookie, 7, "e00")
    world.tables.set_name("kept", cookie)
    new = world.tables.add_namespace("web")
    world.engine.refresh([selector("web")])
    assert names(world) == []
    assert not world.tables.table(cookie).endpoints
    assert not world.tables.sockets(cookie)
    assert not world.tables.table(new).endpoints


@pytest.mark.parametrize(
    "doubt",
    [
        NamespaceError("container 'web' fits 2 network namespaces"),
        KernelError(errno.EMFILE, "'web' cannot be opened"),
    ],
)
def test_doubt_deletes_nothing(world: World, doubt: NamespaceError | KernelError) -> None:
    cookie = made(world)
    world.finder.doubts["web"] = doubt
    world.engine.refresh([selector("web")])
    world.engine.tick(whole=True)
    assert names(world) == ["web"]
    world.finder.doubts.clear()
    world.engine.tick()
    assert world.engine.namespace_of(cookie) == "web"
    world.check_equal()
    # After the doubt another network namespace is not taken for it.
    world.finder.doubts["web"] = doubt
    world.engine.tick()
    world.tables.add_namespace("web")
    world.finder.doubts.clear()
    world.engine.tick()
    assert names(world) == []


def test_doubt_at_the_start(world: World) -> None:
    made(world)
    world.close()
    world.open()
    world.finder.doubts["web"] = NamespaceError("it cannot be opened: Permission denied")
    world.start()
    assert names(world) == ["web"]
    world.tables.remove_namespace("web")
    world.finder.doubts.clear()
    world.engine.tick()
    assert names(world) == []


def test_a_table_that_somebody_else_writes_is_doubt(world: World) -> None:
    cookie = made(world)
    world.tables.own_by(cookie, 77)
    world.engine.tick()
    assert names(world) == ["web"]
    world.tables.own_by(cookie, OWN_COOKIE)
    world.engine.tick()
    world.check_equal()


def test_endpoints_elsewhere_that_lead_to_it_go_with_it(world: World) -> None:
    cookie = world.create("front")
    made(world)
    world.change(lambda t: t.create_endpoint("front", endpoint("to-web", target="web")))
    world.change(lambda t: t.create_endpoint("front", endpoint("other")))
    world.tables.remove_namespace("web")
    world.heard.changes.clear()
    world.heard.kinds()
    world.engine.refresh([selector("web")])
    gone = [one.record for one in world.heard.changes if isinstance(one.record, EndpointRecord)]
    assert ("front", "to-web") in [(one.namespace, one.value.endpoint.name) for one in gone]
    assert [one.endpoint.name for one in world.tables.endpoints(cookie)] == ["other"]
    assert world.heard.kinds() == [NodeEventKind.NAMESPACE_ABSENT]  # and no drift
    world.check_equal()


def test_they_do_not_hold_it_back_where_the_module_is_gone(world: World) -> None:
    world.create("front")
    made(world)
    world.change(lambda t: t.create_endpoint("front", endpoint("to-web", target="web")))
    world.tables.load(loaded=False)
    world.tables.remove_namespace("web")
    world.engine.tick()
    assert names(world) == ["front"]
    world.tables.load(loaded=True)
    world.engine.tick()
    world.check_equal()


def test_a_forced_delete_takes_them_along(world: World) -> None:
    cookie = world.create("front")
    made(world)
    world.change(lambda t: t.create_endpoint("front", endpoint("to-web", target="web")))
    world.change(lambda t: t.create_endpoint("front", endpoint("other")))
    before = world.engine.read(lambda view: view.revision)
    with pytest.raises(NamespaceInUseError, match="'to-web' of 'front'"):
        world.change(lambda t: t.delete_namespace("web"))
    world.change(lambda t: t.delete_namespace("web", force=True))
    assert world.engine.read(lambda view: view.revision) == before + 1
    assert names(world) == ["front"]
    assert [one.endpoint.name for one in world.tables.endpoints(cookie)] == ["other"]
    world.check_equal()


def test_a_forced_delete_that_the_kernel_refuses_leaves_all(world: World) -> None:
    world.create("front")
    made(world)
    world.change(lambda t: t.create_endpoint("front", endpoint("to-web", target="web")))
    world.kernel.refuse = refusing(DeleteEndpoint)
    with pytest.raises(KernelError):
        world.change(lambda t: t.delete_namespace("web", force=True))
    assert names(world) == ["front", "web"]
    world.check_equal()


def test_it_has_to_be_there_when_it_is_made(world: World) -> None:
    with pytest.raises(SelectorUnresolvedError, match="the network namespace of 'web' is not there: there is no name"):
        world.change(lambda t: t.create_namespace(transient()))
    assert names(world) == []
    assert world.engine.registered() == 0
    world.change(lambda t: t.create_namespace(transient()), dry_run=True)


def test_another_selector(world: World) -> None:
    made(world)
    with pytest.raises(SelectorUnresolvedError):
        world.change(lambda t: t.update_namespace(transient("web", "nowhere")))
    world.engine.tick()
    assert names(world) == ["web"]
    there = world.tables.add_namespace("there")
    world.change(lambda t: t.update_namespace(transient("web", "there")))
    assert world.engine.namespace_of(there) == "web"
    world.check_equal()
    world.tables.remove_namespace("there")
    world.engine.tick()
    assert names(world) == []


def test_it_is_never_changed(world: World) -> None:
    made(world)
    with pytest.raises(ImmutableFieldError, match="was made transient, and that cannot be changed"):
        world.change(lambda t: t.update_namespace(replace(transient(), transient=False)))
    world.create("plain")
    with pytest.raises(ImmutableFieldError, match="was not made transient"):
        world.change(lambda t: t.update_namespace(transient("plain")))


def test_a_change_of_one_that_is_gone_finds_nothing(world: World) -> None:
    """A new network namespace on the path gets nothing of what was there, though nobody told that the old one went."""
    made(world)
    world.tables.remove_namespace("web")
    new = world.tables.add_namespace("web")
    with pytest.raises(NotFoundError):
        world.change(lambda t: t.create_endpoint("web", endpoint("more")), about="web")
    assert not world.tables.table(new).endpoints
    assert names(world) == []


def test_the_same_path_again_before_anybody_told(world: World) -> None:
    """What is applied for the new one stays."""
    made(world)
    world.tables.remove_namespace("web")
    new = world.tables.add_namespace("web")
    world.change(lambda t: t.apply(transient(), "web", content(1, 3)), about="web")
    world.engine.refresh([selector("web")])
    world.engine.tick()
    assert names(world) == ["web"]
    assert world.engine.namespace_of(new) == "web"
    world.check_equal()


def test_the_same_path_under_another_name(world: World) -> None:
    made(world, "path")
    world.tables.remove_namespace("path")
    new = world.tables.add_namespace("path")
    world.change(lambda t: t.create_namespace(transient("web", "path")), about="web")
    assert names(world) == ["web"]
    assert world.engine.namespace_of(new) == "web"


def test_gone_before_the_reply(world: World) -> None:
    world.tables.add_namespace("web")
    world.kernel.between = lambda step: step and world.tables.namespaces.pop("web", None)  # type: ignore[assignment]
    world.change(lambda t: t.apply(transient(), "web", content(1, 3)))
    world.kernel.between = lambda _step: None
    world.engine.refresh([selector("web")])
    assert names(world) == []


def test_gone_in_the_middle_of_a_change(world: World) -> None:
    made(world)
    world.tables.unset_name("web")
    world.change(lambda t: t.create_endpoint("web", endpoint("more")))  # nobody looked before
    assert names(world) == []


def test_a_store_that_is_full_lets_it_go_later(world: World) -> None:
    made(world)
    world.tables.remove_namespace("web")
    world.failing, world.failure = "before-commit", StoreFullError("there is no space left for the database")
    world.engine.refresh([selector("web")])
    assert names(world) == ["web"]
    assert [one.reason for one in world.engine.conditions()] == ["STORE_FULL"]
    world.tables.add_namespace("web")  # what comes meanwhile is another one
    world.engine.tick()
    assert names(world) == []
    assert world.engine.conditions() == []


def test_a_kill_while_it_goes(world: World) -> None:
    made(world)
    world.tables.remove_namespace("web")
    world.failing, world.failure = "before-commit", KilledError()
    with pytest.raises(KilledError):
        world.engine.tick()
    world.crash()
    assert names(world) == []


def test_a_restored_one_that_is_gone_meanwhile(world: World, tmp_path: Path) -> None:
    made(world)
    copy = world.engine.store.back_up(tmp_path / "copy")
    world.tables.remove_namespace("web")
    world.engine.tick()
    world.tables.add_namespace("web")
    world.change(lambda t: t.create_namespace(transient()))
    world.engine.restore(copy)
    assert names(world) == []
    world.engine.tick()
    assert world.engine.registered() == 0


def test_many_go_in_one_revision(world: World) -> None:
    for number in range(20):
        made(world, f"n{number}", 2)
        world.tables.remove_namespace(f"n{number}")
    before = world.engine.read(lambda view: view.revision)
    world.engine.tick()
    assert names(world) == []
    assert world.engine.read(lambda view: view.revision) == before + 1
    assert world.engine.read(lambda view: view.former()) == []


def test_who_waited_for_its_place_gets_it(world: World) -> None:
    cookie = made(world)
    world.tables.set_name("too", cookie)
    world.change(lambda t: t.create_namespace(namespace("plain")))
    world.tables.set_name("plain", world.tables.add_namespace("plain"))
    world.engine.tick()
    world.tables.set_name("plain", cookie)
    world.engine.tick()
    assert world.engine.identity_of("plain") is None
    world.tables.unset_name("web")
    world.engine.refresh([selector("web")])
    assert names(world) == ["plain"]
    assert world.engine.namespace_of(cookie) == "plain"
