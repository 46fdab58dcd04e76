# SPDX-License-Identifier: Apache-2.0
"""Hearing of the coming and going of what selectors name. Control groups are played."""

import asyncio
import os
import resource
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graftd.kernel.finder import Watcher, _watcher
from graftd.kernel.finder._inotify import IN_Q_OVERFLOW, Seen
from graftd.model import Selector
from unit.finder_machine import ID, OTHER, Contained, Machine, descriptors_left, real, selector

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes network namespaces: run the tests as root")
WEB = selector("netns", "web")


@pytest.fixture
def watcher(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watcher]:
    monkeypatch.setattr(_watcher, "_AGAIN", ())
    with Watcher(real(machine)) as made:
        yield made


def told(watcher: Watcher, patience: float = 5.0) -> frozenset[Selector]:
    """What is told next, as an event loop hears of it; nothing when nothing is told in time."""
    deadline = time.monotonic() + patience
    with select.epoll() as loop:
        loop.register(watcher.fileno(), select.EPOLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if loop.poll(left) and (changed := watcher.read()):
                return changed
    return frozenset()


def quiet(watcher: Watcher) -> bool:
    return not told(watcher, 0.05)


def watches() -> int:
    """How many inotify watches this process has."""
    files = [Path("/proc/self/fdinfo", name) for name in os.listdir("/proc/self/fdinfo")]
    return sum(file.read_text().count("inotify wd:") for file in files if file.exists())


# Files and folders.


def test_a_name_comes_and_goes(machine: Machine, watcher: Watcher, web: Contained) -> None:
    """`ip netns add` makes the file first and mounts the namespace on it later."""
    watcher.watch([WEB, selector("netns", "other")])
    assert quiet(watcher)
    path = machine.roots.netns / "web"
    path.touch(0)
    assert told(watcher) == {WEB}
    assert quiet(watcher)
    machine.mount(web, path)
    assert told(watcher) == {WEB}
    assert quiet(watcher)
    machine.unmount(path)
    assert told(watcher) == {WEB}
    path.unlink()
    assert told(watcher) == {WEB}
    assert quiet(watcher)


def test_another_namespace_on_the_same_file(
    machine: Machine, watcher: Watcher, web: Contained, other: Contained
) -> None:
    path = machine.named("web", web)
    watcher.watch([selector("path", path)])
    machine.unmount(path)
    machine.mount(other, path)
    assert told(watcher) == {selector("path", path)}


def test_other_names_wake_nobody(machine: Machine, watcher: Watcher, web: Contained) -> None:
    watcher.watch([WEB])
    machine.named("another", web)
    assert quiet(watcher)


def test_a_mount_elsewhere_wakes_nobody(machine: Machine, watcher: Watcher, web: Contained, tmp_path: Path) -> None:
    watcher.watch([WEB])
    (machine.roots.netns / "web").touch()
    assert told(watcher) == {WEB}
    (tmp_path / "elsewhere").touch()
    machine.mount(web, tmp_path / "elsewhere")
    assert quiet(watcher)


def test_a_name_that_is_moved(machine: Machine, watcher: Watcher) -> None:
    watcher.watch([WEB])
    (machine.roots.netns / "old").touch()
    assert quiet(watcher)
    (machine.roots.netns / "old").rename(machine.roots.netns / "web")
    assert told(watcher) == {WEB}
    (machine.roots.netns / "web").rename(machine.roots.netns / "new")
    assert told(watcher) == {WEB}


def test_folders_that_come_later(machine: Machine, watcher: Watcher, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    here = selector("path", path)
    watcher.watch([here, WEB])
    for folder in (path.parent.parent, path.parent):
        folder.mkdir()
        assert told(watcher) == {here}
        (folder / "unrelated").touch()
        assert quiet(watcher)
    path.touch()
    assert told(watcher) == {here}
    path.unlink()
    assert told(watcher) == {here}
    (path.parent / "unrelated").unlink()
    path.parent.rmdir()
    assert told(watcher) == {here}
    quiet(watcher)
    path.parent.mkdir()
    path.touch()
    assert told(watcher) == {here}
    assert not watcher.lacking


def test_a_folder_that_comes_as_its_parent_begins_to_be_watched(
    machine: Machine, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path, add = tmp_path / "a" / "b", watcher._folders._inotify.add

    def late(place: Path, mask: int) -> int:
        if place == tmp_path:
            path.parent.mkdir(exist_ok=True)
        return add(place, mask)

    monkeypatch.setattr(watcher._folders._inotify, "add", late)
    watcher.watch([selector("path", path)])
    path.touch()
    assert told(watcher) == {selector("path", path)}


def test_a_folder_that_is_moved_away(machine: Machine, watcher: Watcher, tmp_path: Path) -> None:
    watcher.watch([WEB])
    machine.roots.netns.rename(tmp_path / "elsewhere")
    assert told(watcher) == {WEB}
    quiet(watcher)
    machine.roots.netns.mkdir()
    assert told(watcher) == {WEB}
    quiet(watcher)
    (tmp_path / "elsewhere" / "web").touch()
    assert quiet(watcher)
    (machine.roots.netns / "web").touch()
    assert told(watcher) == {WEB}


# Processes.


def test_a_process_ends(machine: Machine, watcher: Watcher, web: Contained, other: Contained) -> None:
    here, there = selector("pid", web.pid), selector("pid", other.pid)
    watcher.watch([here, there, selector("pid", web.pid, 1)])
    assert quiet(watcher)
    web.kill()
    assert told(watcher) == {here}
    watcher.watch([here, there])
    assert quiet(watcher), "one that only waits to be buried is told once"
    web.end()
    watcher.watch([there])
    other.end()
    assert told(watcher) == {there}


def test_too_few_descriptors_are_left_to_watch(machine: Machine, watcher: Watcher) -> None:
    process = subprocess.Popen(["sleep", "1000"])
    wanted = [selector("container", ID), selector("pid", str(process.pid))]
    try:
        for left in range(5):
            with descriptors_left(left):
                watcher.watch(wanted)
            assert ("Too many open files" in watcher.lacking) == (left == 0)
        machine.cgroup(f"system.slice/docker-{ID}.scope", 40)
        assert told(watcher) == {wanted[0]}
    finally:
        process.kill()
        process.wait()
    assert told(watcher) == {wanted[1]}


def test_a_process_where_many_descriptors_are_open(watcher: Watcher) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096), hard))
    many = [os.open("/dev/null", os.O_RDONLY) for _ in range(1100)]
    process = subprocess.Popen(["sleep", "1000"])
    try:
        watcher.watch([selector("pid", str(process.pid))])
        process.kill()
        process.wait()
        assert told(watcher) == {selector("pid", str(process.pid))}
    finally:
        process.kill()
        process.wait()
        for descriptor in many:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# Containers.


