# SPDX-License-Identifier: Apache-2.0
"""The configuration: what is read, what is said of what is wrong, and the file that explains every key."""

import contextlib
import dataclasses
import ipaddress
import re
import string
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graftd import config
from graftd._access_keys import BINDING, POLICY
from graftd._log_words import Format, Level
from graftd._settings import Choice, Flag, Kind, ListOf, Seconds, Table, Whole
from graftd.access import AccessRules, Binding, Role
from graftd.config import Config, ConfigError, HostPort, TlsSection, example_file
from graftd.model import PortRange, Protocols

ROOT = Path(__file__).resolve().parents[2]
TABLES = Table(Config)


def read(text: str) -> Config:
    return Config.parse(text.encode(), "FILE")


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return [problem.removeprefix("FILE: ") for problem in caught.value.problems]


def uncommented(text: str) -> str:
    """The example file with every key in force."""
    return re.sub(r"^#(?=\[|[a-z_0-9]+ = )", "", text, flags=re.MULTILINE)


# The file that explains every key


def test_the_example_file_is_what_the_code_says() -> None:
    again = "python3 -m graftd.config > packaging/graftd.toml"
    assert (ROOT / "packaging/graftd.toml").read_text() == example_file(), f"make it anew: {again}"
    assert again in example_file()


def test_the_example_file_changes_nothing() -> None:
    assert read(example_file()) == Config()


def test_the_example_file_with_every_key_in_force_is_right() -> None:
    found = read(uncommented(example_file()))
    assert found.server.tls == TlsSection(
        listen=HostPort("192.0.2.1", 7443),
        certificate=Path("/etc/graftd/tls/server.crt"),
        key=Path("/etc/graftd/tls/server.key"),
        client_ca=Path("/etc/graftd/tls/clients.crt"),
    )
    assert found.metrics.listen == Path("/run/graftd/metrics.sock")
    assert dataclasses.replace(found.server, tls=None) == Config().server
    assert [found.store, found.reconcile, found.namespaces, found.log, found.watch_events] == [
        Config().store, Config().reconcile, Config().namespaces, Config().log, Config().watch_events,
    ]  # fmt: skip
    assert found.access == AccessRules(found.roles, found.policies)
    (binding,), (policy,) = found.roles, found.policies
    assert binding == Binding(
        role=Role.OPERATOR, uids=(1000,), users=("alice",), gids=(100,), groups=("graft",),
        certificates=("ci.example.org",), client_namespaces=("web-1",), namespaces=("web-*",),
    )  # fmt: skip
    assert (policy.ports, policy.protocols) == ((PortRange.ANY, PortRange(8000, 8999)), Protocols.BOTH)
    assert policy.addresses == (ipaddress.ip_network("10.0.0.0/24"),)


def test_every_field_is_a_key_and_every_key_a_field() -> None:
    for table in (BINDING, POLICY):
        assert {field.name for field in dataclasses.fields(table.cls)} == set(table.keys)


def test_every_key_is_in_the_example_file_with_its_explanation() -> None:
    text = example_file()

    def check(table: Table) -> None:
        for name, one in table.keys.items():
            assert one.text.endswith(".")
            if isinstance(one.kind, Table):
                check(one.kind)
            else:
                assert re.search(rf"\n# [^\n]*\n#{name} = ", text), name

    check(TABLES)


def test_defaults_are_those_that_the_contract_and_the_store_promise() -> None:
    defaults = Config()
    assert defaults.store.path == Path("/var/lib/graftd/graftd.db")
    assert defaults.store.request_ids_seconds == 3600
    assert defaults.server.max_message_bytes == 16 * 2**20
    assert (defaults.server.tls, defaults.metrics.listen) == (None, None)
    assert defaults.reconcile.interval_seconds == 60
    assert (defaults.log.level, defaults.log.format) == (Level.INFO, Format.AUTO)
    assert defaults.watch_events.recent == 1024
    assert defaults.roles == (Binding(role=Role.ADMIN, uids=(0,)),)


# What is written is read


