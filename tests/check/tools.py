# SPDX-License-Identifier: Apache-2.0
"""The tools: how each is called on which files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence

from check.toolbox import CHECKPATCH, Toolbox
from check.tree import CHECKOUT, c_files, files, first_line, shell_scripts
from lab.graftlab.cache import Cache, default_root
from lab.graftlab.errors import LabError
from lab.graftlab.golang import Go
from lab.graftlab.tree import Tree

# How much of a unit systemd may find open, in tenths of its scale to 10. Programs are loaded as root.
_EXPOSURE = {"graftd.service": 20, "graft-transparent.service": 21}
_VENV = CHECKOUT / ".venv" / "bin"
_CHECKPATCH = ("perl", CHECKPATCH, "--no-tree", "--strict", "--terse", "--no-summary", "--show-types", "-f")
# Out of the kernel's tree there is no MAINTAINERS to update; the rest of what is off has its reason beside it.
_CHECKPATCH_OFF = (
    "FILE_PATH_CHANGES",
    "MACRO_ARG_REUSE",  # asks about macros that iterate
    "LINUX_VERSION_CODE",  # kmod/compat is the home of version checks, and nothing else has one
    "CONSTANT_COMPARISON",  # takes those checks for comparisons of a constant
    "COMPLEX_MACRO",  # takes compat's lists of parameters for expressions
    "FUNCTION_ARGUMENTS",  # likewise
    "CONST_STRUCT",  # tables of operations are copied from the kernel's and filled in at load
    "UNCOMMENTED_DEFINITION",  # kernel-doc above the structure says what a lock guards
    "LONG_LINE_STRING",  # a sentence for the user is not broken
    "OPEN_ENDED_LINE",  # TRACE_EVENT is written so everywhere
    "PARENTHESIS_ALIGNMENT",  # likewise
)
_CHECKPATCH_OFF_BPF = ("VOLATILE",)  # how a program says that its loader sets a constant
_CONTRACT = "proto/contract.txtpb"
_SPARSE = """
for build in /lib/modules/*/build /usr/src/linux-headers-*-amd64; do [ -d "$build" ] && break; done
make -s -C "$build" M=/mnt/kmod C=2 CF=-Wsparse-error modules
"""
# groff warns and ends well.
_MANUAL_PAGES = """
mandoc -T lint -W warning "$@"
for page; do groff -man -T utf8 -ww -z "$page" 2>&1; done | sed 's/^/groff: /' >/tmp/warnings
cat /tmp/warnings
[ ! -s /tmp/warnings ]
"""


def python_files() -> list[str]:
    """Return the Python files, those without a suffix among them."""
    return [name for name in files() if name.endswith(".py") or "python" in first_line(name)]


def ruff_format() -> Iterator[str]:
    """Yield what ruff would format otherwise."""
    yield from _host([str(_VENV / "ruff"), "format", "--quiet", "--diff", *python_files()])


def ruff() -> Iterator[str]:
    """Yield ruff's complaints."""
    yield from _host([str(_VENV / "ruff"), "check", "--quiet", "--output-format", "concise", *python_files()])


def mypy() -> Iterator[str]:
    """Yield mypy's complaints; the configuration says strict."""
    modules = [name for name in files() if name.endswith(".py")]
    yield from _host([str(_VENV / "mypy"), "--no-error-summary", *modules])


def clang_format(toolbox: Toolbox) -> Iterator[str]:
    """Yield what clang-format would format otherwise outside kmod."""
    found = c_files("clients/", "packaging/", "tests/")
    yield from _inside(toolbox, ["clang-format", "--dry-run", "--Werror", *found] if found else [])


def checkpatch(toolbox: Toolbox) -> Iterator[str]:
    """Yield checkpatch's complaints about kmod."""
    bpf = c_files("kmod/bpf/")
    module = [name for name in c_files("kmod/") if name not in bpf]
    for found, off in ((module, _CHECKPATCH_OFF), (bpf, (*_CHECKPATCH_OFF, *_CHECKPATCH_OFF_BPF))):
        ignored = ["--ignore", ",".join(off)]
        yield from _inside(toolbox, [*_CHECKPATCH[:-1], *ignored, _CHECKPATCH[-1], *found] if found else [])


def sparse(toolbox: Toolbox) -> Iterator[str]:
    """Yield sparse's complaints about kmod."""
    yield from _inside(toolbox, ["sh", "-ec", _SPARSE] if c_files("kmod/") else [])


def shellcheck(toolbox: Toolbox) -> Iterator[str]:
    """Yield shellcheck's complaints."""
    yield from _inside(toolbox, ["shellcheck", "--format", "gcc", *shell_scripts()])


def manual_pages(toolbox: Toolbox) -> Iterator[str]:
    """Yield what mandoc and groff say of the manual pages."""
    yield from _built("man", toolbox, ["sh", "-ec", _MANUAL_PAGES, "sh"], "")


def completion(toolbox: Toolbox) -> Iterator[str]:
    """Yield shellcheck's complaints about what makes bash complete the commands."""
    yield from _built("completion", toolbox, ["shellcheck", "--format", "gcc", "--shell", "bash"], "bash-completion")


def _built(target: str, toolbox: Toolbox, command: Sequence[str], folder: str) -> Iterator[str]:
    """Make ``target``, and run ``command`` on the files that it made below ``folder``."""
    complaints = list(_host(["make", "-s", target]))
    yield from complaints
    if not complaints:
        below = CHECKOUT / "build" / target / folder
        made = [str(path.relative_to(CHECKOUT)) for path in sorted(below.rglob("*")) if path.is_file()]
        yield from _complaints(toolbox.run([*command, *made], *made))


def sandbox(toolbox: Toolbox) -> Iterator[str]:
    """Yield systemd's list of what a unit leaves open, where that is more than is allowed."""
    for unit, most in _EXPOSURE.items():
        analyze = ["systemd-analyze", "security", "--no-pager", "--offline=true", f"--threshold={most}"]
        yield from _inside(toolbox, [*analyze, f"./packaging/systemd/{unit}"])


def go() -> Iterator[str]:
    """Yield what gofmt, vet, staticcheck and go's module commands say of clients/go, and what is not as generated."""
    try:
        Go(Cache(default_root()), Tree(CHECKOUT)).check()
    except LabError as error:
        yield from f"{error.message}\n{error.hint}".strip().splitlines()


def buf_format() -> Iterator[str]:
    """Yield what buf would format otherwise in proto."""
    yield from _buf("format", "--diff", "--exit-code", "proto")


def buf_lint() -> Iterator[str]:
    """Yield buf's complaints about proto; proto/buf.yaml configures it."""
    yield from _buf("lint", "proto")


def buf_breaking() -> Iterator[str]:
    """Yield what clients of the contract that was released last would stumble over."""
    yield from _buf("breaking", "proto", "--against", _CONTRACT)


def _buf(*words: str) -> Iterator[str]:
    if not (_VENV / "buf").exists():
        yield ".venv has no buf: requirements-dev.txt has to lock the package buf-bin, and tests/prepare to run again"
        return
    # buf keeps a cache even where nothing is fetched.
    yield from _host([str(_VENV / "buf"), *words], {"BUF_CACHE_DIR": str(CHECKOUT / "build" / "cache" / "buf")})


def _host(command: Sequence[str], environment: Mapping[str, str] | None = None) -> Iterator[str]:
    done = subprocess.run(
        command,
        cwd=CHECKOUT,
        env=os.environ | (environment or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    yield from _complaints(done)


def _inside(toolbox: Toolbox, command: Sequence[str]) -> Iterator[str]:
    if command:
        yield from _complaints(toolbox.run(command))


def _complaints(done: subprocess.CompletedProcess[str]) -> Iterator[str]:
    """Yield the lines of a tool that failed; a tool that fails without a word complains as well."""
    if done.returncode:
        yield from done.stdout.splitlines() or [f"it failed with status {done.returncode}"]
