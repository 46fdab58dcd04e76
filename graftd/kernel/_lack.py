# SPDX-License-Identifier: Apache-2.0
"""A lack of descriptors or memory, which says nothing of the file that was to be opened."""

import errno

from graftd.errors import KernelError

_LACKING = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def check_lack(error: OSError, what: str) -> None:
    """Raise KernelError where it is one. what: how that one calls the file."""
    if error.errno in _LACKING:
        raise KernelError(error.errno, f"{what} cannot be opened: {error.strerror}") from error
