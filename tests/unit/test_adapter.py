# SPDX-License-Identifier: Apache-2.0
"""What the engine asks of the module, with a module that a test plays; the real one is asked in tests/guest."""

import errno
import os
import resource
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from graftd import ports
from graftd.errors import KernelError, ModuleNotLoadedError, NamespaceError, TablesClaimedError
from graftd.kernel import Client, Finder, Heard, KernelAdapter, Listener, _requests, netns
from graftd.kernel._decode import Nest
from graftd.kernel._genl import GENL_ID_CTRL, Family
from graftd.kernel._messages import Command
from graftd.kernel._pyroute2 import ctrlmsg
from graftd.kernel._requests import Request
from graftd.kernel._transport import NETLINK_ADD_MEMBERSHIP, SOL_NETLINK
from graftd.kernel._wire import Reply, encode
from graftd.model import (
    AclRule,
    ClaimNotice,
    DeleteEndpoint,
    Direction,
    Endpoint,
    EndpointType,
    PortRange,
    PutEndpoint,
    Rule,
    SetAcl,
    SetRules,
    SetTable,
    TableSettings,
    Verdict,
)

ENDPOINT = Endpoint("e", EndpointType.IPV4, ip_address("10.0.0.2"), PortRange.single(80))
RULE = Rule(Direction.EGRESS, Verdict.DENY)


class Module:
    """In a transport's place: answers what it is asked, and notes it."""

    def __init__(self) -> None:
        self.loaded: int | None = 30
        self.asked: list[Request] = []
        self.refusals: dict[Command, KernelError] = {}
        self.aborted = 0
        self.claimant: tuple[str, int] | None = None
        self.cookie = 77

    def family(self) -> Family:
        if self.loaded is None:
            raise ModuleNotLoadedError(errno.ENOENT, "the kernel module graft is not loaded: run modprobe graft")
        return Family(self.loaded, {})

    def exchange(self, requests: Sequence[Request]) -> Iterator[Reply]:
        self.family()
        for request in requests:
            self.asked.append(request)
            yield Reply(request, b"", self._messages(request), self._refusal(request), finished=True)

    def close(self) -> None:
        pass

    def _refusal(self, request: Request) -> KernelError | None:
        if self.claimant and request.command in (Command.CLAIM, Command.TABLE_SET, Command.SOCKET_ABORT):
            return KernelError(errno.EBUSY, f"the tables are claimed by {self.claimant[0]}")
        return self.refusals.get(request.command)

    def _messages(self, request: Request) -> list[Nest]:
        values: list[tuple[str, object]] = [("GRAFT_A_ABORTED", self.aborted), ("GRAFT_A_NETNS_COOKIE", self.cookie)]
        if request.command == Command.INFO_GET and self.claimant:
            name, pid = self.claimant
            values += [("GRAFT_A_CLAIMANT", name.encode() + b"\0"), ("GRAFT_A_CLAIMANT_PID", pid)]
        return [Nest({"attrs": values}, "GRAFT_A_")]

    @property
    def commands(self) -> list[Command]:
        asked, self.asked = [request.command for request in self.asked], []
        return asked


@pytest.fixture
def module() -> Module:
    return Module()


@pytest.fixture
def adapter(module: Module, tmp_path: Path) -> Iterator[KernelAdapter]:
    client = Client(module, os.open("/dev/null", os.O_RDONLY))  # type: ignore[arg-type]
    (tmp_path / "initstate").write_text("live\n")
    made = KernelAdapter(client, tmp_path / "initstate")
    yield made
    made.close()


def test_the_engines_ports_are_filled(adapter: KernelAdapter) -> None:
    kernel: ports.Kernel = adapter
    finder: ports.Finder = Finder(cookie_of=adapter.cookie_of)
    assert kernel is adapter
    assert finder.own().cookie == netns.cookie_of()


def test_a_module_that_was_unloaded_is_not_asked_for(module: Module, tmp_path: Path) -> None:
    """The kernel would load it again."""
    there = tmp_path / "initstate"
    client = Client(module, os.open("/dev/null", os.O_RDONLY))  # type: ignore[arg-type]
    adapter = KernelAdapter(client, there)
    with pytest.raises(ModuleNotLoadedError):
        adapter.info()
    with pytest.raises(ModuleNotLoadedError):
        adapter.claim()
    there.write_text("going\n")
    with pytest.raises(ModuleNotLoadedError):
        adapter.info()
    assert module.commands == []
    there.write_text("live\n")
    adapter.info()
    assert module.commands == [Command.INFO_GET, Command.CLAIM]
    adapter.close()


