# SPDX-License-Identifier: Apache-2.0
"""What graftd speaks about: plain frozen values, without a thought of how they are carried.

A constructor refuses a value that the kernel would refuse whatever its tables hold, with a
ValueError that says what would be right. Addresses are those of the standard library's ipaddress.
"""

from graftd.model._acl import AclRule, IdRange
from graftd.model._endpoint import Counters, Endpoint, EndpointEntry, EndpointType
from graftd.model._event import Event, EventKind
from graftd.model._info import ModuleInfo
from graftd.model._namespace import (
    Freeze,
    Namespace,
    NetnsIdentity,
    Selector,
    SelectorKind,
    check_annotations,
    check_id,
    check_labels,
)
from graftd.model._net import Address, Network, PortRange, Protocols, Verbs
from graftd.model._notice import (
    AclNotice,
    ClaimNotice,
    EndpointGoneNotice,
    EndpointNotice,
    Notice,
    RulesNotice,
    TableNotice,
)
from graftd.model._open_enum import OpenEnum
from graftd.model._reason import Reason
from graftd.model._record import (
    AnyRule,
    Change,
    ChangeKind,
    ChangePage,
    EndpointRecord,
    Identified,
    NamespaceContent,
    NamespaceRecord,
    Record,
    RuleRecord,
    TargetedEndpoint,
    Version,
    namespace_of,
)
from graftd.model._rule import Direction, Rule, Verdict
from graftd.model._socket import Door, GraftedSocket
from graftd.model._step import DeleteEndpoint, PutEndpoint, SetAcl, SetRules, SetTable, Step
from graftd.model._table import Acl, Rules, Table, TableLimits, TableSettings

__all__ = [
    "Acl",
    "AclNotice",
    "AclRule",
    "Address",
    "AnyRule",
    "Change",
    "ChangeKind",
    "ChangePage",
    "ClaimNotice",
    "Counters",
    "DeleteEndpoint",
    "Direction",
    "Door",
    "Endpoint",
    "EndpointEntry",
    "EndpointGoneNotice",
    "EndpointNotice",
    "EndpointRecord",
    "EndpointType",
    "Event",
    "EventKind",
    "Freeze",
    "GraftedSocket",
    "IdRange",
    "Identified",
    "ModuleInfo",
    "Namespace",
    "NamespaceContent",
    "NamespaceRecord",
    "NetnsIdentity",
    "Network",
    "Notice",
    "OpenEnum",
    "PortRange",
    "Protocols",
    "PutEndpoint",
    "Reason",
    "Record",
    "Rule",
    "RuleRecord",
    "Rules",
    "RulesNotice",
    "Selector",
    "SelectorKind",
    "SetAcl",
    "SetRules",
    "SetTable",
    "Step",
    "Table",
    "TableLimits",
    "TableNotice",
    "TableSettings",
    "TargetedEndpoint",
    "Verbs",
    "Verdict",
    "Version",
    "check_annotations",
    "check_id",
    "check_labels",
    "namespace_of",
]
