# SPDX-License-Identifier: Apache-2.0
"""graftcli's commands that do more than one call: backups, watching, what is asked on a terminal, dry runs."""

from __future__ import annotations

import io
import itertools
import json
import os
import stat
import sys
from collections.abc import Iterator
from unittest import mock

import grpc
import pytest

from graft_client import messages as m
from graftcli import exits, main
from unit.graftcli_bed import Bed, running


@pytest.fixture
def bed() -> Iterator[Bed]:
    with running() as one:
        one.fill()
        yield one


# Backups


def test_a_backup_is_for_its_owner_alone_and_replaces_nothing_unasked(bed: Bed) -> None:
    file = bed.folder / "copy.db"
    done = bed.run(f"backup {file}")
    assert (done.status, done.err) == (0, "")
    assert done.out == f"{file} written: revision 7, {len(bed.fake.database)} bytes\n"
    assert file.read_bytes() == bed.fake.database
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"precious")
    refused = bed.run(f"backup {file}")
    assert refused.status == exits.USAGE
    assert "is there already: name another file, or say --force" in refused.err
    assert file.read_bytes() == b"precious"
    assert bed.run(f"backup {file} --force").status == 0
    assert file.read_bytes() == bed.fake.database
    assert [path.name for path in bed.folder.iterdir() if path != bed.path] == ["copy.db"]


def test_a_backup_that_fails_leaves_nothing(bed: Bed) -> None:
    file = bed.folder / "copy.db"
    file.write_bytes(b"precious")
    whole = bed.fake.Backup

    def damaged(request: m.BackupRequest, context: grpc.ServicerContext) -> Iterator[m.BackupResponse]:
        yield next(whole(request, context))

    bed.fake.Backup = damaged  # type: ignore[method-assign]
    bed.stop()
    bed.start()
    done = bed.run(f"backup {file} --force")
    assert (done.status, done.out) == (exits.FAILED, "")
    assert "did not come whole" in done.err
    assert file.read_bytes() == b"precious"
    assert [path.name for path in bed.folder.iterdir() if path != bed.path] == ["copy.db"]


def test_a_backup_that_somebody_else_wrote_meanwhile_stays(bed: Bed) -> None:
    file = bed.folder / "copy.db"
    whole = bed.fake.Backup

    def slow(request: m.BackupRequest, context: grpc.ServicerContext) -> Iterator[m.BackupResponse]:
        file.write_bytes(b"theirs")
        yield from whole(request, context)

    bed.fake.Backup = slow  # type: ignore[method-assign]
    bed.stop()
    bed.start()
    assert "is there already" in bed.run(f"backup {file}").err
    assert file.read_bytes() == b"theirs"


def test_where_a_backup_cannot_be(bed: Bed) -> None:
    assert "is a folder: name a file in it" in bed.run(f"backup {bed.folder}").err
    assert f"there is no folder {bed.folder}/none" in bed.run(f"backup {bed.folder}/none/x").err


def test_restore(bed: Bed) -> None:
    file = bed.folder / "copy.db"
    bed.run(f"backup {file}")
    dry = bed.run(f"restore {file} --dry-run")
    assert dry.out == f"{file} restored: revision 9 (dry run: nothing was done)\n"
    assert bed.fake.restored == b""
    assert bed.run(f"restore {file}").status == 0
    assert bed.fake.restored == bed.fake.database
    file.write_bytes(b"no database")
    done = bed.run(f"restore {file}")
    assert (done.status, done.err) == (
        exits.USAGE,
        "graftcli: this is no whole copy of a store: take one that graftcli backup wrote\n",
    )
    assert "none cannot be read: No such file or directory" in bed.run(f"restore {bed.folder}/none").err


# What is asked


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answered(bed: Bed, line: str, answer: str) -> tuple[int, str]:
    """A command line on a terminal where somebody answers; the status and what was shown."""
    shown = Terminal()
    with (
        mock.patch.dict("os.environ", {"GRAFTD_TARGET": bed.target}),
        mock.patch.object(sys, "stdin", Terminal(answer)),
        mock.patch.object(sys, "stderr", shown),
        mock.patch.object(sys, "stdout", shown),
    ):
        return main.run(line.split()), shown.getvalue()


