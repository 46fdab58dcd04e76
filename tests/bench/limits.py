# SPDX-License-Identifier: Apache-2.0
"""What a ratio may be at most."""

from __future__ import annotations

from bench import plans

DATA = 1.005

_LIMITS = {
    "data": {plans.GRAFT: DATA, plans.AF_GRAFT: DATA},
    "tcp-bind": {plans.GRAFT: 1.15, plans.AF_GRAFT: 2.0},
    "udp-bind": {plans.GRAFT: 1.15, plans.AF_GRAFT: 2.0},
    "tcp-connect": {plans.GRAFT: 1.15, plans.AF_GRAFT: 1.4},
    # What door 1's second sock costs weighs more where there is no handshake; no aim is set for that, this keeps it.
    "udp-connect": {plans.GRAFT: 1.15, plans.AF_GRAFT: 1.6},
}
_CROWD = 1.05


def limit(operation: str, path: str) -> float | None:
    """Return the limit of an operation on a path; None where the path is shown for comparison only."""
    if path in (plans.CROWDED, plans.AF_CROWDED):
        return _CROWD
    return _LIMITS.get(operation, _LIMITS["data"]).get(path)
