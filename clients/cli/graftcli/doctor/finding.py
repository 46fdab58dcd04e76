# SPDX-License-Identifier: Apache-2.0
"""What a check says."""

from __future__ import annotations

from typing import NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"


class Finding(NamedTuple):
    """One thing that is wrong or worth knowing.

    level: an error keeps something from being grafted, a warning will or may, a note explains what is as it should be.
    code: what it is, for programs; it stays as it is.
    subject: what it is about, as in `web endpoint ep-http`.
    cause: a sentence. remedy: what to do, a command where there is one.
    """

    level: str
    code: str
    subject: str
    cause: str
    remedy: str
