# SPDX-License-Identifier: Apache-2.0
"""Finding network namespaces, real ones, and hearing of their coming and going. Control groups and /proc are played."""

import asyncio
import contextlib
import ctypes
import os
import resource
import select
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from graftd.errors import KernelError, NamespaceError
from graftd.kernel import netns
from graftd.kernel.finder import Finder, FinderRoots, Watcher, _processes, _watcher
from graftd.kernel.finder._inotify import IN_Q_OVERFLOW, Seen
from graftd.model import NetnsIdentity, Selector, SelectorKind

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes network namespaces: run the tests as root")

ID = "0123456789abcdef" * 4
OTHER = "0123456789ab" + "f" * 52
_libc = ctypes.CDLL(None, use_errno=True)


@pytest.fixture(autouse=True)
def _no_descriptor_is_left() -> Iterator[None]:
    """A descriptor of a namespace that is left open keeps the namespace alive."""
    before = len(os.listdir("/proc/self/fd"))
    yield
    assert len(os.listdir("/proc/self/fd")) == before


class Contained:
    """A process in a network namespace of its own."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["sleep", "1000"], preexec_fn=self._unshare)  # noqa: PLW1509 no threads here
        self.pid = self._process.pid

    @staticmethod
    def _unshare() -> None:
        assert _libc.unshare(netns.CLONE_NEWNET) == 0

    @property
    def file(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/net")

    @property
    def cookie(self) -> int:
        fd = os.open(self.file, os.O_RDONLY)
        try:
            return netns.cookie_of(fd)
        finally:
            os.close(fd)

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        self.kill()
        self._process.wait()


@pytest.fixture
def web() -> Iterator[Contained]:
    made = Contained()
    yield made
    made.end()


@pytest.fixture
def other() -> Iterator[Contained]:
    made = Contained()
    yield made
    made.end()


class Machine:
    """Folders in the places of a machine's."""

    def __init__(self, folder: Path) -> None:
        self.roots = FinderRoots(
            netns=folder / "netns", runtimes=(folder / "docker",), cgroup=folder / "cgroup", proc=folder / "proc"
        )
        for root in (self.roots.netns, *self.roots.runtimes, self.roots.cgroup, self.roots.proc):
            root.mkdir()
        (self.roots.cgroup / "cgroup.controllers").touch()
        self._mounted: list[Path] = []

    def mount(self, of: Contained, at: Path) -> None:
        subprocess.run(["mount", "--bind", of.file, at], check=True)
        self._mounted.append(at)

    def unmount(self, at: Path) -> None:
        subprocess.run(["umount", at], check=True)
        self._mounted.remove(at)

    def named(self, name: str, of: Contained) -> Path:
        """As `ip netns add` does it."""
        path = self.roots.netns / name
        path.touch(0)
        self.mount(of, path)
        return path

    def delete(self, path: Path) -> None:
        self.unmount(path)
        path.unlink()

    def cgroup(self, path: str, *pids: int) -> Path:
        folder = self.roots.cgroup / path
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
        (folder / "cgroup.events").write_text(f"populated {int(bool(pids))}\nfrozen 0\n")
        return folder

    def process(self, pid: int, start: int, of: Path) -> None:
        folder = self.roots.proc / str(pid)
        (folder / "ns").mkdir(parents=True)
        (folder / "ns" / "net").symlink_to(of)
        fields = " ".join(["S", "1", *["0"] * 17, str(start), "0", "0"])
        (folder / "stat").write_text(f"{pid} (a name) 1 (of 2) {fields}\n")

    def close(self) -> None:
        for path in list(self._mounted):
            self.unmount(path)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()


@pytest.fixture
def finder(machine: Machine) -> Finder:
    return Finder(machine.roots)


def selector(kind: str, value: object, start_ticks: int = 0) -> Selector:
    return Selector(SelectorKind(kind), str(value), start_ticks)


def found(finder: Finder, kind: str, value: object, start_ticks: int = 0) -> NetnsIdentity | None:
    place = finder.find(selector(kind, value, start_ticks))
    if place is None:
        return None
    with place:
        return finder.identity(place)


def refusal(finder: Finder, kind: str, value: object) -> str:
    with pytest.raises(NamespaceError) as caught:
        finder.find(selector(kind, value))
    return str(caught.value)


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


# Files.


def test_a_name(machine: Machine, finder: Finder, web: Contained) -> None:
    assert found(finder, "netns", "web") is None
    path = machine.named("web", web)
    assert found(finder, "netns", "web") == NetnsIdentity(boot_id(), web.cookie)
    assert found(finder, "path", path) == NetnsIdentity(boot_id(), web.cookie)
    machine.unmount(path)
    assert found(finder, "netns", "web") is None, "a file with nothing mounted on it is on its way in or out"


