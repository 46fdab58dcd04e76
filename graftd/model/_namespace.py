# SPDX-License-Identifier: Apache-2.0
"""A namespace as a resource: a stable name, and the network namespace that it stands for."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from graftd.model._table import TableLimits

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_CONTAINER = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|scope|slice|socket|mount|swap)")
_KEY = re.compile(r"[a-z0-9._/-]{1,63}")
_LABEL = re.compile(r"[A-Za-z0-9._/-]{0,63}")
_PID_MAX = 2**22  # PID_MAX_LIMIT, include/linux/threads.h
_COOKIE_MAX = 2**64 - 1
_PATH_BYTES_MAX = 4095
_FILE_BYTES_MAX = 255
_LABELS_MAX = 64
_ANNOTATIONS_BYTES_MAX = 16 * 1024
_REASON_MAX = 256


def check_id(what: str, name: str) -> None:
    """Refuse what cannot be the id of a resource. what: its kind, with its article, as in "a namespace"."""
    if not _ID.fullmatch(name):
        raise ValueError(
            f"'{name}' cannot name {what}: 1 to 63 letters, digits, '.', '_' and '-' can, a letter or digit first"
        )


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuse what cannot be a resource's labels."""
    if len(labels) > _LABELS_MAX:
        raise ValueError(f"a resource has at most {_LABELS_MAX} labels, these are {len(labels)}")
    for key, value in labels.items():
        _check_key("label", key)
        if not _LABEL.fullmatch(value):
            raise ValueError(
                f"label '{key}' cannot be '{value}': at most 63 letters, digits, '.', '_', '/' and '-' can"
            )


def check_annotations(annotations: Mapping[str, str]) -> None:
    """Refuse what cannot be a resource's annotations."""
    for key in annotations:
        _check_key("annotation", key)
    size = sum(_bytes(key) + _bytes(value) for key, value in annotations.items())
    if size > _ANNOTATIONS_BYTES_MAX:
        raise ValueError(f"annotations have at most {_ANNOTATIONS_BYTES_MAX} bytes in all, these have {size}")


def _check_key(what: str, key: str) -> None:
    if not _KEY.fullmatch(key):
        raise ValueError(f"'{key}' cannot be the key of {what}s: 1 to 63 of a-z, 0-9, '.', '_', '/' and '-' can")


class SelectorKind(enum.StrEnum):
    """How a selector's value is to be read; the word is the value."""

    NETNS = "netns"  # a name that `ip netns` knows
    PATH = "path"  # a file that stands for the namespace
    PID = "pid"
    CONTAINER = "container"  # a container's id
    UNIT = "unit"  # a systemd unit


@dataclass(frozen=True, slots=True)
class Selector:
    """Which network namespace is meant. What it selects may be absent, and another one later.

    netns: a file name of at most 255 bytes. path: absolute, at most 4,095 bytes. pid: 1 to
    4,194,304, of graftd's pid namespace, without leading zeros. container: 1 to 128 letters,
    digits, `_`, `.` and `-`. unit: a unit's full name, at most 255 bytes.
    start_ticks, of a pid alone: when the process started, as field 22 of /proc/PID/stat has it; 0 where
    that is still to be looked up.
    """

    kind: SelectorKind
    value: str
    start_ticks: int = 0

    def __post_init__(self) -> None:
        if self.start_ticks and self.kind is not SelectorKind.PID:
            raise ValueError("only a selector of a process has a time at which it started")
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
        "a container's id has 1 to 128 letters, digits, '_', '.' and '-'",
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


@dataclass(frozen=True, slots=True)
class Freeze:
    """New grafts are denied. reason: for people, at most 256 characters."""

    reason: str = ""

    def __post_init__(self) -> None:
        if len(self.reason) > _REASON_MAX:
            raise ValueError(
                f"the reason of a freeze has at most {_REASON_MAX} characters, this has {len(self.reason)}"
            )


@dataclass(frozen=True, slots=True)
class Namespace:
    """What a namespace is to be.

    labels: at most 64, keys of 1 to 63 of a-z 0-9 . _ / -, values of 0 to 63 of A-Z a-z 0-9 . _ / -.
    annotations: keys as those of labels, values any text, 16 KiB in all.
    transparent: its sockets come through the BPF door. transient: it goes with its network namespace; that never
    changes.
    """

    name: str
    selector: Selector
    limits: TableLimits = field(default_factory=TableLimits)
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    freeze: Freeze | None = None
    transparent: bool = False
    transient: bool = False

    def __post_init__(self) -> None:
        check_id("a namespace", self.name)
        check_labels(self.labels)
        check_annotations(self.annotations)
