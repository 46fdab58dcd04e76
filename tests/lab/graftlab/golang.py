# SPDX-License-Identifier: Apache-2.0
"""The Go programs of a tree, and all else that needs Go: in a root of their own, for no machine is asked to have Go.

Modules are fetched once, as this machine's own go would; go.sum says what they have to be. All else runs without a
network.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import goconf, gocopyright, roots
from .cache import Cache, files_key, recipe_key
from .errors import LabError
from .process import tail
from .progress import Progress
from .suites import GO_PACKAGES, GO_PATH, TOOLS_RELEASE
from .tree import Tree

_FOLDER = "clients/go"
# What programs are made of, and what their tests and the generated code are compared with.
_MADE_FROM = (_FOLDER, "kmod/bpf", "kmod/uapi", "packaging/oci", "proto")
_VERSION = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)
_ENVIRONMENT = (
    f"PATH={GO_PATH}:/usr/sbin:/usr/bin:/sbin:/bin",
    *("HOME=/mnt/cache", "GOCACHE=/mnt/cache/go", "STATICCHECK_CACHE=/mnt/cache/staticcheck"),
    *("GOMODCACHE=/mnt/modules", "GOENV=off", "GOTOOLCHAIN=local", "PROTOC=protoc"),
)
# graft-transparent embeds it.
_BPF = """
if [ -e kmod/bpf/Makefile ]; then make -s -C kmod/bpf; fi
"""
# The last fetches what 'go mod tidy' looks at and no build.
_DOWNLOAD = """
go mod download
go mod tidy -diff >/tmp/untidy || true
"""
_BUILD = """
make -C clients/go all "VERSION=$1" O=/mnt/programs
# With it the tests of graft-cni play a runtime.
if tool=$(go -C clients/go list -f '{{.ImportPath}}' tool | grep /cnitool$); then
    go -C clients/go build -trimpath -o /mnt/programs/ "$tool"
fi
# And what the tests of containers run in some, and what plays a kubelet.
for program in web cri; do
    if [ -e clients/go/internal/$program ]; then
        CGO_ENABLED=0 go -C clients/go build -trimpath -ldflags '-s -w' -o /mnt/programs/ ./internal/$program
    fi