def test_each_request_is_counted_by_what_became_of_it(module: Module, tmp_path: Path) -> None:
    counted: list[str] = []
    state = tmp_path / "initstate"
    state.write_text("live\n")
    client = Client(module, os.open("/dev/null", os.O_RDONLY))  # type: ignore[arg-type]
    adapter = KernelAdapter(client, state, counted.append)
    adapter.info()
    module.refusals[Command.RULES_SET] = KernelError(errno.EINVAL, "no")
    module.refusals[Command.ENDPOINT_DEL] = KernelError(errno.ENOENT, "gone already, which is as good")
    adapter.carry_out(5, [SetTable(TableSettings(frozen=True)), SetRules((RULE,)), DeleteEndpoint("e")])
    state.unlink()
    with pytest.raises(ModuleNotLoadedError):
        adapter.tables()
    assert counted == ["ok", "ok", "refused", "ok", "unreachable"]
    adapter.close()


def test_too_few_descriptors_do_not_unload_the_module(adapter: KernelAdapter) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open("/dev/null", os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    try:
        with pytest.raises(KernelError, match="initstate cannot be opened: Too many open files") as caught:
            adapter.info()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert not isinstance(caught.value, ModuleNotLoadedError)
    adapter.info()


def test_steps_are_requests_in_order(module: Module, adapter: KernelAdapter) -> None:
    own = adapter._client._own_fd
    settings = TableSettings(frozen=True)
    adapter.carry_out(
        5,
        [
            SetTable(settings),
            PutEndpoint(ENDPOINT, abort=True),
            PutEndpoint(ENDPOINT, target_fd=9),
            SetRules((RULE,)),
            SetAcl((AclRule(allow=True),), abort=True),
            DeleteEndpoint("e", abort=True),
            DeleteEndpoint("f"),
        ],
    )
    assert module.asked == [
        _requests.table_set(5, settings),
        _requests.endpoint_new(5, ENDPOINT, own, create=True, replace=True, abort=True),
        _requests.endpoint_new(5, ENDPOINT, 9, create=True, replace=True),
        _requests.rules_set(5, (RULE,)),
        _requests.acl_set(5, (AclRule(allow=True),), abort=True),
        _requests.endpoint_del(5, "e", abort=True),
        _requests.endpoint_del(5, "f"),
    ]


def test_each_step_has_its_result(module: Module, adapter: KernelAdapter) -> None:
    module.aborted = 3
    module.refusals = {
        Command.RULES_SET: KernelError(errno.EINVAL, "two rules contradict"),
        Command.ENDPOINT_DEL: KernelError(errno.ENOENT, "no endpoint of this name is in the table"),
        Command.ENDPOINT_NEW: KernelError(errno.ENOENT, "the loaded module has it not"),
    }
    rules, gone, put, acl = adapter.carry_out(
        5, [SetRules((RULE,)), DeleteEndpoint("e"), PutEndpoint(ENDPOINT), SetAcl(())]
    )
    assert rules.error is module.refusals[Command.RULES_SET]
    assert gone.error is None, "what was not there is gone"
    assert put.error is module.refusals[Command.ENDPOINT_NEW]
    assert (acl.error, acl.aborted) == (None, 3)
    assert adapter.abort_socket(5, 1) == adapter.abort_sockets(5, "e") == 3
    assert adapter.carry_out(5, []) == []


def test_a_module_that_is_not_there(module: Module, adapter: KernelAdapter) -> None:
    adapter.claim()
    module.loaded = None
    for ask in (
        adapter.info,
        adapter.claim,
        adapter.tables,
        lambda: adapter.table(5),
        lambda: adapter.endpoints(5),
        lambda: adapter.endpoint(5, "e"),
        lambda: adapter.rules(5),
        lambda: adapter.acl(5),
        lambda: adapter.sockets(None),
        lambda: adapter.carry_out(5, [DeleteEndpoint("e")]),
        lambda: adapter.abort_socket(5, 1),
        lambda: adapter.abort_sockets(5, "e"),
    ):
        with pytest.raises(ModuleNotLoadedError, match="run modprobe graft"):
            ask()


def test_a_claim_that_went_with_the_module_is_made_again(module: Module, adapter: KernelAdapter) -> None:
    adapter.info()
    assert module.commands == [Command.INFO_GET], "nothing is claimed unasked"
    adapter.claim()
    adapter.info()
    assert module.commands == [Command.CLAIM, Command.INFO_GET]
    module.loaded = None
    with pytest.raises(ModuleNotLoadedError):
        adapter.info()
    module.loaded = 31
    adapter.info()
    adapter.info()
    assert module.commands == [Command.INFO_GET, Command.CLAIM, Command.INFO_GET]


def test_tables_that_another_process_has(module: Module, adapter: KernelAdapter) -> None:
    module.claimant = ("other", 99)
    for write in (adapter.claim, lambda: adapter.abort_socket(5, 1)):
        with pytest.raises(TablesClaimedError) as caught:
            write()
        assert (caught.value.claimant, caught.value.pid, caught.value.errno) == ("other", 99, errno.EBUSY)
        assert caught.value.message == "the tables are claimed by other"
    (result,) = adapter.carry_out(5, [SetTable(TableSettings(max_sockets=1))])
    assert isinstance(result.error, TablesClaimedError)
    assert result.error.claimant == "other"


def test_a_claim_is_made_as_soon_as_it_can_be(module: Module, adapter: KernelAdapter) -> None:
    """Reading goes on meanwhile."""
    module.claimant = ("other", 99)
    with pytest.raises(TablesClaimedError):
        adapter.claim()
    assert adapter.info().claimant == "other"
    module.claimant = None
    _ = module.commands
    adapter.info()
    adapter.info()
    assert module.commands == [Command.INFO_GET, Command.CLAIM, Command.INFO_GET]


def test_a_cookie_with_the_module_and_without(module: Module, adapter: KernelAdapter) -> None:
    own = netns.open_current()
    try:
        assert adapter.cookie_of(own) == 77
        module.loaded = None
        assert adapter.cookie_of(own) == netns.cookie_of()
        module.loaded = 30
        module.refusals[Command.TABLE_GET] = KernelError(errno.EPERM, "CAP_NET_ADMIN is needed")
        assert adapter.cookie_of(own) == netns.cookie_of()
    finally:
        os.close(own)


def test_no_cookie_where_no_namespace_may_be_entered(
    module: Module, adapter: KernelAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That says nothing of the namespace."""

    def refuse(_fd: int) -> int:
        raise NamespaceError("the namespace cannot be entered")

    monkeypatch.setattr(netns, "cookie_of", refuse)
    module.loaded = None
    own = netns.open_current()
    try:
        with pytest.raises(ModuleNotLoadedError):
            adapter.cookie_of(own)
    finally:
        os.close(own)


# What is heard.


class Mailbox:
    """In the socket's place: gives what was put in, and notes what groups are joined."""

    def __init__(self) -> None:
        self.mail: list[bytes | OSError] = []
        self.joined: list[int] = []

    def recv(self, _: int) -> bytes:
        if not self.mail:
            raise BlockingIOError
        first = self.mail.pop(0)
        if isinstance(first, OSError):
            raise first
        return first

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option) == (SOL_NETLINK, NETLINK_ADD_MEMBERSHIP)
        self.joined.append(value)

    def close(self) -> None:
        pass


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def listener(mailbox: Mailbox) -> Iterator[Listener]:
    made = Listener()
    made._socket.close()
    made._socket = mailbox  # type: ignore[assignment]
    yield made
    made.close()


def news(command: int, name: str = "graft", number: int = 31) -> bytes:
    groups = [
        {"attrs": [["CTRL_ATTR_MCAST_GRP_NAME", group], ["CTRL_ATTR_MCAST_GRP_ID", index]]}
        for index, group in enumerate(("table", "event"), 50)
    ]
    message = ctrlmsg()
    message["cmd"] = command
    message["attrs"] = [
        ["CTRL_ATTR_FAMILY_NAME", name],
        ["CTRL_ATTR_FAMILY_ID", number],
        ["CTRL_ATTR_MCAST_GROUPS", groups],
    ]
    message["header"] = {"type": GENL_ID_CTRL, "flags": 0, "sequence_number": 0, "pid": 0}
    message.encode()
    return bytes(message.data)


def claimed(name: str) -> bytes:
    return encode(Request(Command.CLAIM_NTF, (("GRAFT_A_CLAIMANT", name.encode() + b"\0"),), 0), 31, 0)


def test_nothing_is_waited_for(listener: Listener) -> None:
    assert listener.receive() == Heard((), lost=False)


def test_notices_in_order(listener: Listener, mailbox: Mailbox) -> None:
    mailbox.mail = [claimed("a") + claimed("b"), claimed("")]
    assert listener.receive() == Heard(tuple(ClaimNotice(name, 0) for name in ("a", "b", "")), lost=False)


def test_what_was_dropped_is_told_with_what_was_not(listener: Listener, mailbox: Mailbox) -> None:
    mailbox.mail = [claimed("a"), OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS)), claimed("b")]
    assert listener.receive() == Heard((ClaimNotice("a", 0), ClaimNotice("b", 0)), lost=True)
    mailbox.mail = [OSError(errno.EBADF, os.strerror(errno.EBADF))]
    with pytest.raises(OSError, match="Bad file descriptor"):
        listener.receive()


def test_a_storm_leaves_time_for_others(listener: Listener, mailbox: Mailbox) -> None:
    mailbox.mail = [claimed("a") for _ in range(33)]
    assert len(listener.receive().notices) == 32
    assert len(listener.receive().notices) == 1


def test_the_modules_coming_and_going(listener: Listener, mailbox: Mailbox) -> None:
    new_family, gone, new_group = 1, 2, 7
    mailbox.mail = [news(new_family, "another"), news(gone, "another"), news(new_group)]
    assert listener.receive() == Heard((), lost=False)
    mailbox.mail = [news(gone)]
    assert listener.receive() == Heard((), lost=True)
    assert mailbox.joined == []
    mailbox.mail = [news(new_family)]
    assert listener.receive() == Heard((), lost=True)
    assert mailbox.joined == [50, 51]
