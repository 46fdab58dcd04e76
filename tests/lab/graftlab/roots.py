# SPDX-License-Identifier: Apache-2.0
"""Root file systems: how mmdebstrap makes them, and how commands run inside them."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from . import aptconf
from .cache import Cache, recipe_key
from .errors import LabError
from .process import run_isolated, tail
from .progress import Progress
from .suites import GUEST_PACKAGES, KERNEL_PACKAGES, MACHINE_PACKAGES, QUIET_SERVICES, TOOLS_RELEASE, Release

_KERNEL_RECORDS = "usr/lib/graft-lab/kernels"
LATER_KERNEL = "usr/lib/graft-lab/later-kernel"
_DPKG_OPTIONS = (
    "path-exclude=/usr/share/doc/*",
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/locale/*",
    "path-exclude=/usr/lib/firmware/*",
)
# apt as mmdebstrap itself calls it: outside, where the machine's mirror lists, certificates and proxies are, with dpkg
# inside. It writes what dpkg is to read below TMPDIR, which means nothing to dpkg itself.
_INSTALL = (
    'env APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" TMPDIR="$1/tmp" apt-get --yes --no-install-recommends '
    "-o Dir::Bin::dpkg=env -o DPkg::Options::=--unset=TMPDIR -o DPkg::Options::=dpkg "
    '-o DPkg::Chroot-Directory="$1" install'
)


@dataclass(frozen=True)
class Recipe:
    """All that decides what a root holds; its key is the root's key in the cache."""

    release: str
    pockets: tuple[str, ...]
    packages: tuple[str, ...]
    essential_hooks: tuple[str, ...] = ()
    customize_hooks: tuple[str, ...] = ()
    dpkg_options: tuple[str, ...] = _DPKG_OPTIONS

    def key(self) -> str:
        """Return the recipe's key."""
        return recipe_key(vars(self))


def machine_recipe(release: Release) -> Recipe:
    """Return the recipe of the root that machines of ``release`` begin with.

    It has the release's own kernel; the packages of a later one lie in LATER_KERNEL, to be installed by a test.
    """
    recipe = guest_recipe(replace(release, kernels=(release.name,)))
    fetch = (
        'rm -f "$1"/var/cache/apt/archives/*.deb',
        f"{_INSTALL} --download-only {' '.join(release.later)}",
        f'mkdir -p "$1/{LATER_KERNEL}" && mv "$1"/var/cache/apt/archives/*.deb "$1/{LATER_KERNEL}"',
    )
    return replace(recipe, packages=MACHINE_PACKAGES, customize_hooks=(*recipe.customize_hooks, *fetch))


def guest_recipe(release: Release) -> Recipe:
    """Return the recipe of the root that guests of ``release`` are made of."""
    # The lab makes its own small initramfs; Debian's, which takes half a minute, is never booted.
    no_initramfs = (
        'chroot "$1" dpkg-divert --local --rename --add /usr/sbin/update-initramfs && '
        'ln -s /bin/true "$1/usr/sbin/update-initramfs"'
    )
    hooks = [f'mkdir -p "$1/{_KERNEL_RECORDS}"']
    for suite in release.kernels:
        # The release's own kernel may be newer in its security suite; that of another suite is asked for by name.
        release_of = "" if suite == release.name else f"/{suite}"
        wanted = " ".join(f"{package}{release_of}" for package in KERNEL_PACKAGES)
        record = f'"$1/{_KERNEL_RECORDS}/{suite}"'
        version = f"""dpkg-query -f '${{Depends}}' -W {KERNEL_PACKAGES[0]} | grep -o 'linux-image-[^ ,]*' | head -n 1"""
        hooks.append(f"{_INSTALL} {wanted}")
        hooks.append(f"""chroot "$1" {version} | sed 's/^linux-image-//' > {record}""")
    hooks += [f'ln -sf /dev/null "$1/etc/systemd/system/{service}.service"' for service in QUIET_SERVICES]
    hooks += [f'chroot "$1" systemctl disable {unit}' for unit in release.idle]
    # mmdebstrap brings the machine's own; a guest has no network but what its tests make.
    hooks += [
        'echo graft-lab > "$1/etc/hostname"',
        r'printf "127.0.0.1 localhost graft-lab\n::1 localhost\n" > "$1/etc/hosts"',
        ': > "$1/etc/resolv.conf"',
    ]
    return Recipe(
        release=release.name,
        pockets=release.pockets,
        packages=(*GUEST_PACKAGES, *release.more),
        essential_hooks=(no_initramfs,),
        customize_hooks=tuple(hooks),
    )


