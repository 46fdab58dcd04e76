# SPDX-License-Identifier: Apache-2.0
"""Installing what a machine lacks: by tests/prepare and by the lab, which may do it at the same time."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from lab.graftlab import host
from lab.graftlab.errors import LabError

PREPARE = Path(__file__).resolve().parents[1] / "prepare"
LOCKED = "E: Could not get lock /var/lib/apt/lists/lock. It is held by process 7 (apt-get)"
# Notes how it was called; its lists are locked the first time, and it installs nothing.
APT = f"""#!/bin/sh
echo "$@" >> "$0.calls"
case "$*" in
*update)
	[ "$(grep -c update "$0.calls")" -gt 1 ] && exit 0
	echo '{LOCKED}' >&2
	exit 100 ;;
*install*)
	echo 'E: no such package' >&2
	exit 100 ;;
esac
"""
TOOLS = (
    "bash",
    "cat",
    "dirname",
    "flock",
    "fish",
    "gcc",
    "git",
    "grep",
    "make",
    "mktemp",
    "musl-gcc",
    "openssl",
    "pkg-config",
    "python3",
    "rm",
    "tail",
    "unshare",
    "zsh",
)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A folder of programs for PATH: an apt-get that plays, a sleep that takes no time, and no zstd."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool, path="/usr/bin:/bin:/usr/local/bin")
        assert found is not None, tool
        (folder / tool).symlink_to(found)
    for name, text in (("apt-get", APT), ("sleep", "#!/bin/sh\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return folder


def calls(path: Path) -> list[str]:
    return [line.split()[-1] for line in (path / "apt-get.calls").read_text().splitlines()]


def test_prepare_installs_what_the_unit_tests_need_and_waits_for_apts_lists(path: Path, tmp_path: Path) -> None:
    copy = tmp_path / "checkout" / "tests" / "prepare"
    copy.parent.mkdir(parents=True)
    shutil.copy(PREPARE, copy)
    done = subprocess.run([copy], env={"PATH": str(path)}, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    if os.geteuid() == 0:
        assert calls(path) == ["update", "update", "zstd"]
        assert done.stderr.splitlines() == [
            "prepare: installing zstd",
            "prepare: apt-get install failed: E: no such package",
        ]
    else:
        assert done.stderr == "prepare: this machine lacks zstd; run this once as root, or: apt-get install zstd\n"


def test_the_lab_waits_for_apts_lists(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setattr(host, "_PAUSE_SECONDS", 0.0)
    host._apt("update")
    assert calls(path) == ["update", "update"]
    with pytest.raises(LabError, match="E: no such package"):
        host._apt("install", "zstd")
    assert calls(path) == ["update", "update", "zstd"]


def test_labs_that_start_side_by_side_install_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {"zstd"}
    installed: list[list[str]] = []
    together = threading.Barrier(4)

    def missing() -> list[str]:
        found = sorted(lacking)
        if threading.current_thread() not in seen:
            seen.add(threading.current_thread())
            together.wait(10)
        return found

    def install(packages: list[str]) -> None:
        installed.append(packages)
        lacking.clear()

    seen: set[threading.Thread] = set()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "_APT_STATE", tmp_path)
    monkeypatch.setattr(host, "missing_packages", missing)
    monkeypatch.setattr(host, "_install", install)
    threads = [threading.Thread(target=host.prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert installed == [["zstd"]]
