# SPDX-License-Identifier: Apache-2.0
"""Field masks of updates (AIP-134): which fields of what is sent take the place of what there is."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from graftd.api.errors import MOST_VIOLATIONS, ImmutableFieldsError, InvalidMaskError, Violations

AnyMessage = TypeVar("AnyMessage", bound=Message)

ALL = "*"
# The name says which resource, and the etag is a condition: neither is ever changed.
_NEVER_CHANGED = ("name", "etag")
_SCALARS = (bool, int, float, str, bytes)


@dataclass(frozen=True, slots=True)
class Fields:
    """What of a resource an update may set. what: the resource, with its article. settable: paths, a field before
    what is inside of it. immutable: those that a create sets and no update."""

    what: str
    settable: tuple[str, ...]
    immutable: tuple[str, ...] = ()

    def inside(self, path: str) -> Iterator[str]:
        """The settable fields inside of a settable one."""
        return (other for other in self.settable if other.startswith(f"{path}."))

    def tops(self) -> Iterator[str]:
        return (path for path in self.settable if "." not in path)


NAMESPACE = Fields(
    "a namespace",
    (
        "selector",
        "labels",
        "annotations",
        "limits",
        "limits.max_sockets",
        "limits.max_ephemeral",
        "limits.max_endpoints",
        "transparent",
    ),
    immutable=("transient",),
)
ENDPOINT = Fields(
    "an endpoint",
    (
        "target_namespace",
        "inet",
        "inet.address",
        "inet.ports",
        "inet.protocols",
        "inet.mark",
        "inet.device",
        "unix",
        "unix.path",
        "max_sockets",
        "privileged",
        "labels",
    ),
)
RULE = Fields("a rule", ("network", "protocols", "ports", "verdict", "endpoint"), immutable=("direction",))
ACL_RULE = Fields(
    "an ACL rule",
    ("action", "endpoint", "verbs", "uids", "gids", "own_ids", "network", "ports", "protocols", "local"),
)


def merge(sent: AnyMessage, mask: FieldMask | None, current: AnyMessage, fields: Fields, field: str) -> AnyMessage:
    """The current resource with what the mask names as it was sent; without a mask, or with an empty one, what is set.

    mask: None where the request has none. field: the path of what was sent in the request, as in `endpoint`. The result
    is still to be converted, and its values to be looked at then.

    Raises InvalidMaskError for paths that there are not, and ImmutableFieldsError for what cannot be changed and would
    be.
    """
    paths = list(mask.paths) if mask is not None else []
    if not paths:
        taken = [path for path in fields.tops() if _is_set(sent, path)]
        nested = [inner for path in taken for inner in _set_inside(sent, current, path, fields)]
        checked = [path for path in fields.immutable if _is_set(sent, path)]
        return _merged(sent, current, nested, checked, field)
    _check_known(paths, sent, current, fields)
    if ALL in paths:
        checked = [path for path in fields.immutable if _is_set(sent, path)]
        return _merged(sent, current, list(fields.tops()), checked, field)
    settable = [path for path in fields.settable if path in paths]
    checked = [path for path in paths if path not in fields.settable and path not in _NEVER_CHANGED]
    return _merged(sent, current, settable, checked, field)


def differing(before: Message, after: Message, fields: Fields) -> list[str]:
    """The settable fields in which two states of a resource differ, and inside of which where both have it."""
    found = []
    for path in fields.tops():
        inner = list(fields.inside(path))
        if inner and before.HasField(path) and after.HasField(path):
            found += [one for one in inner if _value(before, one) != _value(after, one)]
        elif _value(before, path) != _value(after, path):
            found.append(path)
    return found


def _set_inside(sent: Message, current: Message, path: str, fields: Fields) -> list[str]:
    """A field that is set, or what of its inside is, where the current resource has it as well."""
    inner = list(fields.inside(path))
    if not inner or not current.HasField(path):
        return [path]
    return [one for one in inner if _is_set(sent, one)]


def _merged(
    sent: AnyMessage, current: AnyMessage, taken: Iterable[str], checked: Iterable[str], field: str
) -> AnyMessage:
    found = Violations()
    for path in checked:
        if _value(sent, path) != _value(current, path):
            found.add(f"{field}.{path}", "it cannot be changed: leave it as it is, or out of the update")
    found.check(ImmutableFieldsError)
    result = type(current)()
    result.CopyFrom(current)
    for path in taken:
        _take(sent, result, path)
    return result


def _check_known(paths: list[str], sent: Message, current: Message, fields: Fields) -> None:
    found = Violations()
    for index, path in enumerate(paths):
        top, dot, _ = path.partition(".")
        if path == ALL or (not dot and path in current.DESCRIPTOR.fields_by_name):
            continue
        if path not in fields.settable:
            # The nearest is looked for only where it is told: a mask may have very many paths.
            found.add(f"update_mask.paths[{index}]", _unknown(path, fields) if len(found) < MOST_VIOLATIONS else "")
        elif _in_oneof(current, top) and not current.HasField(top) and not (top in paths and sent.HasField(top)):
            sentence = f"there is no {top} here to change a part of: name {top}, and send all of it"
            found.add(f"update_mask.paths[{index}]", sentence)
    found.check(InvalidMaskError)


def _unknown(path: str, fields: Fields) -> str:
    known = (*fields.settable, *fields.immutable, ALL)
    near = difflib.get_close_matches(path[:64], known, n=1, cutoff=0)[0]
    return f"{fields.what} has no field '{path}' that can be set: '{near}' is the nearest"


def _in_oneof(message: Message, name: str) -> bool:
    return message.DESCRIPTOR.fields_by_name[name].containing_oneof is not None


def _owner(message: Any, path: str) -> tuple[Any, str]:
    """The message that has the last field of a path, and that field."""
    *tops, last = path.split(".")
    for top in tops:
        message = getattr(message, top)
    return message, last


def _is_set(message: Message, path: str) -> bool:
    owner, last = _owner(message, path)
    return any(field.name == last for field, _ in owner.ListFields())


def _can_be_absent(owner: Message, name: str) -> bool:
    """Whether it is known if a field is there: a message, or one of a oneof, such as each `optional` is."""
    return isinstance(getattr(owner, name), Message) or _in_oneof(owner, name)


def _value(message: Message, path: str) -> object:
    """What can be compared: None for what is absent."""
    owner, last = _owner(message, path)
    if _can_be_absent(owner, last) and not owner.HasField(last):
        return None
    value = getattr(owner, last)
    if isinstance(value, (Message, *_SCALARS)):
        return value
    return dict(value) if hasattr(value, "keys") else list(value)


def _take(sent: Message, result: Message, path: str) -> None:
    top, dot, _ = path.partition(".")
    if dot and _in_oneof(result, top) and not result.HasField(top):
        return  # the other kind took its place just now
    source, last = _owner(sent, path)
    target, _ = _owner(result, path)
    value = getattr(source, last)
    if _can_be_absent(source, last) and not source.HasField(last):
        target.ClearField(last)
    elif isinstance(value, Message):
        getattr(target, last).CopyFrom(value)
    elif isinstance(value, _SCALARS):
        setattr(target, last, value)
    elif hasattr(value, "keys"):
        target.ClearField(last)
        # Not by MergeFrom: for the map of a message that was parsed, protobuf 3.21 ends the process.
        getattr(target, last).update(dict(value))
    else:
        target.ClearField(last)
        getattr(target, last).extend(value)
