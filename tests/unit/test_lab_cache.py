# SPDX-License-Identifier: Apache-2.0
"""The lab's cache builds each thing once, under a key of all that went into it."""

import os
import threading
import time
from pathlib import Path

import pytest

from lab.graftlab import session
from lab.graftlab.cache import Cache, default_root, files_key, recipe_key
from lab.graftlab.roots import guest_recipe, tools_recipe
from lab.graftlab.suites import SUITES


def test_key_ignores_the_order_of_names_and_nothing_else() -> None:
    assert recipe_key({"a": 1, "b": [1, 2]}) == recipe_key({"b": [1, 2], "a": 1})
    assert recipe_key({"a": 1, "b": [1, 2]}) != recipe_key({"a": 1, "b": [2, 1]})


def test_roots_of_different_releases_have_different_keys() -> None:
    recipes = [guest_recipe(suite.release) for suite in SUITES.values()] + [tools_recipe()]
    assert len({recipe.key() for recipe in recipes}) == 5  # two releases, each with containers as well, and the tools


def test_kernels_are_installed_by_the_machines_apt() -> None:
    for suite in SUITES.values():
        hooks = [hook for hook in guest_recipe(suite.release).customize_hooks if "apt-get" in hook]
        assert len(hooks) == len(suite.release.kernels)
        for hook in hooks:
            assert 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"' in hook
            assert 'DPkg::Chroot-Directory="$1"' in hook
            assert "chroot " not in hook


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


def test_a_build_has_a_place_that_no_other_build_had(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    places = []

    def fail(path: Path) -> None:
        places.append(path)
        raise RuntimeError("killed")

    for _ in range(2):
        with pytest.raises(RuntimeError, match="killed"):
            cache.get("kind", "name", "k", fail)
    assert places[0] != places[1]


def test_what_a_killed_lab_left_goes_with_the_next_build_of_its_name(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for name in ("kind.name@k", "kind.name@k.0123abcd", "kind.other@k.0123abcd"):
        (tmp_path / "unfinished" / name / "half").mkdir(parents=True)
    cache.get("kind", "name", "k2", lambda path: path.mkdir())
    assert [path.name for path in (tmp_path / "unfinished").iterdir()] == ["kind.other@k.0123abcd"]


def _interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(path: Path) -> None:
        next(path.iterdir()).unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", interrupt)


def _folder(path: Path) -> None:
    path.mkdir()
    for name in ("a", "b"):
        (path / name).write_text("")


@pytest.mark.parametrize("by", ["clean", "prune"])
def test_a_half_deleted_entry_is_none(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = Cache(tmp_path)
    path = cache.get("kind", "name", "old", _folder)
    os.utime(path, (0, 0))
    with monkeypatch.context() as patches:
        _interrupted(patches)
        with pytest.raises(KeyboardInterrupt):
            cache.clean() if by == "clean" else cache.get("kind", "name", "new", _folder)
    assert not path.exists()
    assert path not in [entry.path for entry in cache.entries()]
    assert all(entry.kind == "kind" for entry in cache.entries())
    assert len(list((tmp_path / "unfinished").iterdir())) == 1
    cache.clean()
    assert not list((tmp_path / "unfinished").iterdir())
    assert not list(cache.entries())


def test_cleaning_waits_for_a_build_and_keeps_the_locks(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.get("kind", "name", "old", _folder)
    begun, finish = threading.Event(), threading.Event()

    def build(path: Path) -> None:
        begun.set()
        finish.wait(10)
        _folder(path)

    builder = threading.Thread(target=lambda: Cache(tmp_path).get("kind", "name", "new", build))
    builder.start()
    begun.wait(10)
    cleaner = threading.Thread(target=cache.clean)
    cleaner.start()
    cleaner.join(0.2)
    assert cleaner.is_alive()
    finish.set()
    builder.join()
    cleaner.join()
    assert [entry.key for entry in cache.entries()] == ["new"]
    assert (tmp_path / "locks" / "kind.name").exists()


def test_retries_of_labs_side_by_side_are_all_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.read_text

    def slowly(path: Path) -> str:
        text = read(path)
        time.sleep(0.05)
        return text

    (tmp_path / "retries").write_text("1\n")
    monkeypatch.setattr(Path, "read_text", slowly)
    threads = [threading.Thread(target=session._count_retry, args=(Cache(tmp_path),)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(tmp_path / "retries") == "4\n"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GRAFT_LAB_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert default_root() == tmp_path / "xdg" / "graft-lab"
    monkeypatch.setenv("GRAFT_LAB_CACHE", str(tmp_path / "own"))
    assert default_root() == tmp_path / "own"