def tools_recipe() -> Recipe:
    """Return the recipe of the root that holds QEMU for machines whose own is too old."""
    return Recipe(
        release=TOOLS_RELEASE.name,
        pockets=tuple(pocket for pocket in TOOLS_RELEASE.pockets if not pocket.endswith("-backports")),
        packages=("qemu-system-x86", "seabios"),
    )


def root(cache: Cache, name: str, recipe: Recipe) -> Path:
    """Return the root made by ``recipe``, making it first where the cache lacks it."""
    return cache.get("root", name, recipe.key(), lambda path: _mmdebstrap(name, recipe, path))


def kernel_version(root_path: Path, suite: str) -> str:
    """Return the version, as ``uname -r`` gives it, of the kernel that ``suite`` brought."""
    return (root_path / _KERNEL_RECORDS / suite).read_text().strip()


def run_inside(
    root_path: Path,
    work: Path,
    command: Sequence[str],
    *,
    log: Callable[[str], object] = lambda _: None,
    also: Sequence[tuple[Path, str]] = (),
    kept: Sequence[tuple[Path, str]] = (),
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` in a root that it cannot change, with ``work`` writable at /mnt.

    ``also`` names further folders and files, and where they are shown, read-only, inside the root; ``kept`` those that
    the command may write to.
    Each line of its output is passed to ``log`` as it comes.
    """
    script = """
        set -e
        mount --bind "$1" "$1"
        mount -o remount,bind,ro "$1"
        mount --bind "$2" "$1/mnt"
        mount -t tmpfs tmpfs "$1/tmp"
        mount -t tmpfs tmpfs "$1/run"
        mount -t proc proc "$1/proc"
        mount --bind /dev "$1/dev"
        root=$1
        shift 2
        while [ "$1" != -- ]; do
            mount --bind "$2" "$root$3"
            mount -o "remount,bind,$1" "$root$3"
            shift 3
        done
        shift
        exec chroot "$root" env -i HOME=/root LANG=C.UTF-8 PATH=/usr/sbin:/usr/bin:/sbin:/bin \
            sh -c 'cd /mnt && exec "$@"' sh "$@"
    """
    arguments = ["sh", "-c", script, "sh", str(root_path), str(work)]
    for mode, shown in (("ro", also), ("rw", kept)):
        for path, where in shown:
            arguments += [mode, str(path), where]
    return run_isolated([*arguments, "--", *command], log)


def _mmdebstrap(name: str, recipe: Recipe, path: Path) -> None:
    mirrors = aptconf.machine_mirrors()
    command = ["mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory"]
    command += [f"--keyring={aptconf.keyring()}", f"--include={','.join(recipe.packages)}"]
    command += [f"--dpkgopt={option}" for option in recipe.dpkg_options]
    command += [f"--aptopt={option}" for option in aptconf.machine_options()]
    command += ["--aptopt=Apt::Install-Recommends false", '--aptopt=Acquire::Languages "none"']
    command += [f"--essential-hook={hook}" for hook in recipe.essential_hooks]
    command += [f"--customize-hook={hook}" for hook in recipe.customize_hooks]
    command += [recipe.release, str(path), *mirrors.lines(*recipe.pockets)]
    with Progress(f"image {name}") as progress:

        def follow(line: str) -> None:
            if line.startswith("I: ") and not line.startswith("I: /"):
                progress.stage(line[3:].strip().split(": ", 1)[0])
            elif line.startswith(("Unpacking ", "Setting up ")):
                progress.detail(line)

        done = run_isolated(command, follow)
        if done.returncode != 0:
            raise LabError(
                f"the image {name} could not be made: '{shlex.join(command[:4])} ...' ended with:\n{tail(done)}",
                "See that this machine's apt sources reach Debian's archive, then run the lab again.",
            )