def test_a_container_comes_is_filled_and_goes(machine: Machine, watcher: Watcher) -> None:
    here, unit = selector("container", ID[:12]), selector("unit", "web.service")
    watcher.watch([here, unit])
    machine.cgroup("kubepods/pod1")
    assert quiet(watcher)
    folder = machine.cgroup(f"kubepods/pod1/{ID}")
    assert told(watcher) == {here}
    quiet(watcher)
    machine.cgroup(f"kubepods/pod1/{ID}", 30)
    assert told(watcher) == {here}
    quiet(watcher)
    machine.cgroup(f"kubepods/pod1/{ID}/init", 30)
    assert quiet(watcher)
    for file in (folder / "init").iterdir():
        file.unlink()
    (folder / "init").rmdir()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert told(watcher) == {here}
    quiet(watcher)
    assert folder not in watcher._cgroups._watches, "what is gone is forgotten"
    machine.cgroup("system.slice/web.service")
    assert told(watcher) == {unit}


def test_a_container_that_was_there_before(machine: Machine, watcher: Watcher) -> None:
    machine.cgroup(f"docker/{ID}")
    here = selector("container", ID)
    watcher.watch([here])
    assert quiet(watcher)
    machine.cgroup(f"docker/{ID}", 30)
    assert told(watcher) == {here}


def test_a_container_that_comes_again_under_its_name(machine: Machine, watcher: Watcher) -> None:
    here = selector("container", "web")
    watcher.watch([here])
    for _ in range(3):
        folder = machine.cgroup("docker/web", 30)
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    machine.cgroup("docker/web")
    assert told(watcher) == {here}
    quiet(watcher)
    machine.cgroup("docker/web", 30)
    assert told(watcher) == {here}


