# SPDX-License-Identifier: Apache-2.0
"""What a ratio may be at most."""

from __future__ import annotations

from bench import plans

DATA = 1.005

# The kernel's call of the BPF door's program adds 300 instructions to a socket's life.
_LIMITS = {
    # A little more than a send that names nobody, whose limit is data's: what it names is compared with the last.
    "udp-send-to": {plans.GRAFT: 1.006, plans.AF_GRAFT: 1.006},
    "tcp-bind": {plans.GRAFT: 1.15, plans.DOOR: 1.16, plans.AF_GRAFT: 2.0},
    "udp-bind": {plans.GRAFT: 1.15, plans.DOOR: 1.18, plans.AF_GRAFT: 2.0},
    "tcp-listen": {plans.GRAFT: 1.10, plans.DOOR: 1.13, plans.AF_GRAFT: 2.0},
    "tcp-connect": {plans.GRAFT: 1.08, plans.DOOR: 1.08, plans.AF_GRAFT: 1.4},
    # What door 1's second sock costs weighs more where there is no handshake; no aim is set for that, this keeps it.
    "udp-connect": {plans.GRAFT: 1.15, plans.DOOR: 1.18, plans.AF_GRAFT: 1.6},
    "tcp-request-out": {plans.GRAFT: 1.08, plans.DOOR: 1.08, plans.AF_GRAFT: 1.4},
    "tcp-request-in": {plans.GRAFT: 1.08, plans.DOOR: 1.08, plans.AF_GRAFT: 1.4},
}
_DATA = dict.fromkeys((plans.GRAFT, plans.AF_GRAFT, plans.GRAFT6, plans.AF_GRAFT6), DATA)
_CROWD = 1.05
_BESIDE = 1.03
# The bridge is to be dearer, two host programs hardly cheaper.
_CONTAINERS = {plans.BRIDGE: 1.0, plans.LOOPBACK: 1.01}


def limit(operation: str, path: str, base: str) -> float | None:
    """Return the limit of an operation's ratio on ``path`` to ``base``; None for a path to compare with."""
    if path in (base, plans.HOST, plans.PRELOADED):
        return None
    if path in plans.CROWDS:
        return _CROWD
    if path in plans.BESIDES:
        return _BESIDE
    if path == plans.GRAFTS:
        return _CONTAINERS[base]
    return _LIMITS.get(operation, _DATA).get(path)
