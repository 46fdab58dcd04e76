# SPDX-License-Identifier: Apache-2.0
"""What the kernel refused, in the words of the command line."""

from graftd.errors import KernelError, ModuleNotLoadedError
from ip_graft.values import safe_sentence

_KEYWORDS = {
    "GRAFT_EP_A_NAME": "NAME",
    "GRAFT_EP_A_TYPE": "type",
    "GRAFT_EP_A_ADDRESS": "addr",
    "GRAFT_EP_A_PATH": "path",
    "GRAFT_EP_A_PORT_LO": "port",
    "GRAFT_EP_A_PORT_HI": "port",
    "GRAFT_EP_A_PROTOCOLS": "proto",
    "GRAFT_EP_A_TARGET_FD": "netns",
    "GRAFT_EP_A_MARK": "mark",
    "GRAFT_EP_A_DEVICE": "dev",
    "GRAFT_EP_A_MAX_SOCKETS": "max-sockets",
    "GRAFT_EP_A_PRIVILEGED": "privileged",
    "GRAFT_A_NETNS_FD": "-n",
    "GRAFT_RULE_A_DIRECTION": "ingress or egress",
    "GRAFT_RULE_A_ADDRESS": "addr or to",
    "GRAFT_RULE_A_PREFIXLEN": "addr or to",
    "GRAFT_RULE_A_PROTOCOLS": "proto",
    "GRAFT_RULE_A_PORT_LO": "port",
    "GRAFT_RULE_A_PORT_HI": "port",
    "GRAFT_RULE_A_ENDPOINT": "endpoint",
    "GRAFT_ACL_A_ENDPOINT": "endpoint",
    "GRAFT_ACL_A_VERBS": "verb",
    "GRAFT_ACL_A_UID_LO": "uid",
    "GRAFT_ACL_A_UID_HI": "uid",
    "GRAFT_ACL_A_GID_LO": "gid",
    "GRAFT_ACL_A_GID_HI": "gid",
    "GRAFT_ACL_A_ADDRESS": "to",
    "GRAFT_ACL_A_PREFIXLEN": "to",
    "GRAFT_ACL_A_PORT_LO": "port",
    "GRAFT_ACL_A_PORT_HI": "port",
    "GRAFT_ACL_A_PROTOCOLS": "proto",
    "GRAFT_ACL_A_LOCAL": "local",
    "GRAFT_TABLE_A_MAX_SOCKETS": "max-sockets",
    "GRAFT_TABLE_A_MAX_EPHEMERAL": "max-ephemeral",
    "GRAFT_TABLE_A_MAX_ENDPOINTS": "max-endpoints",
    "GRAFT_SOCK_A_COOKIE": "cookie",
}


def sentence(error: KernelError, asked: str) -> str:
    """What the user reads; ``asked`` is the beginning of the command line."""
    if isinstance(error, ModuleNotLoadedError):
        return error.message
    keyword = _KEYWORDS.get(error.attribute[-1]) if error.attribute else None
    where = f" ('{keyword}')" if keyword else ""
    return f"{safe_sentence(asked)}: the kernel refuses{where}: {error.message}"
