# SPDX-License-Identifier: Apache-2.0
"""The small initramfs that brings a stock kernel to the guest's disk in two seconds of emulated time."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

from .cpio import Archive
from .errors import LabError

# In the order in which they are asked for; each comes after what it depends on. Where a kernel has one of
# them built in, or a later kernel has folded it into its user, there is nothing to load.
_MODULES = (
    "crc32c_generic",
    "virtio_pci",
    "virtio_blk",
    "ext4",
    "virtio_console",
    "9pnet_virtio",
    "9p",
)
_MAY_BE_MISSING = frozenset({"crc32c_generic"})


def base_archive(root: Path, guest_files: Path, module_folder: Path | None) -> bytes:
    """Return the part that depends on the kernel alone: busybox, the modules and the first program.

    ``guest_files`` is the folder with the programs and settings of the guest's first steps.
    ``module_folder`` is the kernel's /lib/modules/VERSION, or None for a kernel that has all built in.
    """
    archive = Archive()
    for name in ("dev", "proc", "sys", "root", "lab/modules"):
        archive.folder(name)
    archive.file("bin/busybox", (root / "usr/bin/busybox").read_bytes(), 0o755)
    archive.file("init", (guest_files / "initramfs-init").read_bytes(), 0o755)
    archive.file("lab/fstab", (guest_files / "fstab").read_bytes())
    order = []
    if module_folder is not None:
        for path in load_order(
            (module_folder / "modules.dep").read_text(), (module_folder / "modules.builtin").read_text()
        ):
            name = f"{module_name(path)}.ko"
            archive.file(f"lab/modules/{name}", module_content(module_folder / path))
            order.append(name)
    archive.file("lab/modules/order", "".join(f"{name}\n" for name in order).encode())
    return archive.finish()


def base_recipe(guest_files: Path) -> list[str]:
    """Return what besides the kernel and the root decides on the archive's content."""
    return [*_MODULES, *((guest_files / name).read_text() for name in ("initramfs-init", "fstab"))]


def load_order(modules_dep: str, modules_builtin: str) -> list[str]:
    """Return the paths of the modules to load, each after those that it depends on.

    The texts are those of modules.dep(5) and modules.builtin(5). Raises LabError for a module that is
    neither there nor built in.
    """
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in modules_dep.splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[module_name(path)] = path
    built_in = {module_name(line) for line in modules_builtin.splitlines()}
    order: list[str] = []

    def visit(path: str) -> None:
        for need in needs[path]:
            visit(need)
        if path not in order:
            order.append(path)

    for name in _MODULES:
        if name in by_name:
            visit(by_name[name])
        elif name not in built_in and name not in _MAY_BE_MISSING:
            raise LabError(f"the kernel has no module {name}", "Build a kernel that has it, or has it built in.")
    return order


def module_name(path: str) -> str:
    """Return a module's name as the kernel spells it, from its file's path."""
    return path.strip().rpartition("/")[2].partition(".")[0].replace("-", "_")


def module_content(path: Path) -> bytes:
    """Return a module's content, uncompressed."""
    if path.suffix == ".xz":
        return lzma.decompress(path.read_bytes())
    if path.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq", str(path)], capture_output=True, check=True).stdout
    return path.read_bytes()
