# SPDX-License-Identifier: Apache-2.0
"""Notifications: what was grafted, what stayed native and what was refused, with the socket's cookie."""

import os
import socket
from collections.abc import Iterator
from errno import EACCES, EADDRNOTAVAIL, EINVAL, ERANGE
from socket import AF_INET, AF_INET6, IPPROTO_IPV6, IPV6_V6ONLY, SOCK_STREAM

import pytest

from box import Box
from door1 import bind_name
from events import Events
from expect import fails
from graftnl import Graft
from tables import allow, deny, egress, ingress
from uapi import U
from world import BOX4, FAR_PEER4, FORBIDDEN, HOST4, HOST6, LAN4, PEER4


@pytest.fixture
def events(box: Box) -> Iterator[Events]:
    listening = Events(box, "event")
    yield listening
    listening.kernel.close()


@pytest.fixture
def changes(box: Box) -> Iterator[Events]:
    listening = Events(box, "table")
    yield listening
    listening.kernel.close()


def test_grafted_by_ingress(box: Box, events: Events) -> None:
    box.endpoint("ep-http", HOST4, 8080)
    box.rules(ingress("ep-http", port=80))
    sock = box.tcp()
    sock.bind((BOX4, 80))
    event = events.of(sock)
    assert (event["kind"], event["reason"]) == (U.EVENT_GRAFTED, U.REASON_NONE)
    assert (event["endpoint"], event["protocol"], event["verb"]) == ("ep-http", 6, U.VERB_LISTEN)
    assert (event["uid"], event["pid"]) == (os.getuid(), os.getpid())
    assert (event["address"], event["port"]) == (socket.inet_aton(BOX4), 80)


def test_grafted_by_egress(box: Box, events: Events) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    listener = box.listener(box.world.peer, PEER4)
    sock = box.tcp()
    sock.connect(listener.getsockname())
    event = events.of(sock)
    assert (event["kind"], event["endpoint"], event["verb"]) == (U.EVENT_GRAFTED, "ep-out", U.VERB_CONNECT)
    assert (event["address"], event["port"]) == (socket.inet_aton(PEER4), listener.getsockname()[1])


def test_native_because_no_rule_matches(box: Box, events: Events) -> None:
    box.rules(egress("deny"))
    sock = box.tcp()
    sock.bind(("127.0.0.1", 8080))
    sock.listen(1)
    event = events.of(sock)
    assert (event["kind"], event["reason"]) == (U.EVENT_NATIVE, U.REASON_NO_RULE)
    assert event["detail"]


def test_native_because_a_rule_says_so(box: Box, events: Events) -> None:
    box.rules(ingress("native"))
    sock = box.tcp()
    sock.bind(("127.0.0.1", 8080))
    event = events.of(sock)
    assert (event["kind"], event["reason"]) == (U.EVENT_NATIVE, U.REASON_RULE)


@pytest.mark.parametrize(("family", "host"), [(AF_INET, HOST6), (AF_INET6, HOST4)])
def test_native_because_of_the_family(box: Box, events: Events, family: int, host: str) -> None:
    box.endpoint("ep", host, 8080)
    box.rules(ingress("ep"))
    sock = box.open_socket(family, SOCK_STREAM)
    if family == AF_INET6:
        sock.setsockopt(IPPROTO_IPV6, IPV6_V6ONLY, 1)
    sock.bind(("127.0.0.1" if family == AF_INET else "::1", 8080))
    event = events.of(sock)
    assert (event["kind"], event["reason"], event["endpoint"]) == (U.EVENT_NATIVE, U.REASON_FAMILY, "ep")


def test_denied_by_a_rule(box: Box, events: Events) -> None:
    box.rules(egress("deny"))
    sock = box.tcp()
    with fails(EACCES):
        sock.connect((PEER4, FORBIDDEN))
    event = events.of(sock)
    assert (event["kind"], event["reason"], event["errno"]) == (U.EVENT_DENIED, U.REASON_RULE, EACCES)
    assert (event["address"], event["port"]) == (socket.inet_aton(PEER4), FORBIDDEN)
    assert event["detail"]


