# SPDX-License-Identifier: Apache-2.0
"""Machines as network namespaces, inside a lab guest.

    peer 10.10.0.1 <-- veth --> 10.10.0.2 host  -- br0 172.20.0.1 <-- veth --> 172.20.0.2 bridged
         fd10::1                fd10::2                           <-- veth --> 172.20.0.3 bridged-too
                                                    container, container-too (lo, and nothing else)

The peer is another machine. The host reaches it over its interface eth0. "bridged" is a container as container
engines make it: behind a bridge, masqueraded on its way out, its ports forwarded on the way in. "container" has no
interface of its own; what it may use of the host's network is what its endpoint table says. Each has another of its
kind beside it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from types import TracebackType

PEER = "peer"
HOST = "host"
BRIDGED = "bridged"
BRIDGED_TOO = "bridged-too"
CONTAINER = "container"
CONTAINER_TOO = "container-too"
NAMESPACES = (PEER, HOST, BRIDGED, BRIDGED_TOO, CONTAINER, CONTAINER_TOO)

PEER_ADDRESS = "10.10.0.1"
PEER_NETWORK = "10.10.0.0/24"
HOST_ADDRESS = "10.10.0.2"
BRIDGE_ADDRESS = "172.20.0.1"
BRIDGED_ADDRESS = "172.20.0.2"
BRIDGED_TOO_ADDRESS = "172.20.0.3"
PEER_ADDRESS6 = "fd10::1"
PEER_NETWORK6 = "fd10::/64"
HOST_ADDRESS6 = "fd10::2"

_NAT = f"""
table ip container {{
    set forwarded {{
        type inet_service
        elements = {{ %s }}
    }}
    chain forward_ports {{
        type nat hook prerouting priority dstnat
        ip daddr {HOST_ADDRESS} tcp dport @forwarded dnat to {BRIDGED_ADDRESS}
        ip daddr {HOST_ADDRESS} udp dport @forwarded dnat to {BRIDGED_ADDRESS}
    }}
    chain hide {{
        type nat hook postrouting priority srcnat
        ip saddr 172.20.0.0/16 oifname eth0 masquerade
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop
        ct state established,related accept
        iifname br0 accept
        oifname br0 ct status dnat accept
    }}
}}
"""


class Testbed:
    """The machines; made on entry and taken away on exit.

    ``forwarded`` are the ports that NAT passes on. Without any there is no NAT, and the host tracks no connection.
    """

    def __init__(self, forwarded: Sequence[int]) -> None:
        self._forwarded = forwarded

    def __enter__(self) -> Testbed:
        try:
            for name in NAMESPACES:
                run("ip", "netns", "add", name)
                inside(name, "ip", "link", "set", "lo", "up")
            _link((PEER, "eth0", f"{PEER_ADDRESS}/24"), (HOST, "eth0", f"{HOST_ADDRESS}/24"))
            for name, address in ((PEER, PEER_ADDRESS6), (HOST, HOST_ADDRESS6)):
                inside(name, "ip", "address", "add", f"{address}/64", "dev", "eth0", "nodad")
            inside(HOST, "ip", "link", "add", "br0", "type", "bridge")
            inside(HOST, "ip", "address", "add", f"{BRIDGE_ADDRESS}/16", "dev", "br0")
            inside(HOST, "ip", "link", "set", "br0", "up")
            for port, (name, address) in enumerate(((BRIDGED, BRIDGED_ADDRESS), (BRIDGED_TOO, BRIDGED_TOO_ADDRESS))):
                _link((name, "eth0", f"{address}/16"), (HOST, f"port{port}", ""))
                inside(HOST, "ip", "link", "set", f"port{port}", "master", "br0")
                inside(name, "ip", "route", "add", "default", "via", BRIDGE_ADDRESS)
            inside(HOST, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            if self._forwarded:
                inside(HOST, "nft", "-f", "-", text=_NAT % ", ".join(map(str, self._forwarded)))
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @staticmethod
    def _remove() -> None:
        for name in NAMESPACES:
            subprocess.run(("ip", "netns", "del", name), stderr=subprocess.DEVNULL, check=False)


def inside(namespace: str, *command: str, text: str = "") -> str:
    """Run ``command`` in ``namespace`` with ``text`` as its input; return its output.

    Raises subprocess.CalledProcessError where it fails.
    """
    return run("ip", "netns", "exec", namespace, *command, text=text)


def run(*command: str, text: str = "") -> str:
    """Run ``command`` with ``text`` as its input; return its output. Raises as inside() does."""
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, text=True, check=True).stdout


def _link(*ends: tuple[str, str, str]) -> None:
    """Connect two namespaces by a pair of devices; each end is a namespace, a device and its address, or ""."""
    (first, device, _), (second, other, _) = ends
    inside(first, "ip", "link", "add", device, "type", "veth", "peer", "name", other, "netns", second)
    for namespace, name, address in ends:
        if address:
            inside(namespace, "ip", "address", "add", address, "dev", name)
        inside(namespace, "ip", "link", "set", name, "up")