@pytest.mark.parametrize(("answer", "left"), [("y\n", 0), ("yes\n", 0), ("n\n", 3), ("\n", 3), ("", 3)])
def test_an_abort_is_asked_about_on_a_terminal(bed: Bed, answer: str, left: int) -> None:
    status, shown = answered(bed, "-n web abort-sockets --all", answer)
    assert "End all sockets in namespaces/web? [y/N] " in shown
    assert len(bed.fake.sockets) == left
    assert status == (exits.FAILED if left else exits.DONE)


def test_nothing_is_asked_elsewhere_or_with_yes(bed: Bed) -> None:
    assert bed.run("-n web abort-sockets 11").out == "1 socket aborted\n"
    status, shown = answered(bed, "-n web abort-sockets --endpoint ep-http --yes", "")
    assert (status, shown) == (0, "2 sockets aborted\n")
    status, shown = answered(bed, "freeze --all", "")
    assert (status, shown) == (0, "the node is frozen: 1 namespace deny new grafts\n")


def test_progress_is_shown_on_a_terminal_alone(bed: Bed) -> None:
    file = bed.folder / "copy.db"
    _, shown = answered(bed, f"backup {file}", "")
    assert "\r\x1b[K1.2 MiB\r\x1b[K" in shown
    assert "\r" not in bed.run(f"backup {file} --force").err


# Dry runs


@pytest.mark.parametrize(
    "line",
    [
        "-n web add-endpoint new --address 10.0.0.2 --port 1",
        "-n web update-endpoint ep-http --port 1",
        "-n web delete-endpoint ep-http",
        "-n web add type-x type ipv4 addr 10.0.0.2 port 1",
        "-n web del ep-http",
        "-n web add-rule --direction ingress --deny",
        "-n web update-rule http --deny",
        "-n web delete-rule http",
        "-n web add-acl-rule --deny",
        "-n web update-acl-rule a1 --deny",
        "-n web move-acl-rule a1 --index 1",
        "-n web delete-acl-rule a1",
        "add-namespace x --netns x",
        "import x --netns x",
        "update-namespace web --max-sockets 1",
        "delete-namespace web --force",
        "freeze web",
        "unfreeze web",
        "freeze --all",
        "unfreeze --all",
        "-n web abort-sockets --all",
        "reconcile",
    ],
)
def test_a_dry_run_changes_nothing(bed: Bed, line: str) -> None:
    bed.fake.status.frozen = line == "unfreeze --all"
    revision, frozen = bed.fake.revision, bed.fake.status.frozen
    done = bed.run(f"{line} --dry-run")
    assert (done.status, done.err) == (0, "")
    assert done.out.endswith("(dry run: nothing was done)\n")
    assert (bed.fake.revision, bed.fake.status.frozen, len(bed.fake.sockets)) == (revision, frozen, 3)


# The rest


def test_freeze_and_unfreeze(bed: Bed) -> None:
    assert bed.run("freeze web --reason maintenance").out == "namespaces/web frozen\n"
    assert "frozen: maintenance" in bed.run("list-namespaces").out
    assert bed.run("freeze --all").status == 0
    done = bed.run("unfreeze web")
    assert done.out == "namespaces/web unfrozen\n"
    assert "the node is frozen, so new grafts stay denied: graftcli unfreeze --all" in done.err
    bed.run("freeze web")
    assert bed.run("unfreeze --all").out == "the node is not frozen any more; 1 namespace stay frozen by themselves\n"


def test_sockets_that_a_change_ended_are_told(bed: Bed) -> None:
    done = bed.run("-n web update-endpoint ep-http --port 81 --abort-sockets")
    assert done.err == "2 live sockets aborted\n"
    assert bed.run("-n web add-acl-rule --deny --abort-sockets").err == "1 live socket aborted\n"
    assert bed.run("-n web delete-endpoint ep-http --abort-sockets").err == "2 live sockets aborted\n"


