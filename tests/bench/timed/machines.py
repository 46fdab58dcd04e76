# SPDX-License-Identifier: Apache-2.0
"""What the testbed's machines lack: the tables of the containers, and the machines of peers.

    host eth0 <-- ipvlan, mode l2 --> 10.10.0.3 ipvlan
    host nk0 <-- netkit, mode l3 --> 172.21.0.2 netkit

"netkit" is masqueraded, and its ports forwarded, as "bridged" is.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv4Network

from bench.timed.paths import (
    CLIENT_ENDPOINT,
    IPVLAN,
    NETKIT,
    OTHER_MACHINE,
    End,
    Path,
    endpoint_of,
)
from driver import testbed
from graftd.kernel import Client, netns
from graftd.model import Direction, Endpoint, EndpointType, PortRange, Rule, Verdict

_IPVLAN_ADDRESS = "10.10.0.3"
_NETKIT_ADDRESS = "172.21.0.2"
_NETKIT_NAT = f"""
table ip container {{
    chain forward_ports {{
        ip daddr {testbed.HOST_ADDRESS} tcp dport {{ %(ports)s }} dnat to {_NETKIT_ADDRESS}
        ip daddr {testbed.HOST_ADDRESS} udp dport {{ %(ports)s }} dnat to {_NETKIT_ADDRESS}
    }}
    chain hide {{
        ip saddr {_NETKIT_ADDRESS} oifname eth0 masquerade
    }}
    chain forward {{
        iifname nk0 accept
        oifname nk0 ct status dnat accept
    }}
}}
"""
# As 'ethtool -k' calls them, and as 'ethtool -K' does.
_OFFLOADS = {
    "tcp-segmentation-offload": "tso",
    "generic-segmentation-offload": "gso",
    "generic-receive-offload": "gro",
}
# The devices between the two containers behind the bridge.
_BRIDGE_DEVICES = (
    (testbed.BRIDGED, "eth0"),
    (testbed.HOST, "port0"),
    (testbed.HOST, "port1"),
    (testbed.BRIDGED_TOO, "eth0"),
)


class PeerError(Exception):
    """A peer's path cannot be made here; the text is a sentence."""


@contextmanager
def namespace(name: str) -> Iterator[None]:
    """A network namespace with its loopback up, until the block ends."""
    testbed.run("ip", "netns", "add", name)
    try:
        testbed.inside(name, "ip", "link", "set", "lo", "up")
        yield
    finally:
        testbed.run("ip", "netns", "del", name)


def grant(container: str, ports: Sequence[int]) -> None:
    """Give a container ports of the host's, and connections to the peer's network, which the host is in too."""
    address = IPv4Address(testbed.HOST_ADDRESS)
    table = netns.open_selected(container)
    egress = Rule(Direction.EGRESS, Verdict.ENDPOINT, IPv4Network(testbed.PEER_NETWORK), endpoint=CLIENT_ENDPOINT)
    rules = [egress]
    with Client.open(netns.open_selected(testbed.HOST)) as client:
        client.put_endpoint(Endpoint(CLIENT_ENDPOINT, EndpointType.IPV4, address, PortRange.ANY), table)
        for number in ports:
            port = PortRange.single(number)
            name = endpoint_of(number)
            client.put_endpoint(Endpoint(name, EndpointType.IPV4, address, port), table)
            everywhere = IPv4Network("0.0.0.0/0")
            rules.append(Rule(Direction.INGRESS, Verdict.ENDPOINT, everywhere, ports=port, endpoint=name))
        client.set_rules(rules, table)


@contextmanager
def without_nat() -> Iterator[None]:
    """The host tracks no connection until the block ends, its own programs' neither."""
    rules = testbed.inside(testbed.HOST, "nft", "list", "ruleset")
    testbed.inside(testbed.HOST, "nft", "flush", "ruleset")
    try:
        yield
    finally:
        testbed.inside(testbed.HOST, "nft", "-f", "-", text=rules)


@contextmanager
def without_offloads() -> Iterator[None]:
    """Packets between the containers behind the bridge are no larger than its MTU, until the block ends."""
    with ExitStack() as stack:
        for where, device in _BRIDGE_DEVICES:
            listed = dict(
                line.split(": ", 1) for line in testbed.inside(where, "ethtool", "-k", device).splitlines()[1:]
            )
            for name, option in _OFFLOADS.items():
                if listed[name].startswith("on"):
                    stack.callback(testbed.inside, where, "ethtool", "-K", device, option, "on")
                    testbed.inside(where, "ethtool", "-K", device, option, "off")
        yield


@contextmanager
def ipvlan(number: int, _ports: Sequence[int]) -> Iterator[Path]:
    """A container with an ipvlan device on the host's interface, and so an address of the host's network."""
    with namespace(IPVLAN):
        peer_command(testbed.HOST, "ip", "link", "add", "iv0", "link", "eth0", "type", "ipvlan", "mode", "l2")
        peer_command(testbed.HOST, "ip", "link", "set", "iv0", "netns", IPVLAN, "name", "eth0")
        testbed.inside(IPVLAN, "ip", "address", "add", f"{_IPVLAN_ADDRESS}/24", "dev", "eth0")
        testbed.inside(IPVLAN, "ip", "link", "set", "eth0", "up")
        yield Path(IPVLAN, number, End(IPVLAN, IPVLAN, _IPVLAN_ADDRESS), OTHER_MACHINE, ours=False)


@contextmanager
def netkit(number: int, ports: Sequence[int]) -> Iterator[Path]:
    """A container with a routed netkit device in place of veth and bridge, behind the same NAT."""
    with namespace(NETKIT):
        pair = ("nk0", "type", "netkit", "mode", "l3", "peer", "name", "eth0", "netns", NETKIT)
        peer_command(testbed.HOST, "ip", "link", "add", *pair)
        testbed.inside(testbed.HOST, "ip", "link", "set", "nk0", "up")
        testbed.inside(testbed.HOST, "ip", "route", "add", _NETKIT_ADDRESS, "dev", "nk0")
        testbed.inside(NETKIT, "ip", "address", "add", f"{_NETKIT_ADDRESS}/32", "dev", "eth0")
        testbed.inside(NETKIT, "ip", "link", "set", "eth0", "up")
        testbed.inside(NETKIT, "ip", "route", "add", "default", "dev", "eth0")
        # The rules go when the testbed's host does.
        testbed.inside(testbed.HOST, "nft", "-f", "-", text=_NETKIT_NAT % {"ports": ", ".join(map(str, ports))})
        yield Path(NETKIT, number, End(NETKIT, NETKIT, testbed.HOST_ADDRESS), OTHER_MACHINE, ours=False)


def peer_command(where: str, *words: str, seconds: float = 60.0) -> str:
    """Run a command of a peer in the namespace ``where``; return what it printed. Raises PeerError."""
    try:
        done = subprocess.run(
            ["ip", "netns", "exec", where, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise PeerError(f"'{' '.join(words)}' was not done within {seconds:.0f} seconds") from error
    if done.returncode:
        raise PeerError(f"'{' '.join(words)}' failed with status {done.returncode}: {done.stdout.strip()}")
    return done.stdout
