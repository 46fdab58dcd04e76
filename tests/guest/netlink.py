# SPDX-License-Identifier: Apache-2.0
"""Netlink in its barest form: requests out, answers and extended errors back. See linux/netlink.h."""

import os
import socket
import struct
from collections.abc import Iterator

REQUEST, MULTI, ACK, DUMP_INTR = 0x1, 0x2, 0x4, 0x10
DUMP = 0x300
REPLACE, EXCL, CREATE = 0x100, 0x200, 0x400
NESTED = 0x8000

_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_ERROR, _DONE = 2, 3
_ACK_TLVS = 0x200
_HEADER = struct.Struct("=IHHII")


class NlError(OSError):
    """A refusal: errno, the sentence that came with it, and where in the request the fault lies."""

    def __init__(self, code: int, sentence: str, offset: int | None) -> None:
        super().__init__(code, f"{os.strerror(code)}: {sentence or 'no sentence'}")
        self.sentence, self.offset = sentence, offset


def attr(kind: int, payload: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(payload), kind) + payload + b"\0" * (-len(payload) % 4)


def nest(kind: int, payload: bytes) -> bytes:
    """One attribute that holds others."""
    return attr(kind | NESTED, payload)


def attrs(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes that ``data`` holds: kind without flags, payload."""
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        yield kind & 0x3FFF, data[4:length]
        data = data[length + 3 & ~3 :]


def message(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """One netlink message."""
    return _HEADER.pack(_HEADER.size + len(payload), kind, flags, sequence, 0) + payload


class Netlink:
    """A netlink socket of the current network namespace."""

    def __init__(self, protocol: int) -> None:
        self.sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
        for option in (_CAP_ACK, _EXT_ACK):
            self.sock.setsockopt(_SOL_NETLINK, option, 1)
        self.sock.bind((0, 0))
        self.sequence = 0
        self.interrupted = False

    def close(self) -> None:
        self.sock.close()

    def ask(self, kind: int, payload: bytes, flags: int = 0) -> list[bytes]:
        """Send one request; return the payloads of its answers, or raise NlError."""
        self.sequence += 1
        self.sock.send(message(kind, REQUEST | ACK | flags, self.sequence, payload))
        return self.answers()

    def answers(self) -> list[bytes]:
        """Everything up to the end of the current answer."""
        found: list[bytes] = []
        self.interrupted = False
        while True:
            for kind, flags, payload in self.messages(self.sock.recv(1 << 18)):
                self.interrupted |= bool(flags & DUMP_INTR)
                if kind == _ERROR:
                    _raise(payload, 20 if flags & _ACK_TLVS else len(payload))
                    return found
                if kind == _DONE:
                    _raise(payload, 4)
                    return found
                found.append(payload)

    @staticmethod
    def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """The messages of one datagram: kind, flags, payload."""
        while len(data) >= _HEADER.size:
            length, kind, flags, _sequence, _port = _HEADER.unpack_from(data)
            yield kind, flags, data[_HEADER.size : length]
            data = data[length + 3 & ~3 :]


def _raise(payload: bytes, tlvs: int) -> None:
    code = -struct.unpack_from("=i", payload)[0]
    if code:
        extended = dict(attrs(payload[tlvs:]))
        offset = struct.unpack("=I", extended[2])[0] if 2 in extended else None
        raise NlError(code, extended.get(1, b"").rstrip(b"\0").decode(), offset)
