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


class ResourceError(GraftError):
    """A request does not go with what the store holds. Nothing of it was done."""


class NotFoundError(ResourceError):
    """A resource that a request names is not there."""


class AlreadyExistsError(ResourceError):
    """A resource that a request is to make is there."""


class IndexRangeError(ResourceError):
    """A place in a list is beyond the list's end."""


class NotEmptyError(ResourceError):
    """A namespace that is to be deleted holds something."""


class EtagMismatchError(ResourceError):
    """A resource was changed since the caller read it."""


class RequestIdReusedError(ResourceError):
    """A request id came with another request before."""


class RevisionGoneError(ResourceError):
    """The log of changes does not reach back, or not on, to a revision.

    revision: the one asked for. oldest, newest: those from which the log can be read.
    """

    def __init__(self, message: str, *, revision: int, oldest: int, newest: int) -> None:
        super().__init__(message)
        self.revision = revision
        self.oldest = oldest
        self.newest = newest


class StoreError(GraftError):
    """The store could not do what it was asked for. What it held before, it holds still."""


class StoreUnavailableError(StoreError):
    """The database cannot be opened, read or written."""


class StoreFullError(StoreError):
    """The disk, or the space that the database may take, is full."""


class StoreReadOnlyError(StoreError):
    """The database can be read and not be written."""


class StoreBusyError(StoreError):
    """Another process held the database for longer than a write waits."""


class StoreDamagedError(StoreError):
    """The database file is no database, or what it holds makes no sense."""


class StoreVersionError(StoreError):
    """The database is a newer graftd's, or another program's."""
