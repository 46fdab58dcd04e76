# SPDX-License-Identifier: Apache-2.0
"""Messages as plain values, for -o json and -o yaml.

Keys are the contract's. Enums are words without their prefix, as ip-graft writes them (`in-sync`); numbers are numbers;
times RFC 3339; what is not set is null, [] or {}. An enum's value that this client does not know is its number.
"""

from __future__ import annotations

import re
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp


def as_dict(message: Message) -> dict[str, Any]:
    return {field.name: _field(message, field) for field in message.DESCRIPTOR.fields}


def word(enum: Any, number: int) -> str | int | None:
    """An enum's value as a word; None for UNSPECIFIED."""
    if number == 0:
        return None
    value = enum.values_by_number.get(number)
    if value is None:
        return number
    return str(value.name).removeprefix(_prefix(enum.name)).lower().replace("_", "-")


def word_of(message: Message, field: str) -> str:
    """A field's enum as a word for people; "" for UNSPECIFIED."""
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    found = word(enum, getattr(message, field)) if enum else None
    return "" if found is None else str(found)


def words_of(message: Message, field: str) -> list[str]:
    """The same of a repeated field."""
    enum = message.DESCRIPTOR.fields_by_name[field].enum_type
    return [str(word(enum, number)) for number in getattr(message, field)] if enum else []


def path_text(path: bytes) -> str:
    """An abstract unix name as text that says every byte: what cannot be read is \\xNN."""
    text = path.decode("utf-8", "surrogateescape")
    return "@" + "".join(one if one.isprintable() and one != "\\" else _escaped(one) for one in text)


def path_bytes(text: str) -> bytes:
    """The name that `path_text` wrote, without its @."""
    return re.sub(
        rb"\\x([0-9a-fA-F]{2})", lambda found: bytes.fromhex(found[1].decode()), text.encode("utf-8", "surrogateescape")
    )


def _escaped(character: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _prefix(enum: str) -> str:
    """As buf's style has it: SyncState's values begin with SYNC_STATE_."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", enum).upper() + "_"


def _field(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if _repeated(field):
        if field.message_type and field.message_type.GetOptions().map_entry:
            return dict(sorted(value.items()))
        return [_value(field, one) for one in value]
    if field.message_type or field.containing_oneof:
        return _value(field, value) if message.HasField(field.name) else None
    return _value(field, value)


def _repeated(field: Any) -> bool:
    # `label` went when `is_repeated` came.
    found = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if found is None else found)


def _value(field: Any, value: Any) -> Any:
    if field.enum_type:
        return word(field.enum_type, value)
    match value:
        case bytes():
            return path_text(value) if field.name == "path" else value.hex()
        case Timestamp():
            return value.ToJsonString()
        case Duration():
            return value.ToNanoseconds() / 1e9
        case FieldMask():
            return list(value.paths)
        case Message():
            return as_dict(value)
    return value
