# SPDX-License-Identifier: Apache-2.0
"""The messages of the family `graft`, as kmod/uapi/linux/graft.h numbers them.

Order is number. tests/unit/test_spec.py holds these against the header and kmod/spec/graft.yaml.
"""

from enum import IntEnum

from graftd.kernel._pyroute2 import NLA_F_NESTED, genlmsg, nla
from graftd.model import Reason

FAMILY_NAME = "graft"
FAMILY_VERSION = 1
GROUP_TABLE = "table"
GROUP_EVENT = "event"


class Command(IntEnum):
    UNSPEC = 0
    INFO_GET = 1
    CLAIM = 2
    UNCLAIM = 3
    TABLE_GET = 4
    TABLE_SET = 5
    ENDPOINT_NEW = 6
    ENDPOINT_DEL = 7
    ENDPOINT_GET = 8
    RULES_SET = 9
    RULES_GET = 10
    ACL_SET = 11
    ACL_GET = 12
    SOCKET_GET = 13
    SOCKET_ABORT = 14
    TABLE_NTF = 15
    ENDPOINT_NTF = 16
    ENDPOINT_DEL_NTF = 17
    RULES_NTF = 18
    ACL_NTF = 19
    CLAIM_NTF = 20
    EVENT_NTF = 21


class Info(nla):
    nla_flags = NLA_F_NESTED
    nla_map = (
        ("GRAFT_INFO_A_UNSPEC", "none"),
        ("GRAFT_INFO_A_VERSION", "cdata"),
        ("GRAFT_INFO_A_FAMILY", "uint32"),
        ("GRAFT_INFO_A_IPV6", "flag"),
        ("GRAFT_INFO_A_SOL_SOCKET", "flag"),
    )


class Table(nla):
    nla_flags = NLA_F_NESTED
    nla_map = (
        ("GRAFT_TABLE_A_UNSPEC", "none"),
        ("GRAFT_TABLE_A_MAX_SOCKETS", "uint32"),
        ("GRAFT_TABLE_A_MAX_EPHEMERAL", "uint32"),
        ("GRAFT_TABLE_A_MAX_ENDPOINTS", "uint32"),
        ("GRAFT_TABLE_A_FROZEN", "uint8"),
        ("GRAFT_TABLE_A_ENDPOINTS", "uint32"),
        ("GRAFT_TABLE_A_RULES", "uint32"),
        ("GRAFT_TABLE_A_ACLS", "uint32"),
        ("GRAFT_TABLE_A_SOCKETS", "uint32"),
        ("GRAFT_TABLE_A_EPHEMERAL", "uint32"),
        ("GRAFT_TABLE_A_OWNER_COOKIE", "uint64"),
    )


class Denials(nla):
    nla_flags = NLA_F_NESTED
    # Type 0, no reason at all, is what the kernel pads with.
    nla_map = tuple((reason.value, f"GRAFT_REASON_{reason.name}", "uint64" if reason else "cdata") for reason in Reason)


class Endpoint(nla):
    nla_flags = NLA_F_NESTED
    nla_map = (
        ("GRAFT_EP_A_UNSPEC", "none"),
        ("GRAFT_EP_A_PAD", "cdata"),
        ("GRAFT_EP_A_NAME", "cdata"),
        ("GRAFT_EP_A_TYPE", "uint8"),
        ("GRAFT_EP_A_ADDRESS", "cdata"),
        ("GRAFT_EP_A_PATH", "cdata"),
        ("GRAFT_EP_A_PORT_LO", "uint16"),
        ("GRAFT_EP_A_PORT_HI", "uint16"),
        ("GRAFT_EP_A_PROTOCOLS", "uint8"),
        ("GRAFT_EP_A_TARGET_FD", "uint32"),
        ("GRAFT_EP_A_TARGET_COOKIE", "uint64"),
        ("GRAFT_EP_A_MARK", "uint32"),
        ("GRAFT_EP_A_DEVICE", "cdata"),
        ("GRAFT_EP_A_MAX_SOCKETS", "uint32"),
        ("GRAFT_EP_A_PRIVILEGED", "flag"),
        ("GRAFT_EP_A_ACTIVE", "uint64"),
        ("GRAFT_EP_A_BINDS", "uint64"),
        ("GRAFT_EP_A_CONNECTS", "uint64"),
        ("GRAFT_EP_A_ACCEPTS", "uint64"),
        ("GRAFT_EP_A_DENIALS", "denials"),
    )
    denials = Denials


class Rule(nla):
    nla_flags = NLA_F_NESTED
    nla_map = (
        ("GRAFT_RULE_A_UNSPEC", "none"),
        ("GRAFT_RULE_A_DIRECTION", "uint8"),
        ("GRAFT_RULE_A_ADDRESS", "cdata"),
        ("GRAFT_RULE_A_PREFIXLEN", "uint8"),
        ("GRAFT_RULE_A_PROTOCOLS", "uint8"),
        ("GRAFT_RULE_A_PORT_LO", "uint16"),
        ("GRAFT_RULE_A_PORT_HI", "uint16"),
        ("GRAFT_RULE_A_VERDICT", "uint8"),
        ("GRAFT_RULE_A_ENDPOINT", "cdata"),
    )


