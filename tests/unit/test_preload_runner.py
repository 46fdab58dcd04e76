# SPDX-License-Identifier: Apache-2.0
"""The runner ``graft``: its grammar, what it leaves in the environment, and how it ends."""

from __future__ import annotations

import ipaddress
import os
import shutil
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from unit import preload_build as build

USAGE = 2
INGRESS, EGRESS = 1, 2
ENDPOINT, NATIVE, DENY = 1, 2, 3
TCP, UDP, BOTH = 1, 2, 3

LOADERS = [path for folder in ("/lib64", "/lib") for path in Path(folder).glob("ld-linux*.so.*")]

ASK = ("socket:2:1:0",)


def graft(*words: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run the runner as built, on a kernel that has the door; ``env`` is what the command gets."""
    build.make()
    given = dict(env or {})
    if "LD_PRELOAD" in given:
        given["AFTER"] = given["LD_PRELOAD"]
    return build.run(build.RUNNER, *words, env=given | {"LD_PRELOAD": str(build.shared("glibc", "door"))})


def handed_over(*options: str) -> list[tuple[int | str, ...]]:
    """Return the rules that a program under ``graft OPTIONS`` gives the kernel."""
    done = graft(*options, "--", build.probe("glibc"), *ASK)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line for line in done.stdout.splitlines() if line.startswith("setsockopt ")]
    assert len(lines) == 1
    return [unpack(raw) for raw in struct.iter_unpack("=5B3sHH16s64s", bytes.fromhex(lines[0].split()[-1]))]


def unpack(raw: tuple[Any, ...]) -> tuple[int | str, ...]:
    """Return direction, prefix, protocols, ports, verdict and endpoint of a ``struct graft_rule``."""
    direction, family, length, protocols, verdict, reserved, low, high, address, endpoint = raw
    assert reserved == bytes(3)
    size = {0: 0, 2: 4, 10: 16}[family]
    assert address[size:] == bytes(16 - size)
    place = f"{ipaddress.ip_address(address[:size])}/{length}" if family else "*"
    return direction, place, protocols, low, high, verdict, endpoint.rstrip(b"\0").decode()


GOOD = {
    "-i 10.0.0.2:80=ep-http": (INGRESS, "10.0.0.2/32", BOTH, 80, 80, ENDPOINT, "ep-http"),
    "-i 10.0.0.2:8000-8099=ep": (INGRESS, "10.0.0.2/32", BOTH, 8000, 8099, ENDPOINT, "ep"),
    "-i 0.0.0.0:80=ep": (INGRESS, "0.0.0.0/32", BOTH, 80, 80, ENDPOINT, "ep"),
    "-i *:80=ep": (INGRESS, "*", BOTH, 80, 80, ENDPOINT, "ep"),
    "-i *:0=ep": (INGRESS, "*", BOTH, 0, 0, ENDPOINT, "ep"),
    "-i *:0-65535=ep": (INGRESS, "*", BOTH, 0, 65535, ENDPOINT, "ep"),
    "-i 10.0.0.0/24:80=ep": (INGRESS, "10.0.0.0/24", BOTH, 80, 80, ENDPOINT, "ep"),
    "-i [::]:80=ep": (INGRESS, "::/128", BOTH, 80, 80, ENDPOINT, "ep"),
    "-i [fd00::1]:80-81=ep": (INGRESS, "fd00::1/128", BOTH, 80, 81, ENDPOINT, "ep"),
    "-i [fd00::]/64:80=ep": (INGRESS, "fd00::/64", BOTH, 80, 80, ENDPOINT, "ep"),
    "-i *:53,udp=ep": (INGRESS, "*", UDP, 53, 53, ENDPOINT, "ep"),
    "-i *:80=native": (INGRESS, "*", BOTH, 80, 80, NATIVE, ""),
    "-i *:80=deny": (INGRESS, "*", BOTH, 80, 80, DENY, ""),
    "-i *:80==native": (INGRESS, "*", BOTH, 80, 80, ENDPOINT, "native"),
    "-i *:80==deny": (INGRESS, "*", BOTH, 80, 80, ENDPOINT, "deny"),
    "-i *:80===x": (INGRESS, "*", BOTH, 80, 80, ENDPOINT, "=x"),
    "-i *:80=a=b:c,d": (INGRESS, "*", BOTH, 80, 80, ENDPOINT, "a=b:c,d"),
    f"-i *:80={'n' * 63}": (INGRESS, "*", BOTH, 80, 80, ENDPOINT, "n" * 63),
    "-i *:80=übung": (INGRESS, "*", BOTH, 80, 80, ENDPOINT, "übung"),
    "-e 0.0.0.0/0=ep-out": (EGRESS, "0.0.0.0/0", BOTH, 1, 65535, ENDPOINT, "ep-out"),
    "-e 10.10.0.0/24=ep-out": (EGRESS, "10.10.0.0/24", BOTH, 1, 65535, ENDPOINT, "ep-out"),
    "-e 10.10.0.1=ep-out": (EGRESS, "10.10.0.1/32", BOTH, 1, 65535, ENDPOINT, "ep-out"),
    "-e 10.10.0.0/24:443=ep-out": (EGRESS, "10.10.0.0/24", BOTH, 443, 443, ENDPOINT, "ep-out"),
    "-e 10.10.0.1:53=ep-out": (EGRESS, "10.10.0.1/32", BOTH, 53, 53, ENDPOINT, "ep-out"),
    "-e 10.10.0.0/24:1-1023,tcp=deny": (EGRESS, "10.10.0.0/24", TCP, 1, 1023, DENY, ""),
    "-e *=ep-out": (EGRESS, "*", BOTH, 1, 65535, ENDPOINT, "ep-out"),
    "-e *:443=ep-out": (EGRESS, "*", BOTH, 443, 443, ENDPOINT, "ep-out"),
    "-e ::/0=ep-out": (EGRESS, "::/0", BOTH, 1, 65535, ENDPOINT, "ep-out"),
    "-e fd00::/8=native": (EGRESS, "fd00::/8", BOTH, 1, 65535, NATIVE, ""),
    "-e fd00::1=ep": (EGRESS, "fd00::1/128", BOTH, 1, 65535, ENDPOINT, "ep"),
    "-e [fd00::1]=ep": (EGRESS, "fd00::1/128", BOTH, 1, 65535, ENDPOINT, "ep"),
    "-e [fd00::]/8=ep": (EGRESS, "fd00::/8", BOTH, 1, 65535, ENDPOINT, "ep"),
    "-e [fd00::]/8:53,udp=ep": (EGRESS, "fd00::/8", UDP, 53, 53, ENDPOINT, "ep"),
    "-e ::ffff:10.0.0.1=ep": (EGRESS, f"{ipaddress.ip_address('::ffff:10.0.0.1')}/128", BOTH, 1, 65535, ENDPOINT, "ep"),
}

NO_ADDRESS = "the address is not one: write an IPv4 or IPv6 address, or *"
NO_PORT = "the port is missing: write ADDR:PORT"
BAD_PORT = "the port is not a number from 0 to 65535: write PORT or LOW-HIGH"
BEYOND = "the address has bits set beyond its prefix length: write the first address of the prefix, as in 10.0.0.0/8"
BAD = {
    "-i 10.0.0.2:80": "the '=' and the endpoint's name are missing",
    "-i 10.0.0.2:80=": "the endpoint's name is missing: write it after the '='",
    "-i 10.0.0.2:80==": "the endpoint's name is missing: write it after the '='",
    f"-i *:80={'n' * 64}": "the endpoint's name is too long: names have at most 63 bytes",
    "-i *:80=a\nb": "the endpoint's name has a control character: leave it out",
    "-i 10.0.0.2=ep": NO_PORT,
    "-i *=ep": NO_PORT,
    "-i [::1]=ep": NO_PORT,
    "-i ::1=ep": "an IPv6 address stands in brackets and a port follows: write [ADDRESS]:PORT",
    "-i ::1:80=ep": "an IPv6 address stands in brackets and a port follows: write [ADDRESS]:PORT",
    "-i [::1:80=ep": "the '[' has no ']': write [ADDRESS]:PORT",
    "-i [::1]80=ep": "after ']' stands ':' and the port: write [ADDRESS]:PORT",
    "-e fd00::/8:80=ep": "an IPv6 address before a port stands in brackets: write [ADDRESS]/LEN:PORT",
    "-i =ep": NO_ADDRESS,
    "-i :80=ep": NO_ADDRESS,
    "-i localhost:80=ep": NO_ADDRESS,
    "-i 10.0.0:80=ep": NO_ADDRESS,
    "-i 10.0.0.256:80=ep": NO_ADDRESS,
    f"-e {'1' * 46}=ep": "the address is too long: write an IPv4 or IPv6 address, or *",
    "-i *:=ep": BAD_PORT,
    "-i *:http=ep": BAD_PORT,
    "-i *:65536=ep": BAD_PORT,
    "-i *:99999999999999999999=ep": BAD_PORT,
    "-i *:-1=ep": BAD_PORT,
    "-i *:80-=ep": BAD_PORT,
    "-i *:+80=ep": BAD_PORT,
    "-i *:90-80=ep": "the range of ports ends before it begins: write the lower port first",
    "-e *:0=ep": "no destination has port 0: ports of -e are 1 to 65535",
    "-e 10.0.0.0/33=ep": "the prefix length is not a number from 0 to 32",
    "-e 10.0.0.0/=ep": "the prefix length is not a number from 0 to 32",
    "-e fd00::/129=ep": "the prefix length is not a number from 0 to 128",
    "-e */0=ep": "'*' stands for every address and takes no '/': write * alone",
    "-e 10.0.0.1/8=ep": BEYOND,
    "-e fd00::1/64=ep": BEYOND,
    "-i *:80,sctp=ep": "after ',' stands tcp or udp; leave it out for both",
}


@pytest.mark.parametrize("written", GOOD)
def test_a_rule_as_written_is_what_the_kernel_gets(written: str) -> None:
    assert handed_over(*written.split(" ", 1)) == [GOOD[written]]


def test_rules_keep_their_order_and_there_may_be_sixty_four() -> None:
    options = [word for port in range(1, 65) for word in ("-i", f"*:{port}=ep")]
    assert handed_over(*options) == [(INGRESS, "*", BOTH, port, port, ENDPOINT, "ep") for port in range(1, 65)]
    done = graft(*options, "-e", "*=ep", "--", "true")
    assert (done.returncode, done.stderr.splitlines()[0]) == (
        USAGE,
        "graft: -e *=ep: there are more than 64 rules: put them into the namespace's own",
    )


@pytest.mark.parametrize("written", BAD)
def test_a_bad_rule_is_answered_with_a_sentence(written: str) -> None:
    done = graft(*written.split(" ", 1), "--", "echo", "ran")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr == f"graft: {written}: {BAD[written]}\nTry 'graft --help'.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "the command is missing: write it after '--'"),
        (("-v", "--"), "the command is missing: write it after '--'"),
        (("-i",), "-i needs a rule: write -i ADDR:PORT[-PORT]=ENDPOINT"),
        (("-e",), "-e needs a rule: write -e PREFIX/LEN=ENDPOINT"),
        (("-x", "true"), "there is no option -x: the options are -i, -e, -v, -h and -V"),
        (
            ("-i", "*:80=a", "-e", "*:80=a", "-i", "*:80,tcp=a", "-i", "0.0.0.0:80=a", "-i", "*:80=b", "true"),
            "-i *:80=b: a rule before it is for the same addresses and ports: leave one of them out",
        ),
        (("--verbose=x", "true"), "--verbose=x: this option takes no value: leave out what begins with '='"),
        (("--ingress", "true"), "there is no option --ingress: the options are -i, -e, -v, -h and -V"),
    ],
)
def test_bad_usage_is_answered_with_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    done = graft(*words)
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert done.stderr == f"graft: {sentence}\nTry 'graft --help'.\n"


def test_help_and_version() -> None:
    done = graft("--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(
        "Usage: graft [-v] [-i ADDR:PORT[-PORT]=ENDPOINT]... [-e PREFIX/LEN=ENDPOINT]... -- COMMAND [ARG]...\n"
    )
    assert graft("-h").stdout == done.stdout
    assert graft("--version").stdout == graft("-V").stdout
    assert graft("-V").stdout.startswith("graft ")


def test_options_of_the_command_are_its_own() -> None:
    assert graft("echo", "-i", "--", "-v").stdout == "-i -- -v\n"
    assert graft("--", "echo", "-n", "-e").returncode == 0


def environment(*options: str, env: dict[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a program under ``graft OPTIONS``."""
    done = graft(*options, "--", "env", "--null", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


def test_without_rules_the_namespaces_apply() -> None:
    got = environment(env={"GRAFT_RULES": "-i *:80=outer\n", "KEPT": "yes"})
    assert got["LD_PRELOAD"] == str(build.LIBRARY)
    assert got["KEPT"] == "yes"
    assert "GRAFT_RULES" not in got


def test_what_was_preloaded_before_stays() -> None:
    wrapper = str(build.shared("glibc", "wrapper"))
    assert environment(env={"LD_PRELOAD": wrapper})["LD_PRELOAD"] == f"{build.LIBRARY}:{wrapper}"
    done = graft("--", build.probe("glibc"), *ASK, env={"LD_PRELOAD": wrapper})
    assert done.stdout.splitlines() == ["wrapper 2 1 0", "socket 2 1 254", "result 100 untouched"]


def test_graft_within_graft_has_the_inner_rules_and_the_library_once() -> None:
    door = build.shared("glibc", "door")
    inner = f"""AFTER=$LD_PRELOAD LD_PRELOAD=$LD_PRELOAD:{door} exec {build.RUNNER} -e '*=inner' "$@" """
    got = environment("-i", "*:80=outer", "--", "sh", "-c", inner, "sh")
    assert (got["LD_PRELOAD"], got["GRAFT_RULES"]) == (str(build.LIBRARY), "-e *=inner\n")
    got = environment("-i", "*:80=outer", "--", str(build.RUNNER))
    assert "GRAFT_RULES" not in got


@pytest.mark.parametrize("libc", build.LIBCS)
def test_programs_that_the_command_starts_have_the_rules_too(libc: str) -> None:
    done = graft("-e", "*=ep", "--", "sh", "-c", f"{build.probe(libc)} {ASK[0]}; true")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["socket", "setsockopt", "result"]


def test_the_commands_status_is_the_runners() -> None:
    assert graft("--", "sh", "-c", "exit 7").returncode == 7


def test_a_command_that_is_not_there_or_cannot_be_run(tmp_path: Path) -> None:
    done = graft("--", "no-such-command")
    assert (done.returncode, done.stderr) == (127, "graft: no-such-command: No such file or directory\n")
    done = graft("--", tmp_path)
    assert (done.returncode, done.stderr) == (126, f"graft: {tmp_path}: Permission denied\n")


def test_verbose_says_what_is_in_force() -> None:
    done = graft("-v", "-i", "*:80=ep", "-e", "10.0.0.0/8=native", "--", "true", env={"LD_PRELOAD": ""})
    lines = done.stderr.splitlines()
    assert lines[:4] == [
        f"graft: the library is {build.LIBRARY}",
        f"graft: LD_PRELOAD is {build.LIBRARY}",
        "graft: rule -i *:80=ep",
        "graft: rule -e 10.0.0.0/8=native",
    ]
    assert lines[4:] == ["graft: the kernel serves IPPROTO_GRAFT"]
    assert "graft: no -i and no -e: the rules of the network namespace apply" in graft("-v", "true").stderr


def test_without_the_module_rules_are_refused_and_a_command_without_any_is_native() -> None:
    absent = {"KERNEL": "absent"}
    for rule in (("-i", "*:80=ep"), ("-e", "*=deny")):
        done = graft(*rule, "--", "echo", "ran", env=absent)
        assert (done.returncode, done.stdout) == (125, "")
        assert done.stderr == (
            "graft: graft.ko is not loaded, so these rules would not hold: run modprobe graft, or leave -i and -e out\n"
        )
    assert graft("--", "echo", "ran", env=absent).stdout == "ran\n"
    verbose = graft("-v", "--", "echo", "ran", env=absent)
    assert verbose.stdout == "ran\n"
    assert verbose.stderr.splitlines()[-1] == (
        'graft: the kernel answers IPPROTO_GRAFT with "Protocol not supported": '
        "graft.ko is not loaded, so every socket stays native"
    )


def test_verbose_tells_where_names_are_resolved_natively() -> None:
    sentence = (
        "graft: the C library's own sockets, those of name resolution, stay native: "
        "this processor or sandbox does not let the library reach them\n"
    )
    assert sentence not in graft("-v", "true").stderr
    sandbox = {"LD_PRELOAD": str(build.shared("glibc", "sandbox"))}
    assert sentence in build.run(build.RUNNER, "-v", "true", env=sandbox).stderr


def test_verbose_tells_of_programs_that_load_no_library(tmp_path: Path) -> None:
    source = tmp_path / "one.c"
    source.write_text("int main(void) { return 0; }\n")
    static = tmp_path / "static"
    assert build.run("musl-gcc", "-static", "-o", static, source).returncode == 0
    done = graft("-v", "--", static)
    assert f"graft: {static} is linked statically and loads no library: its sockets stay native\n" in done.stderr

    dynamic = tmp_path / "dynamic"
    assert build.run("gcc", "-o", dynamic, source).returncode == 0
    assert str(dynamic) not in graft("-v", "--", dynamic).stderr
    loader = next(path for path in LOADERS if path.exists())
    assert "stay native" not in graft("-v", "--", loader, dynamic).stderr


@pytest.mark.parametrize("mode", [stat.S_ISUID, stat.S_ISGID])
def test_verbose_tells_of_programs_that_gain_privileges_alone(mode: int, tmp_path: Path) -> None:
    # AT_SECURE is how the kernel tells the loader.
    source = tmp_path / "one.c"
    source.write_text("#include <sys/auxv.h>\nint main(void) { return getauxval(AT_SECURE) ? 3 : 0; }\n")
    program = tmp_path / "program"
    assert build.run("gcc", "-o", program, source).returncode == 0
    program.chmod(mode | 0o755)
    done = graft("-v", "--", "program", env={"PATH": f":/nowhere:{tmp_path}"})
    assert done.returncode == 0
    assert "setuid" not in done.stderr
    if os.geteuid() == 0:  # nobody else can give a program away
        # Version 2, and the capability to bind privileged ports as permitted and effective.
        os.setxattr(program, "security.capability", struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0))
        done = graft("-v", "--", "program", env={"PATH": f":/nowhere:{tmp_path}"})
        assert (done.returncode, "capabilities" in done.stderr) == (0, False)
        os.chown(program, 65534, 65534)
        program.chmod(mode | 0o755)
        done = graft("-v", "--", "program", env={"PATH": f":/nowhere:{tmp_path}"})
        note = "is setuid or setgid and loads no library for its user: its sockets stay native"
        assert (f"graft: program {note}\n" in done.stderr, done.returncode) in ((True, 3), (False, 0))


def test_the_library_is_found_beside_the_runner_or_where_it_is_installed(tmp_path: Path) -> None:
    prefix = tmp_path / "usr"
    build.make(f"O={tmp_path / 'build'}", f"PREFIX={prefix}", target="install")
    runner, library = prefix / "bin" / "graft", prefix / "lib" / "graft" / "libgraft.so"
    assert os.access(runner, os.X_OK)
    assert f"LD_PRELOAD={library}\n" in build.run(runner, "env").stdout

    beside = shutil.copy(library, runner.parent)
    assert f"LD_PRELOAD={beside}\n" in build.run(runner, "env").stdout

    Path(beside).unlink()
    library.unlink()
    done = build.run(runner, "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == f"graft: {library}: No such file or directory: install it there or beside graft\n"


def test_another_prefix_is_compiled_in_and_the_same_one_is_not_compiled_again(tmp_path: Path) -> None:
    runner, library = tmp_path / "graft", tmp_path / "libgraft.so"
    for prefix in ("/first", "/second"):
        build.make(f"O={tmp_path}", f"PREFIX={prefix}")
        library.unlink()
        assert f"graft: {prefix}/lib/graft/libgraft.so: No such file" in build.run(runner, "true").stderr
    made = runner.stat().st_mtime_ns
    build.make(f"O={tmp_path}", "PREFIX=/second", "all")
    assert library.exists()
    assert runner.stat().st_mtime_ns == made


def test_install_puts_everything_below_destdir(tmp_path: Path) -> None:
    build.make(f"DESTDIR={tmp_path}", target="install")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"usr/bin/graft", "usr/lib/graft/libgraft.so"}


@pytest.mark.parametrize("name", ["with space", "with:colon", "with$dollar"])
def test_a_place_that_the_loader_cannot_name_is_refused(tmp_path: Path, name: str) -> None:
    build.make()
    place = tmp_path / name
    place.mkdir()
    shutil.copy(build.RUNNER, place)
    shutil.copy(build.LIBRARY, place)
    done = build.run(place / "graft", "echo", "ran")
    assert (done.returncode, done.stdout) == (125, "")
    refusal = "the loader takes no path with a space, ':' or '$': install graft elsewhere"
    assert done.stderr == f"graft: {place / 'libgraft.so'}: {refusal}\n"
