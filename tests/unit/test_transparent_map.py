# SPDX-License-Identifier: Apache-2.0
"""What is written into the BPF door's map, with a map that a test plays; a real one is written in tests/service."""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from graftd import ports
from graftd.errors import KernelError
from graftd.kernel import TransparentMap, _transparent

# As kmod/bpf/transparent.bpf.c has them.
_PLACES = 1 << 14
_SEVERAL = 2**64 - 1
FUNCTION = b"\0update_socket_protocol\0"


def place_of(cookie: int) -> int:
    """As kmod/bpf/transparent.bpf.c has it."""
    return (cookie * 0x9E3779B97F4A7C15 & (1 << 64) - 1) >> 50


class Map:
    """A map that is pinned, as PinnedMap opens it."""

    pinned: Map | None = None
    ids = itertools.count(1)

    def __init__(self) -> None:
        self.id = next(self.ids)
        self.held: set[int] = set()
        self.calls: list[str] = []
        self.error = 0
        self.size = 65536
        self.open = 0
        self.hints: Path | None = None

    def __enter__(self) -> Map:
        self.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.open -= 1

    def _called(self, what: str) -> None:
        self.calls.append(what)
        if self.error:
            raise OSError(self.error, os.strerror(self.error))

    def keys(self) -> set[int]:
        self._called("keys")
        return set(self.held)

    def hinted(self) -> dict[int, int]:
        """The hints by their places."""
        assert self.hints is not None
        hints = struct.unpack(f"={_PLACES}Q", self.hints.read_bytes())
        return {place: hint for place, hint in enumerate(hints) if hint}

    def named(self, key: int) -> bool:
        """Whether the program takes it for one without a look into the map."""
        return self.hinted().get(place_of(key)) == key

    def put(self, key: int) -> None:
        self._called(f"put {key}")
        assert not self.named(key)
        if len(self.held) == self.size:
            raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
        self.held.add(key)

    def drop(self, key: int) -> None:
        self._called(f"drop {key}")
        assert not self.named(key)
        self.held.discard(key)


@pytest.fixture
def pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where a map is pinned while there is a file, and beside it the program's link."""
    path = tmp_path / "transparent"
    path.touch()
    path.with_name("link").touch()
    one = Map()
    one.hints = path.with_name("hints")
    one.hints.write_bytes(bytes(8 * _PLACES))

    def opened(name: str) -> Map:
        assert name == str(path)
        if Map.pinned is None:
            path.unlink()
            raise FileNotFoundError(errno.ENOENT, "gone meanwhile")
        return Map.pinned

    def memory(name: str, size: int) -> mmap.mmap:
        assert name == str(path.with_name("hints"))
        if Map.pinned is None or Map.pinned.hints is None:
            raise FileNotFoundError(errno.ENOENT, "gone meanwhile")
        with Map.pinned.hints.open("r+b") as file:
            return mmap.mmap(file.fileno(), size)

    monkeypatch.setattr(_transparent, "PinnedMap", opened)
    monkeypatch.setattr(_transparent, "map_memory", memory)
    Map.pinned = one
    yield path
    assert one.open == 0


def made(pin: Path) -> TransparentMap:
    return TransparentMap(pin, pin.parent / "vmlinux", pin.parent / "mptcp")


def there() -> Map:
    assert Map.pinned is not None
    return Map.pinned


def test_it_is_the_engines_port(pin: Path) -> None:
    port: ports.TransparentMap = made(pin)
    assert port.equalize(frozenset(), whole=False)


def test_only_what_differs_is_written(pin: Path) -> None:
    one, found = made(pin), there()
    found.held = {1, 9}
    assert one.equalize(frozenset({1, 2}), whole=False)
    assert found.calls == ["keys", "drop 9", "put 2"]
    found.calls.clear()
    assert one.equalize(frozenset({2, 3}), whole=False)
    assert found.calls == ["drop 1", "put 3"]  # what it wrote, it knows
    found.held = {5}
    found.calls.clear()
    assert one.equalize(frozenset({2, 3}), whole=True)
    assert found.calls[0] == "keys"
    assert found.held == {2, 3}


def test_another_map_gets_everything(pin: Path) -> None:
    one, first = made(pin), there()
    one.equalize(frozenset({1}), whole=False)
    second = Map.pinned = Map()
    second.hints = first.hints
    one.equalize(frozenset({1, 2}), whole=False)
    assert (first.held, second.held) == ({1}, {1, 2})


def test_whoever_is_in_the_map_is_hinted_at_and_nobody_else(pin: Path) -> None:
    one, found = made(pin), there()
    for cookies in ({1, 2, 3 << 40}, {2}, {2, 2**63}, set()):
        one.equalize(frozenset(cookies), whole=False)
        assert found.hinted() == {place_of(cookie): cookie for cookie in cookies}
    pin.with_name("hints").write_bytes(b"\1" * (8 * _PLACES))
    one.equalize(frozenset({7}), whole=False)
    assert found.hinted() == {place_of(7): 7}


