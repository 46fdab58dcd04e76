# SPDX-License-Identifier: Apache-2.0
"""One 'lab run' or 'lab shell': everything made ready, the guest started, and started again where that is due."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import debugkernel, disk, golang, kernels, qemu, roots, tree
from .cache import Cache
from .cpio import Archive
from .errors import LabError
from .guest import Guest, Outcome, Sink
from .module import module
from .nbd import Server
from .progress import say
from .statedisk import StateDisk
from .suites import DEFAULT_SUITE, SUITES
from .terminal import Terminal
from .verdict import Retry, judge

_GUEST_FILES = Path(__file__).resolve().parent.parent / "guest"
_DEBUG_CONFIG = _GUEST_FILES.parent / "debug.config"
_TREE_FOLDER = "/usr/src/graft"
_SHARE_FOLDER = "/mnt/share"
_RETRIES_FILE = "retries"
_UNITS = "lab/stage/run/systemd/system"
_SERVICE = "usr/lib/systemd/system/graftd.service"
# The console is the kernel's, and nobody logs in there. An empty machine id would enable whatever is installed; what
# a first boot does to caches takes a quarter of a minute.
_SYSTEMD_ARGUMENTS = (
    "systemd.show_status=no",
    "systemd.getty_auto=no",
    "systemd.machine_id=67726166742d6c61622067756573742e",
    "systemd.condition_needs_update=no",
)
# What a guest has no use for, and an emulated boot waits for: a third of it.
_MASKED_UNITS = (
    "systemd-udev-trigger.service",
    "systemd-logind.service",
    "systemd-binfmt.service",
    "getty@tty1.service",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-kernel-config.mount",
    "sys-fs-fuse-connections.mount",
)


@dataclass(frozen=True)
class Request:
    """What the user asked for."""

    suite: str
    kernel: str
    command: tuple[str, ...]
    icount: bool = False
    service: bool = True
    load_module: bool = True
    share: Path | None = None
    state: Path | None = None
    machine: Path | None = None
    timeout: float = 600.0
    cpus: int = 2
    memory_mib: int = 2048
    append: tuple[str, ...] = ()
    shell: bool = False
    verbose: bool = False


@dataclass(frozen=True)
class Prepared:
    """What a guest is started from."""

    qemu: list[str]
    disk: Path
    kernel: kernels.Kernel
    module: Path | None
    stage: Path | None


def prepare_machine(cache: Cache, suite_name: str, path: Path) -> Prepared:
    """Build, or find in the cache, what a machine of this suite needs; its disk is made where it is missing."""
    suite = SUITES[suite_name]
    if suite.name != suite.release.name:
        raise LabError(
            f"a machine boots the kernel of its release, and {suite.name} is another",
            f"Say --suite {suite.release.name}.",
        )
    root = roots.root(cache, f"{suite.release.name}-machine", roots.machine_recipe(suite.release))
    kernel = kernels.stock(cache, root, suite, _GUEST_FILES)
    if not path.exists():
        disk.copy(disk.disk(cache, root), path)
    return Prepared(qemu=qemu.find(cache), disk=path, kernel=kernel, module=None, stage=None)


def prepare(cache: Cache, suite_name: str, kernel_name: str, checkout: tree.Tree) -> Prepared:
    """Build, or find in the cache, all that a guest of this suite and kernel needs."""
    root, kernel = image(cache, suite_name, kernel_name)
    programs = golang.Go(cache, checkout).programs() if golang.has_programs(checkout) else None
    return Prepared(
        qemu=qemu.find(cache),
        disk=disk.disk(cache, root),
        kernel=kernel,
        module=module(cache, checkout, root, kernel) if checkout.has_module() else None,
        stage=tree.stage(cache, checkout, root, programs),
    )


def image(cache: Cache, suite_name: str, kernel_name: str) -> tuple[Path, kernels.Kernel]:
    """Return the root of a suite's release and the kernel that was asked for."""
    suite = SUITES[suite_name]
    if kernel_name == "debug" and suite_name != DEFAULT_SUITE:
        raise LabError(f"the debug kernel is for the suite {DEFAULT_SUITE}, not {suite_name}", "Leave --suite out.")
    root = roots.root(cache, suite.release.image, roots.guest_recipe(suite.release))
    if kernel_name == "debug":
        return root, debugkernel.debug(cache, root, _DEBUG_CONFIG, _GUEST_FILES)
    return root, kernels.stock(cache, root, suite, _GUEST_FILES)


def run(cache: Cache, request: Request, checkout: tree.Tree) -> int:
    """Run the request's command in a guest; return the exit status that the lab ends with."""
    begun = time.monotonic()
    if request.machine:
        prepared = prepare_machine(cache, request.suite, request.machine)
    else:
        prepared = prepare(cache, request.suite, request.kernel, checkout)
    if request.verbose:
        say(f"everything is built ({time.monotonic() - begun:.1f} s)")
    tried: set[Retry] = set()
    while True:
        outcome = _boot(cache, request, prepared, checkout)
        if request.verbose:
            for event, seconds in outcome.seconds.items():
                say(f"{seconds:6.1f} s  {event}")
        verdict = judge(outcome, timeout=request.timeout)
        for line in verdict.console:
            print(line, file=sys.stderr)
        if verdict.sentence:
            say(verdict.sentence)
        if verdict.retry is Retry.NO or verdict.retry in tried:
            return verdict.status
        tried.add(verdict.retry)
        say(f"the guest is started once more (retry number {_count_retry(cache)} with this cache)")


