# SPDX-License-Identifier: Apache-2.0
"""proto/ compiles with whatever protoc there is, and its enums have the kernel's numbers."""

import enum
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graftd import model

PROTO = Path(__file__).resolve().parents[2] / "proto"
FILES = sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))

# Enums that mirror the kernel's, with the prefix of their values.
MIRRORED: dict[str, tuple[str, type[enum.IntEnum] | type[enum.IntFlag]]] = {
    "GraftReason": ("GRAFT_REASON_", model.Reason),
    "Protocol": ("PROTOCOL_", model.Protocols),
    "RuleDirection": ("RULE_DIRECTION_", model.Direction),
    "RuleVerdict": ("RULE_VERDICT_", model.Verdict),
    "SocketDoor": ("SOCKET_DOOR_", model.Door),
    "SocketEventKind": ("SOCKET_EVENT_KIND_", model.EventKind),
    "Verb": ("VERB_", model.Verbs),
}


def compilers() -> dict[str, list[str]]:
    """The protocs of this machine: the system's, and that of grpcio-tools, each by its name."""
    found = {}
    if system := shutil.which("protoc"):
        found["protoc"] = [system]
    if importlib.util.find_spec("grpc_tools"):
        found["grpcio-tools"] = [sys.executable, "-m", "grpc_tools.protoc"]
    return found


def text_of_all() -> str:
    return "\n".join((PROTO / name).read_text(encoding="utf-8") for name in FILES)


def values(name: str) -> dict[str, int]:
    """The values of an enum of proto/."""
    body = re.search(rf"^enum {name} {{\n(.*?)^}}", text_of_all(), re.MULTILINE | re.DOTALL)
    assert body, f"proto/ has no enum {name}"
    return {word: int(number) for word, number in re.findall(r"^  ([A-Z0-9_]+) = (\d+);", body[1], re.MULTILINE)}


def test_every_compiler_takes_all_files(tmp_path: Path) -> None:
    found = compilers()
    if not found:
        pytest.fail(
            "there is no protoc: requirements-dev.txt has to lock grpcio-tools,"
            " or apt-get install protobuf-compiler libprotobuf-dev"
        )
    for name, command in found.items():
        out = tmp_path / name
        out.mkdir()
        # Warnings, of an unused import say, are complaints as well.
        done = subprocess.run(
            [*command, f"-I{PROTO}", f"--python_out={out}", f"--descriptor_set_out={out}/all.pb", *FILES],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout) == (0, ""), name
        assert len(list(out.rglob("*_pb2.py"))) == len(FILES), name


@pytest.mark.parametrize("name", MIRRORED)
def test_enums_have_the_kernels_numbers(name: str) -> None:
    prefix, mirrored = MIRRORED[name]
    theirs = {member.name: member.value for member in mirrored if member.name not in {"BOTH", "NONE"}}
    ours = {word.removeprefix(prefix): number for word, number in values(name).items()}
    assert ours == {"UNSPECIFIED": 0} | theirs


def test_reasons_that_comments_name_are_error_reasons() -> None:
    known = {word.removeprefix("ERROR_REASON_") for word in values("ErrorReason")}
    statuses = "NOT_FOUND|ALREADY_EXISTS|ABORTED|OUT_OF_RANGE|FAILED_PRECONDITION|INVALID_ARGUMENT"
    statuses += "|RESOURCE_EXHAUSTED|PERMISSION_DENIED|UNAVAILABLE"
    prose = re.sub(r"\n *// *", " ", text_of_all())
    named = set(re.findall(rf"\b(?:{statuses})[:,] ([A-Z]+(?:_[A-Z]+)+)", prose))
    assert named
    assert named <= known


def test_error_reasons_are_lawful() -> None:
    numbers = values("ErrorReason")
    assert len(set(numbers.values())) == len(numbers)
    # AIP-193 and google.rpc.ErrorInfo.
    wrong = [
        word
        for word in numbers
        if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,61}[A-Z0-9]", word.removeprefix("ERROR_REASON_"))
    ]
    assert not wrong
