# SPDX-License-Identifier: Apache-2.0
"""The module is not built for a kernel that it is not made for, and says so in a sentence."""

import re
import subprocess
from pathlib import Path

import pytest

import graftd

COMPAT = Path(__file__).resolve().parents[2] / "kmod" / "compat" / "compat.h"
_SUPPORTED = ("-DCONFIG_NET_NS",)


def preprocess(folder: Path, version: str, *options: str) -> tuple[int, str]:
    """Preprocess compat.h beside headers of a kernel of that version that are empty but for the version."""
    text = COMPAT.read_text()
    for name in re.findall(r"#include <(.+)>", text):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    major, minor = version.split(".")
    (folder / "linux" / "version.h").write_text(
        "#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))\n"
        f"#define LINUX_VERSION_CODE KERNEL_VERSION({major}, {minor}, 0)\n"
    )
    command = ["gcc", "-E", "-nostdinc", f"-I{folder}", *options, str(COMPAT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.parametrize("version", ["6.1", "6.12", "7.3"])
def test_what_is_tested_is_built(version: str, tmp_path: Path) -> None:
    assert preprocess(tmp_path, version, *_SUPPORTED) == (0, "")


@pytest.mark.parametrize(
    ("version", "options", "sentence"),
    [
        ("6.0", _SUPPORTED, "graft needs Linux 6.1 or later"),
        ("7.4", _SUPPORTED, "graft is tested up to Linux 7.3; make GRAFT_UNTESTED_KERNEL=1 builds it"),
        ("6.12", (), "graft needs a kernel with network namespaces"),
    ],
)
def test_what_is_not_is_refused_with_a_sentence(
    version: str, options: tuple[str, ...], sentence: str, tmp_path: Path
) -> None:
    status, complaints = preprocess(tmp_path, version, *options)
    assert status == 1
    assert sentence in complaints


def test_a_later_kernel_on_request(tmp_path: Path) -> None:
    assert preprocess(tmp_path, "7.4", *_SUPPORTED, "-DGRAFT_UNTESTED_KERNEL") == (0, "")


def test_module_library_and_python_bear_one_version() -> None:
    found = {
        "kmod/graft.h": r'GRAFT_VERSION "(.+)"',
        "clients/preload/Makefile": r"VERSION \?= (.+)",
        "graftd/__init__.py": r'__version__ = "(.+)"',
    }
    root = COMPAT.parents[2]
    versions = {path: re.findall(pattern, (root / path).read_text()) for path, pattern in found.items()}
    assert set(map(tuple, versions.values())) == {(graftd.__version__,)}, versions