PRINTS = st.text(st.characters(blacklist_categories=["C", "Zl", "Zp", "Zs"]), min_size=1, max_size=20)
IDS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
PATHS = st.text(string.ascii_letters + "._é\\\"'", min_size=1, max_size=20).map(lambda text: Path(f"/{text}"))
PORTS = st.integers(1, 65535)
HOSTS = st.one_of(
    st.ip_addresses().map(str), st.from_regex(r"[a-z]([a-z0-9-]{0,9}[a-z0-9])?(\.[a-z0-9]{1,9}){0,2}", fullmatch=True)
)
LOOPBACK = st.one_of(st.ip_addresses(network="127.0.0.0/8").map(str), st.just("::1"))
RANGES = st.one_of(
    st.just(PortRange.ANY), st.lists(PORTS, min_size=2, max_size=2).map(lambda two: PortRange(*sorted(two)))
)
NETWORKS = st.one_of(
    st.builds(
        lambda ip, bits: ipaddress.ip_network((ip, bits), strict=False), st.ip_addresses(v=4), st.integers(0, 32)
    ),
    st.builds(
        lambda ip, bits: ipaddress.ip_network((ip, bits), strict=False), st.ip_addresses(v=6), st.integers(0, 128)
    ),
)
BY_NAME: dict[str, st.SearchStrategy[Any]] = {
    "listen": st.builds(HostPort, HOSTS, PORTS),
    "addresses": NETWORKS,
    "egress": NETWORKS,
    "ports": RANGES,
    "protocols": st.sampled_from([Protocols.TCP, Protocols.UDP, Protocols.BOTH]),
    "marks": st.one_of(st.none(), st.lists(st.integers(0, 2**32 - 1), unique=True, max_size=3).map(tuple)),
    "name": IDS,
    "namespaces": st.one_of(IDS, st.sampled_from(["*", "web-?", "[ab]*"])),
    "target_namespaces": IDS,
    "client_namespaces": IDS,
}


def values(name: str, kind: Kind) -> st.SearchStrategy[Any]:
    match kind:
        case ListOf():
            return st.lists(values(name, kind.kind), unique=True, max_size=3).map(tuple)
        case _ if name in BY_NAME:
            return BY_NAME[name]
        case Whole():
            return st.integers(kind.low, kind.high)
        case Seconds():
            return st.floats(kind.low, kind.high)
        case Flag():
            return st.booleans()
        case Choice():
            return st.sampled_from([*kind.words.values()])
    return PATHS if "absolute path" in kind.right else PRINTS


@st.composite
def written(draw: st.DrawFn, table: Table, where: str) -> tuple[str, Any]:
    """A table in TOML, with some of its keys, and the value that it is to be."""
    text, chosen = "", {}
    defaults = table.defaults
    for name, one in table.keys.items():
        assert not isinstance(one.kind, Table)
        if name in defaults and draw(st.booleans()):
            continue
        chosen[name] = value = draw(values(name, one.kind))
        text += f"{name} = {one.kind.write(value)}\n"
    try:
        return f"{where}\n{text}", table.cls(**chosen)
    except ValueError:
        return "", None  # values that do not go with each other


@given(st.data())
def test_what_is_written_is_read(data: st.DataObject) -> None:
    sections = {
        name: one.kind for name, one in TABLES.keys.items() if isinstance(one.kind, Table) and not one.kind.many
    }
    text, wanted = "", {}
    for name, table in sections.items():
        plain = {key: one for key, one in table.keys.items() if not isinstance(one.kind, Table)}
        if name == "metrics":
            listen = data.draw(st.one_of(PATHS, st.builds(HostPort, LOOPBACK, PORTS)))
            kind = plain["listen"].kind
            assert not isinstance(kind, Table)
            part, value = f"[metrics]\nlisten = {kind.write(listen)}", table.cls(listen=listen)
        else:
            part, value = data.draw(written(dataclasses.replace(table, described=plain), f"[{name}]"))
        if name == "server" and value is not None and data.draw(st.booleans()):
            more, tls = data.draw(written(Table(TlsSection), "[server.tls]"))
            part, value = f"{part}\n{more}", dataclasses.replace(value, tls=tls)
        if value is not None:
            text, wanted[name] = f"{text}\n{part}", value
    for name, table, most in (("roles", BINDING, 3), ("policies", POLICY, 1)):
        found = [data.draw(written(table, f"[[{name}]]")) for _ in range(data.draw(st.integers(0, most)))]
        found = [one for one in found if one[1] is not None]
        if found:
            text += "".join(f"\n{part}" for part, _ in found)
            wanted[name] = tuple(value for _, value in found)
    try:
        config_wanted = Config(**wanted)
    except ValueError:
        return  # a socket of metrics that is one of the server's
    assert read(text) == config_wanted


