# SPDX-License-Identifier: Apache-2.0
"""Finding network namespaces, real ones, of containers and of units. Control groups and /proc are played."""

import os
from pathlib import Path

import pytest

from graftd.kernel.finder import Finder
from graftd.model import NetnsIdentity
from unit.finder_machine import ID, OTHER, Contained, Machine, boot_id, found, refusal

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="root alone makes network namespaces: run the tests as root")


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
    folder = machine.cgroup("b/lxc.payload.web", 31)
    assert found(finder, "container", "web") == NetnsIdentity(boot_id(), other.cookie)
    # Between two looks.
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    machine.cgroup("c/web", 30)
    assert found(finder, "container", "web") == NetnsIdentity(boot_id(), web.cookie)


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
    """Who has a control group of their own makes others below it, with any name; also while there is no other one."""
    machine.process(40, 5, other.file)
    machine.process(41, 7, web.file)
    for name in ("web.service", f"docker-{ID}.scope"):
        folder = machine.cgroup(f"user.slice/user@1.service/{name}", 40)
        for path in (folder, folder.parent):
            os.chown(path, 1000, 1000)
    assert found(finder, "unit", "web.service") is None
    assert found(finder, "container", ID) is None
    assert found(finder, "container", ID[:12]) is None
    machine.cgroup("system.slice/web.service", 41)
    machine.cgroup(f"system.slice/docker-{ID}.scope", 41)
    assert found(finder, "unit", "web.service") == NetnsIdentity(boot_id(), web.cookie)
    assert found(finder, "container", ID) == NetnsIdentity(boot_id(), web.cookie)


def test_a_container_has_its_own_control_group(machine: Machine, finder: Finder, web: Contained) -> None:
    """Its root, in a user namespace, or a unit's user: who named it is who owns what is above."""
    machine.process(40, 5, web.file)
    for name in ("system.slice/web.service", f"machine.slice/libpod-{ID}.scope"):
        os.chown(machine.cgroup(name, 40), 100000, 100000)
    assert found(finder, "unit", "web.service") == NetnsIdentity(boot_id(), web.cookie)
    assert found(finder, "container", ID) == NetnsIdentity(boot_id(), web.cookie)


@pytest.mark.parametrize(
    "inside_of",
    [
        f"system.slice/docker-{OTHER}.scope",
        f"docker/{OTHER}",
        "lxc.payload.other",
        "machine.slice/systemd-nspawn@x.service/payload",
        "machine.slice/machine-x.scope",
    ],
)
def test_a_container_gives_a_control_group_the_name_of_another(
    machine: Machine, finder: Finder, other: Contained, inside_of: str
) -> None:
    """One that runs systemd may write below its own control group, and its root may be the host's."""
    machine.process(40, 5, other.file)
    for name in ("web.service", f"docker-{ID}.scope", "web"):
        machine.cgroup(f"{inside_of}/system.slice/{name}", 40)
    assert found(finder, "unit", "web.service") is None
    assert found(finder, "container", ID) is None
    assert found(finder, "container", "web") is None


def test_a_host_with_both_versions_of_control_groups(machine: Machine, finder: Finder, web: Contained) -> None:
    (machine.roots.cgroup / "cgroup.controllers").unlink()
    machine.process(40, 7, web.file)
    machine.cgroup("unified/system.slice/web.service", 40)
    assert found(finder, "unit", "web.service") == NetnsIdentity(boot_id(), web.cookie)
