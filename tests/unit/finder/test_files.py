# SPDX-License-Identifier: Apache-2.0
"""Finding network namespaces, real ones, by files and by processes; what leads to one; descriptors run out."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from graftd.errors import KernelError, NamespaceError
from graftd.kernel import netns
from graftd.kernel.finder import Finder, _processes
from graftd.model import NetnsIdentity
from unit.finder_machine import (
    ID,
    Contained,
    Headless,
    Machine,
    boot_id,
    descriptors_left,
    found,
    real,
    refusal,
    selector,
)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes network namespaces: run the tests as root")


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


def test_a_path_that_is_hidden_from_graftd(machine: Machine, web: Contained, tmp_path: Path) -> None:
    """Nothing says that it is gone."""
    seen = tmp_path / "seen"
    finder = Finder(replace(machine.roots, machine=seen))
    seen.mkdir()
    for folder in (tmp_path, Path("/srv/graft-test")):
        there = seen / folder.relative_to("/") / "there"
        there.parent.mkdir(parents=True)
        there.touch()
        assert found(finder, "path", folder / "other") is None, "nobody sees one"
        hidden = folder / "there"
        assert f"'{hidden}' cannot be seen by graftd, whose unit hides its folder" in refusal(finder, "path", hidden)
    (tmp_path / "link").symlink_to("/srv/graft-test")
    assert "'/srv/graft-test/there' cannot be seen" in refusal(finder, "path", tmp_path / "link" / "there")
    (tmp_path / "there").touch()
    assert found(finder, "path", tmp_path / "there") is None, "a file that is seen, with nothing mounted on it"


@pytest.mark.parametrize("folder", ["/home", "/root", "/run/user/1000", "/tmp", "/var/tmp"])
def test_what_others_see_cannot_be_told(machine: Machine, tmp_path: Path, folder: str) -> None:
    finder = Finder(replace(machine.roots, machine=tmp_path / "nowhere"))
    assert "whose unit hides its folder" in refusal(finder, "path", f"{folder}/graft-test/web")
    assert found(finder, "path", "/run/graft-test/web") is None


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


# Processes.


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


@pytest.mark.skipif(os.uname().machine not in {"x86_64", "aarch64"}, reason="only there a thread can be ended alone")
def test_a_process_whose_first_thread_has_ended(machine: Machine) -> None:
    finder = Finder(real(machine))
    with Headless() as web:
        assert found(finder, "pid", web.pid) is not None
        assert found(finder, "path", web.file) == found(
            finder, "pid", web.pid, finder.pin(selector("pid", web.pid)).start_ticks
        )
        web.kill()
        os.waitid(os.P_PID, web.pid, os.WEXITED | os.WNOWAIT)
        assert found(finder, "pid", web.pid) is None
        assert found(finder, "path", web.file) is None


def test_what_the_other_threads_do_not_tell(machine: Machine, finder: Finder, web: Contained, other: Contained) -> None:
    machine.headless(9, 1, web.file, machine.roots.proc / "ended", web.file)
    assert found(finder, "pid", 9) == NetnsIdentity(boot_id(), web.cookie)
    machine.headless(20, 1, web.file, other.file)
    assert "the others are in several" in refusal(finder, "pid", 20)
    machine.headless(30, 1, machine.roots.proc / "ended")
    assert "the others do so now" in refusal(finder, "pid", 30)
    machine.headless(40, 1)
    assert found(finder, "pid", 40) is None


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