@given(st.binary(max_size=200))
def test_whatever_a_file_holds_is_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(Config.parse(data, "FILE"), Config)


@given(st.sampled_from(["1", '"x"', "true", "1.5", "[]", "{}", "1979-05-27", "[[1]]", "[{}]", "nan"]), st.data())
def test_a_value_of_any_type_is_read_or_refused(value: str, data: st.DataObject) -> None:
    section, one = data.draw(st.sampled_from([*TABLES.keys.items()]))
    assert isinstance(one.kind, Table)
    name = data.draw(st.sampled_from([*one.kind.keys]))
    header = f"[[{section}]]" if one.kind.many else f"[{section}]"
    with contextlib.suppress(ConfigError):
        assert isinstance(read(f"{header}\n{name} = {value}\n"), Config)


# What is wrong


# Lines of a file, and the one sentence that is said of them.
WRONG = r"""
> [server]
> max_conections = 1
[server]: there is no key 'max_conections' here: did you mean 'max_connections'?

> [servre]
there is no table 'servre' here: did you mean 'server'?

> [server]
> level = 1
[server]: there is no key 'level' here: it belongs into [log]

> [log]
> store = {}
[log]: there is no table 'store' here: it belongs in front of every table

> max_conections = 1
there is no key 'max_conections' here: did you mean 'max_connections', which belongs into [server]?

> [log]
> colour = 1
[log]: there is no key 'colour' here: there are level, format

> [log]
> "a\nb" = 1
[log]: there is no key '"a\nb"' here: there are level, format

> [server]
> max_connections = "1"
[server]: max_connections is "1": it has to be a whole number from 2 to 65536

> [server]
> max_connections = true
[server]: max_connections is true: it has to be a whole number from 2 to 65536

> [server]
> max_connections = 1.0
[server]: max_connections is 1.0: it has to be a whole number from 2 to 65536

> [server]
> max_connections = 0
[server]: max_connections is 0: it has to be a whole number from 2 to 65536

> [server]
> max_message_bytes = 1
[server]: max_message_bytes is 1: it has to be a whole number of bytes from 65536 to 268435456

> [server]
> socket = "graftd.sock"
[server]: socket is "graftd.sock": it has to be an absolute path of at most 103 bytes

> [server]
> socket = "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
[server]: socket is "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...": it has to be an absolute
path of at most 103 bytes

> [store]
> path = "/a\u0000b"
[store]: path is "/a\u0000b": it has to be an absolute path

> [store]
> path = 1979-05-27
[store]: path is a date or a time: it has to be an absolute path

> [reconcile]
> interval_seconds = 0.5
[reconcile]: interval_seconds is 0.5: it has to be a number of seconds from 1 to 86400

> [reconcile]
> interval_seconds = inf
[reconcile]: interval_seconds is inf: it has to be a number of seconds from 1 to 86400

> [log]
> level = "warn"
[log]: level is "warn": did you mean "warning"? It has to be "debug", "info", "warning" or "error"

> [log]
> format = "xml"
[log]: format is "xml": it has to be "auto", "journal", "console" or "json"

> [namespaces]
> runtime_folders = "/x"
[namespaces]: runtime_folders is "/x": it has to be a list, each element an absolute path

> [namespaces]
> runtime_folders = ["/x", 3]
[namespaces]: runtime_folders: element 2 is 3: it has to be an absolute path

> [namespaces]
> runtime_folders = ["/x", "/x"]
[namespaces]: runtime_folders: "/x" stands there twice: once is enough

> log = 3
log is 3: it has to be a table, [log]

> [roles]
> role = "admin"
roles is a table: write [[roles]] in front of each of them

> [metrics]
> listen = "0.0.0.0:1"
[metrics]: listen is "0.0.0.0:1": metrics are for this machine alone, and that is no loopback address: write
127.0.0.1 or [::1], and let a proxy that knows its callers serve them elsewhere

> [metrics]
> listen = "localhost:1"
[metrics]: listen is "localhost:1": metrics are served on an address, not on a name: write 127.0.0.1 or [::1]

> [metrics]
> listen = "127.0.0.1"
[metrics]: listen is "127.0.0.1": it has to be the path of a unix socket, of at most 103 bytes, or a loopback
address and a port, such as "127.0.0.1:9469"

> [metrics]
> listen = "/run/graftd/admin.sock"
[metrics] listen is a socket of [server], /run/graftd/admin.sock: name another path

> [server]
> socket = "/run/graftd/admin.sock"
[server]: admin_socket, socket and read_only_socket have to be three different paths

> [server.tls]
> listen = "[::]:70000"
> certificate="/a"
> key="/b"
> client_ca="/c"
[server.tls]: listen is "[::]:70000": it has to be an address or a name, and a port, such as "192.0.2.1:7443" or
"[::]:7443"

> [server.tls]
> listen = "graftd..example:7443"
> certificate="/a"
> key="/b"
> client_ca="/c"
[server.tls]: listen is "graftd..example:7443": it has to be an address or a name, and a port, such as
"192.0.2.1:7443" or "[::]:7443"

> [server.tls]
> listen = "[::]:7"
> certificate="/a"
> key="/b"
[server.tls]: client_ca is missing: it has to be an absolute path

> [[roles]]
> uids = [0]
[[roles]] number 1: role is missing: it has to be "viewer", "operator" or "admin"

> [[roles]]
> role = "admin"
> uids = [0]
> [[roles]]
> role = "admin"
[[roles]] number 2: a binding of the role admin is for nobody: name uids, users, gids, groups, certificates or
client_namespaces

> [[roles]]
> role = "admin"
> uids = [4294967295]
[[roles]] number 1: uids: element 1 is 4294967295: it has to be a whole number from 0 to 4294967294

> [[policies]]
> name = "a"
> namespaces = ["b/c"]
[[policies]] number 1: namespaces: element 1 is "b/c": 'b/c' matches no namespace: letters, digits, '.', '_' and
'-' can be in an id, and '*', '?' and '[...]' in a pattern

> [[policies]]
> name = "a"
> namespaces = ["b"]
> addresses = ["10.0.0.1/8"]
[[policies]] number 1: addresses: element 1 is "10.0.0.1/8": it has bits behind its prefix: write "10.0.0.0/8"
if that is meant

> [[policies]]
> name = "a"
> namespaces = ["b"]
> ports = [0]
[[policies]] number 1: ports: element 1 is 0: it has to be "any" for one that the kernel chooses, a port from 1
to 65535, or a range such as "8000-8999"

> [[policies]]
> name = "a"
> namespaces = ["b"]
> ports = ["9-3"]
[[policies]] number 1: ports: element 1 is "9-3": port range 9-3 is upside down: write 3-9 if that is meant

> [[policies]]
> name = "a"
> namespaces = ["b"]
> protocols = []
[[policies]] number 1: protocols is a list: it has to be ["tcp"], ["udp"] or ["tcp", "udp"]

> [[policies]]
> name = "a"
> namespaces = ["b"]
> [[policies]]
> name = "a"
> namespaces = ["b"]
2 policies are called 'a': give each a name of its own
"""


