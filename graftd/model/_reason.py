# SPDX-License-Identifier: Apache-2.0
"""Why a socket was not grafted, or a grafted one was refused something."""

from graftd.model._open_enum import OpenEnum


class Reason(OpenEnum):
    """As enum graft_reason in kmod/uapi/linux/graft.h, which says what each means."""

    NONE = 0
    NO_RULE = 1
    RULE = 2
    NO_ENDPOINT = 3
    TARGET_GONE = 4
    FAMILY = 5
    PROTOCOL = 6
    PORT = 7
    ACL = 8
    LOCAL = 9
    EGRESS = 10
    STATE = 11
    OPTION = 12
    CAPABLE = 13
    MAX_SOCKETS = 14
    MAX_EPHEMERAL = 15
    FROZEN = 16
    REVOKED = 17
    ADDRESS = 18
    MEMORY = 19
