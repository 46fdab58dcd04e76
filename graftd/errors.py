# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, each as a sentence that says what was wrong and what would be right."""

from errno import EBUSY


class GraftError(Exception):
    """Anything that graftd or its clients report to a person. index: of a batch, the part that it is about."""

    index: int | None = None


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
    """A resource that a request names is not there.

    kind: "namespace", "endpoint", "rule" or "acl rule". namespace: the one that it is looked for in, or itself.
    id: its own.
    """

    def __init__(self, message: str, *, kind: str = "", namespace: str = "", id_: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.namespace = namespace
        self.id = id_


class TargetNotFoundError(NotFoundError):
    """An endpoint would have a namespace as its target that is not there. record: the endpoint, an EndpointRecord, as
    it would be."""

    def __init__(self, message: str, *, namespace: str, record: object) -> None:
        super().__init__(message, kind="namespace", namespace=namespace, id_=namespace)
        self.record = record


class AlreadyExistsError(ResourceError):
    """A resource that a request is to make is there. kind, namespace, id: as of NotFoundError; empty of a file."""

    def __init__(self, message: str, *, kind: str = "", namespace: str = "", id_: str = "") -> None:
        super().__init__(message)
        self.kind = kind
        self.namespace = namespace
        self.id = id_


class SelectorTakenError(AlreadyExistsError):
    """Another resource has the selector that a request is to give: a namespace, or a rule of the same namespace.
    kind, namespace, id: that one's. wanted_by: the namespace that was to have it."""

    def __init__(
        self, message: str, *, kind: str = "", namespace: str = "", id_: str = "", wanted_by: str = ""
    ) -> None:
        super().__init__(message, kind=kind, namespace=namespace, id_=id_)
        self.wanted_by = wanted_by


class IndexRangeError(ResourceError):
    """A place in a list is beyond the list's end. count: how many the list has."""

    def __init__(self, message: str, *, count: int = 0) -> None:
        super().__init__(message)
        self.count = count


class ImmutableFieldError(ResourceError):
    """An update would change what stays as it was made. field: its name."""

    def __init__(self, message: str, *, field: str) -> None:
        super().__init__(message)
        self.field = field


class OwnTargetError(ResourceError):
    """An endpoint would have the very namespace that it is in as its target."""


class NotEmptyError(ResourceError):
    """A namespace that is to be deleted holds something."""


class NamespaceInUseError(ResourceError):
    """A namespace that is to be deleted is the target of other namespaces' endpoints.

    count: how many those are. example: the namespace and the name of one.
    """

    def __init__(self, message: str, *, count: int, example: tuple[str, str]) -> None:
        super().__init__(message)
        self.count = count
        self.example = example


class EtagMismatchError(ResourceError):
    """A resource was changed since the caller read it. etag: the present one, "" where it is gone."""

    def __init__(self, message: str, *, etag: str = "") -> None:
        super().__init__(message)
        self.etag = etag


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
    """The database file is no database, or what it holds makes no sense. detail: what is wrong, in a few words."""

    def __init__(self, message: str, *, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class BackupDamagedError(StoreError):
    """What is to be restored is no whole copy of a store."""


class StoreVersionError(StoreError):
    """The database is a newer graftd's, or another program's. schema_version: what it has, 0 of another
    program's. supported: the newest that this graftd knows."""

    def __init__(self, message: str, *, schema_version: int = 0, supported: int = 0) -> None:
        super().__init__(message)
        self.schema_version = schema_version
        self.supported = supported


class TablesClaimedError(KernelError):
    """Another process writes the tables. claimant: what it calls itself. pid: its process id, 0 if unknown."""

    def __init__(self, message: str, *, claimant: str, pid: int) -> None:
        super().__init__(EBUSY, message)
        self.claimant = claimant
        self.pid = pid


class StepRefusedError(KernelError):
    """The kernel refused a part of a change, and nothing of the change was kept. namespace, endpoint: what that
    part was about; endpoint "" for something else of the namespace."""

    def __init__(self, error: KernelError, *, namespace: str, endpoint: str = "") -> None:
        super().__init__(error.errno, error.message, error.attribute)
        self.namespace = namespace
        self.endpoint = endpoint


class PlaceError(GraftError):
    """A network namespace is not as a request needs it. namespace: the resource's name."""

    def __init__(self, message: str, *, namespace: str) -> None:
        super().__init__(message)
        self.namespace = namespace


class NamespaceAbsentError(PlaceError):
    """It is not there."""


class SelectorUnresolvedError(PlaceError):
    """A selector finds nothing, or several."""


class NamespaceTakenError(PlaceError):
    """Another resource stands for the same network namespace. other: that one's name."""

    def __init__(self, message: str, *, namespace: str, other: str) -> None:
        super().__init__(message, namespace=namespace)
        self.other = other


class TableNotEmptyError(PlaceError):
    """Its table in the kernel holds what graftd did not put there; how many of each."""

    def __init__(self, message: str, *, namespace: str, endpoints: int, rules: int, acl_rules: int) -> None:
        super().__init__(message, namespace=namespace)
        self.endpoints = endpoints
        self.rules = rules
        self.acl_rules = acl_rules


class NotImportableError(PlaceError):
    """Its table in the kernel holds what cannot be a resource. entry: which."""

    def __init__(self, message: str, *, namespace: str, entry: str) -> None:
        super().__init__(message, namespace=namespace)
        self.entry = entry


class NotOursError(PlaceError):
    """It cannot have a table of graftd's. owner: the cookie of the namespace that writes it, 0 for none."""

    def __init__(self, message: str, *, namespace: str, owner: int = 0) -> None:
        super().__init__(message, namespace=namespace)
        self.owner = owner