def test_a_folder_that_is_not_there(machine: Machine, finder: Finder) -> None:
    machine.roots.netns.rmdir()
    assert found(finder, "netns", "web") is None
    assert found(finder, "path", "/proc/version/web") is None


def test_a_path_to_a_process(finder: Finder, web: Contained) -> None:
    assert found(finder, "path", web.file) == NetnsIdentity(boot_id(), web.cookie)
    web.end()
    assert found(finder, "path", web.file) is None


def test_a_namespace_that_takes_anothers_place_has_another_identity(
    machine: Machine, finder: Finder, web: Contained, other: Contained
) -> None:
    path = machine.named("web", web)
    before = found(finder, "netns", "web")
    machine.delete(path)
    machine.named("web", other)
    assert found(finder, "netns", "web") == NetnsIdentity(boot_id(), other.cookie) != before


def test_files_that_are_no_network_namespaces(machine: Machine, finder: Finder, tmp_path: Path) -> None:
    """A pipe is not waited for."""
    (tmp_path / "text").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for name, reason in (
        (tmp_path / "text", "is a file, and not one of a network namespace"),
        (tmp_path / "pipe", "is no file of a network namespace: it is not even a regular file"),
        (tmp_path, "is no file of a network namespace: it is not even a regular file"),
        ("/dev/null", "is no file of a network namespace: it is not even a regular file"),
        ("/proc/self/ns/uts", "is a namespace of another kind: name that of a network namespace"),
    ):
        assert refusal(finder, "path", name) == f"'{name}' {reason}"
    (machine.roots.netns / "web").write_text("x")
    assert refusal(finder, "netns", "web").startswith(f"'web' in {machine.roots.netns} is a file")


def test_the_cookie_comes_from_who_knows_it(machine: Machine, web: Contained) -> None:
    finder = Finder(machine.roots, lambda fd: 7 if os.fstat(fd).st_ino == web.file.stat().st_ino else 8)
    assert found(finder, "path", web.file) == NetnsIdentity(boot_id(), 7)


def test_graftds_own(finder: Finder) -> None:
    assert finder.own() == found(finder, "path", "/proc/self/ns/net") == NetnsIdentity(boot_id(), netns.cookie_of())


# Processes.


def real(machine: Machine) -> FinderRoots:
    """The machine's folders, with the true /proc."""
    roots = machine.roots
    return FinderRoots(roots.netns, roots.runtimes, roots.cgroup)


def test_a_process(machine: Machine, web: Contained) -> None:
    finder = Finder(real(machine))
    pinned = finder.pin(selector("pid", web.pid))
    assert pinned.start_ticks == int(Path(f"/proc/{web.pid}/stat").read_text().split()[21])
    assert finder.pin(pinned) == pinned
    for start in (0, pinned.start_ticks):
        assert found(finder, "pid", web.pid, start) == NetnsIdentity(boot_id(), web.cookie)
    assert found(finder, "pid", web.pid, pinned.start_ticks + 1) is None, "a later process of the same id"
    web.kill()
    os.waitid(os.P_PID, web.pid, os.WEXITED | os.WNOWAIT)
    assert found(finder, "pid", web.pid, pinned.start_ticks) is None, "one that only waits to be buried has none"
    web.end()
    assert found(finder, "pid", web.pid, pinned.start_ticks) is None
    with pytest.raises(NamespaceError, match=f"there is no process {web.pid}"):
        finder.pin(selector("pid", web.pid))


def test_other_selectors_need_no_pin(finder: Finder) -> None:
    assert finder.pin(selector("netns", "web")) == selector("netns", "web")


