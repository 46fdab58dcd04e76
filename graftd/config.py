# SPDX-License-Identifier: Apache-2.0
"""The configuration: one TOML file. Each key is explained here, where it is declared, and nowhere else.

`python3 -m graftd.config` prints packaging/graftd.toml, which a test keeps equal to that.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import sys
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, cast

from graftd._access_keys import BINDING, POLICY
from graftd._log_words import Format, Level
from graftd._settings import (
    Choice,
    Key,
    ListOf,
    Reader,
    Seconds,
    Table,
    Text,
    Whole,
    absolute_path,
    changed,
    example,
)
from graftd.access import AccessRules, Binding, Policy, Role
from graftd.errors import GraftError

DEFAULT_PATH: Final = Path("/etc/graftd/graftd.toml")
MIB: Final = 2**20

_FILE_BYTES_MAX = 4 * MIB
_PATH_BYTES_MAX = 4095
_SOCKET_BYTES_MAX = 103  # sockaddr_un holds 107, and a socket is made beside its place first
_LABEL = "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(\.{_LABEL})*")


class ConfigError(GraftError):
    """The configuration cannot be used. problems: a sentence for each thing that is wrong in it."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class HostPort:
    """host: an IP address or a name."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


# Kinds of values


def _host_port(text: str) -> HostPort:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)):([1-9][0-9]{0,4})", text)
    if found is None or int(found[3]) > 65535:
        raise ValueError
    if found[1] is not None:
        return HostPort(str(ipaddress.IPv6Address(found[1])), int(found[3]))
    if not _HOST.fullmatch(found[2]):
        raise ValueError
    return HostPort(found[2], int(found[3]))


def _metrics_listen(text: str) -> HostPort | Path:
    if text.startswith("/"):
        return absolute_path(_SOCKET_BYTES_MAX)(text)
    place = _host_port(text)
    try:
        loopback = ipaddress.ip_address(place.host).is_loopback
    except ValueError:
        raise ValueError("metrics are served on an address, not on a name: write 127.0.0.1 or [::1]") from None
    if not loopback:
        raise ValueError(
            "metrics are for this machine alone, and that is no loopback address: write 127.0.0.1 or [::1], "
            "and let a proxy that knows its callers serve them elsewhere"
        )
    return place


def _enum(of: type[StrEnum]) -> Choice:
    return Choice({one.value: one for one in of})


_FILE = Text("an absolute path", absolute_path(_PATH_BYTES_MAX))
_SOCKET = Text(f"an absolute path of at most {_SOCKET_BYTES_MAX} bytes", absolute_path(_SOCKET_BYTES_MAX))
_ADDRESS = Text('an address or a name, and a port, such as "192.0.2.1:7443" or "[::]:7443"', _host_port)
_BYTES = "bytes"


# Tables


@dataclass(frozen=True, slots=True)
class StoreSection:
    path: Annotated[
        Path, Key(_FILE, "The database. Its folder has to be there and to be graftd's own.", restart=True)
    ] = Path("/var/lib/graftd/graftd.db")
    changes_kept: Annotated[
        int,
        Key(
            Whole(1, 10_000_000),
            "How many changes are kept for watchers that resume. One that was away for longer has to list "
            "everything anew.",
            restart=True,
        ),
    ] = 50_000
    request_ids_kept: Annotated[
        int,
        Key(
            Whole(1, 10_000_000),
            "How many requests with a request_id are remembered, with their answers, so that a "
            "repeated one is not done again.",
            restart=True,
        ),
    ] = 20_000
    request_ids_bytes: Annotated[
        int, Key(Whole(MIB, 1024 * MIB, _BYTES), "How long the remembered answers may be together.", restart=True)
    ] = 32 * MIB
    request_ids_seconds: Annotated[
        float,
        Key(Seconds(1, 7 * 86400), "How long a request is remembered. Clients are promised an hour.", restart=True),
    ] = 3600.0


@dataclass(frozen=True, slots=True)
class TlsSection:
    listen: Annotated[
        HostPort,
        Key(
            _ADDRESS,
            "Where to listen. What cannot be had, such as an address that is not there yet, is tried again every five "
            "seconds, and the unix sockets are served meanwhile.",
            restart=True,
            shown=HostPort("192.0.2.1", 7443),
        ),
    ]
    certificate: Annotated[
        Path,
        Key(
            _FILE,
            "graftd's certificate and those that lead to its root, PEM.",
            restart=True,
            shown=Path("/etc/graftd/tls/server.crt"),
        ),
    ]
    key: Annotated[
        Path, Key(_FILE, "The certificate's key, PEM.", restart=True, shown=Path("/etc/graftd/tls/server.key"))
    ]
    client_ca: Annotated[
        Path,
        Key(
            _FILE,
            "The authorities whose certificates clients have, PEM.",
            restart=True,
            shown=Path("/etc/graftd/tls/clients.crt"),
        ),
    ]


@dataclass(frozen=True, slots=True)
class ServerSection:
    admin_socket: Annotated[
        Path, Key(_SOCKET, "The socket 'admin', made where systemd hands over none of the three.", restart=True)
    ] = Path("/run/graftd/admin.sock")
    socket: Annotated[
        Path, Key(_SOCKET, "The socket 'read-write', made where systemd hands over none of the three.", restart=True)
    ] = Path("/run/graftd/graftd.sock")
    read_only_socket: Annotated[
        Path, Key(_SOCKET, "The socket 'read-only', made where systemd hands over none of the three.", restart=True)
    ] = Path("/run/graftd/read-only.sock")
    max_connections: Annotated[
        int, Key(Whole(2, 65536), "Connections to each socket at once. One more is closed at once.")
    ] = 2048
    max_connections_per_user: Annotated[
        int, Key(Whole(1, 65536), "Of them, those of one user; over TLS of one address.")
    ] = 1024
    max_pending_requests: Annotated[
        int,
        Key(
            Whole(1, 1_000_000),
            "Requests that wait. One more is refused (OVERLOADED) and can be repeated later. One caller, unless by the "
            "admin socket, has a quarter of them at most.",
        ),
    ] = 1024
    max_message_bytes: Annotated[
        int,
        Key(
            Whole(65536, 256 * MIB, _BYTES),
            "How long a request may be. 16 MiB are enough for a namespace of 16384 endpoints.",
            restart=True,
        ),
    ] = 16 * MIB
    max_watchers: Annotated[
        int, Key(Whole(1, 100_000), "Watch streams at once. One more is refused (TOO_MANY_WATCHERS).")
    ] = 2048
    watch_queue: Annotated[
        int,
        Key(
            Whole(1, 1_000_000),
            "Changes that wait for a watcher to read them. One more ends its stream (WATCHER_TOO_SLOW); it can resume.",
        ),
    ] = 4096
    tls: Annotated[
        TlsSection | None,
        Key(
            Table(TlsSection),
            "A listener over TCP, for clients with a certificate (mutual TLS) and nobody else. Off unless this table "
            "is there, and then with all of its keys.",
            restart=True,
        ),
    ] = None

    def __post_init__(self) -> None:
        sockets = (self.admin_socket, self.socket, self.read_only_socket)
        if len(set(sockets)) < len(sockets):
            raise ValueError("admin_socket, socket and read_only_socket have to be three different paths")


@dataclass(frozen=True, slots=True)
class ReconcileSection:
    interval_seconds: Annotated[
        float,
        Key(
            Seconds(1, 86400),
            "How often the kernel is compared with the store where nothing was heard of a difference.",
        ),
    ] = 60.0


@dataclass(frozen=True, slots=True)
class NamespacesSection:
    iproute2_folder: Annotated[Path, Key(_FILE, "Where `ip netns` keeps namespaces.", restart=True)] = Path(
        "/run/netns"
    )
    runtime_folders: Annotated[
        tuple[Path, ...],
        Key(
            ListOf(_FILE),
            "Where container runtimes keep namespaces. /var/run is /run and need not be named. graftd's unit hides "
            "/run/user, /home and /root; graftd(8) says how to show them.",
            restart=True,
        ),
    ] = (Path("/run/docker/netns"), Path("/run/netns"))
    cgroup_root: Annotated[
        Path, Key(_FILE, "Where the cgroups (version 2) of containers and units are.", restart=True)
    ] = Path("/sys/fs/cgroup")
    proc_root: Annotated[Path, Key(_FILE, "Where processes are.", restart=True)] = Path("/proc")


@dataclass(frozen=True, slots=True)
class MetricsSection:
    listen: Annotated[
        HostPort | Path | None,
        Key(
            Text(
                f"the path of a unix socket, of at most {_SOCKET_BYTES_MAX} bytes, or a loopback address and a port, "
                'such as "127.0.0.1:9469"',
                _metrics_listen,
            ),
            "Where metrics are served to Prometheus, over HTTP at /metrics. Off unless it is set.",
            restart=True,
            shown=Path("/run/graftd/metrics.sock"),
        ),
    ] = None


@dataclass(frozen=True, slots=True)
class LogSection:
    level: Annotated[
        Level, Key(_enum(Level), "What is logged: this and what is graver. Audit records are always logged.")
    ] = Level.INFO
    format: Annotated[
        Format,
        Key(
            _enum(Format),
            "How: fields in the journal, or lines or JSON on standard error. auto is journal where standard error goes "
            "into the journal, and console elsewhere.",
            restart=True,
        ),
    ] = Format.AUTO


@dataclass(frozen=True, slots=True)
class WatchEventsSection:
    recent: Annotated[
        int,
        Key(
            Whole(0, 1_000_000),
            "How many events (denials, repairs) are kept in memory for whoever begins to watch.",
            restart=True,
        ),
    ] = 1024


_ROOT_IS_ADMIN = (Binding(role=Role.ADMIN, uids=(0,)),)


@dataclass(frozen=True, slots=True)
class Config:
    """All that can be configured. Sections and keys are called as in the file."""

    store: Annotated[StoreSection, Key(Table(StoreSection), "What is to be, and what was asked for.")] = field(
        default_factory=StoreSection
    )
    server: Annotated[ServerSection, Key(Table(ServerSection), "Who is answered, and how much at once.")] = field(
        default_factory=ServerSection
    )
    reconcile: Annotated[ReconcileSection, Key(Table(ReconcileSection), "Making the kernel equal to the store.")] = (
        field(default_factory=ReconcileSection)
    )
    namespaces: Annotated[NamespacesSection, Key(Table(NamespacesSection), "Where network namespaces are found.")] = (
        field(default_factory=NamespacesSection)
    )
    metrics: Annotated[MetricsSection, Key(Table(MetricsSection), "Figures for Prometheus.")] = field(
        default_factory=MetricsSection
    )
    log: Annotated[LogSection, Key(Table(LogSection), "What is logged, and how.")] = field(default_factory=LogSection)
    watch_events: Annotated[WatchEventsSection, Key(Table(WatchEventsSection), "Events, as they are watched.")] = field(
        default_factory=WatchEventsSection
    )
    roles: Annotated[
        tuple[Binding, ...],
        Key(
            BINDING,
            "Who may do what; any number of these. Whoever is one of those named in it has the role, and may have "
            "others by other ones. Where the file has none, uid 0 is admin; where it has any, they alone count, so "
            "name root as well.",
        ),
    ] = _ROOT_IS_ADMIN
    policies: Annotated[
        tuple[Policy, ...],
        Key(
            POLICY,
            "What operators may map at most, and containers by their annotations, whose namespaces are oci-ID; any "
            "number of these. The first that covers a namespace counts alone, and where none does, nothing may be "
            "mapped. What is not said in it is not allowed. Admins are not bound by it.",
        ),
    ] = ()

    def __post_init__(self) -> None:
        sockets = {self.server.admin_socket, self.server.socket, self.server.read_only_socket}
        if self.metrics.listen in sockets:
            raise ValueError(f"[metrics] listen is a socket of [server], {self.metrics.listen}: name another path")
        AccessRules(self.roles, self.policies)

    @property
    def access(self) -> AccessRules:
        """[[roles]] and [[policies]] together."""
        return AccessRules(self.roles, self.policies)

    @classmethod
    def load(cls, path: Path = DEFAULT_PATH) -> Config:
        """What the file says. Where there is no file at the default path: the defaults.

        Raises ConfigError with everything that is wrong.
        """
        try:
            with path.open("rb") as file:
                data = file.read(_FILE_BYTES_MAX + 1)
        except FileNotFoundError:
            if path == DEFAULT_PATH:
                return cls()
            raise ConfigError((f"{path}: there is no such file: name one, or none for {DEFAULT_PATH}",)) from None
        except OSError as error:
            raise ConfigError((f"{path}: it cannot be read: {os.strerror(error.errno or errno.EIO)}",)) from error
        if len(data) > _FILE_BYTES_MAX:
            raise ConfigError((f"{path}: it is longer than {_FILE_BYTES_MAX // MIB} MiB, so it is no configuration",))
        return cls.parse(data, str(path))

    @classmethod
    def parse(cls, data: bytes, source: str) -> Config:
        """source: what every problem begins with."""
        try:
            tables = tomllib.loads(data.decode())
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ConfigError((f"{source}: line {line} is not UTF-8, which TOML is written in",)) from None
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise ConfigError((f"{source}: it is not TOML: {error}",)) from None
        reader = Reader(_ROOT)
        found = reader.read(_ROOT, tables)
        if found is None:
            raise ConfigError(tuple(f"{source}: {problem}" for problem in reader.problems))
        return cast(Config, found)

    def changes_needing_restart(self, new: Config) -> list[str]:
        """The keys, as in `server.max_message_bytes`, in which `new` differs and that a reload does not bring about."""
        return [name for name, restart in changed(_ROOT, self, new) if restart]


_ROOT: Final = Table(Config)

_HEADER = """\
# SPDX-License-Identifier: Apache-2.0
# The configuration of graftd, with every key that there is and its default, or else an example.
#
# Made from graftd/config.py by: python3 -m graftd.config > packaging/graftd.toml
# `graftd --check-config FILE` says what is wrong in a file. `systemctl reload graftd` reads it anew.
"""


def example_file() -> str:
    """packaging/graftd.toml."""
    return f"{_HEADER}\n\n{example(_ROOT)}"


if __name__ == "__main__":
    sys.stdout.write(example_file())
