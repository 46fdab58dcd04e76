# SPDX-License-Identifier: Apache-2.0
"""The lab's cache builds each thing once, under a key of all that went into it."""

import os
import threading
import time
from pathlib import Path

import pytest

from lab.graftlab.cache import Cache, default_root, files_key, recipe_key
from lab.graftlab.roots import guest_recipe, tools_recipe
from lab.graftlab.suites import SUITES


def test_key_ignores_the_order_of_names_and_nothing_else() -> None:
    assert recipe_key({"a": 1, "b": [1, 2]}) == recipe_key({"b": [1, 2], "a": 1})
    assert recipe_key({"a": 1, "b": [1, 2]}) != recipe_key({"a": 1, "b": [2, 1]})


def test_roots_of_different_releases_have_different_keys() -> None:
    recipes = [guest_recipe(suite.release) for suite in SUITES.values()] + [tools_recipe()]
    assert len({recipe.key() for recipe in recipes}) == 3  # bookworm, trixie for two suites, the tools


@pytest.mark.parametrize("change", ["content", "name", "mode", "link"])
def test_files_key_changes_with(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_text("one")
    before = files_key(tmp_path, [path])
    if change == "content":
        path.write_text("two")
    elif change == "name":
        path = path.rename(tmp_path / "b")
    elif change == "mode":
        path.chmod(0o755)
    else:
        path.unlink()
        path.symlink_to("one")
    assert files_key(tmp_path, [path]) != before


def test_files_key_does_not_change_with_time_or_place(tmp_path: Path) -> None:
    keys = set()
    for place in ("here", "there"):
        path = tmp_path / place / "sub" / "a"
        path.parent.mkdir(parents=True)
        path.write_text("one")
        os.utime(path, (len(place), len(place)))
        keys.add(files_key(tmp_path / place, [path]))
    assert len(keys) == 1


def test_an_entry_is_built_once_and_found_later(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    first = cache.get("kind", "name", "k1", lambda path: path.write_text("built"))
    second = cache.get("kind", "name", "k1", lambda path: pytest.fail(f"{path} was built again"))
    assert first == second
    assert first.read_text() == "built"


def test_side_by_side_builds_of_one_entry_are_one_build(tmp_path: Path) -> None:
    built = []

    def build(path: Path) -> None:
        time.sleep(0.1)
        built.append(path)
        path.write_text("x")

    threads = [threading.Thread(target=lambda: Cache(tmp_path).get("kind", "name", "k", build)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_a_failed_build_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def fail(path: Path) -> None:
        path.mkdir()
        (path / "half").write_text("done")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        cache.get("kind", "name", "k", fail)
    assert not list(cache.entries())
    assert not list((tmp_path / "unfinished").iterdir())
    cache.get("kind", "name", "k", lambda path: path.mkdir())
    assert [(entry.kind, entry.name, entry.key) for entry in cache.entries()] == [("kind", "name", "k")]


def test_a_new_entry_removes_those_of_its_name_that_a_day_has_not_used(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name, key in (("a", "old"), ("a", "recent"), ("b", "old")):
        cache.get("kind", name, key, lambda path: path.write_text(""))
    two_days_ago = time.time() - 48 * 3600
    for name in ("a@old", "b@old"):
        os.utime(tmp_path / "kind" / name, (two_days_ago, two_days_ago))
    cache.get("kind", "a", "new", lambda path: path.write_text(""))
    assert sorted(path.name for path in (tmp_path / "kind").iterdir()) == ["a@new", "a@recent", "b@old"]


def test_use_keeps_an_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    path = cache.get("kind", "a", "old", lambda path: path.write_text(""))
    os.utime(path, (0, 0))
    cache.get("kind", "a", "old", lambda path: path.write_text(""))
    cache.get("kind", "a", "new", lambda path: path.write_text(""))
    assert path.exists()


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRAFT_LAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "graft-lab"
    monkeypatch.setenv("GRAFT_LAB_CACHE", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
