# SPDX-License-Identifier: Apache-2.0
"""What each of the module's reasons means, and what to do. kmod/uapi/linux/graft.h says them in short."""

from __future__ import annotations

from typing import NamedTuple


class Explanation(NamedTuple):
    """`remedy` may hold {namespace}, {endpoint}, {address}, {port} and {direction}."""

    cause: str
    remedy: str


_ENDPOINT = "graftcli -n {namespace} show-endpoint {endpoint}"

EXPLANATIONS = {
    "no-rule": Explanation(
        "no rule of the namespace matches, so the socket stayed native",
        "if it is to be grafted: "
        "graftcli -n {namespace} add-rule --direction {direction} --port {port} --endpoint NAME",
    ),
    "rule": Explanation(
        "the rule that matches says native or deny",
        "find it in graftcli -n {namespace} list-rules: the longest prefix wins, then the narrower ports",
    ),
    "no-endpoint": Explanation(
        "the endpoint's name is not in the table",
        "graftcli -n {namespace} add-endpoint {endpoint} --address ADDRESS --port PORT, or correct the name",
    ),
    "target-gone": Explanation(
        "the target namespace of the endpoint is gone",
        f"bring it back, or give the endpoint another: {_ENDPOINT}",
    ),
    "family": Explanation(
        "the endpoint's address is of another family than the socket",
        "give it an endpoint of the program's family, IPv4 or IPv6, or let the program use the other",
    ),
    "protocol": Explanation(
        "the endpoint does not serve the socket's protocol",
        "graftcli -n {namespace} update-endpoint {endpoint} --protocol both",
    ),
    "port": Explanation(
        "the port that the program asks for is outside the endpoint's range",
        "let the program ask for a port of the range, or widen it: "
        "graftcli -n {namespace} update-endpoint {endpoint} --port LO-HI",
    ),
    "acl": Explanation(
        "no ACL rule allows it, or one denies it; the first that matches decides, and an endpoint that an allow rule"
        " covers is closed to all others",
        "graftcli -n {namespace} list-acl-rules --endpoint {endpoint}, then add an allow rule in front",
    ),
    "local": Explanation(
        "the destination is an address of the target namespace's own, which needs leave",
        "graftcli -n {namespace} add-acl-rule --allow --local --endpoint {endpoint} --network {address}",
    ),
    "egress": Explanation(
        "the egress rules do not give this destination to the endpoint that the socket lives in",
        "graftcli -n {namespace} add-rule --direction egress --network {address} --endpoint {endpoint}",
    ),
    "state": Explanation(
        "the socket was set up with something that may not come along (a mark, a bound device, IP options, multicast)",
        "the kernel's sentence says which: let the program leave it out, or give it a native rule",
    ),
    "option": Explanation(
        "the program set a socket option, or sent ancillary data, that a grafted socket may not have",
        "the kernel's sentence says which: let the program leave it out, or give it a native rule",
    ),
    "capable": Explanation(
        "the program's container could configure the target's network: it has CAP_NET_ADMIN without CAP_SYS_ADMIN",
        "take CAP_NET_ADMIN from the container, or, if it is trusted: "
        "graftcli -n {namespace} update-endpoint {endpoint} --privileged",
    ),
    "max-sockets": Explanation(
        "the endpoint or the namespace has as many live sockets as it may have",
        "graftcli -n {namespace} update-endpoint {endpoint} --max-sockets N, or update-namespace {namespace}",
    ),
    "max-ephemeral": Explanation(
        "the namespace holds as many ports chosen by the kernel as it may hold",
        "graftcli update-namespace {namespace} --max-ephemeral N",
    ),
    "frozen": Explanation(
        "new grafts are denied: the namespace or the node is frozen",
        "graftcli unfreeze {namespace}, or graftcli unfreeze --all",
    ),
    "revoked": Explanation(
        "the socket was aborted: its grant was withdrawn",
        "nothing, if that was meant; the program has to open a new socket",
    ),
    "address": Explanation(
        "the target's network refused the address",
        "the error says how: EADDRINUSE, another program has the port; EADDRNOTAVAIL, the host has no such address",
    ),
    "memory": Explanation("the kernel had no memory for it", "free memory, or raise the limit of the cgroup"),
}


def explain(reason: str) -> Explanation:
    """Of a reason's word; newer modules have others."""
    return EXPLANATIONS.get(
        reason,
        Explanation(f"the module says {reason}, which this graftcli does not know", "install a newer graftcli"),
    )
