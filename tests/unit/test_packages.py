# SPDX-License-Identifier: Apache-2.0
"""What packages are made of."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from graftd import __version__
from packages.source import Source

ROOT = Path(__file__).resolve().parents[2]


def test_there_is_one_version() -> None:
    assert Source.of_checkout().version == __version__
    for folder in ("clients/go", "clients/preload"):
        assert f"VERSION ?= {__version__}\n" in (ROOT / folder / "Makefile").read_text()


@pytest.mark.parametrize(
    ("kernel", "is_built"),
    [
        *((kernel, True) for kernel in ("6.1.0-56-amd64", "6.12.118+deb13-amd64", "7.0.1", "7.3.4+deb13-amd64")),
        *((kernel, False) for kernel in ("5.10.0-1-amd64", "6.0.19", "7.4.1", "7.30.1", "16.1.0", "8.1.0")),
    ],
)
def test_dkms_builds_for_the_kernels_that_there_are_tests_for(kernel: str, is_built: bool) -> None:
    """Bash reads the pattern as an extended regular expression, as Python reads this one."""
    found = re.search(r'^BUILD_EXCLUSIVE_KERNEL="(.*)"$', (ROOT / "packaging/dkms/dkms.conf").read_text(), re.MULTILINE)
    assert found is not None
    assert bool(re.search(found[1], kernel)) is is_built


def test_every_maintainer_script_leaves_room_for_debhelper() -> None:
    scripts = [path for path in (ROOT / "packaging/deb").iterdir() if path.suffix in (".prerm", ".postrm", ".postinst")]
    assert scripts
    for script in scripts:
        assert script.read_text().startswith("#!/bin/sh\n"), script
        assert "\n#DEBHELPER#\n" in script.read_text(), script


def test_the_installed_configuration_is_what_it_always_was() -> None:
    """Another one would make an upgrade ask, or stop where nobody answers."""
    text = (ROOT / "packaging/etc/graftd.toml").read_bytes()
    assert hashlib.sha256(text).hexdigest() == "c0fd7a7a7f64fc0156e0c60bbd1f66df6896f156af5275b482e96ce24d1b7140"
    assert all(line.startswith(b"#") for line in text.splitlines())