def test_denied_by_the_acl(box: Box, events: Events) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    box.acl(allow("ep-out", "connect", LAN4))
    sock = box.tcp()
    with fails(EACCES):
        sock.connect((FAR_PEER4, FORBIDDEN))
    event = events.of(sock)
    assert (event["kind"], event["reason"], event["errno"]) == (U.EVENT_DENIED, U.REASON_ACL, EACCES)
    assert (event["endpoint"], event["verb"]) == ("ep-out", U.VERB_CONNECT)
    assert box.stats("ep-out")["denials"][U.REASON_ACL] == 1


def test_denied_because_it_is_the_hosts_own_address(box: Box, events: Events) -> None:
    box.endpoint("ep-out")
    box.rules(egress("ep-out"))
    sock = box.tcp()
    with fails(EACCES):
        sock.connect((HOST4, FORBIDDEN))
    assert events.of(sock)["reason"] == U.REASON_LOCAL


def test_denied_because_the_name_is_unknown(box: Box, events: Events) -> None:
    box.endpoint("ep-other")
    sock = box.door1(SOCK_STREAM)
    with fails(EADDRNOTAVAIL):
        bind_name(sock, "ep")
    event = events.of(sock)
    assert (event["reason"], event["errno"], event["endpoint"]) == (U.REASON_NO_ENDPOINT, EADDRNOTAVAIL, "ep")


def test_another_tables_events_are_not_heard(box: Box, events: Events) -> None:
    """Events go to the namespace that writes the table: one that writes nothing hears nothing."""
    with box.world.peer:
        stranger = box.keep(Graft())
    with box.ns:
        itself = box.keep(Graft())
    for listening in (stranger, itself):
        listening.subscribe("event")
    box.rules(ingress("deny"))
    sock = box.tcp()
    with fails(EACCES):
        sock.bind((BOX4, 8080))
    events.of(sock)
    assert stranger.notices() == itself.notices() == []


def test_the_initial_namespace_hears_of_its_own_tables(box: Box) -> None:
    kernel = box.keep(Graft())
    kernel.subscribe("event")
    box.rules(ingress("deny"))
    with fails(EACCES):
        box.tcp().bind((BOX4, 8080))
    assert kernel.notices() == []


def test_changes_of_the_table(box: Box, changes: Events) -> None:
    cookie = box.ns.cookie
    box.endpoint("ep", HOST4, 8080)
    command, message = changes.next()
    assert (command, message["netns_cookie"], message["endpoint"]["name"]) == (U.CMD_ENDPOINT_NTF, cookie, "ep")
    box.rules(ingress("ep"), egress("deny"))
    command, message = changes.next()
    assert (command, message["netns_cookie"]) == (U.CMD_RULES_NTF, cookie)
    box.acl(deny("ep", "connect"))
    assert changes.next()[0] == U.CMD_ACL_NTF
    box.table(max_sockets=10, frozen=1)
    command, message = changes.next()
    assert (command, message["table"]["max_sockets"], message["table"]["frozen"]) == (U.CMD_TABLE_NTF, 10, 1)
    box.delete("ep")
    command, message = changes.next()
    assert (command, message["endpoint"]["name"]) == (U.CMD_ENDPOINT_DEL_NTF, "ep")


def test_every_change_has_a_greater_generation(box: Box, changes: Events) -> None:
    for name in ("ep-1", "ep-2", "ep-3"):
        box.endpoint(name)
    generations = [changes.next()[1]["generation"] for _ in range(3)]
    assert generations == sorted(set(generations))


def test_a_refused_request_notifies_nobody(box: Box, changes: Events) -> None:
    with fails(EINVAL, ERANGE):
        box.endpoint("", HOST4, 8080)
    box.endpoint("ep")
    assert changes.next()[1]["endpoint"]["name"] == "ep"
