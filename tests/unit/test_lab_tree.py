# SPDX-License-Identifier: Apache-2.0
"""Which files of a checkout the lab takes into a guest."""

import subprocess
from pathlib import Path

import pytest

from lab.graftlab.errors import LabError
from lab.graftlab.tree import Tree


@pytest.fixture(name="checkout")
def _checkout(tmp_path: Path) -> Path:
    base = tmp_path / "checkout"
    for name in ("kmod/Makefile", "kmod/main.c", "kmod/main.o", "kmod/compat/net.h", "docs/page.md", ".gitignore"):
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("*.o\n")
    return base


def _git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(folder), *words], check=True, capture_output=True)


def _names(checkout: Path, *below: str) -> list[str]:
    return [str(path.relative_to(checkout)) for path in Tree(checkout).files(*below)]


def test_new_files_count_and_ignored_and_removed_ones_do_not(checkout: Path) -> None:
    _git(checkout, "init", "-q")
    _git(checkout, "add", "-A")
    (checkout / "kmod/new.c").write_text("")
    (checkout / "kmod/main.c").unlink()
    assert _names(checkout, "kmod", "absent") == ["kmod/Makefile", "kmod/compat/net.h", "kmod/new.c"]


def test_without_git_every_file_counts(checkout: Path) -> None:
    assert _names(checkout, "kmod/compat", "kmod/Makefile") == ["kmod/Makefile", "kmod/compat/net.h"]


def test_nothing_asked_for_exists(checkout: Path) -> None:
    assert _names(checkout, "absent") == []


def test_copies_keep_their_places_modes_and_links(checkout: Path, tmp_path: Path) -> None:
    (checkout / "kmod/run").write_text("#!/bin/sh\n")
    (checkout / "kmod/run").chmod(0o755)
    (checkout / "kmod/link").symlink_to("run")
    tree = Tree(checkout)
    tree.copy(tree.files("kmod"), tmp_path / "copy")
    assert (tmp_path / "copy/kmod/run").stat().st_mode & 0o111
    assert (tmp_path / "copy/kmod/link").readlink() == Path("run")
    assert (tmp_path / "copy/kmod/compat/net.h").read_text() == "*.o\n"


def test_a_tree_without_a_makefile_has_no_module(checkout: Path) -> None:
    assert Tree(checkout).has_module()
    (checkout / "kmod/Makefile").unlink()
    assert not Tree(checkout).has_module()


def test_an_error_of_the_lab_says_what_was_wrong_and_what_to_do() -> None:
    error = LabError("the disk is full", "Make room.")
    assert (str(error), error.hint) == ("the disk is full", "Make room.")
