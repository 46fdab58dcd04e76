# SPDX-License-Identifier: Apache-2.0
"""The module graft: loading, unloading, and how often it is in use."""

import os
import subprocess
from errno import EAGAIN, EBUSY

from kernelcalls import syscall

_SYS_DELETE_MODULE, _O_NONBLOCK = 176, 0o4000


def is_loaded(name: str = "graft") -> bool:
    return os.path.exists(f"/sys/module/{name}")


def references() -> int:
    """The use count."""
    with open("/sys/module/graft/refcnt") as count:
        return int(count.read())


def unload() -> bool:
    """Unload it; False where the kernel says that it is in use."""
    try:
        syscall(_SYS_DELETE_MODULE, b"graft", _O_NONBLOCK)
    except OSError as error:
        if error.errno not in {EAGAIN, EBUSY}:
            raise
        return False
    return True


def load(name: str = "graft", *parameters: str) -> bool:
    """modprobe; whether it is there afterwards, as a module or built in."""
    done = subprocess.run(["modprobe", name, *parameters], check=False, stderr=subprocess.DEVNULL)
    return done.returncode == 0
