# SPDX-License-Identifier: Apache-2.0
"""Exit statuses. They stay as they are: scripts go by them."""

from __future__ import annotations

DONE = 0
FAILED = 1
USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
PERMISSION = 5
UNAVAILABLE = 6
DIFFERENT = 7
FAULTY = 8

MEANINGS = {
    DONE: "done",
    FAILED: "graftd or the kernel refused, or something on this side failed",
    USAGE: "the command line, a file or a value makes no sense",
    NOT_FOUND: "what was named is not there",
    CONFLICT: "it is there already, or was changed by somebody else meanwhile",
    PERMISSION: "you may not do that",
    UNAVAILABLE: "graftd, its store or the kernel module cannot be reached now",
    DIFFERENT: "diff found differences",
    FAULTY: "doctor found a fault",
}

_OF_STATUS = {
    "INVALID_ARGUMENT": USAGE,
    "OUT_OF_RANGE": USAGE,
    "NOT_FOUND": NOT_FOUND,
    "ALREADY_EXISTS": CONFLICT,
    "ABORTED": CONFLICT,
    "PERMISSION_DENIED": PERMISSION,
    "UNAUTHENTICATED": PERMISSION,
    "UNAVAILABLE": UNAVAILABLE,
    "DEADLINE_EXCEEDED": UNAVAILABLE,
}
# RESOURCE_EXHAUSTED is a limit that is reached, except where it passes.
_PASSING = ("OVERLOADED", "TOO_MANY_WATCHERS")


def of_error(status: str, reason: str) -> int:
    """The exit status of a GraftdError."""
    return UNAVAILABLE if reason in _PASSING else _OF_STATUS.get(status, FAILED)
