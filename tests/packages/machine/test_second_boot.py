# SPDX-License-Identifier: Apache-2.0
"""The machine has booted again."""

from __future__ import annotations

from packages.machine import host
from packages.machine.host import asked, eventually


def test_all_is_back() -> None:
    for unit in host.UNITS:
        assert host.is_active(unit)
    assert host.is_active(host.DOOR) is host.kernel_has_door()
    assert (host.MODULE / "version").read_text().strip() == host.version_of(host.NEW)
    assert asked("status")["state"] == "ready"
    assert host.endpoints() == host.ENDPOINTS
    assert host.state_of("pod") == "absent"


def test_the_container_serves_again_once_it_is_started() -> None:
    host.network()
    host.start_pod()
    eventually(host.pod_answers, "nginx answers")
    eventually(lambda: host.state_of("web") == "present", "the table of web is back")