def _boot(cache: Cache, request: Request, prepared: Prepared, checkout: tree.Tree) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="graft-lab.") as name:
        folder = Path(name)
        shares = [qemu.Share("tree", checkout.path, _TREE_FOLDER, writable=False)]
        if request.share:
            shares.append(qemu.Share("share", request.share, _SHARE_FOLDER, writable=True))
        initramfs = folder / "initramfs"
        with open(initramfs, "wb") as target:
            with open(prepared.kernel.initramfs, "rb") as source:
                shutil.copyfileobj(source, target)
            target.write(_run_archive(request, prepared, shares))
        machine = qemu.Machine(
            kernel=prepared.kernel.image,
            initramfs=initramfs,
            disk=prepared.disk,
            disk_stays=request.machine is not None,
            cpus=request.cpus,
            memory_mib=request.memory_mib,
            icount=request.icount,
            shares=tuple(shares),
            append=(*_systemd_arguments(request, prepared), *request.append),
            console=folder / "console",
        )
        kvm = not request.icount and qemu.kvm_works(cache, prepared.qemu)
        with _state(request) as state:
            if request.shell:
                with Terminal() as terminal:
                    guest = Guest(
                        prepared.qemu,
                        machine,
                        kvm=kvm,
                        timeout=request.timeout,
                        sinks={},
                        terminal=terminal.guest_end,
                        state=state,
                    )
                    with terminal.connected():
                        return guest.run()
            sinks = {"lab.stdout": _writer(sys.stdout.fileno()), "lab.stderr": _writer(sys.stderr.fileno())}
            guest = Guest(prepared.qemu, machine, kvm=kvm, timeout=request.timeout, sinks=sinks, state=state)
            with _reset_by_signal(guest):
                return guest.run()


@contextmanager
def _state(request: Request) -> Iterator[socket.socket | None]:
    """The socket of the request's state disk, for one guest; when that has ended, its power is off."""
    if not request.state:
        yield None
        return
    with StateDisk(request.state) as state:
        ours, theirs = socket.socketpair()
        server = Server(state, ours)
        try:
            yield theirs
        finally:
            theirs.close()
            server.wait()
            lost, kept = state.power_off()
            if lost:
                say(f"of the sectors that the guest had not flushed, {lost} are lost and {kept} are not")


@contextmanager
def _reset_by_signal(guest: Guest) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, lambda *_: guest.reset())
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def _with_service(request: Request, prepared: Prepared) -> bool:
    return request.service and prepared.stage is not None and (prepared.stage / _SERVICE).exists()


def _with_systemd(request: Request, prepared: Prepared) -> bool:
    return request.machine is not None or _with_service(request, prepared)


def _systemd_arguments(request: Request, prepared: Prepared) -> tuple[str, ...]:
    if not _with_systemd(request, prepared):
        return ()
    return (*_SYSTEMD_ARGUMENTS, *(["modules_load=graft"] if request.load_module and prepared.module else []))


def _run_archive(request: Request, prepared: Prepared, shares: Sequence[qemu.Share]) -> bytes:
    """Return the part of the initramfs that belongs to one run: the job and the installed tree."""
    archive = Archive()
    archive.file("lab/job/init", (_GUEST_FILES / "init").read_bytes(), 0o755)
    archive.file("lab/job/symbols.awk", (_GUEST_FILES / "symbols.awk").read_bytes())
    archive.file("lab/job/symbols", b"")
    archive.file("lab/job/command", f"exec {shlex.join(request.command)}\n".encode(), 0o644)
    systemd = _with_systemd(request, prepared)
    mounts = []
    for share in shares:
        cache_mode = "cache=none" if share.writable else "cache=loose,ro"
        mounts.append(f"{share.tag}:{share.guest_folder}:{cache_mode}")
    job = {
        "lab_module": "load" if request.load_module and prepared.module else "leave",
        "lab_systemd": "yes" if systemd else "no",
        "lab_service": "yes" if _with_service(request, prepared) else "no",
        "lab_shares": " ".join(mounts),
        "lab_state": "yes" if request.state else "no",
        "lab_shell": "yes" if request.shell else "no",
        "lab_leaks": "yes" if prepared.kernel.debug else "no",
        "lab_folder": _TREE_FOLDER,
    }
    text = "".join(f"{name}={shlex.quote(value)}\n" for name, value in job.items())
    archive.file("lab/job/job", text.encode())
    archive.folder("lab/stage")
    if systemd:
        archive.file(f"{_UNITS}/lab.service", (_GUEST_FILES / "lab.service").read_bytes())
        archive.link(f"{_UNITS}/sysinit.target.wants/lab.service", "../lab.service")
        for name in _MASKED_UNITS:
            archive.link(f"{_UNITS}/{name}", "/dev/null")
    if not request.load_module:
        # The kernel would load it for whoever asks for the netlink family. `modprobe graft` still does.
        archive.file("lab/stage/run/modprobe.d/lab.conf", b"blacklist graft\n")
    if prepared.stage:
        archive.tree("lab/stage", prepared.stage)
    modules_folder = f"lab/stage/usr/lib/modules/{prepared.kernel.version}"
    if prepared.kernel.modules:
        archive.tree(modules_folder, prepared.kernel.modules)
    if prepared.module:
        archive.tree(modules_folder, prepared.module / "installed")
    return archive.finish()


def _writer(handle: int) -> Sink:
    def write(data: bytes) -> None:
        while data:
            data = data[os.write(handle, data) :]

    return write


def _count_retry(cache: Cache) -> int:
    path = cache.root / _RETRIES_FILE
    with cache.lock(_RETRIES_FILE):
        count = int(path.read_text()) + 1 if path.exists() else 1
        path.write_text(f"{count}\n")
    return count
