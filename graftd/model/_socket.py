# SPDX-License-Identifier: Apache-2.0
"""A live grafted socket."""

from __future__ import annotations

from dataclasses import dataclass

from graftd.model._net import Address, Verbs
from graftd.model._open_enum import OpenEnum


class Door(OpenEnum):
    """By which the program asked for it."""

    AF_GRAFT = 1
    IPPROTO_GRAFT = 2


@dataclass(frozen=True, slots=True)
class GraftedSocket:
    """cookie is SO_COOKIE's, inode is sockfs's; family, type and protocol are socket(2)'s numbers;
    state is TCP's (include/net/tcp_states.h); uid is of the initial user namespace. Addresses are
    None and ports 0 where the socket has none."""

    netns_cookie: int
    target_cookie: int
    cookie: int
    inode: int
    endpoint: str
    family: int
    type: int
    protocol: int
    state: int
    uid: int
    cgroup_id: int
    local_address: Address | None
    local_port: int
    remote_address: Address | None
    remote_port: int
    door: Door
    verb: Verbs
