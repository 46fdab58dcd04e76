# SPDX-License-Identifier: Apache-2.0
"""The parts of the lab that make kernels, initramfs and QEMU's command line."""

import lzma
import struct
import subprocess
from pathlib import Path

import pytest

from lab.graftlab.bzimage import vmlinux
from lab.graftlab.cpio import Archive
from lab.graftlab.debugkernel import missing_settings
from lab.graftlab.errors import LabError
from lab.graftlab.initramfs import load_order, module_content
from lab.graftlab.module import warnings
from lab.graftlab.qemu import Machine, Share, arguments

MODULES_DEP = """\
kernel/fs/ext4/ext4.ko.xz: kernel/fs/mbcache.ko.xz kernel/fs/jbd2/jbd2.ko.xz kernel/lib/crc16.ko.xz
kernel/fs/mbcache.ko.xz:
kernel/fs/jbd2/jbd2.ko.xz: kernel/lib/crc16.ko.xz
kernel/lib/crc16.ko.xz:
kernel/drivers/block/virtio_blk.ko.xz:
kernel/net/9p/9pnet_virtio.ko.xz: kernel/net/9p/9pnet.ko.xz
kernel/net/9p/9pnet.ko.xz:
kernel/fs/9p/9p.ko.xz: kernel/net/9p/9pnet.ko.xz
"""
MODULES_BUILTIN = "kernel/drivers/virtio/virtio_pci.ko\nkernel/drivers/char/virtio_console.ko\n"


def test_modules_come_after_what_they_need() -> None:
    order = load_order(MODULES_DEP, MODULES_BUILTIN)
    for line in MODULES_DEP.splitlines():
        module, _, needs = line.partition(":")
        for need in needs.split():
            assert order.index(need) < order.index(module)
    assert len(order) == len(set(order)) == 8


def test_a_kernel_without_a_needed_module_is_refused() -> None:
    with pytest.raises(LabError, match="no module virtio_blk"):
        load_order(MODULES_DEP.replace("virtio_blk", "other"), MODULES_BUILTIN)


def test_module_content_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "a.ko.xz"
    path.write_bytes(lzma.compress(b"ELF"))
    assert module_content(path) == b"ELF"


def test_the_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    base = tmp_path / "base"
    (base / "sub").mkdir(parents=True)
    (base / "sub" / "run").write_bytes(b"#!/bin/sh\n")
    (base / "sub" / "run").chmod(0o755)
    (base / "link").symlink_to("sub/run")
    archive = Archive()
    archive.tree("top", base)
    archive.file("odd", b"12345")
    content = archive.finish()
    entries = _read_newc(content)
    assert entries == {
        "top": (0o040755, b""),
        "top/link": (0o120777, b"sub/run"),
        "top/sub": (0o040755, b""),
        "top/sub/run": (0o100755, b"#!/bin/sh\n"),
        "odd": (0o100644, b"12345"),
    }


