# SPDX-License-Identifier: Apache-2.0
"""What the Makefiles install, and where."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Stands in for a kernel's headers.
KERNEL = """
modules modules_install:
	@echo $@ M=$(M) INSTALL_MOD_PATH=$(INSTALL_MOD_PATH)
kernelrelease:
	@echo 6.1-test
"""


def make(*words: str) -> list[str]:
    """Run make and return the lines that it printed."""
    environment = {"PATH": os.environ["PATH"]}
    command = ["make", "-s", "--no-print-directory", "-C", str(ROOT), *words]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("variables", "root", "index"),
    [
        ((), "", ["depmod 6.1-test"]),
        (("INSTALL_MOD_PATH=/image",), "/image", ["depmod -b /image 6.1-test"]),
        (("DESTDIR=/stage",), "/stage", []),
    ],
)
def test_the_module_goes_where_modprobe_finds_it(
    variables: tuple[str, ...], root: str, index: list[str], tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text(KERNEL)
    printed = make("-C", "kmod", f"KDIR={tmp_path}", "DEPMOD=echo depmod", *variables, "modules_install")
    module = f"M={ROOT / 'kmod'}"
    assert printed[0].split()[:2] == ["modules", module]
    assert printed[1:] == [f"modules_install {module} INSTALL_MOD_PATH={root}", *index]


def test_help_tells_of_installing() -> None:
    assert any(line.split()[0] == "install" for line in make("help"))


def test_tests_are_installed_below_a_relative_folder() -> None:
    guest = ["-n", "DESTDIR=build/stage", "install-tests"]
    lines = [line for line in make(*guest) if "-C tests/guest" in line]
    assert lines
    assert all(f"DESTDIR={ROOT}/build/stage" in line for line in lines)
