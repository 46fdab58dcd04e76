# SPDX-License-Identifier: Apache-2.0
"""The generic netlink controller: which number the family has, and its groups."""

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass

from graftd.errors import KernelError, ModuleNotLoadedError
from graftd.kernel._messages import FAMILY_NAME
from graftd.kernel._pyroute2 import ctrlmsg
from graftd.kernel._wire import HEADER, NLMSG_ERROR, Frame

GENL_ID_CTRL = 0x10
CTRL_CMD_GETFAMILY = 3
NLM_F_REQUEST = 0x01


@dataclass(frozen=True, slots=True)
class Family:
    id: int
    groups: Mapping[str, int]

    def group(self, name: str) -> int:
        """Raises KernelError, ENOENT."""
        number = self.groups.get(name)
        if number is None:
            raise KernelError(errno.ENOENT, f"the loaded module has no group '{name}': load the module of this version")
        return number


def family_request(sequence: int) -> bytes:
    message = ctrlmsg()
    message["cmd"] = CTRL_CMD_GETFAMILY
    message["version"] = 1
    message["attrs"] = [["CTRL_ATTR_FAMILY_NAME", FAMILY_NAME]]
    message["header"] = {
        "type": GENL_ID_CTRL,
        "flags": NLM_F_REQUEST,
        "sequence_number": sequence,
        "pid": 0,
    }
    message.encode()
    return bytes(message.data)


def family_of(frame: Frame) -> Family:
    """Raises ModuleNotLoadedError where the controller knows no such family."""
    if frame.type == NLMSG_ERROR:
        number = -struct.unpack_from("=i", frame.data, HEADER.size)[0]
        if number == errno.ENOENT:
            raise ModuleNotLoadedError(number, "the kernel module graft is not loaded: run modprobe graft")
        raise KernelError(number, f"the kernel does not say which number the family {FAMILY_NAME} has")
    message = ctrlmsg(frame.data)
    message.decode()
    groups = message.get_attr("CTRL_ATTR_MCAST_GROUPS") or []
    return Family(
        message.get_attr("CTRL_ATTR_FAMILY_ID"),
        {group.get_attr("CTRL_ATTR_MCAST_GRP_NAME"): group.get_attr("CTRL_ATTR_MCAST_GRP_ID") for group in groups},
    )


@dataclass(frozen=True, slots=True)
class FamilyNews:
    """family: the one that came; None: the module's has gone."""

    family: Family | None


def family_news(frame: Frame) -> FamilyNews | None:
    """What a notification of the controller says of the module's family; None for nothing."""
    message = ctrlmsg(frame.data)
    message.decode()
    if message.get_attr("CTRL_ATTR_FAMILY_NAME") != FAMILY_NAME:
        return None
    match message["cmd"]:
        case 1:  # CTRL_CMD_NEWFAMILY
            return FamilyNews(family_of(frame))
        case 2:  # CTRL_CMD_DELFAMILY
            return FamilyNews(None)
        case _:
            return None
