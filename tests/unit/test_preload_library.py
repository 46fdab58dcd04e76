# SPDX-License-Identifier: Apache-2.0
"""libgraft.so in a program that plays the kernel for it (preload/probe.c), under glibc and under musl."""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest

from unit import preload_build as build

GRAFT = 254
STREAM, DGRAM, RAW, SEQPACKET = 1, 2, 3, 5
NONBLOCK, CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
INET, INET6 = 2, 10
AI_NUMERICHOST, AI_ADDRCONFIG = 0x4, 0x20

DOMAINS = (INET, INET6, 0, 1, 4, 16, 17)
TYPES = (STREAM, DGRAM, STREAM | NONBLOCK, DGRAM | CLOEXEC, STREAM | NONBLOCK | CLOEXEC, RAW, SEQPACKET, DGRAM | 0x100)
PROTOCOLS = (0, 1, 6, 17, 33, 132, 136, 254, 255, 262)
REWRITTEN = {(STREAM, 0), (STREAM, 6), (STREAM, 262), (DGRAM, 0), (DGRAM, 17)}

TCP_RULE = "-i *:80=ep-http\n-e 10.10.0.0/24=ep-out\n"


@pytest.fixture(params=build.LIBCS)
def libc(request: pytest.FixtureRequest) -> str:
    """Both C libraries, in turn."""
    return str(request.param)


