# SPDX-License-Identifier: Apache-2.0
"""graft-cni against graftd itself, the kernel played, in network namespaces of its own: alone and through cnitool."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from graft.v1 import common_pb2, namespace_pb2
from integration.api import eventually
from integration.bed import Bed, serving
from integration.process import ROOT
from integration.runtime import WEB, Plugin, Tools, build, container

_CHAINED = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0"}], "ips": [{"address": "10.88.0.5/16"}]}


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    return build(tmp_path_factory.mktemp("go"))


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    # The played kernel does not tell that a namespace went.
    with serving(tmp_path_factory.mktemp("graftd"), "[reconcile]\ninterval_seconds = 1", places=()) as found:
        yield found


def registered(bed: Bed) -> list[Any]:
    return list(bed.api.namespaces.ListNamespaces(namespace_pb2.ListNamespacesRequest()).namespaces)


def test_alone_a_container_gets_its_table_and_lo(tools: Tools, bed: Bed) -> None:
    plugin = Plugin(tools, bed, WEB)
    with container(bed) as one:
        assert "LOOPBACK" not in one.links()
        result = plugin.good("ADD", one, args="K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0")
        assert result["interfaces"] == [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": one.path}]
        assert "ips" not in result
        assert "LOOPBACK,UP" in one.links()
        (namespace,) = registered(bed)
        assert namespace.transparent
        assert namespace.transient
        assert namespace.state == namespace_pb2.NAMESPACE_STATE_PRESENT
        assert namespace.sync.state == common_pb2.SYNC_STATE_IN_SYNC
        assert dict(namespace.annotations) == {"graft.container": one.id, "graft.pod": "shop/web-0"}
        assert bed.of_kernel(one.place) == {"http"}
        args = "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-0"
        plugin.good("CHECK", one, args=args, prevResult=result)
        one.run("ip", "link", "set", "lo", "down")
        status, error, _ = plugin.call("CHECK", one, args=args, prevResult=result)
        assert (status, error["code"]) == (1, 100)
        assert "it is down: ip link set lo up" in error["msg"]
        # The same again is no second one, and nothing changes.
        revision = bed.revision()
        plugin.good("ADD", one, args=args)
        assert bed.revision() == revision
        for _ in range(2):
            plugin.good("DEL", one, prevResult=result)
            assert registered(bed) == []
            assert bed.of_kernel(one.place) == set()
        status, error, _ = plugin.call("CHECK", one, prevResult=result)
        assert (status, error["code"]) == (1, 100)
        assert "NAMESPACE_NOT_FOUND" in error["details"]


def test_behind_another_plugin_its_result_is_passed_on(tools: Tools, bed: Bed) -> None:
    mappings = [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]
    plugin = Plugin(tools, bed, {"transparent": False})
    with container(bed) as one, container(bed) as two:
        runtime = {"portMappings": mappings}
        result = plugin.good("ADD", one, prevResult=_CHAINED, runtimeConfig=runtime)
        assert [link["name"] for link in result["interfaces"]] == ["eth0"]
        assert result["ips"] == _CHAINED["ips"]
        assert "LOOPBACK" not in one.links()
        assert bed.of_kernel(one.place) == {"port-80-tcp-ipv4", "port-80-tcp-ipv6"}
        plugin.good("CHECK", one, prevResult=result, runtimeConfig=runtime)
        status, error, _ = plugin.call("ADD", two, prevResult=_CHAINED, runtimeConfig=runtime)
        assert (status, error["code"]) == (1, 100)
        assert "the host's port 0.0.0.0:8080/tcp is mapped already, by namespaces/cni-" in error["msg"]
        assert len(registered(bed)) == 1
        plugin.good("DEL", one, prevResult=_CHAINED)
        plugin.good("ADD", two, prevResult=_CHAINED, runtimeConfig=runtime)
        plugin.good("DEL", two, prevResult=_CHAINED)
    assert registered(bed) == []


def test_a_container_that_is_gone_leaves_nothing(tools: Tools, bed: Bed) -> None:
    plugin = Plugin(tools, bed, WEB)
    with container(bed) as one:
        plugin.good("ADD", one)
        one.end()
        plugin.good("DEL", one)
        assert registered(bed) == []
    with container(bed) as two:
        plugin.good("ADD", two)
    # Nobody calls DEL.
    eventually(lambda: registered(bed) == [])
    with container(bed) as three:
        three.end()
        status, error, _ = plugin.call("ADD", three, prevResult=_CHAINED)
        assert (status, error["code"]) == (1, 100)
        assert "SELECTOR_UNRESOLVED" in error["details"]


def test_a_second_network_does_not_take_the_first_ones_table(tools: Tools, bed: Bed) -> None:
    first, second = Plugin(tools, bed, WEB), Plugin(tools, bed, {}, "others")
    with container(bed) as one:
        first.good("ADD", one)
        status, error, _ = second.call("ADD", one)
        assert (status, error["code"]) == (1, 100)
        assert error["msg"].startswith("the container's network namespace has a table already, that of namespaces/cni-")
        second.good("DEL", one)
        assert bed.of_kernel(one.place) == {"http"}
        first.good("DEL", one)


def test_what_graftd_refuses_names_the_key(tools: Tools, bed: Bed) -> None:
    wrong = {"endpoints": [{"name": "http", "inet": {"address": "10.0.0", "ports": {"low": 80, "high": 80}}}]}
    with container(bed) as one:
        status, error, _ = Plugin(tools, bed, wrong).call("ADD", one)
        assert (status, error["code"]) == (1, 7)
        assert "endpoints[0].inet.address: " in error["details"]
        assert registered(bed) == []


def test_gc_takes_away_what_no_attachment_has(tools: Tools, bed: Bed) -> None:
    plugin, other = Plugin(tools, bed, {}), Plugin(tools, bed, {}, "others")
    with container(bed) as one, container(bed) as two, container(bed) as three:
        plugin.good("ADD", one)
        plugin.good("ADD", two)
        other.good("ADD", three)
        valid = [{"containerID": two.id, "ifname": "eth0"}]
        more: dict[str, Any] = {"cni.dev/valid-attachments": valid}
        plugin.good("GC", **more)
        left = {namespace.annotations["graft.container"] for namespace in registered(bed)}
        assert left == {two.id, three.id}
        plugin.good("DEL", two)
        other.good("DEL", three)


def test_graftd_comes_and_goes(tools: Tools, bed: Bed) -> None:
    plugin = Plugin(tools, bed, WEB)
    with container(bed) as one:
        # It is ready, and says that nothing but the library grafts.
        status, _, stderr = plugin.call("STATUS")
        assert (status, "systemctl start graft-transparent" in stderr) == (0, True)
        bed.kernel.load(False)
        eventually(lambda: plugin.call("STATUS")[0] == 1)
        status, error, _ = plugin.call("STATUS")
        assert error["code"] == 51
        status, error, _ = plugin.call("ADD", one)
        assert (status, error["code"]) == (1, 100)
        assert "MODULE_NOT_LOADED" in error["details"]
        bed.kernel.load(True)
        eventually(lambda: plugin.call("STATUS")[0] == 0)
        plugin.good("ADD", one)
        bed.graftd.stop()
        status, error, _ = plugin.call("STATUS", timeout=3)
        assert (status, error["code"]) == (1, 50)
        assert "systemctl start graftd" in error["msg"]
        status, error, _ = plugin.call("ADD", one, timeout=3)
        assert (status, error["code"]) in {(1, 11), (1, 100)}
        assert "systemctl start graftd" in error["msg"]
        status, _, stderr = plugin.call("DEL", one)
        assert status == 0
        assert f"the table of container {one.id} goes by itself with its network namespace" in stderr
        one.end()
        bed.graftd.start()
        eventually(lambda: registered(bed) == [])


def test_cnitool(tools: Tools, bed: Bed, tmp_path: Path) -> None:
    network = {
        "cniVersion": "1.1.0",
        "name": "pods",
        "plugins": [{"type": "graft-cni", "target": bed.graftd.target, "capabilities": {"portMappings": True}, **WEB}],
    }
    (tmp_path / "10-pods.conflist").write_text(json.dumps(network))
    mappings = [{"hostPort": 8081, "containerPort": 81, "protocol": "tcp"}]
    environment = os.environ | {
        "CNI_PATH": str(tools.plugin.parent),
        "NETCONFPATH": str(tmp_path),
        "CAP_ARGS": json.dumps({"portMappings": mappings}),
        "CNI_ARGS": "GRAFT_ENDPOINT=out->10.0.0.2:any;GRAFT_EGRESS=10.0.0.0/24->out",
    }

    def run(command: str, status: int = 0) -> str:
        line = [os.fspath(tools.cnitool), command, "pods", one.path]
        done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr

    with container(bed) as one:
        run("status")
        assert json.loads(run("add"))["interfaces"][0]["name"] == "lo"
        assert bed.of_kernel(one.place) == {"http", "out", "port-81-tcp-ipv4", "port-81-tcp-ipv6"}
        run("check")
        run("del")
        assert registered(bed) == []
        run("del")
        run("add")
        run("gc")
        assert registered(bed) == []


@pytest.mark.parametrize("guide", ["kubernetes", "containerd"])
def test_the_guides_configurations_are_right(tools: Tools, bed: Bed, guide: str) -> None:
    text = (ROOT / f"clients/guides/{guide}.md").read_text()
    network = json.loads(text.partition("```json\n")[2].partition("```")[0])
    (configuration,) = [one for one in network["plugins"] if one["type"] == "graft-cni"]
    plugin = Plugin(tools, bed, configuration)
    with container(bed) as one:
        plugin.good("ADD", one, cniVersion=network["cniVersion"])
        assert bed.of_kernel(one.place) == {"out"}
        plugin.good("DEL", one)