def _read_newc(content: bytes) -> dict[str, tuple[int, bytes]]:
    """Read an archive as the kernel's init/initramfs.c does."""
    found: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert content[at : at + 6] == b"070701"
        fields = [int(content[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_length = fields[1], fields[6], fields[11]
        name = content[at + 110 : at + 110 + name_length - 1].decode()
        start = (at + 110 + name_length + 3) & ~3
        at = (start + size + 3) & ~3
        if name == "TRAILER!!!":
            return found
        assert name not in found
        assert "/" not in name or name.rpartition("/")[0] in found
        found[name] = (mode, content[start : start + size])


def _bzimage(payload: bytes) -> bytes:
    header = bytearray(2 * 512 + 64)
    header[0x1F1] = 1
    header[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", header, 0x248, 64, len(payload))
    return bytes(header) + payload + b"rest of the unpacker"


def test_an_xz_kernel_is_unpacked() -> None:
    assert vmlinux(_bzimage(lzma.compress(b"\x7fELF kernel") + b"\x0b\0\0\0")) == b"\x7fELF kernel"


def test_a_zstd_kernel_is_unpacked() -> None:
    packed = subprocess.run(["zstd", "-qc"], input=b"\x7fELF kernel", capture_output=True, check=True).stdout
    assert vmlinux(_bzimage(packed + b"\x0b\0\0\0")) == b"\x7fELF kernel"


@pytest.mark.parametrize(
    ("image", "sentence"),
    [
        (bytes(4096), "no bzImage"),
        (_bzimage(b"BZh9"), "neither xz nor zstd"),
        (_bzimage(lzma.compress(b"text")), "no ELF"),
    ],
)
def test_what_is_no_kernel_is_refused(image: bytes, sentence: str) -> None:
    with pytest.raises(LabError, match=sentence):
        vmlinux(image)


def test_a_setting_that_the_configuration_lost_is_named() -> None:
    fragment = "# why\nCONFIG_A=y\nCONFIG_B=m\n# CONFIG_C is not set\n# CONFIG_D is not set\nCONFIG_E=17\n"
    result = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=y\nCONFIG_E=18\n"
    assert missing_settings(fragment, result) == ["CONFIG_B=m", "# CONFIG_C is not set", "CONFIG_E=17"]


def test_warnings_of_compiler_and_modpost_are_found() -> None:
    log = """\
warning: the compiler differs from the one used to build the kernel
  CC [M]  /mnt/kmod/main.o
/mnt/kmod/main.c:3:5: warning: unused variable 'x' [-Wunused-variable]
WARNING: modpost: missing MODULE_DESCRIPTION() in graft.o
Skipping BTF generation for graft.ko due to unavailability of vmlinux
"""
    assert [line.split(":")[0] for line in warnings(log)] == ["/mnt/kmod/main.c", "WARNING"]


def _machine(**changes: object) -> Machine:
    values = {"kernel": Path("/k"), "initramfs": Path("/i"), "disk": Path("/d"), "cpus": 2, "memory_mib": 512}
    return Machine(**{**values, **changes})  # type: ignore[arg-type]


def test_counting_instructions_means_one_emulated_processor_whatever_kvm_can() -> None:
    found = arguments(_machine(icount=True), kvm=True)
    assert "tcg,thread=single" in found
    assert found[found.index("-smp") + 1] == "1"
    assert found[found.index("-icount") + 1] == "shift=0,sleep=off"


def test_kvm_is_used_where_it_works() -> None:
    assert "kvm" in arguments(_machine(), kvm=True)
    assert "kvm" not in arguments(_machine(), kvm=False)


def test_what_is_written_stays_where_it_is_to() -> None:
    assert "snapshot=on" in " ".join(arguments(_machine(), kvm=False))
    assert "snapshot=off" in " ".join(arguments(_machine(disk_stays=True), kvm=False))


def test_only_a_writable_share_can_be_written_and_commas_are_kept() -> None:
    shares = (
        Share("tree", Path("/a,b"), "/usr/src/graft", writable=False),
        Share("share", Path("/c"), "/mnt/share", writable=True),
    )
    found = " ".join(arguments(_machine(shares=shares), kvm=False))
    assert "id=tree,path=/a,,b,multidevs=remap,security_model=none,readonly=on" in found
    assert "id=share,path=/c,multidevs=remap,security_model=passthrough " in found


LEAK = """\
unreferenced object 0xffff88800a1b2c00 (size 128):
  backtrace (crc 1a2b3c4d):
    [<00000000c0ffee00>] __kmalloc_cache_noprof+0x1a4/0x230
    [<00000000c0ffee01>] 0xffffffffc0201234
    [<00000000c0ffee02>] 0xffffffffc0300000
"""
SYMBOLS = """\
ffffffffc0201000 t graft_bind\t[graft]
ffffffffc0201200 t graft_listen\t[graft]
ffffffffc0201400 t graft_accept\t[graft]
"""


def _symbolize(folder: Path, symbols: str) -> list[str]:
    (folder / "symbols").write_text(symbols)
    (folder / "leaks").write_text(LEAK)
    script = Path(__file__).resolve().parent.parent / "lab/guest/symbols.awk"
    command = ["awk", "-f", str(script), str(folder / "symbols"), str(folder / "leaks")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_addresses_of_a_module_that_is_gone_get_their_names(tmp_path: Path) -> None:
    named = _symbolize(tmp_path, SYMBOLS)
    assert named[3] == LEAK.splitlines()[3] + " graft_listen [graft]"
    assert named[:3] + named[4:] == LEAK.splitlines()[:3] + LEAK.splitlines()[4:]


def test_leaks_are_shown_as_they_are_without_symbols(tmp_path: Path) -> None:
    assert _symbolize(tmp_path, "") == LEAK.splitlines()
