# SPDX-License-Identifier: Apache-2.0
"""Messages of the contract, generated from their descriptors: whatever a client may send, often nearly right.

Text and bytes are often of those that fields of the contract may hold, so that what looks at them gets beyond its first
look. A message that holds itself is generated to a depth.
"""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor as Types
from google.protobuf.message import Message
from hypothesis import strategies as st

AnyMessage = TypeVar("AnyMessage", bound=Message)

LIKELY = (
    "",
    "-",
    "*",
    "web",
    "ep-http",
    "A.b_c-1",
    "namespaces/web",
    "namespaces/-",
    "namespaces/edge/endpoints/ep-http",
    "namespaces/web/endpoints/ep-http",
    "namespaces/web/rules/r1",
    "namespaces/web/aclRules/a1",
    "namespaces/web/sockets/17",
    "10.0.0.2",
    "2001:db8::2",
    "::ffff:10.0.0.2",
    "fe80::1%eth0",
    "10.0.0.0/8",
    "10.0.0.1/8",
    "2001:db8::/32",
    "0.0.0.0/0",
    "10.0.0.0/255.0.0.0",
    "eth0",
    "/run/netns/web",
    "web.service",
    "5ea1be42-1d6f-4c0e-9a57-0a4e42f6f3c1",
    "inet.ports",
    "selector",
    "labels",
    "a" * 63,
    "a" * 64,
    "\0",
    "é",
)
_NUMBERS = (0, 1, 2, 3, 22, 80, 443, 4096, 65535, 65536, 2**22, 2**31 - 1, 2**32 - 1)

text = st.sampled_from(LIKELY) | st.text(max_size=80)
data = st.binary(max_size=120)


def _integers(low: int, high: int) -> st.SearchStrategy[int]:
    return st.sampled_from([number for number in _NUMBERS if low <= number <= high]) | st.integers(low, high)


_INT32 = _integers(-(2**31), 2**31 - 1)
_INT64 = _integers(-(2**63), 2**63 - 1)
_UINT32 = _integers(0, 2**32 - 1)
_UINT64 = _integers(0, 2**64 - 1)

_OF_TYPE: dict[int, st.SearchStrategy[Any]] = {
    Types.TYPE_BOOL: st.booleans(),
    Types.TYPE_BYTES: data,
    Types.TYPE_DOUBLE: st.floats(allow_nan=False),
    Types.TYPE_INT32: _INT32,
    Types.TYPE_INT64: _INT64,
    Types.TYPE_STRING: text,
    Types.TYPE_UINT32: _UINT32,
    Types.TYPE_UINT64: _UINT64,
}


@st.composite
def messages(draw: st.DrawFn, kind: type[AnyMessage], *, depth: int = 5) -> AnyMessage:
    """A message of that class; at the last depth without messages inside."""
    message = kind()
    _fill(draw, message, depth)
    return message


def message_class(descriptor: Any) -> type[Message]:
    """The class of a message that a descriptor describes, such as a method's `input_type`."""
    # protobuf 3.21 has no GetMessageClass; this is what stands behind it in all versions.
    made: type[Message] = descriptor._concrete_class
    return made


def _fill(draw: st.DrawFn, message: Message, depth: int) -> None:
    # Of each oneof one field or none: what is set later takes the place of what was set before.
    for field in message.DESCRIPTOR.fields:
        if not draw(st.booleans()):
            continue
        value = getattr(message, field.name)
        if _is_map(field):
            _fill_map(draw, field, value, depth)
        elif _is_repeated(field):
            for _ in range(draw(st.integers(0, 3))):
                if field.message_type is None:
                    value.append(draw(_scalar(field)))
                elif depth > 0:
                    _fill(draw, value.add(), depth - 1)
        elif field.message_type is None:
            setattr(message, field.name, draw(_scalar(field)))
        elif depth > 0:
            value.SetInParent()
            _fill(draw, value, depth - 1)


def _fill_map(draw: st.DrawFn, field: Any, value: Any, depth: int) -> None:
    assert field.message_type is not None
    key, inner = field.message_type.fields
    for _ in range(draw(st.integers(0, 3))):
        word = draw(_scalar(key))
        if inner.message_type is None:
            value[word] = draw(_scalar(inner))
        elif depth > 0:
            _fill(draw, value[word], depth - 1)


def _scalar(field: Any) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from(known) | st.sampled_from(known) | _INT32
    return _OF_TYPE[field.type]


def _is_repeated(field: Any) -> bool:
    # `label` is going from new versions of protobuf, and what follows it is not in old ones.
    return bool(field.is_repeated if hasattr(field, "is_repeated") else field.label == Types.LABEL_REPEATED)


def _is_map(field: Any) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
