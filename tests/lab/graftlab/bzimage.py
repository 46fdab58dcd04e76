# SPDX-License-Identifier: Apache-2.0
"""Unpacking a bzImage: QEMU starts the kernel inside directly, two seconds sooner than its own unpacker.

The header is described in the kernel's Documentation/arch/x86/boot.rst. A kernel that is started so is not
moved to a random address, which also makes its traces comparable.
"""

from __future__ import annotations

import lzma
import struct
import subprocess

from .errors import LabError

_SECTOR = 512
_XZ = b"\xfd7zXZ\0"
_ZSTD = b"\x28\xb5\x2f\xfd"
# The kernel's build appends the unpacked size to the payload.
_SIZE_BYTES = 4


def vmlinux(image: bytes) -> bytes:
    """Return the ELF kernel in a bzImage. Raises LabError where it is no bzImage or packed in another way."""
    if image[0x202:0x206] != b"HdrS":
        raise LabError("the kernel's image is no bzImage")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * _SECTOR + offset
    payload = image[start : start + length]
    if payload.startswith(_XZ):
        unpacked = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(_ZSTD):
        command = ["zstd", "-dcq"]
        unpacked = subprocess.run(command, input=payload[:-_SIZE_BYTES], capture_output=True, check=True).stdout
    else:
        raise LabError("the kernel's image is packed with neither xz nor zstd")
    if unpacked[:4] != b"\x7fELF":
        raise LabError("the kernel's image holds no ELF file")
    return unpacked