def test_what_is_not_as_it_was_asked_for_is_told(bed: Bed) -> None:
    bed.fake.missing.add("late")
    done = bed.run("add-namespace late --netns late")
    assert done.out == "namespaces/late created\n"
    assert done.err == "note: netns late is not there now; the table is applied when it appears\n"
    refused = m.Sync(state=m.SYNC_STATE_FAILED, detail="no device")
    bed.fake.endpoints["namespaces/web/endpoints/ep-http"].sync.CopyFrom(refused)
    lines = bed.run("-n web show-endpoint ep-http").out.splitlines()
    assert [line.split(maxsplit=1) for line in lines if line.startswith("sync:")] == [["sync:", "failed: no device"]]


def test_a_dry_run_counts_the_sockets_that_are_meant(bed: Bed) -> None:
    dry = "aborted (dry run: nothing was done)\n"
    assert bed.run("-n web abort-sockets 11 --dry-run").out == f"1 socket {dry}"
    assert bed.run("-n web abort-sockets --endpoint ep-http --dry-run").out == f"3 sockets {dry}"
    assert bed.run("-n web abort-sockets --endpoint none --dry-run").out == f"0 sockets {dry}"


def test_status_tells_what_is_wrong(bed: Bed) -> None:
    bed.fake.status.state = m.NODE_STATE_DEGRADED
    bed.fake.status.conditions.add(reason="STORE_FULL", message="there is no room on the disk: free some")
    done = bed.run("status")
    assert done.status == 0
    assert "state:    degraded" in done.out
    assert done.out.endswith("STORE_FULL: there is no room on the disk: free some\n")


def test_transparent_and_transient(bed: Bed) -> None:
    assert bed.run("add-namespace pod --netns pod --transparent --transient").status == 0
    made = bed.fake.namespaces["namespaces/pod"]
    assert (made.transparent, made.transient) == (True, True)
    assert "traits:      transparent transient\n" in bed.run("show-namespace pod").out
    assert "transparent transient" in bed.run("list-namespaces -o wide").out
    exported = bed.run("export pod").out
    assert "transparent: true\ntransient: true\n" in exported
    assert bed.run("update-namespace pod --no-transparent").status == 0
    assert not bed.fake.namespaces["namespaces/pod"].transparent
    assert bed.run("update-namespace pod --transparent").status == 0
    assert bed.fake.namespaces["namespaces/pod"].transparent
    both = bed.run("update-namespace pod --transparent --no-transparent")
    assert (both.status, "exclude one another" in both.err) == (2, True)
    never = bed.run("update-namespace pod --transient")
    assert (never.status, "unknown option" in never.err) == (2, True)


def test_status_tells_of_the_bpf_door(bed: Bed) -> None:
    bed.fake.status.transparent.state = m.TRANSPARENT_STATE_SERVED
    bed.fake.status.transparent.namespaces = 2
    assert "bpf-door: served, 2 namespaces\n" in bed.run("status").out
    bed.fake.status.transparent.CopyFrom(
        m.TransparentStatus(state=m.TRANSPARENT_STATE_NOT_LOADED, detail="start graft-transparent")
    )
    assert "bpf-door: not-loaded: start graft-transparent\n" in bed.run("status").out


def test_version_also_without_graftd(bed: Bed) -> None:
    assert bed.run("version").out.splitlines()[1] == "graftd 1.2.3"
    assert bed.run("version -o json").json()["graftd"] == "1.2.3"
    assert "graftd: 1.2.3" in bed.run("version -o yaml").out
    bed.stop()
    done = bed.run("version")
    assert done.status == 0
    assert done.out.startswith("graftcli ")
    assert "graftd's is not known: " in done.err


def test_tables(bed: Bed) -> None:
    hint = m.NamespaceHint(iproute2_name="old")
    bed.fake.tables = [m.Table(netns_cookie=5, hints=[hint], endpoints=3, max_endpoints=10)]
    assert bed.run("list-tables").out.splitlines()[1].split()[:6] == ["5", "-", "netns", "old", "3/10", "0"]
    assert bed.run("list-tables -o name").out == "5\n"


# Watching


