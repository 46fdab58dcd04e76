# SPDX-License-Identifier: Apache-2.0
"""Request ids (AIP-155), and what tells one request from another."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import blake2b

from google.protobuf.message import Message

from graftd.api.errors import Violations

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


def read_request_id(request_id: str, found: Violations) -> str:
    """In small letters, in which UUIDs are compared; "" for none, and where `found` has a word."""
    if request_id and not _UUID.fullmatch(request_id):
        found.add("request_id", f"'{request_id}' is no UUID: write one, as in 5ea1be42-1d6f-4c0e-9a57-0a4e42f6f3c1")
        return ""
    return request_id.lower()


def fingerprint(method: str, request: Message) -> bytes:
    """16 bytes: the same for the same request alone, whatever its request id. method: its full name."""
    return digest(method, request, cleared=("request_id",))


def digest(method: str, request: Message, *, cleared: Iterable[str]) -> bytes:
    """16 bytes that stand for a method and its request without some fields."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name in cleared:
        copy.ClearField(name)
    text = copy.SerializeToString(deterministic=True)
    return blake2b(method.encode() + b"\0" + text, digest_size=16).digest()
