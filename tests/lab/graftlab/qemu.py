# SPDX-License-Identifier: Apache-2.0
"""QEMU: which one to take, whether KVM can be used, and how it is called."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import roots
from .cache import Cache, recipe_key
from .statedisk import SECTOR

# QEMU 7.2, Debian 12's, emulates cmpxchg16b so that kernel 6.12 double-faults in one boot of four.
_OLDEST_MAJOR = 10
# Page tables of five levels make every boot a tenth slower under emulation.
_TCG_CPU = "max,-la57"


@dataclass(frozen=True)
class Share:
    """A folder of the machine that the guest mounts over 9p."""

    tag: str
    folder: Path
    guest_folder: str
    writable: bool


@dataclass(frozen=True)
class Machine:
    """A guest's hardware and what it boots."""

    kernel: Path
    initramfs: Path
    disk: Path
    cpus: int
    memory_mib: int
    icount: bool = False
    shares: tuple[Share, ...] = ()
    append: tuple[str, ...] = ()
    # name of a virtio port -> the descriptor of a socket that QEMU inherits
    ports: dict[str, int] = field(default_factory=dict)
    terminal: int | None = None
    # what is written to the disk is kept
    disk_stays: bool = False
    # the descriptor of a socket behind which the state disk is served over NBD
    state: int | None = None
    console: Path = Path("/dev/null")


def find(cache: Cache) -> list[str]:
    """Return the start of QEMU's command line: the machine's own QEMU, or the lab's where that is too old."""
    own = shutil.which("qemu-system-x86_64")
    if own and _major(own) >= _OLDEST_MAJOR:
        return [own]
    # A program of another release runs on this machine when its own loader and libraries are named.
    tools = roots.root(cache, "tools", roots.tools_recipe())
    return [
        str(tools / "usr/lib64/ld-linux-x86-64.so.2"),
        "--library-path",
        str(tools / "usr/lib/x86_64-linux-gnu"),
        "--argv0",
        "qemu-system-x86_64",
        str(tools / "usr/bin/qemu-system-x86_64"),
        "-L",
        str(tools / "usr/share/qemu"),
        "-L",
        str(tools / "usr/share/seabios"),
    ]


def kvm_works(cache: Cache, qemu: Sequence[str]) -> bool:
    """Tell whether KVM really runs a program here; that /dev/kvm can be opened says little.

    The answer is kept until the machine starts anew.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()

    def probe(path: Path) -> None:
        path.write_text("yes" if _kvm_probe(qemu) else "no")

    return cache.get("kvm", "works", recipe_key([boot, list(qemu)]), probe).read_text() == "yes"


def _kvm_probe(qemu: Sequence[str]) -> bool:
    # A firmware of three instructions: mov $42,%al; out %al,$0xf4; hlt. The device at port 0xf4 ends QEMU
    # with the status 2 * 42 + 1.
    firmware = bytearray(b"\xf4" * 0x10000)
    firmware[0xFFF0:0xFFF4] = b"\xb0\x2a\xe6\xf4"
    with tempfile.NamedTemporaryFile(prefix="graft-lab.") as file:
        file.write(firmware)
        file.flush()
        command = [*qemu, "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35", "-m", "64M"]
        command += ["-accel", "kvm", "-cpu", "host", "-bios", file.name]
        command += ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=5, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 2 * 42 + 1


def arguments(machine: Machine, *, kvm: bool) -> list[str]:
    """Return QEMU's arguments for ``machine``; with ``icount`` its clock counts instructions."""
    found = ["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"]
    found += ["-machine", "q35,usb=off,sata=off,smbus=off", "-m", f"{machine.memory_mib}M"]
    found += _processor(machine, kvm=kvm)
    # A firmware that does nothing but start the kernel saves a second.
    found += ["-bios", "qboot.rom"]
    found += ["-kernel", str(machine.kernel), "-initrd", str(machine.initramfs)]
    found += ["-append", " ".join(_kernel_arguments(machine))]
    snapshot = "off" if machine.disk_stays else "on"
    found += ["-drive", f"file={_escape(machine.disk)},if=none,id=root,format=raw,snapshot={snapshot},cache=unsafe"]
    found += ["-device", "virtio-blk-pci,drive=root"]
    found += ["-chardev", f"file,id=console,path={_escape(machine.console)}", "-serial", "chardev:console"]
    found += ["-device", "virtio-serial-pci"]
    if machine.terminal is not None:
        found += [
            "-chardev",
            f"socket,id=terminal,fd={machine.terminal}",
            "-device",
            "virtconsole,chardev=terminal,nr=0",
        ]
    for number, (name, handle) in enumerate(machine.ports.items(), start=1):
        found += ["-chardev", f"socket,id=port{number},fd={handle}"]
        found += ["-device", f"virtserialport,chardev=port{number},name={name},nr={number}"]
    for share in machine.shares:
        access = "security_model=passthrough" if share.writable else "security_model=none,readonly=on"
        local = f"local,id={share.tag},path={_escape(share.folder)},multidevs=remap,{access}"
        found += ["-fsdev", local, "-device", f"virtio-9p-pci,fsdev={share.tag},mount_tag={share.tag}"]
    if machine.state is not None:
        # The guest is told of a cache that it has to flush.
        found += ["-blockdev", f"driver=nbd,node-name=state,server.type=fd,server.str={machine.state}"]
        sizes = f"logical_block_size={SECTOR},physical_block_size={SECTOR}"
        found += ["-device", f"virtio-blk-pci,drive=state,write-cache=on,{sizes}"]
    return found


def _processor(machine: Machine, *, kvm: bool) -> Sequence[str]:
    if machine.icount:
        return ("-accel", "tcg,thread=single", "-cpu", _TCG_CPU, "-smp", "1", "-icount", "shift=0,sleep=off")
    if kvm:
        return ("-accel", "kvm", "-cpu", "host", "-smp", str(machine.cpus))
    return ("-accel", "tcg,thread=multi,tb-size=512", "-cpu", _TCG_CPU, "-smp", str(machine.cpus))


def _kernel_arguments(machine: Machine) -> tuple[str, ...]:
    return (
        "console=ttyS0",
        "panic=-1",  # a panic ends the guest at once instead of at its timeout
        "oops=panic",  # and so does an oops: what runs on after one proves nothing
        "net.ifnames=0",
        "pty.legacy_count=0",  # the debug kernel spends seconds on these 512 devices
        # An emulated processor can stand still for seconds while the machine is busy.
        "watchdog_thresh=60",
        "rcupdate.rcu_cpu_stall_timeout=120",
        *machine.append,
    )


def _escape(path: Path) -> str:
    return str(path).replace(",", ",,")


def _major(program: str) -> int:
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    match = re.search(r"version (\d+)\.", done.stdout)
    return int(match[1]) if match else 0
