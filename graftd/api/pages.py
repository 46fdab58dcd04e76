# SPDX-License-Identifier: Apache-2.0
"""Pages of lists (AIP-158): sizes, and tokens that only who has the key can make.

A token holds the key of the last resource of a page and the revision of the first page. It is good for the same method,
parent, filters and caller, and for nothing else.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from dataclasses import dataclass
from typing import Any

from graftd.api.errors import InvalidPageTokenError, Violations
from graftd.api.requests import digest

DEFAULT_SIZE = 500
MAX_SIZE = 5000
_TOKEN_MAX = 4096
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Cursor:
    """after: the key of the last resource that was told, such as a namespace's id and an endpoint's. revision: as of
    which the first page was read. guard: what must not have changed since, an ACL's state say; "" for nothing."""

    after: tuple[str | int, ...]
    revision: int
    guard: str = ""


def page_size(asked: int, field: str, found: Violations) -> int:
    if asked < 0:
        found.add(field, f"{asked} is negative: a page has 1 to {MAX_SIZE}, and 0 is {DEFAULT_SIZE}")
    return min(asked, MAX_SIZE) if asked > 0 else DEFAULT_SIZE


class Pages:
    """key: secret, 16 bytes at least; tokens of another key are refused, so it should outlive a restart."""

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError(f"a key of page tokens has 16 bytes at least, this one has {len(key)}")
        self._key = key

    def write(self, cursor: Cursor, method: str, request: Any, view: str) -> str:
        """The token of the page after the cursor.

        method: its full name. request: the list's. view: what of everything the caller may see, in words that are the
        same whenever that is.
        """
        content = json.dumps([cursor.after, cursor.revision, cursor.guard], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(content, method, request, view) + content).decode()

    def read(self, method: str, request: Any, view: str) -> Cursor | None:
        """Where the request's token goes on; None where it has none. Raises InvalidPageTokenError."""
        token = request.page_token
        if not token:
            return None
        try:
            data = base64.urlsafe_b64decode(token) if len(token) <= _TOKEN_MAX else b""
        except (binascii.Error, ValueError):
            data = b""
        mac, content = data[:_MAC_BYTES], data[_MAC_BYTES:]
        # Base64 has several texts for the same bytes: one of them is ours.
        ours = base64.urlsafe_b64encode(data).decode() == token
        if not (hmac.compare_digest(mac, self._mac(content, method, request, view)) and ours):
            raise InvalidPageTokenError
        after, revision, guard = json.loads(content)
        return Cursor(tuple(after), revision, guard)

    def _mac(self, content: bytes, method: str, request: Any, view: str) -> bytes:
        bound = digest(method, request, cleared=("page_size", "page_token"))
        parts = b"".join(len(part).to_bytes(4) + part for part in (bound, view.encode(errors="replace"), content))
        return hmac.digest(self._key, parts, "sha256")[:_MAC_BYTES]
