# SPDX-License-Identifier: Apache-2.0
"""A namespace as a resource: a stable name, and the network namespace that it stands for."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from graftd.model._table import TableSettings

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,252}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|scope|slice|socket|mount|swap)")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
_PID_MAX = 2**22  # PID_MAX_LIMIT, include/linux/threads.h
_COOKIE_MAX = 2**64 - 1
_PATH_BYTES_MAX = 4095
_FILE_BYTES_MAX = 255
_LABELS_MAX = 64
_LABEL_VALUE_MAX = 255


def check_namespace_name(name: str) -> None:
    """Refuse what cannot be the name of a namespace resource: 1 to 63 letters, digits, `.`, `_` and `-`."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"'{name}' cannot name a namespace: 1 to 63 letters, digits, '.', '_' and '-' can, a letter or digit first"
        )


class SelectorKind(enum.StrEnum):
    """How a selector's value is to be read; the word is the value."""

    NETNS = "netns"  # a name that `ip netns` knows
    PATH = "path"  # a file that stands for the namespace
    PID = "pid"
    CONTAINER = "container"  # a container's id or name
    UNIT = "unit"  # a systemd unit


@dataclass(frozen=True, slots=True)
class Selector:
    """Which network namespace is meant. What it selects may be absent, and another one later.

    netns: a file name of at most 255 bytes. path: absolute, at most 4,095 bytes. pid: 1 to
    4,194,304, of the initial pid namespace, without leading zeros. container: 1 to 253 letters,
    digits, `_`, `.` and `-`. unit: a unit's full name, at most 255 bytes.
    """

    kind: SelectorKind
    value: str

    def __post_init__(self) -> None:
        good, rule = _SELECTORS[self.kind]
        if not self.value or "\0" in self.value or not good(self.value):
            raise ValueError(f"{self.kind.value} '{self.value}' selects no namespace: {rule}")


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogateescape"))


def _is_netns(value: str) -> bool:
    return "/" not in value and value not in (".", "..") and _bytes(value) <= _FILE_BYTES_MAX


def _is_path(value: str) -> bool:
    return value.startswith("/") and _bytes(value) <= _PATH_BYTES_MAX


def _is_pid(value: str) -> bool:
    return re.fullmatch(r"[1-9][0-9]{0,6}", value) is not None and int(value) <= _PID_MAX


def _is_container(value: str) -> bool:
    return _CONTAINER.fullmatch(value) is not None


def _is_unit(value: str) -> bool:
    return _UNIT.fullmatch(value) is not None and _bytes(value) <= _FILE_BYTES_MAX


_SELECTORS: dict[SelectorKind, tuple[Callable[[str], bool], str]] = {
    SelectorKind.NETNS: (
        _is_netns,
        f"a name has 1 to {_FILE_BYTES_MAX} bytes and no slash; say path for a file",
    ),
    SelectorKind.PATH: (_is_path, f"a path starts with a slash and has at most {_PATH_BYTES_MAX} bytes"),
    SelectorKind.PID: (_is_pid, f"a process id goes from 1 to {_PID_MAX}"),
    SelectorKind.CONTAINER: (
        _is_container,
        "a container's id or name has 1 to 253 letters, digits, '_', '.' and '-', a letter or digit first",
    ),
    SelectorKind.UNIT: (
        _is_unit,
        f"a unit's name ends in its type, as in web.service, and has at most {_FILE_BYTES_MAX} bytes",
    ),
}


@dataclass(frozen=True, slots=True)
class NetnsIdentity:
    """A network namespace, told from every other one: cookie is SO_NETNS_COOKIE's, never used
    twice until the next boot; boot_id is /proc/sys/kernel/random/boot_id's."""

    boot_id: str
    cookie: int

    def __post_init__(self) -> None:
        if not self.boot_id:
            raise ValueError("a network namespace's identity needs the boot id: a cookie holds for one boot")
        if not 1 <= self.cookie <= _COOKIE_MAX:
            raise ValueError(f"{self.cookie} is no cookie of a network namespace: they go from 1 to {_COOKIE_MAX}")


class NamespaceState(enum.IntEnum):
    """PRESENT: the selector was last seen to select a namespace. ABSENT: none, and the table waits for it."""

    ABSENT = 1
    PRESENT = 2

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Namespace:
    """What a namespace is to be.

    settings: what is None is the module's default. labels: at most 64, keys of 1 to 128 letters,
    digits, `.`, `_`, `/` and `-`, values of at most 255 characters without control characters.
    """

    name: str
    selector: Selector
    settings: TableSettings = field(default_factory=TableSettings)
    labels: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_namespace_name(self.name)
        if len(self.labels) > _LABELS_MAX:
            raise ValueError(f"a namespace has at most {_LABELS_MAX} labels, '{self.name}' has {len(self.labels)}")
        for key, value in self.labels.items():
            if not _LABEL.fullmatch(key):
                raise ValueError(
                    f"'{key}' cannot be a label's key: 1 to 128 letters, digits, '.', '_', '/' and '-' can, "
                    "a letter or digit first"
                )
            if len(value) > _LABEL_VALUE_MAX or not (value.isprintable() or not value):
                raise ValueError(
                    f"label '{key}' has a value that is longer than {_LABEL_VALUE_MAX} characters or does not print"
                )