done
for program in programs/*; do go version -m "$program" >"linked/${program##*/}"; done
"""
# How names are looked up is the machine's own affair, and told to the root where modules are fetched.
_NAMES = (Path("/etc/resolv.conf"), Path("/etc/hosts"))
_CHECK = "make -s -C clients/go check"
# They are in no package.
_FOR_TESTS = ("cnitool", "cri", "web")


@dataclass(frozen=True)
class Go:
    """Go for a tree that has_programs(). Raises LabError where something cannot be made."""

    cache: Cache
    tree: Tree

    def programs(self, version: str = "") -> Path:
        """Return the folder with the tree's programs, NAME.copyright for what is linked into each, and those for tests.

        They say that they are of ``version``, graftd's own where it is left out.
        """
        version = version or self._version()
        files = self.tree.files(*_MADE_FROM)
        recipe = {"root": self._root().name, "files": files_key(self.tree.path, files), "version": version}

        def build(path: Path) -> None:
            with tempfile.TemporaryDirectory(prefix="graft-go.") as scratch, Progress("Go programs") as progress:
                work = Path(scratch)
                self.tree.copy(files, work)
                for name in ("programs", "linked"):
                    (work / name).mkdir()
                done = self._inside(work, _BUILD, [version], progress.detail)
                if done.returncode:
                    raise LabError(f"the Go programs could not be built:\n{tail(done)}")
                for linked in (work / "linked").iterdir():
                    if linked.name not in _FOR_TESTS:
                        text = gocopyright.of_linked(linked.read_text(), self.modules())
                        (work / "programs" / f"{linked.name}.copyright").write_text(text)
                shutil.copytree(work / "programs", path)

        return self.cache.get("go", "programs", recipe_key([recipe, _BPF, _BUILD, _ENVIRONMENT]), build)

    def run(
        self, script: str, arguments: Sequence[str] = (), log: Callable[[str], object] = lambda _: None
    ) -> subprocess.CompletedProcess[str]:
        """Run ``script``, for sh, beside a copy of what the programs are made of. Of networks it has ``lo`` alone."""
        with tempfile.TemporaryDirectory(prefix="graft-go.") as scratch:
            work = Path(scratch)
            self.tree.copy(self.tree.files(*_MADE_FROM), work)
            return self._inside(work, script, arguments, log)

    def check(self) -> None:
        """Let the linters read what the programs are made of, unless they did so before and had nothing to say.

        Raises LabError with what they say.
        """

        def build(path: Path) -> None:
            done = self.run(_CHECK)
            if done.returncode:
                raise LabError(done.stdout.rstrip() or f"it failed with status {done.returncode}")
            path.touch()

        recipe = [
            self._root().name,
            files_key(self.tree.path, self.tree.files(*_MADE_FROM)),
            _BPF,
            _CHECK,
            _ENVIRONMENT,
        ]
        self.cache.get("go", "checked", recipe_key(recipe), build)

    def modules(self) -> Path:
        """Return the folder of the modules that go.mod names, as go keeps them."""
        locked = [path for path in self.tree.files(_FOLDER) if path.name in {"go.mod", "go.sum"}]
        key = recipe_key([self._root().name, files_key(self.tree.path, locked), _DOWNLOAD])
        return self.cache.get("go", "modules", key, self._download)

    def _inside(
        self, work: Path, script: str, arguments: Sequence[str], log: Callable[[str], object]
    ) -> subprocess.CompletedProcess[str]:
        for name in ("modules", "cache"):
            (work / name).mkdir()
        offline = ["GOPROXY=off", "GOFLAGS=-buildvcs=false"]
        command = [
            "unshare",
            "--net",
            "env",
            *_ENVIRONMENT,
            *offline,
            "sh",
            "-ec",
            f"ip link set lo up\n{_BPF}{script}",
        ]
        return roots.run_inside(
            self._root(),
            work,
            [*command, "sh", *arguments],
            log=log,
            also=[(self.modules(), "/mnt/modules")],
            kept=[(self._build_cache(), "/mnt/cache")],
        )

    def _download(self, path: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="graft-go.") as scratch, Progress("Go modules") as progress:
            work = Path(scratch)
            self.tree.copy(self.tree.files(_FOLDER), work)
            for name in ("modules", "cache"):
                (work / name).mkdir()
            path.mkdir()
            settings = [f"{name}={value}" for name, value in goconf.machine_settings().items()]
            if certificates := goconf.machine_certificates():
                shutil.copy(certificates, work / "certificates")
                settings.append("SSL_CERT_FILE=/mnt/certificates")
            script = f"cd {_FOLDER}\n{_DOWNLOAD}"
            done = roots.run_inside(
                self._root(),
                work,
                ["env", *_ENVIRONMENT, *settings, "GOFLAGS=-modcacherw", "sh", "-ec", script],
                log=progress.detail,
                also=[(file, str(file)) for file in _NAMES if file.exists()],
                kept=[(path, "/mnt/modules")],
            )
            if done.returncode:
                raise LabError(
                    f"the Go modules of {_FOLDER}/go.mod could not be fetched:\n{tail(done)}",
                    "See that this machine reaches a module proxy: the variable GOPROXY, or go's own file, says which.",
                )

    def _root(self) -> Path:
        hooks = tuple(f'rm -f "$1{file}" && : > "$1{file}"' for file in _NAMES)
        recipe = roots.Recipe(TOOLS_RELEASE.name, TOOLS_RELEASE.pockets, GO_PACKAGES, customize_hooks=hooks)
        return roots.root(self.cache, "go", recipe)

    def _build_cache(self) -> Path:
        """Return what go keeps from one build to the next; it knows itself what is out of date."""
        return self.cache.get("go", "build", recipe_key(self._root().name), Path.mkdir)

    def _version(self) -> str:
        found = _VERSION.search((self.tree.path / "graftd" / "__init__.py").read_text())
        if found is None:
            raise LabError(f"graftd/__init__.py has no line like {_VERSION.pattern}")
        return found[1]


def has_programs(tree: Tree) -> bool:
    """Tell whether there are Go programs to build."""
    return (tree.path / _FOLDER / "go.mod").exists()
