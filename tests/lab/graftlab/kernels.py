# SPDX-License-Identifier: Apache-2.0
"""Kernels: where a guest's kernel, its modules and its build tree are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import roots
from .bzimage import vmlinux
from .cache import Cache, recipe_key
from .initramfs import base_archive, base_recipe
from .suites import Suite


@dataclass(frozen=True)
class Kernel:
    """One kernel that a guest can boot.

    ``image`` is bootable, ``initramfs`` is the part that belongs to this kernel; ``key`` changes with the
    kernel. Out-of-tree modules are built against ``build``, a folder of the machine, or where that is None
    against the headers in the root. ``modules`` are the kernel's own, with the same rule.
    """

    version: str
    key: str
    image: Path
    initramfs: Path
    build: Path | None = None
    modules: Path | None = None
    debug: bool = False


def stock(cache: Cache, root: Path, suite: Suite, guest_files: Path) -> Kernel:
    """Return the distribution's own kernel of ``suite``, out of its release's root."""
    version = roots.kernel_version(root, suite.kernel)
    key = recipe_key({"root": root.name, "version": version})

    def build(path: Path) -> None:
        path.write_bytes(base_archive(root, guest_files, root / "usr/lib/modules" / version))

    def extract(path: Path) -> None:
        path.write_bytes(vmlinux((root / "boot" / f"vmlinuz-{version}").read_bytes()))

    archive_key = recipe_key({"kernel": key, "how": base_recipe(guest_files)})
    return Kernel(
        version=version,
        key=key,
        image=cache.get("kernel", version, key, extract),
        initramfs=cache.get("initramfs", version, archive_key, build),
    )
