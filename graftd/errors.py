# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, each as a sentence that says what was wrong and what would be right."""


class GraftError(Exception):
    """Anything that graftd or its clients report to a person."""


class KernelError(GraftError):
    """The kernel refused a request.

    errno: positive, see errno(3).
    message: the kernel's own sentence (its extended acknowledgement), or one made for the errno.
    attribute: the request's attribute at fault, outermost first, as in
        ("GRAFT_A_ENDPOINT", "GRAFT_EP_A_PORT_LO"); empty where the kernel names none.
    """

    def __init__(self, errno: int, message: str, attribute: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.errno = errno
        self.message = message
        self.attribute = attribute


class ModuleNotLoadedError(KernelError):
    """The kernel has no netlink family `graft`."""


class NamespaceError(GraftError):
    """A network namespace that was named cannot be opened or entered."""
