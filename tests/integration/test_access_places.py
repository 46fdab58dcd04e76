# SPDX-License-Identifier: Apache-2.0
"""Callers inside of other network namespaces: what they may do is what their namespace may, whoever they are."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graftd.log import LEFT_OUT_ID
from graftd.refusals import BURST
from integration import played
from integration.api import Api, batch, eventually
from integration.bed import Bed, serving
from integration.caller import METHODS
from integration.process import Graftd

_OWN = {"/graft.v1.EndpointService/GetEndpoint", "/graft.v1.EndpointService/ListEndpoints"}
_ROLES = """
[[roles]]
role = "admin"
uids = [0]

[[roles]]
role = "viewer"
client_namespaces = ["bound"]
namespaces = ["bound", "other"]
"""


class Inside:
    """A process in a network namespace of its own. cookie: of that one."""

    def __init__(self, graftd: Graftd, *unshare: str) -> None:
        self.sockets = [f"unix:{graftd.run}/{name}.sock" for name in ("admin", "graftd", "read-only")]
        self.process = subprocess.Popen(
            ["unshare", *unshare, sys.executable, "-m", "integration.caller", *self.sockets],
            env=Graftd.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.cookie = int(self._line())
        assert self.cookie != played.OWN_COOKIE

    def calls(self, namespace: str) -> list[dict[str, Any]]:
        """For each socket, what becomes of each method that is called about a namespace."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{namespace}\n")
        self.process.stdin.flush()
        return [json.loads(self._line()) for _ in self.sockets]

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    with serving(tmp_path_factory.mktemp("places"), _ROLES, ["elsewhere"]) as bed:
        bed.api.register("other", "elsewhere")
        bed.api.endpoints.BatchCreateEndpoints(batch("other", ["e"]))
        yield bed


@pytest.fixture(params=[("--net",), ("--user", "--map-root-user", "--net")], ids=["root", "root-of-a-user-namespace"])
def inside(request: pytest.FixtureRequest, bed: Bed) -> Iterator[Inside]:
    found = Inside(bed.graftd, *request.param)
    yield found
    found.end()


def _allowed(calls: dict[str, Any]) -> set[str]:
    for method, (code, reason, message) in calls.items():
        if code != "OK":
            assert (code, reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED"), f"{method}: {message}"
    return {method for method, (code, _, _) in calls.items() if code == "OK"}


def test_namespace_that_graftd_does_not_know(bed: Bed, inside: Inside) -> None:
    """Root of it may do nothing, by any socket."""
    for calls in inside.calls("other"):
        assert set(calls) == set(METHODS)
        assert _allowed(calls) == set()
        assert {message for _, _, message in calls.values()} == {
            "the caller is in a network namespace that graftd does not know: register it, or call from graftd's own"
        }


def test_own_endpoints_and_nothing_else(bed: Bed, inside: Inside, request: pytest.FixtureRequest) -> None:
    name = f"own-{len(bed.kernel.namespaces)}"
    bed.kernel.add_namespace(name, inside.cookie)
    bed.api.register(name)
    bed.api.endpoints.BatchCreateEndpoints(batch(name, ["e"]))
    for calls in inside.calls(name):
        assert _allowed(calls) == _OWN
        assert f"a process inside of the namespace '{name}' may get and list its endpoints alone" in str(
            calls["/graft.v1.EndpointService/DeleteEndpoint"]
        )
    for calls in inside.calls("other"):
        assert _allowed(calls) == set()
    # Of all that it may see, a list tells.
    for calls in inside.calls("-"):
        assert calls["/graft.v1.EndpointService/ListEndpoints"][0] == "OK"
        assert _allowed({method: one for method, one in calls.items() if one[1] != "INVALID_FIELD"}) == {
            "/graft.v1.EndpointService/ListEndpoints"
        }


def test_refusals_do_not_fill_the_journal(tmp_path: Path) -> None:
    """By whoever may do nothing: those beyond a limit are counted, and told of in one record. Changes are all told."""
    graftd = Graftd(tmp_path, f'{_ROLES}\n[metrics]\nlisten = "{tmp_path}/metrics.sock"')
    graftd.start({"GRAFTD_PLAYED_NAMESPACES": "1"})
    nobody = Inside(graftd, "--net")
    asked = 3 * len(METHODS)  # by each of three sockets
    rounds = BURST // asked + 2
    try:
        with Api(graftd.target) as api:
            api.register("web", "ns0")
            for _ in range(rounds):
                nobody.calls("web")
            for number in range(BURST + 20):
                api.create("web", f"e{number}")
            metrics = _metrics(tmp_path / "metrics.sock")
        assert graftd.stop() == 0
    finally:
        nobody.end()
        graftd.close()
    told = graftd.records(audit=1, outcome="refused") + graftd.records(audit=1, outcome="failed")
    assert BURST <= len(told) < rounds * asked / 1.3
    (summary,) = graftd.records(message_id=LEFT_OUT_ID)
    assert summary["callers"] == {"network namespaces that graftd does not know": summary["count"]}
    assert summary["count"] + len(told) == rounds * asked
    assert f"graftd_refusals_left_out_total {summary['count']}\n" in metrics
    assert len(graftd.records(audit=1, outcome="done")) == BURST + 21


def _metrics(path: Path) -> str:
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: client.recv(65536), b"")).decode()


def test_role_of_a_namespace(bed: Bed) -> None:
    """What is bound to a namespace holds for those inside; they are no admins for being root."""
    found = Inside(bed.graftd, "--net")
    try:
        bed.kernel.add_namespace("bound", found.cookie)
        bed.api.register("bound")
        bed.api.endpoints.BatchCreateEndpoints(batch("bound", ["e"]))
        by_socket = found.calls("other")
        for calls in by_socket:
            reading = {method for method, one in calls.items() if one[0] != "PERMISSION_DENIED"}
            assert "/graft.v1.NamespaceService/ExportNamespace" in reading
            assert "/graft.v1.WatchService/Watch" in reading
            changing = [one for one in reading if one.rpartition("/")[2].startswith(("Create", "Delete", "Update"))]
            assert not changing
            assert "/graft.v1.NodeService/GetStatus" not in reading
        # Audited: who, from where, what, and what became of it.
        denied = {method for method, one in by_socket[0].items() if one[0] == "PERMISSION_DENIED"}
        wanted = {"audit": 1, "outcome": "refused", "who_netns": found.cookie, "where": "admin"}
        eventually(lambda: len(bed.graftd.records(**wanted)) >= len(denied))
        records = bed.graftd.records(**wanted)
        assert {one["method"] for one in records} == denied
        record = next(one for one in records if one["method"].endswith("/DeleteEndpoint"))
        assert record["who_pid"] == found.process.pid
        assert record["who_uid"] == 0
        assert record["resource"] == "namespaces/other/endpoints/e"
        assert record["reason"] == "ROLE_REQUIRED"
        assert record["level"] == "warning"
    finally:
        found.end()
