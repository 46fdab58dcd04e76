# SPDX-License-Identifier: Apache-2.0
"""What the Go programs are made of decides whether they are made anew, and whose work is in them is told."""

from pathlib import Path

import pytest

from lab.graftlab import golang, roots
from lab.graftlab.cache import Cache
from lab.graftlab.errors import LabError
from lab.graftlab.gocopyright import of_linked
from lab.graftlab.tree import Tree

LISTING = (
    "/mnt/programs/graft-cni: go1.26.11\n\tpath\tgraftd/clients/go/cmd/graft-cni\n\tmod\tgraftd/clients/go\t(devel)\t\n"
    "\tdep\tgithub.com/BurntSushi/toml\tv1.4.1\th1:a=\n\tdep\tgolang.org/x/sys\tv0.48.0\th1:b=\n"
    "\tdep\tgoogle.golang.org/grpc\tv1.85.0\th1:c=\n\tbuild\tCGO_ENABLED=0\n"
)
BSD = "Copyright 2009 The Go Authors.\n\nRedistribution and use in source and binary forms\n\nNeither the name of\n"


@pytest.fixture(name="modules")
def _modules(tmp_path: Path) -> Path:
    for name, text in {
        "github.com/!burnt!sushi/toml@v1.4.1/COPYING": "Permission is hereby granted, free of charge, to any\n",
        "golang.org/x/sys@v0.48.0/LICENSE": BSD,
        "google.golang.org/grpc@v1.85.0/LICENSE": "Apache License\nCopyright [yyyy] [name of copyright owner]\n",
        "google.golang.org/grpc@v1.85.0/NOTICE.txt": "Copyright 2014 gRPC authors.\n\nLicensed as it says.\n",
    }.items():
        path = tmp_path / "modules" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "modules"


def test_every_module_that_is_linked_is_told_of_with_its_terms(modules: Path) -> None:
    go, toml, _, grpc = of_linked(LISTING, modules).split("\n\n")
    assert go.startswith("Files: go1.26.11 (Go's runtime")
    assert " 2009 The Go Authors.\nLicense: BSD-3-Clause\n Copyright 2009 The Go Authors.\n .\n Redist" in go
    assert "the authors of github.com/BurntSushi/toml@v1.4.1\nLicense: Expat\n Permission" in toml
    assert " 2014 gRPC authors.\nLicense: Apache-2.0\nComment:\n Copyright 2014" in grpc
    assert "yyyy" not in grpc


def test_a_licence_that_nobody_read_is_an_error(modules: Path) -> None:
    (modules / "google.golang.org/grpc@v1.85.0/LICENSE").write_text("Ask me.\n")
    with pytest.raises(LabError, match=r"grpc@v1\.85\.0, which is linked into a program, has no licence"):
        of_linked(LISTING, modules)


@pytest.mark.parametrize("listing", ["", LISTING.replace("dep", "pad"), f"{LISTING}\t=>\t./toml\t(devel)\n"])
def test_a_listing_of_another_form_is_an_error(modules: Path, listing: str) -> None:
    with pytest.raises(LabError, match="not listed as expected"):
        of_linked(listing, modules)


@pytest.fixture(name="go")
def _go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> golang.Go:
    checkout = tmp_path / "checkout"
    for name in ("clients/go/go.mod", "clients/go/go.sum", "clients/go/main.go", "kmod/bpf/a.c", "README.md"):
        path = checkout / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("one\n")
    (checkout / "graftd").mkdir()
    (checkout / "graftd/__init__.py").write_text('__version__ = "1.2.3"\n')

    def make(cache: Cache, name: str, recipe: roots.Recipe) -> Path:
        return cache.get("root", name, recipe.key(), Path.mkdir)

    monkeypatch.setattr(roots, "root", make)
    return golang.Go(Cache(tmp_path / "cache"), Tree(checkout))


def _made(go: golang.Go, monkeypatch: pytest.MonkeyPatch, kind: str) -> list[str]:
    """Return what is asked for of the cache, where all of it is there."""
    asked = []

    def get(_cache: Cache, _kind: str, name: str, key: str, _build: object) -> Path:
        asked.append(f"{name}@{key}")
        return Path("/nonexistent") / f"{name}@{key}"

    monkeypatch.setattr(Cache, "get", get)
    getattr(go, kind)()
    return [name for name in asked if name.startswith(kind)]


def test_programs_and_modules_are_made_anew_for_what_they_are_made_of(
    go: golang.Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keys() -> tuple[list[str], list[str]]:
        return _made(go, monkeypatch, "programs"), _made(go, monkeypatch, "modules")

    def change(name: str) -> None:
        (go.tree.path / name).write_text("two\n")

    programs, modules = keys()
    assert programs
    assert modules
    change("README.md")
    assert keys() == (programs, modules)
    change("kmod/bpf/a.c")
    assert keys()[0] != programs
    assert keys()[1] == modules
    programs = keys()[0]
    change("clients/go/main.go")
    assert keys()[0] != programs
    assert keys()[1] == modules
    change("clients/go/go.sum")
    assert keys()[1] != modules


def test_the_version_is_graftds(go: golang.Go, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _made(go, monkeypatch, "programs")
    (go.tree.path / "graftd/__init__.py").write_text('__version__ = "1.2.4"\n')
    assert _made(go, monkeypatch, "programs") != before
    (go.tree.path / "graftd/__init__.py").write_text("")
    with pytest.raises(LabError, match="__version__"):
        go.programs()


def test_a_tree_without_go_has_no_programs(go: golang.Go) -> None:
    assert golang.has_programs(go.tree)
    (go.tree.path / "clients/go/go.mod").unlink()
    assert not golang.has_programs(go.tree)


def test_what_the_linters_say_is_the_error_and_is_not_kept(go: golang.Go, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(1, "main.go:1: no\n"), (1, ""), (0, "")]

    def run(_go: golang.Go, _script: str) -> object:
        status, text = answers.pop(0)
        return type("Done", (), {"returncode": status, "stdout": text})

    monkeypatch.setattr(golang.Go, "run", run)
    with pytest.raises(LabError, match=r"^main.go:1: no$"):
        go.check()
    with pytest.raises(LabError, match="it failed with status 1"):
        go.check()
    go.check()
    go.check()
    assert not answers