def test_a_container_that_came_again_before_anybody_read(machine: Machine, watcher: Watcher) -> None:
    here = selector("container", "web")
    folder = machine.cgroup("web", 30)
    watcher.watch([here])
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    machine.cgroup("web")
    watcher.watch([here])
    assert told(watcher) == {here}
    quiet(watcher)
    machine.cgroup("web", 30)
    assert told(watcher) == {here}
    watcher.watch([])
    assert watches() == 0


def test_a_container_by_its_runtimes_file_comes(machine: Machine, watcher: Watcher) -> None:
    here = selector("container", "5f0c1a")
    watcher.watch([here])
    (machine.roots.runtimes[0] / "5f0c1a").touch()
    assert told(watcher) == {here}


def test_a_container_is_looked_at_again_soon(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its process gets a namespace after the control group, and nothing tells of that."""
    monkeypatch.setattr(_watcher, "_AGAIN", (1.0, 3.0))
    here = selector("container", "web")
    with Watcher(real(machine)) as watcher:
        watcher.watch([here, WEB])
        (machine.roots.cgroup / "web").mkdir()
        began = time.monotonic()
        times: list[float] = []
        for _ in range(3):
            assert told(watcher) == {here}, times
            times.append(time.monotonic() - began)
        assert times[0] < 1.0 <= times[1] < 3.0 <= times[2], times
        assert quiet(watcher)


# The whole.


def test_nothing_is_watched_that_nobody_wants(machine: Machine, watcher: Watcher, web: Contained) -> None:
    assert watches() == 0
    assert not select.select([watcher], [], [], 0)[0]
    machine.cgroup(f"docker/{ID}")
    watcher.watch([WEB, selector("container", ID), selector("pid", web.pid), selector("path", "/tmp/x")])
    assert watches() > 0
    watcher.watch([])
    assert watches() == 0
    machine.cgroup(f"docker/{OTHER}")
    machine.named("web", web)
    web.end()
    assert quiet(watcher)


def test_events_that_the_kernel_dropped(machine: Machine, watcher: Watcher, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then all may have changed, and what came in between is watched from there on."""
    here, there = selector("container", ID), selector("path", "/tmp/there")
    watcher.watch([WEB, here, there])
    for part, those in ((watcher._folders, {WEB, here, there}), (watcher._cgroups, {here})):
        if part is watcher._cgroups:
            machine.cgroup(f"docker/{ID}")
        for _ in part._inotify.read():
            pass
        with monkeypatch.context() as patch:
            patch.setattr(part._inotify, "read", lambda: iter([Seen(-1, IN_Q_OVERFLOW, "")]))
            assert watcher.read() == those
    machine.cgroup(f"docker/{ID}", 30)
    assert told(watcher) == {here}


def test_when_no_watch_is_left_the_rest_is_watched(
    machine: Machine, watcher: Watcher, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    add = watcher._folders._inotify.add

    def refuse(path: Path, mask: int) -> int:
        if path == tmp_path / "full":
            raise OSError(28, os.strerror(28))
        return add(path, mask)

    (tmp_path / "full").mkdir()
    monkeypatch.setattr(watcher._folders._inotify, "add", refuse)
    watcher.watch([selector("path", tmp_path / "full" / "x"), WEB])
    assert watcher.lacking == (
        f"{tmp_path / 'full'} cannot be watched: No space left on device: raise fs.inotify.max_user_watches"
    )
    (machine.roots.netns / "web").touch()
    assert told(watcher) == {WEB}
    watcher.watch([WEB])
    assert not watcher.lacking


def test_under_an_event_loop(machine: Machine, watcher: Watcher, web: Contained) -> None:
    async def listen(do: Callable[[], object]) -> frozenset[Selector]:
        loop = asyncio.get_running_loop()
        heard: asyncio.Future[frozenset[Selector]] = loop.create_future()

        def ready() -> None:
            changed = watcher.read()
            if changed and not heard.done():
                heard.set_result(changed)

        loop.add_reader(watcher.fileno(), ready)
        loop.call_later(0.02, do)
        try:
            return await asyncio.wait_for(heard, 5)
        finally:
            loop.remove_reader(watcher.fileno())

    path = machine.roots.netns / "web"
    watcher.watch([WEB])
    assert asyncio.run(listen(path.touch)) == {WEB}
    assert asyncio.run(listen(lambda: machine.mount(web, path))) == {WEB}