def cases() -> list[tuple[str, str]]:
    found = []
    for case in WRONG.strip().split("\n\n"):
        lines = case.split("\n")
        text = "".join(f"{line[2:]}\n" for line in lines if line.startswith("> "))
        found.append((text, " ".join(line for line in lines if not line.startswith("> "))))
    return found


@pytest.mark.parametrize(("text", "said"), cases())
def test_what_is_wrong_is_said_with_what_would_be_right(text: str, said: str) -> None:
    assert problems(text) == [said]


def test_all_that_is_wrong_is_said_at_once_in_the_files_order_of_tables() -> None:
    text = """
    pth = 1
    [store]
    path = 3
    reqest_ids_kept = 7
    [server.tls]
    [[roles]]
    role = "king"
    uids = ["root"]
    """
    starts = [problem.split(" is ")[0].split(" '")[0] for problem in problems(text)]
    assert starts == [
        "there",
        "[store]: there",
        "[store]: path",
        "[server.tls]: listen",
        "[server.tls]: certificate",
        "[server.tls]: key",
        "[server.tls]: client_ca",
        "[[roles]] number 1: role",
        "[[roles]] number 1: uids: element 1",
    ]


def test_what_is_no_toml_is_told_with_its_place() -> None:
    assert problems("[log]\nlevel = \n") == ["it is not TOML: Invalid value (at line 2, column 9)"]
    with pytest.raises(ConfigError, match="FILE: line 2 is not UTF-8"):
        Config.parse(b"[log]\n# \xff\n", "FILE")
    deep = "[" * (sys.getrecursionlimit() * 2)
    assert "it is not TOML" in problems(f"x = {deep}")[0]