def lines(bed: Bed, line: str, count: int, *changes: str) -> tuple[list[str], str]:
    """The first lines of a watch; the changes are made once it runs."""

    class EnoughError(Exception):
        pass

    printed: list[str] = []
    waiting = list(changes)
    say = io.StringIO()

    def write(text: str, **_: object) -> None:
        printed.append(text)
        if len(printed) == count:
            raise EnoughError

    real = bed.fake.Watch

    def watch(request: m.WatchRequest, context: grpc.ServicerContext) -> Iterator[m.WatchResponse]:
        answers = real(request, context)
        yield next(answers)
        while waiting:
            bed.run(waiting.pop(0))
        yield from answers

    bed.fake.Watch = watch  # type: ignore[method-assign]
    bed.stop()
    bed.start()
    with (
        mock.patch.dict(os.environ, {"GRAFTD_TARGET": bed.target}),
        mock.patch("graftcli.watching.print", write, create=True),
        mock.patch.object(sys, "stderr", say),
        pytest.raises(EnoughError),
    ):
        main.run(line.split())
    return printed, say.getvalue()


def test_watch_prints_a_line_for_each_change(bed: Bed) -> None:
    first = bed.fake.revision + 1
    found, _ = lines(
        bed,
        "watch",
        4,
        "-n web add-endpoint new --address 10.0.0.2 --port 1",
        "-n web delete-rule http",
        "freeze web",
        "-n web add-acl-rule a0 --deny --index 1",
    )
    assert found == [
        f"{first} created web endpoint new: type ipv4 addr 10.0.0.2 port 1 proto tcp,udp",
        f"{first + 1} deleted web rule http: ingress port 80 endpoint ep-http",
        f"{first + 2} updated namespace web: netns web max-sockets 100 labels tier=front present frozen",
        f"{first + 3} created web acl-rule a0: index 1 deny",
    ]


def test_watch_as_json_begins_with_everything_if_asked(bed: Bed) -> None:
    found, _ = lines(bed, "watch --initial -o json --type endpoint", 3, "-n web delete-endpoint ep-out")
    values = [json.loads(one) for one in found]
    assert [value["kind"] for value in values] == ["present", "present", "deleted"]
    assert values[0]["endpoint"]["name"] == "namespaces/web/endpoints/ep-http"
    assert values[2]["revision"] == bed.fake.revision
    assert values[2]["time"].endswith("+00:00")


def test_watch_says_that_changes_may_be_missing(bed: Bed) -> None:
    bed.fake.oldest = bed.fake.revision
    found, said = lines(bed, "watch --after 1", 1)
    assert found[0].startswith(f"{bed.fake.revision} present namespace web")
    assert said == "note: some changes are no longer known; what follows is everything that there is now\n"


def event(reason: m.GraftReason, **more: object) -> m.SocketEvent:
    return m.SocketEvent(
        namespace="namespaces/web",
        kind=m.SOCKET_EVENT_KIND_DENIED,
        reason=reason,
        error_number=13,
        detail="no rule allows it",
        cookie=9,
        endpoint="ep-http",
        verbs=[m.VERB_CONNECT],
        uid=33,
        pid=77,
        protocol=6,
        address=m.SocketAddress(address="192.0.2.1", port=443),
        **more,  # type: ignore[arg-type]
    )


def test_watch_of_sockets_and_of_the_node(bed: Bed) -> None:
    bed.fake.events = [event(m.GRAFT_REASON_ACL)]
    happened = m.NodeEvent(kind=m.NODE_EVENT_KIND_NAMESPACE_ABSENT, namespace="namespaces/web", detail="it is gone")
    bed.fake.node_events = [happened]
    with bed.client() as graftd:
        answers = itertools.islice(graftd.watch_sockets(recent=5), 2)
        assert [len(answer.events) for answer in answers] == [0, 1]
    found, _ = lines(bed, "watch --sockets --recent 5", 1)
    assert found == [
        (
            "netns web denied endpoint ep-http connect tcp 192.0.2.1:443 uid 33 pid 77 cookie 9 error EACCES"
            " reason acl: no rule allows it"
        )
    ]
    assert json.loads(lines(bed, "watch --sockets --recent 5 -o json", 1)[0][0])["reason"] == "acl"
    assert lines(bed, "watch --node", 1)[0][0].endswith("Z namespace-absent web: it is gone")
    bed.fake.lost = 3
    for line in ("watch --sockets --recent 5", "watch --node"):
        assert lines(bed, line, 1)[1] == "note: 3 events before these were lost: they are read too slowly\n"
