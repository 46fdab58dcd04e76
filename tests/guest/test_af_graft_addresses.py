# SPDX-License-Identifier: Apache-2.0
"""Door 1, AF_GRAFT: what bind() and connect() make of the addresses that they are given."""

import ctypes
import socket
import struct
from errno import EADDRNOTAVAIL, EAFNOSUPPORT, EFAULT, EINVAL
from socket import SOCK_STREAM

import pytest

from box import Box, endpoint_of, state
from door1 import bind_name, bind_raw, connect_raw, getsockname_raw, inet, sockaddr_gr, sockaddr_in, sockaddr_in6
from expect import fails
from kernelcalls import call
from uapi import U
from world import HOST4, HOST6, PEER4


@pytest.mark.parametrize("length", [1, 15, 16, 17, 62, 63])
def test_a_name_ends_at_addrlen(box: Box, length: int) -> None:
    name = "n" * length
    box.endpoint(name)
    sock = box.door1(SOCK_STREAM)
    bind_raw(sock, sockaddr_gr(name) + b"beyond", 2 + length)
    assert endpoint_of(sock) == name


@pytest.mark.parametrize("size", [16, 64])
def test_a_name_ends_at_its_first_nul(box: Box, size: int) -> None:
    box.endpoint("ep")
    box.endpoint("ep-longer")
    sock = box.door1(SOCK_STREAM)
    bind_raw(sock, sockaddr_gr(b"ep\0longer".ljust(size, b"x")))
    assert endpoint_of(sock) == "ep"


def test_a_longer_name_is_another_name(box: Box) -> None:
    box.endpoint("ep")
    for name in ("e", "ep2", "EP", "ep "):
        with fails(EADDRNOTAVAIL):
            bind_name(box.door1(SOCK_STREAM), name)


def test_a_name_is_bytes(box: Box) -> None:
    box.endpoint("sluice-ü-門")
    sock = box.door1(SOCK_STREAM)
    bind_name(sock, "sluice-ü-門")
    assert endpoint_of(sock) == "sluice-ü-門"


BAD_LENGTHS = {
    "nothing": b"",
    "half a family": b"\4",
    "no name": sockaddr_gr(b""),
    "an empty name": sockaddr_gr(b"\0"),
    "a sixteen byte empty name": sockaddr_gr(b"\0" * 16),
    "64 bytes and no NUL": sockaddr_gr(b"n" * 64),
    "more than a sockaddr_gr": sockaddr_gr(b"ep".ljust(65, b"\0")),
    "a sockaddr_storage": sockaddr_gr(b"ep".ljust(126, b"\0")),
}


@pytest.mark.parametrize("address", BAD_LENGTHS.values(), ids=BAD_LENGTHS.keys())
def test_bad_lengths(box: Box, address: bytes) -> None:
    box.endpoint("ep")
    sock = box.door1(SOCK_STREAM)
    with fails(EINVAL):
        bind_raw(sock, address)
    with fails(EINVAL):
        connect_raw(sock, address)
    assert state(sock) == U.STATE_UNDECIDED
    bind_name(sock, "ep")


def test_lengths_that_no_address_has(box: Box) -> None:
    box.endpoint("ep")
    sock = box.door1(SOCK_STREAM)
    for length in (129, 4096, 0x7FFFFFFF, -1, -0x80000000):
        with fails(EINVAL):
            bind_raw(sock, sockaddr_gr("ep"), length)
    with fails(EFAULT):
        call("bind", sock.fileno(), None, 18)
    bind_name(sock, "ep")


@pytest.mark.parametrize("family", [socket.AF_UNSPEC, socket.AF_UNIX, socket.AF_INET, 5, 45, 0xFFFF])
def test_the_family_must_be_ours(box: Box, family: int) -> None:
    box.endpoint("ep")
    sock = box.door1(SOCK_STREAM)
    with fails(EAFNOSUPPORT):
        bind_raw(sock, sockaddr_gr("ep", family))
    assert state(sock) == U.STATE_UNDECIDED
    bind_name(sock, "ep")


def test_internet_addresses_are_for_connect(box: Box) -> None:
    box.endpoint("ep")
    sock = box.door1(SOCK_STREAM)
    for address in (sockaddr_in(HOST4, 8080), sockaddr_in6(HOST6, 8080)):
        with fails(EAFNOSUPPORT):
            bind_raw(sock, address)
    assert box.sockets() == []


def test_a_grafted_socket_takes_no_names(box: Box) -> None:
    box.endpoint("ep")
    sock = box.door1(SOCK_STREAM)
    bind_name(sock, "ep")
    with fails(EAFNOSUPPORT):
        connect_raw(sock, sockaddr_gr("ep".ljust(16, "\0")))
    assert endpoint_of(sock) == "ep"


def test_a_name_of_an_internet_endpoint_is_no_destination(box: Box) -> None:
    """connect() by name is for unix endpoints; an address of the host's own is nobody's peer."""
    box.endpoint("ep", HOST4, 8080)
    sock = box.door1(SOCK_STREAM)
    with fails(EADDRNOTAVAIL):
        connect_raw(sock, sockaddr_gr("ep"))
    assert state(sock) == U.STATE_UNDECIDED


@pytest.mark.parametrize("length", [0, 1, 2, 8, 15])
def test_short_internet_addresses_at_connect(box: Box, length: int) -> None:
    box.endpoint("ep")
    listener = box.listener(box.world.peer, PEER4)
    sock = box.bound("ep", SOCK_STREAM)
    with fails(EINVAL):
        connect_raw(sock, sockaddr_in(*listener.getsockname())[:length])
    sock.connect(listener.getsockname())


def test_getsockname_of_a_short_buffer_tells_the_whole_length(box: Box) -> None:
    box.endpoint("ep", HOST4, 8080)
    sock = box.door1(SOCK_STREAM)
    bind_name(sock, "ep")
    whole = getsockname_raw(sock)
    buffer, length = ctypes.create_string_buffer(b"\xaa" * 8, 8), ctypes.c_uint(4)
    call("getsockname", sock.fileno(), buffer, ctypes.byref(length))
    assert (length.value, buffer.raw) == (len(whole), whole[:4] + b"\xaa" * 4)
    assert struct.unpack_from("=H", whole)[0] == socket.AF_INET
    assert inet(sock).getsockname() == (HOST4, 8080)


def test_the_name_option_in_buffers_of_every_size(box: Box) -> None:
    box.endpoint("ep-http")
    sock = box.bound("ep-http", SOCK_STREAM)
    whole = sock.getsockopt(U.IPPROTO_GRAFT, U.SO_ENDPOINT, 64)
    assert whole.rstrip(b"\0") == b"ep-http"
    assert sock.getsockopt(U.IPPROTO_GRAFT, U.SO_ENDPOINT, 8) == b"ep-http\0"
    for size in (1, 7):
        with fails(EINVAL):
            sock.getsockopt(U.IPPROTO_GRAFT, U.SO_ENDPOINT, size)