class Acl(nla):
    nla_flags = NLA_F_NESTED
    nla_map = (
        ("GRAFT_ACL_A_UNSPEC", "none"),
        ("GRAFT_ACL_A_ALLOW", "uint8"),
        ("GRAFT_ACL_A_ENDPOINT", "cdata"),
        ("GRAFT_ACL_A_VERBS", "uint8"),
        ("GRAFT_ACL_A_UID_LO", "uint32"),
        ("GRAFT_ACL_A_UID_HI", "uint32"),
        ("GRAFT_ACL_A_GID_LO", "uint32"),
        ("GRAFT_ACL_A_GID_HI", "uint32"),
        ("GRAFT_ACL_A_OWN_IDS", "flag"),
        ("GRAFT_ACL_A_ADDRESS", "cdata"),
        ("GRAFT_ACL_A_PREFIXLEN", "uint8"),
        ("GRAFT_ACL_A_PORT_LO", "uint16"),
        ("GRAFT_ACL_A_PORT_HI", "uint16"),
        ("GRAFT_ACL_A_PROTOCOLS", "uint8"),
        ("GRAFT_ACL_A_LOCAL", "flag"),
    )


class Socket(nla):
    nla_flags = NLA_F_NESTED
    nla_map = (
        ("GRAFT_SOCK_A_UNSPEC", "none"),
        ("GRAFT_SOCK_A_PAD", "cdata"),
        ("GRAFT_SOCK_A_COOKIE", "uint64"),
        ("GRAFT_SOCK_A_INODE", "uint64"),
        ("GRAFT_SOCK_A_ENDPOINT", "cdata"),
        ("GRAFT_SOCK_A_FAMILY", "uint16"),
        ("GRAFT_SOCK_A_TYPE", "uint16"),
        ("GRAFT_SOCK_A_PROTOCOL", "uint16"),
        ("GRAFT_SOCK_A_STATE", "uint8"),
        ("GRAFT_SOCK_A_UID", "uint32"),
        ("GRAFT_SOCK_A_CGROUP_ID", "uint64"),
        ("GRAFT_SOCK_A_TARGET_COOKIE", "uint64"),
        ("GRAFT_SOCK_A_LOCAL_ADDRESS", "cdata"),
        ("GRAFT_SOCK_A_LOCAL_PORT", "uint16"),
        ("GRAFT_SOCK_A_REMOTE_ADDRESS", "cdata"),
        ("GRAFT_SOCK_A_REMOTE_PORT", "uint16"),
        ("GRAFT_SOCK_A_DOOR", "uint8"),
        ("GRAFT_SOCK_A_VERB", "uint8"),
    )


class Event(nla):
    nla_flags = NLA_F_NESTED
    nla_map = (
        ("GRAFT_EVENT_A_UNSPEC", "none"),
        ("GRAFT_EVENT_A_PAD", "cdata"),
        ("GRAFT_EVENT_A_KIND", "uint8"),
        ("GRAFT_EVENT_A_REASON", "uint8"),
        ("GRAFT_EVENT_A_ERRNO", "uint32"),
        ("GRAFT_EVENT_A_DETAIL", "cdata"),
        ("GRAFT_EVENT_A_COOKIE", "uint64"),
        ("GRAFT_EVENT_A_ENDPOINT", "cdata"),
        ("GRAFT_EVENT_A_VERB", "uint8"),
        ("GRAFT_EVENT_A_UID", "uint32"),
        ("GRAFT_EVENT_A_PID", "uint32"),
        ("GRAFT_EVENT_A_PROTOCOL", "uint16"),
        ("GRAFT_EVENT_A_ADDRESS", "cdata"),
        ("GRAFT_EVENT_A_PORT", "uint16"),
    )


class Message(genlmsg):
    nla_map = (
        ("GRAFT_A_UNSPEC", "none"),
        ("GRAFT_A_PAD", "cdata"),
        ("GRAFT_A_NETNS_FD", "uint32"),
        ("GRAFT_A_NETNS_COOKIE", "uint64"),
        ("GRAFT_A_GENERATION", "uint64"),
        ("GRAFT_A_INFO", "info"),
        ("GRAFT_A_CLAIMANT", "cdata"),
        ("GRAFT_A_CLAIMANT_PID", "uint32"),
        ("GRAFT_A_TABLE", "table"),
        ("GRAFT_A_ENDPOINT", "endpoint"),
        ("GRAFT_A_RULE", "rule"),
        ("GRAFT_A_ACL", "acl"),
        ("GRAFT_A_SOCKET", "socket"),
        ("GRAFT_A_EVENT", "event"),
        ("GRAFT_A_ABORT", "flag"),
        ("GRAFT_A_ABORTED", "uint32"),
    )
    info = Info
    table = Table
    endpoint = Endpoint
    rule = Rule
    acl = Acl
    socket = Socket
    event = Event
