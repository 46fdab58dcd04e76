# SPDX-License-Identifier: Apache-2.0
"""What the loaded module is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ModuleInfo:
    """family: the number that AF_GRAFT has here. sol_socket: options at SOL_SOCKET are policed as
    they are set. claimant: the process that holds the tables written from this namespace, "" for
    none."""

    version: str
    family: int
    ipv6: bool
    sol_socket: bool
    claimant: str = ""
    claimant_pid: int = 0