def test_hints_are_where_the_loader_has_them(pin: Path) -> None:
    """The same stand in clients/go/internal/transparent."""
    one, found = made(pin), there()
    for cookie, place in {1: 10125, 2: 3867, 4097: 1396, 2**64 - 2: 12516}.items():
        one.equalize(frozenset({cookie}), whole=False)
        assert found.hinted() == {place: cookie}


def test_where_several_have_one_hint_it_says_so(pin: Path) -> None:
    one, found = made(pin), there()
    place = place_of(5)
    first, second, third = itertools.islice((other for other in itertools.count(5) if place_of(other) == place), 3)
    for cookies, hint in (
        ({first}, first),
        ({first, second}, _SEVERAL),
        ({first, second, third}, _SEVERAL),
        ({second}, second),
        ({third}, third),
    ):
        one.equalize(frozenset(cookies), whole=False)
        assert (found.held, found.hinted()) == (cookies, {place: hint})


def test_who_could_not_be_put_is_not_hinted_at(pin: Path) -> None:
    one, found = made(pin), there()
    found.size = 1
    with pytest.raises(KernelError, match="is full"):
        one.equalize(frozenset({1, 2}), whole=False)
    assert found.hinted() == {place_of(1): 1}


def test_no_hints(pin: Path) -> None:
    """A program that looks for them serves, so that who is in the map alone is not served."""
    one, found = made(pin), there()
    one.equalize(frozenset({1}), whole=False)
    found.hints, hints = None, found.hints
    with pytest.raises(KernelError, match="has no hints beside it: systemctl reload graft-transparent"):
        one.equalize(frozenset({1, 2}), whole=False)
    pin.with_name("link").rename(pin.with_name("elsewhere"))
    assert not one.equalize(frozenset({1, 2}), whole=False)
    pin.with_name("elsewhere").rename(pin.with_name("link"))
    found.hints = hints
    assert one.equalize(frozenset({1, 2}), whole=False)
    assert found.held == {1, 2}


def test_no_map(pin: Path) -> None:
    one = made(pin)
    Map.pinned = None
    assert not one.equalize(frozenset({1}), whole=False)  # it went between two looks
    assert not one.equalize(frozenset({1}), whole=True)


def test_no_program(pin: Path) -> None:
    """Its map may still be pinned, or be so already, and is kept right."""
    one, found = made(pin), there()
    pin.with_name("link").unlink()
    assert not one.equalize(frozenset({1}), whole=False)
    assert found.held == {1}
    found.error = errno.EACCES
    assert not one.equalize(frozenset(), whole=True)
    found.error = 0
    pin.with_name("link").symlink_to("anything")
    assert one.equalize(frozenset({2}), whole=False)
    assert found.held == {2}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EPERM, "for graftd has not the system call bpf"),
        (errno.EACCES, "is not graftd's to open: restart graft-transparent"),
        (errno.EMEDIUMTYPE, "or hints beside it, is not the BPF door's map: remove it"),
        (errno.E2BIG, "is full"),
        (errno.ENOMEM, "cannot be written: Cannot allocate memory"),
    ],
)
def test_refusals(pin: Path, number: int, words: str) -> None:
    one, found = made(pin), there()
    one.equalize(frozenset({1}), whole=False)
    found.error = number
    with pytest.raises(KernelError, match=words) as caught:
        one.equalize(frozenset({2}), whole=False)
    assert caught.value.errno == number
    found.error, found.calls = 0, []
    assert one.equalize(frozenset({2}), whole=False)
    assert found.calls == ["drop 1", "put 2"]  # it knows how far it came


def test_a_full_map(pin: Path) -> None:
    """It holds as many as it can, and is not read again and again."""
    one, found = made(pin), there()
    found.size = 3
    for wanted, held, calls in (
        ({9, 5, 7, 6}, {5, 6, 7}, ["keys", "put 5", "put 6", "put 7", "put 9"]),
        ({9, 5, 7, 6}, {5, 6, 7}, ["put 9"]),
        ({9, 8, 7, 6}, {6, 7, 8}, ["drop 5", "put 8", "put 9"]),
    ):
        found.calls.clear()
        with pytest.raises(KernelError, match="is full"):
            one.equalize(frozenset(wanted), whole=False)
        assert (found.held, found.calls) == (held, calls)
    found.calls.clear()
    assert one.equalize(frozenset({9, 8, 7}), whole=False)
    assert found.calls == ["drop 6", "put 9"]


@pytest.mark.parametrize(
    ("types", "mptcp", "expected"),
    [(FUNCTION, True, True), (FUNCTION, False, False), (b"\0update_socket\0", True, False), (None, True, False)],
)
def test_what_the_kernel_can(pin: Path, types: bytes | None, mptcp: bool, expected: bool) -> None:
    if types is not None:
        (pin.parent / "vmlinux").write_bytes(b"\x9f\xeb\x01" + types + b"more\0")
    if mptcp:
        (pin.parent / "mptcp").mkdir()
    one = made(pin)
    assert one.can_be_served() is expected
    assert one.can_be_served() is expected
