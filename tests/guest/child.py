# SPDX-License-Identifier: Apache-2.0
"""Running a function in a process of its own: with other credentials, namespaces or descriptors than the tests'."""

import ctypes
import os
import pickle
import signal
import struct
import sys
import traceback
from collections.abc import Callable
from typing import Any

from kernelcalls import CLONE_NEWNET, CLONE_NEWUSER, call, syscall

CAP_NET_BIND_SERVICE, CAP_NET_ADMIN, CAP_NET_RAW, CAP_SYS_ADMIN = 10, 12, 13, 21
_LAST_CAP = 40
_SYS_CAPSET = 126
_PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_PDEATHSIG = 4, 23, 24, 1


class Child:
    """A process that runs a function; ``result()`` waits for what it returns, or raises what it raised."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        sys.stdout.flush()
        self._read, write = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(write)
            return
        try:
            call("prctl", _PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)
            answer = (True, function(*arguments))
        except OSError as error:
            answer = (False, OSError(error.errno, f"in the child: {error.strerror}"))
        except BaseException:  # noqa: BLE001 - the parent raises it
            answer = (False, AssertionError(f"in the child:\n{traceback.format_exc()}"))
        with open(write, "wb") as pipe:
            pickle.dump(answer, pipe)
        os._exit(0)

    def result(self) -> Any:
        with open(self._read, "rb") as pipe:
            data = pipe.read()
        _, status = os.waitpid(self.pid, 0)
        assert data, f"the child ended without an answer, status {status:#x}"
        worked, answer = pickle.loads(data)
        if not worked:
            raise answer
        return answer


def run(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run ``function`` in a child and return what it returns, or raise what it raises."""
    return Child(function, *arguments).result()


def keep_capabilities(bounding: set[int], effective: set[int] | None = None) -> None:
    """Give up every capability but these; ``effective`` is also permitted, and is all of ``bounding`` if not given."""
    for capability in range(_LAST_CAP + 1):
        if capability not in bounding and call("prctl", _PR_CAPBSET_READ, capability, 0, 0, 0):
            call("prctl", _PR_CAPBSET_DROP, capability, 0, 0, 0)
    wanted = sum(1 << capability for capability in (bounding if effective is None else effective))
    low, high = wanted & 0xFFFFFFFF, wanted >> 32
    header = ctypes.create_string_buffer(struct.pack("=Ii", 0x20080522, 0))
    syscall(_SYS_CAPSET, header, struct.pack("=6I", low, low, 0, high, high, 0))


def become(uid: int, gid: int, *groups: int) -> None:
    """Become an ordinary user, who still owns its files below /proc."""
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    call("prctl", _PR_SET_DUMPABLE, 1, 0, 0, 0)


def unshare_user(network: bool = False) -> None:
    """As ``unshare -Ur`` (with ``network``: ``-Urn``): root of a new user namespace."""
    uid, gid = os.geteuid(), os.getegid()
    call("unshare", CLONE_NEWUSER | (CLONE_NEWNET if network else 0))
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