def probe(
    libc: str, *operations: str, kernel: str = "", rules: str = "", preload: str = "", needs: tuple[Path, ...] = ()
) -> list[str]:
    """Return what the probe printed, line by line, with libgraft.so preloaded."""
    env = {"LD_PRELOAD": f"{build.LIBRARY}{preload}", "KERNEL": kernel}
    if rules:
        env["GRAFT_RULES"] = rules
    done = build.run(build.probe(libc, *needs), *operations, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def rule(direction: int, prefix: tuple[int, bytes, int], ports: tuple[int, int], endpoint: str) -> str:
    """Return a ``struct graft_rule`` for both protocols, in hexadecimal; ``prefix`` is family, address, length."""
    family, address, length = prefix
    packed = struct.pack("=5B3xHH16s64s", direction, family, length, 3, 1, *ports, address, endpoint.encode())
    return packed.hex()


@pytest.mark.parametrize("how", ["socket", "libc"])
def test_only_tcp_and_udp_over_ip_become_graft(libc: str, how: str) -> None:
    combinations = [(d, t, p) for d in DOMAINS for t in TYPES for p in PROTOCOLS]
    lines = probe(libc, *(f"{how}:{d}:{t}:{p}" for d, t, p in combinations))
    expected = []
    for d, t, p in combinations:
        rewritten = d in (INET, INET6) and (t & ~(NONBLOCK | CLOEXEC), p) in REWRITTEN
        expected += [f"socket {d} {t} {GRAFT if rewritten else p}", "result 100 untouched"]
    assert lines == expected


@pytest.mark.parametrize("how", ["socket", "libc"])
def test_without_the_module_the_original_call_is_made(libc: str, how: str) -> None:
    lines = probe(libc, f"{how}:2:{STREAM}:262", kernel="absent")
    assert lines == [f"socket 2 {STREAM} 254", f"socket 2 {STREAM} 262", "result 100 untouched"]


def test_the_kernel_is_asked_once_for_each_kind_of_socket(libc: str) -> None:
    kinds = [f"socket:{d}:{t}:0" for d in (INET, INET6) for t in (STREAM, DGRAM | CLOEXEC)]
    lines = probe(libc, *kinds, *kinds, kernel="absent")
    assert sum(line.endswith(" 254") for line in lines) == len(kinds)
    assert lines.count("result 100 untouched") == 2 * len(kinds)


@pytest.mark.parametrize("how", ["socket", "libc"])
def test_errors_come_by_minus_one_and_errno(libc: str, how: str) -> None:
    lines = probe(libc, f"{how}:2:1:0", kernel="full")
    assert lines == ["socket 2 1 254", f"result -1 errno {errno.EMFILE}"]


@pytest.mark.parametrize("how", ["socket", "libc", "thread", "vfork"])
def test_rules_are_handed_over_in_one_call(libc: str, how: str) -> None:
    lines = probe(libc, f"{how}:10:{DGRAM}:17", rules=TCP_RULE)
    packed = rule(1, (0, b"", 0), (80, 80), "ep-http")
    packed += rule(2, (INET, bytes([10, 10]), 24), (1, 65535), "ep-out")
    assert lines == ["socket 10 2 254", f"setsockopt 100 254 3 {packed}", "result 100 untouched"]


def test_no_rules_are_handed_to_other_sockets(libc: str) -> None:
    assert probe(libc, "socket:1:1:0", "socket:2:3:1", rules=TCP_RULE) == [
        "socket 1 1 0",
        "result 100 untouched",
        "socket 2 3 1",
        "result 100 untouched",
    ]


def test_a_socket_that_cannot_have_its_rules_is_closed(libc: str) -> None:
    lines = probe(libc, "socket:2:1:0", kernel="norules", rules=TCP_RULE)
    assert lines[0] == "socket 2 1 254"
    assert lines[1].startswith("setsockopt 100 254 3 ")
    assert lines[2] == "close 100"
    assert lines[3:] == [f"result -1 errno {errno.ENOMEM}"]


@pytest.mark.parametrize("rules", ["x", "-i *:80", "-e 10.0.0.0/8=ep\n\n", "-e *=ep\n" * 65])
def test_rules_that_the_runner_did_not_write_make_no_socket(libc: str, rules: str) -> None:
    lines = probe(libc, "socket:2:1:0", "socket:1:1:0", rules=rules)
    assert lines == [f"result -1 errno {errno.EINVAL}", "socket 1 1 0", "result 100 untouched"]


# In the next two the library leaves the C library's socket as it is, so the real kernel answers, and the
# wrapper shows what reaches it.


def test_a_program_with_more_privileges_than_its_user_is_left_alone(libc: str) -> None:
    wrapper = f":{build.shared(libc, 'wrapper')}"
    operations = ("socket:2:1:0", "libc:2:2:17")
    lines = probe(libc, *operations, kernel="secure", rules=TCP_RULE, preload=wrapper)
    assert lines == ["wrapper 2 1 0", "result 3 untouched", "result 4 untouched"]


def test_where_the_c_library_cannot_be_reached_the_program_is_served_all_the_same(libc: str) -> None:
    wrapper = f":{build.shared(libc, 'wrapper')}"
    lines = probe(libc, "socket:2:1:6", "libc:2:2:17", kernel="nomemfd", preload=wrapper)
    assert lines[0] == "wrapper 2 1 254"
    assert lines[-2:] == ["result 3 untouched", "result 4 untouched"]


def test_a_library_preloaded_after_this_one_still_wraps_socket(libc: str) -> None:
    wrapper = build.shared(libc, "wrapper")
    lines = probe(libc, "socket:2:1:6", preload=f":{wrapper}")
    assert lines == ["wrapper 2 1 6", "socket 2 1 254", "result 100 untouched"]


def test_a_library_preloaded_before_this_one_still_wraps_socket(libc: str) -> None:
    wrapper = build.shared(libc, "wrapper")
    env = {"LD_PRELOAD": f"{wrapper}:{build.LIBRARY}"}
    done = build.run(build.probe(libc), "socket:2:1:6", env=env)
    assert done.stdout.splitlines() == ["wrapper 2 1 6", "socket 2 1 254", "result 100 untouched"]


def test_a_socket_made_before_the_constructor_ran_is_rewritten(libc: str) -> None:
    early = build.shared(libc, "early")
    lines = probe(libc, rules="-e *=ep\n", needs=(early,))
    assert lines[:2] == ["early", "socket 2 1 254"]
    assert lines[2].startswith("setsockopt 100 254 3 ")


@pytest.mark.parametrize(("family", "reaches"), [(0, AI_ADDRCONFIG | AI_NUMERICHOST), (INET, AI_NUMERICHOST)])
def test_interfaces_do_not_hide_a_family_that_is_asked_for(libc: str, family: int, reaches: int) -> None:
    flags = AI_ADDRCONFIG | AI_NUMERICHOST
    lines = probe(libc, f"resolve:{family}:{flags}:0", preload=f":{build.shared(libc, 'wrapper')}")
    seen = [line for line in lines if not line.startswith("socket ")]
    assert seen[0] == f"wrapper 192.0.2.1 {family} {reaches}"
    assert seen[-1].endswith(f" hints {family} {flags}"), "the caller's own hints stay"


def test_the_file_asks_for_no_library_and_no_symbol_version() -> None:
    build.make()
    dynamic = build.run("readelf", "--wide", "--dynamic", "--version-info", build.LIBRARY).stdout
    assert "SONAME" in dynamic
    assert "NEEDED" not in dynamic
    assert "VERNEED" not in dynamic
    assert "No version information found" in dynamic


def test_the_file_exports_two_functions() -> None:
    build.make()
    symbols = build.run("nm", "--dynamic", "--defined-only", "--format=just-symbols", build.LIBRARY).stdout
    assert set(symbols.split()) == {"socket", "getaddrinfo"}


def test_the_real_kernel_without_the_module_gives_a_socket(libc: str) -> None:
    assert probe(libc, "raw:2:1:0", "raw:10:2:17") == ["result 100 untouched"] * 2
