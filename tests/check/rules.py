# SPDX-License-Identifier: Apache-2.0
"""What no tool checks for us: licences, the layout, white space."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from check.tree import CHECKOUT, files, first_line, head

FOLDERS = {"graftd", "proto", "kmod", "clients", "packaging", "tests"}

# Files that are text to read, data, or a licence themselves.
_NO_LICENCE_LINE = (
    ".md",
    ".txt",
    ".json",
    ".conflist",
    "go.sum",
    ".gitignore",
    "LICENSE",
    "COPYING",
    "py.typed",
    "source/format",
)
_UAPI = "GPL-2.0 WITH Linux-syscall-note"


def licence(name: str) -> str:
    """Return the licence that a source file's SPDX line has to name."""
    if name.startswith("kmod/uapi/"):
        return _UAPI
    return "GPL-2.0" if name.startswith("kmod/") else "Apache-2.0"


def spdx() -> Iterator[str]:
    """Yield a sentence for each source file whose SPDX line is missing or names another licence."""
    for name in files():
        if name.endswith(_NO_LICENCE_LINE):
            continue
        lines = [line for line in head(name).splitlines()[:3] if "SPDX-License-Identifier:" in line]
        if not lines:
            yield f"{name}: its first lines have no SPDX-License-Identifier; it should be {licence(name)}"
            continue
        found = lines[0].partition("SPDX-License-Identifier:")[2].removesuffix("*/").strip()
        if found not in _allowed(name):
            yield f"{name}: its licence is {found}; it should be {licence(name)}"


def _allowed(name: str) -> tuple[str, ...]:
    # The kernel's specs of netlink families may be taken under BSD terms as well.
    if name.startswith("kmod/spec/"):
        return ("GPL-2.0", "((GPL-2.0 WITH Linux-syscall-note) OR BSD-3-Clause)")
    # A kernel's configuration goes with the kernel.
    if name.endswith(".config"):
        return ("GPL-2.0",)
    return (licence(name),)


def layout() -> Iterator[str]:
    """Yield a sentence for each top-level folder too many, and each missing page."""
    found = {name.split("/")[0] for name in files() if "/" in name and not name.startswith(".")}
    for folder in sorted(found - FOLDERS):
        yield f"{folder}/: the top level holds the folders {', '.join(sorted(FOLDERS))}, and no others"
    for folder in sorted(FOLDERS):
        if not (CHECKOUT / folder / "README.md").exists():
            yield f"{folder}/README.md is missing: each folder has a page that says what lives there"


def executables() -> Iterator[str]:
    """Yield a sentence for each script without its executable bit, and each executable without an interpreter."""
    for name in files():
        can_run = bool((CHECKOUT / name).stat().st_mode & 0o100)
        script = first_line(name).startswith("#!")
        if script and not can_run:
            yield f"{name}: it starts with #! and cannot be executed; chmod +x it"
        elif can_run and not script:
            yield f"{name}: it can be executed and does not start with #!; chmod -x it"


def white_space() -> Iterator[str]:
    """Yield git's own complaints about white space in all tracked files."""
    git = ["git", "-c", "safe.directory=*", "-C", str(CHECKOUT)]
    empty = subprocess.run(
        [*git, "hash-object", "-t", "tree", "/dev/null"], stdout=subprocess.PIPE, text=True, check=True
    ).stdout.strip()
    excluded = [":!*COPYING", ":!LICENSE", ":!*.patch"]
    done = subprocess.run(
        [*git, "diff", "--check", empty, "--", ".", *excluded], stdout=subprocess.PIPE, text=True, check=False
    )
    yield from (line for line in done.stdout.splitlines() if not line.startswith("+"))