# Files


def test_a_missing_file_at_the_default_path_is_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DEFAULT_PATH", tmp_path / "graftd.toml")
    assert Config.load(tmp_path / "graftd.toml") == Config()
    with pytest.raises(ConfigError, match=r"other.toml: there is no such file"):
        Config.load(tmp_path / "other.toml")


def test_a_file_is_read_and_its_problems_name_it(tmp_path: Path) -> None:
    path = tmp_path / "graftd.toml"
    path.write_text("[log]\nlevel = 'debug'\n")
    assert Config.load(path).log.level is Level.DEBUG
    path.write_text("[log]\nlevel = 3\n")
    with pytest.raises(ConfigError, match=re.escape(f"{path}: [log]: level is 3")):
        Config.load(path)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="it cannot be read: Is a directory"):
        Config.load(tmp_path)
    with pytest.raises(ConfigError, match="it is longer than 4 MiB"):
        Config.load(Path("/dev/zero"))


# Reload


@pytest.mark.parametrize(
    "text",
    [
        "[log]\nlevel = 'debug'",
        "[reconcile]\ninterval_seconds = 5",
        "[server]\nmax_connections = 5\nmax_connections_per_user = 3\nmax_pending_requests = 7\nmax_watchers = 1",
        "[server]\nwatch_queue = 7",
        "[[roles]]\nrole = 'admin'\nuids = [7]",
        "[[policies]]\nname = 'x'\nnamespaces = ['*']",
    ],
)
def test_what_takes_effect_at_once_needs_no_restart(text: str) -> None:
    assert read(text) != Config()
    assert Config().changes_needing_restart(read(text)) == []


def test_what_needs_a_restart_is_named() -> None:
    tls = "[server.tls]\nlisten = '[::]:1'\ncertificate = '/a'\nkey = '/b'\nclient_ca = '%s'\n"
    new = read(
        "[store]\npath = '/x'\n[server]\nsocket = '/y'\nmax_watchers = 1\n"
        "[metrics]\nlisten = '/z'\n[log]\nformat = 'json'\n" + tls % "/c"
    )
    assert Config().changes_needing_restart(new) == [
        "store.path", "server.socket", "server.tls", "metrics.listen", "log.format",
    ]  # fmt: skip
    assert new.changes_needing_restart(new) == []
    assert read(tls % "/c").changes_needing_restart(read(tls % "/d")) == ["server.tls.client_ca"]
    assert read(tls % "/c").changes_needing_restart(Config()) == ["server.tls"]


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().log.level = Level.DEBUG  # type: ignore[misc]