def test_an_id_that_is_used_again_meanwhile(
    machine: Machine, finder: Finder, web: Contained, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The namespace that was opened may be the new process's, or the old one's."""
    machine.process(9, 1, web.file)
    for start, answer in ((0, NetnsIdentity(boot_id(), web.cookie)), (10, None)):
        starts = iter([10, 11, 11, 11])
        monkeypatch.setattr(_processes, "started", lambda *_, starts=starts: next(starts))
        assert found(finder, "pid", 9, start) == answer


def test_a_process_whose_id_is_used_again_and_again(
    machine: Machine, finder: Finder, web: Contained, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.process(9, 1, web.file)
    starts = iter(range(100))
    monkeypatch.setattr(_processes, "started", lambda *_: next(starts))
    assert found(finder, "pid", 9) is None


# Containers and units.


@pytest.mark.parametrize(
    "path",
    [
        f"system.slice/docker-{ID}.scope",
        f"machine.slice/libpod-{ID}.scope",
        f"kubepods.slice/kubepods-pod1.slice/crio-{ID}.scope",
        f"kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope",
        f"docker/{ID}",
        f"kubepods/burstable/pod1/{ID}",
    ],
)
@pytest.mark.parametrize("value", [ID, ID[:12], ID[:20]])
def test_a_container(machine: Machine, finder: Finder, web: Contained, path: str, value: str) -> None:
    assert found(finder, "container", value) is None
    machine.process(30, 5, web.file)
    machine.cgroup(f"machine.slice/libpod-conmon-{ID}.scope", 1)
    machine.cgroup(f"system.slice/docker-{OTHER}.scope", 1)
    folder = machine.cgroup(path)
    assert found(finder, "container", value) is None, "its processes are still to come"
    machine.cgroup(f"{path}/init", 0, 30)
    for _ in range(2):
        assert found(finder, "container", value) == NetnsIdentity(boot_id(), web.cookie)
    machine.cgroup(f"{path}/init")
    assert found(finder, "container", value) is None
    assert found(finder, "container", ID[:11]) is None, "too short to be an id's beginning"
    assert folder.is_dir()


def test_a_container_that_comes_again_elsewhere(
    machine: Machine, finder: Finder, web: Contained, other: Contained
) -> None:
    machine.process(30, 5, web.file)
    machine.process(31, 6, other.file)
    folder = machine.cgroup("a/web", 30)
    assert found(finder, "container", "web") == NetnsIdentity(boot_id(), web.cookie)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    assert found(finder, "container", "web") is None
    machine.cgroup("b/lxc.payload.web", 31)
    assert found(finder, "container", "web") == NetnsIdentity(boot_id(), other.cookie)


def test_a_container_by_its_runtimes_file(machine: Machine, finder: Finder, web: Contained) -> None:
    path = machine.roots.runtimes[0] / "5f0c1a"
    path.touch()
    assert found(finder, "container", "5f0c1a") is None
    machine.mount(web, path)
    assert found(finder, "container", "5f0c1a") == NetnsIdentity(boot_id(), web.cookie)
    assert found(finder, "container", "..") is None


def test_a_short_id_that_fits_two(machine: Machine, finder: Finder, web: Contained, other: Contained) -> None:
    machine.process(30, 5, web.file)
    machine.process(31, 6, other.file)
    machine.cgroup(f"docker/{ID}", 30)
    machine.cgroup(f"docker/{OTHER}", 31)
    assert refusal(finder, "container", ID[:12]) == (
        f"container '{ID[:12]}' fits 2 network namespaces: say which by its whole id, by a process or by a path"
    )
    assert found(finder, "container", ID[:13]) == NetnsIdentity(boot_id(), web.cookie)


def test_two_control_groups_in_one_namespace_are_no_contradiction(
    machine: Machine, finder: Finder, web: Contained
) -> None:
    machine.process(30, 5, web.file)
    machine.process(31, 6, web.file)
    machine.cgroup("a/web", 30)
    machine.cgroup("b/web", 31)
    assert found(finder, "container", "web") == NetnsIdentity(boot_id(), web.cookie)


def test_a_container_without_a_namespace_of_its_own(machine: Machine, finder: Finder) -> None:
    """So it is with every container for a moment; its table must not be written into graftd's own namespace."""
    machine.process(30, 5, Path(f"/proc/{os.getpid()}/ns/net"))
    machine.cgroup("docker/web", 30)
    machine.cgroup("system.slice/web.service", 30)
    for kind, value in (("container", "web"), ("unit", "web.service")):
        assert refusal(finder, kind, value) == (
            f"{kind} '{value}' is in the network namespace that graftd runs in: it has none of its own"
        )


def test_a_process_that_left_while_it_was_looked_at(
    machine: Machine, finder: Finder, web: Contained, other: Contained, monkeypatch: pytest.MonkeyPatch
) -> None:
    from graftd.kernel.finder import _finder

    machine.process(30, 5, other.file)
    machine.process(31, 6, web.file)
    machine.cgroup("docker/web", 31)
    firsts = iter([(29, 4), (30, 5), (31, 6)])
    monkeypatch.setattr(_finder, "oldest", lambda *_: next(firsts))
    assert found(finder, "container", "web") == NetnsIdentity(boot_id(), web.cookie)


def test_a_unit_is_where_its_first_process_is(
    machine: Machine, finder: Finder, web: Contained, other: Contained
) -> None:
    machine.process(40, 7, other.file)
    machine.process(41, 6, web.file)
    machine.process(42, 8, other.file)
    machine.cgroup("system.slice/system-web.slice/web@1.service", 40, 41, 99)
    machine.cgroup("system.slice/system-web.slice/web@1.service/sub", 42)
    machine.cgroup("user.slice/web@1.service", 42)
    assert found(finder, "unit", "web@1.service") == NetnsIdentity(boot_id(), web.cookie)
    assert found(finder, "unit", "web@2.service") is None


def test_a_unit_of_two_users(machine: Machine, finder: Finder, web: Contained, other: Contained) -> None:
    machine.process(40, 7, web.file)
    machine.process(41, 6, other.file)
    machine.cgroup("user.slice/user-1.slice/web.service", 40)
    machine.cgroup("user.slice/user-2.slice/web.service", 41)
    assert refusal(finder, "unit", "web.service").startswith("unit 'web.service' fits 2 network namespaces")


def test_a_user_gives_a_control_group_the_name_of_another(
    machine: Machine, finder: Finder, web: Contained, other: Contained
) -> None:
    """Who has a control group of their own makes others below it, with any name."""
    machine.process(40, 5, other.file)
    machine.process(41, 7, web.file)
    for name in ("web.service", f"docker-{ID}.scope"):
        os.chown(machine.cgroup(f"user.slice/user@1.service/{name}", 40), 1000, 1000)
    assert found(finder, "unit", "web.service") is None
    assert found(finder, "container", ID) == NetnsIdentity(boot_id(), other.cookie)  # there is no other one
    machine.cgroup("system.slice/web.service", 41)
    machine.cgroup(f"system.slice/docker-{ID}.scope", 41)
    assert found(finder, "unit", "web.service") == NetnsIdentity(boot_id(), web.cookie)
    assert found(finder, "container", ID) == NetnsIdentity(boot_id(), web.cookie)


@contextlib.contextmanager
def descriptors_left(count: int) -> Iterator[None]:
    """So many can be opened inside, or fewer."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("kind", ["path", "pid", "container", "unit"])
def test_too_few_descriptors_are_left_to_look(machine: Machine, finder: Finder, web: Contained, kind: str) -> None:
    """Which does not say that the namespace is gone."""
    machine.process(40, 7, web.file)
    machine.cgroup(f"system.slice/docker-{ID}.scope", 40)
    machine.cgroup("system.slice/web.service", 40)
    value = {"path": str(web.file), "pid": "40", "container": ID, "unit": "web.service"}[kind]
    refusals = []
    for left in range(20):
        try:
            with descriptors_left(left):
                place = finder.find(selector(kind, value))
        except KernelError as error:
            refusals.append(error.message)
        else:
            assert place is not None, left
            with place:
                assert finder.identity(place).cookie == web.cookie
    assert 0 < len(refusals) < 20
    assert all("Too many open files" in refusal for refusal in refusals)


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


def test_a_host_with_both_versions_of_control_groups(machine: Machine, finder: Finder, web: Contained) -> None:
    (machine.roots.cgroup / "cgroup.controllers").unlink()
    machine.process(40, 7, web.file)
    machine.cgroup("unified/system.slice/web.service", 40)
    assert found(finder, "unit", "web.service") == NetnsIdentity(boot_id(), web.cookie)


# What is there.


def test_hints_at_what_selects_a_namespace(machine: Machine, finder: Finder, web: Contained, other: Contained) -> None:
    assert finder.hints(frozenset({web.cookie})) == {}
    machine.named("web", web)
    machine.named("also", web)
    machine.named("other", other)
    (machine.roots.netns / "empty").touch()
    (machine.roots.netns / "text").write_text("x")
    docker = machine.roots.runtimes[0] / "5f0c1a"
    docker.touch()
    machine.mount(web, docker)
    wanted = [selector("netns", "also"), selector("netns", "web"), selector("path", docker)]
    assert finder.hints(frozenset({web.cookie, 1})) == {web.cookie: wanted}
    assert finder.hints(frozenset()) == {}


# Watching.


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


WEB = selector("netns", "web")


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
    monkeypatch.setattr(_watcher, "_AGAIN", (0.1, 0.3))
    here = selector("container", "web")
    with Watcher(real(machine)) as watcher:
        watcher.watch([here, WEB])
        (machine.roots.cgroup / "web").mkdir()
        began = time.monotonic()
        times = []
        while told(watcher, 0.5) == {here}:
            times.append(time.monotonic() - began)
        assert len(times) == 3, times
        assert times[0] < 0.1 <= times[1] < 0.3 <= times[2], times


def watches() -> int:
    """How many inotify watches this process has."""
    files = [Path("/proc/self/fdinfo", name) for name in os.listdir("/proc/self/fdinfo")]
    return sum(file.read_text().count("inotify wd:") for file in files if file.exists())


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
