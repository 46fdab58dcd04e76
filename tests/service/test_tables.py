# SPDX-License-Identifier: Apache-2.0
"""The store and the module made equal: by graftcli, across restarts, reloads, and namespaces that come and go."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.place import HOST, Place, cli, cli_json, cli_outcome, eventually, kernel, names, run, status_of
from service.units import SERVICE, systemctl


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place()
    yield made
    made.close()


@pytest.fixture
def web(place: Place) -> Place:
    cli("add-namespace web --netns web")
    cli(f"-n web add ep-http type ipv4 addr {HOST} port 80")
    return place


def test_the_published_grammar_and_list_endpoints(web: Place) -> None:
    """As a shell runs it."""
    run("graftcli", "-n", "web", "add", "ep-any", "type", "ipv4", "addr", HOST, "port", "any")
    listed = run("graftcli", "-n", "web", "list-endpoints")
    assert "ep-http" in listed
    assert HOST in listed
    assert names("web") == ["ep-any", "ep-http"]
    run("graftcli", "-n", "web", "del", "ep-any")
    assert names("web") == ["ep-http"]


def test_another_target_namespace(web: Place) -> None:
    cli("add-namespace peer --netns peer")
    cli("-n web add ep-peer type ipv4 addr 10.9.0.2 port 8080 netns peer")
    (found,) = (one for one in kernel("web")["endpoints"] if one["name"] == "ep-peer")
    (other,) = (one for one in kernel("web")["endpoints"] if one["name"] == "ep-http")
    assert found != other
    status, said = cli_outcome("delete-namespace peer")
    assert status != 0
    assert "'ep-peer' of 'web'" in said
    # The target goes, and comes back.
    run("ip", "netns", "delete", "peer")
    eventually(lambda: names("web") == ["ep-http"], "an endpoint without its target is out of the table")
    run("ip", "netns", "add", "peer")
    eventually(lambda: names("web") == ["ep-http", "ep-peer"], "it is back with its target")


def test_apply_diff_and_export_are_of_one_mind(web: Place, tmp_path: Path) -> None:
    cli("-n web add-rule --direction ingress --port 80 --endpoint ep-http")
    cli("-n web add-rule --direction egress --network 10.9.0.0/24 --deny")
    cli("-n web add-acl-rule --allow --endpoint ep-http --uid 0")
    file = tmp_path / "web.yaml"
    file.write_text(cli("export web"))
    assert cli_outcome(f"diff -f {file}") == (0, "")
    before = kernel("web")
    cli(f"apply -f {file}")
    assert kernel("web") == before
    file.write_text(file.read_text().replace("ep-http", "ep-other"))
    status, said = status_of("graftcli", "diff", "-f", str(file))
    assert status == 7, said
    assert kernel("web") == before
    cli(f"apply -f {file}")
    assert names("web") == ["ep-other"]
    assert cli_outcome(f"diff -f {file}") == (0, "")
    assert "ep-other" in str(kernel("web")["rules"])


def test_nobody_else_writes_the_tables(web: Place) -> None:
    status, said = status_of("ip-graft", "-n", "web", "del", "ep-http")
    assert status != 0
    assert "graftd" in said
    assert names("web") == ["ep-http"]


def test_what_was_changed_while_it_was_down_is_repaired_and_told(web: Place) -> None:
    systemctl("stop", "graftd.socket", "graftd-admin.socket", "graftd-read-only.socket", SERVICE)
    run("ip-graft", "-n", "web", "del", "ep-http")
    run("ip-graft", "-n", "web", "add", "ep-foreign", "type", "ipv4", "addr", HOST, "port", 81)
    systemctl("start", "graftd.socket", "graftd-admin.socket", "graftd-read-only.socket", SERVICE)
    assert names("web") == ["ep-http"]
    assert cli_json("status")["reconcile"]["repaired"] >= 2


def test_a_restart_sends_nothing_to_a_table_that_is_equal(web: Place) -> None:
    def generation() -> str:
        return run("ip-graft", "-n", "web", "table", "show")

    before = generation()
    systemctl("restart", SERVICE)
    assert cli_json("status")["reconcile"]["repaired"] == 0
    assert generation() == before


def test_a_namespace_that_goes_is_absent_and_its_table_returns(web: Place) -> None:
    def state() -> str:
        return str(cli_json("show-namespace web")["state"])

    assert state() == "present"
    run("ip", "netns", "delete", "web")
    eventually(lambda: state() == "absent", "the namespace is absent")
    cli(f"-n web add ep-late type ipv4 addr {HOST} port 81")
    run("ip", "netns", "add", "web")
    eventually(lambda: names("web") == ["ep-http", "ep-late"], "the table is back")
    assert state() == "present"


def test_the_namespace_of_a_process(place: Place) -> None:
    program = subprocess.Popen(["unshare", "-n", "sleep", "1000"])
    try:
        eventually(
            lambda: Path(f"/proc/{program.pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink(),
            "the process has a namespace of its own",
        )
        cli(f"add-namespace proc --pid {program.pid}")
        cli(f"-n proc add ep type ipv4 addr {HOST} port 80")
        assert names(str(program.pid)) == ["ep"]
    finally:
        program.kill()
        program.wait()
    eventually(lambda: cli_json("show-namespace proc")["state"] == "absent", "the namespace went with it")
    cli("delete-namespace proc --force")


def test_the_module_goes_and_comes(web: Place) -> None:
    run("modprobe", "-r", "graft")
    eventually(lambda: cli_json("status")["state"] == "degraded", "graftd knows that the module is gone")
    assert "ep-http" in cli("-n web list-endpoints")
    cli_outcome("reconcile")  # which looks again
    assert cli_json("show-namespace web")["state"] == "present", "nobody can tell that it went"
    status, said = cli_outcome(f"-n web add x type ipv4 addr {HOST} port 1")
    assert status == 6, said
    assert "modprobe graft" in said
    run("modprobe", "graft")
    eventually(lambda: names("web") == ["ep-http"], "the table is back")
    eventually(lambda: cli_json("status")["state"] == "ready", "all is well")


def test_import_adopts_and_touches_nothing(place: Place) -> None:
    systemctl("stop", "graftd.socket", "graftd-admin.socket", "graftd-read-only.socket", SERVICE)
    run("ip-graft", "-n", "web", "add", "ep-old", "type", "ipv4", "addr", HOST, "port", 80)
    run("ip-graft", "-n", "web", "rule", "add", "ingress", "port", 80, "endpoint", "ep-old")
    systemctl("start", "graftd.socket", "graftd-admin.socket", "graftd-read-only.socket", SERVICE)
    before = kernel("web")
    assert before["endpoints"], "graftd wiped what it did not know"
    status, said = cli_outcome("add-namespace web --netns web")
    assert status != 0
    assert "import" in said
    cli("import web --netns web")
    assert kernel("web") == before
    assert names("web") == ["ep-old"]
    assert len(cli_json("-n web list-rules")) == 1


def test_freeze_and_unfreeze(web: Place) -> None:
    cli("-n web add-rule --direction ingress --port 80 --endpoint ep-http")
    bind = ("ip", "netns", "exec", "web", "graft", "--", "python3", "-c", _BIND)
    assert status_of(*bind) == (0, "")
    cli("freeze web --reason 'an incident'")
    status, said = status_of(*bind)
    assert status != 0
    assert "PermissionError" in said
    systemctl("restart", SERVICE)
    assert status_of(*bind)[0] != 0
    cli("unfreeze web")
    assert status_of(*bind) == (0, "")
    cli("freeze --all")
    assert status_of(*bind)[0] != 0
    cli("unfreeze --all")
    assert status_of(*bind) == (0, "")


_BIND = "import socket; s = socket.socket(); s.bind(('', 80)); s.listen(); assert s.getsockname()[1] == 80"


def test_backup_and_restore(web: Place, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    cli(f"backup {copy}")
    cli("-n web del ep-http")
    cli(f"-n web add ep-new type ipv4 addr {HOST} port 81")
    cli(f"restore {copy} --yes")
    assert names("web") == ["ep-http"]
