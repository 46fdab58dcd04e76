# SPDX-License-Identifier: Apache-2.0
"""The client: a method for each of graftd's, and iterators over whole lists.

Names of parameters mean the same everywhere: `name` and `parent` are resource names as in `namespaces/web`, `mask` the
paths of an update, `validate_only` asks what would be done without doing it. What each method does, and how it fails,
is in proto/graft/v1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import BinaryIO, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from graft_client import messages as m
from graft_client._errors import GraftdError
from graft_client._target import Tls, resolve
from graft_client._transport import Transport
from graft_client._watch import Batch, Lister, Watch, created

ALL = "namespaces/-"
_PAGE = 1000
_PIECE = 512 << 10
# What moves much data, or waits for much: Apply, Backup, Restore, Reconcile.
_LONG_SECONDS = 300.0
_LIST_TRIES = 10

Page = TypeVar("Page", bound=Message)
Item = TypeVar("Item")
OnAborted = Callable[[int], object]


def connect(target: str | None = None, *, tls: Tls | None = None, timeout: float = 30.0) -> Client:
    """A client of graftd at `target`: `unix:PATH`, or `HOST:PORT` with certificates.

    Without a target it is that of the environment's GRAFTD_TARGET, otherwise the socket in /run/graftd with the most
    rights that this process may use. Nothing is sent yet. `timeout` is what one call may take with all its
    repetitions, in seconds; the calls that move much data have 300.

    Calls that fail because graftd restarts or is not to be reached are repeated, up to five times within their time. A
    change carries a request id, so a repeated one is done once.
    """
    return Client(Transport(resolve(target), tls, timeout))


class Client:
    """What `connect` returns. Several threads may use one."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._call = transport.call

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection, and every call on it."""
        self._transport.close()

    @property
    def target(self) -> str:
        """Where graftd is."""
        return self._transport.target

    # Namespaces

    def get_namespace(self, name: str) -> m.Namespace:
        request = m.GetNamespaceRequest(name=name)
        return self._call(m.Namespace, "NamespaceService/GetNamespace", request)

    def namespaces(
        self,
        *,
        labels: Mapping[str, str] | None = None,
        state: m.NamespaceState = m.NAMESPACE_STATE_UNSPECIFIED,
        full: bool = False,
    ) -> Iterator[m.Namespace]:
        view = m.NAMESPACE_VIEW_FULL if full else m.NAMESPACE_VIEW_BASIC
        request = m.ListNamespacesRequest(page_size=_PAGE, labels=labels, state=state, view=view)
        for page in self._pages(m.ListNamespacesResponse, "NamespaceService/ListNamespaces", request):
            yield from page.namespaces

    def create_namespace(
        self, namespace_id: str, namespace: m.Namespace, *, validate_only: bool = False
    ) -> m.Namespace:
        request = m.CreateNamespaceRequest(namespace_id=namespace_id, namespace=namespace, validate_only=validate_only)
        return self._call(m.Namespace, "NamespaceService/CreateNamespace", request)

    def update_namespace(
        self,
        namespace: m.Namespace,
        mask: Sequence[str] = (),
        *,
        allow_missing: bool = False,
        validate_only: bool = False,
    ) -> m.Namespace:
        request = m.UpdateNamespaceRequest(
            namespace=namespace, update_mask=_mask(mask), allow_missing=allow_missing, validate_only=validate_only
        )
        return self._call(m.Namespace, "NamespaceService/UpdateNamespace", request)

    def delete_namespace(
        self,
        name: str,
        *,
        etag: str = "",
        allow_missing: bool = False,
        force: bool = False,
        abort_sockets: bool = False,
        validate_only: bool = False,
    ) -> m.DeleteNamespaceResponse:
        request = m.DeleteNamespaceRequest(
            name=name,
            etag=etag,
            allow_missing=allow_missing,
            force=force,
            abort_sockets=abort_sockets,
            validate_only=validate_only,
        )
        return self._call(m.DeleteNamespaceResponse, "NamespaceService/DeleteNamespace", request)

    def export_namespace(self, name: str) -> m.ExportNamespaceResponse:
        request = m.ExportNamespaceRequest(name=name)
        return self._call(m.ExportNamespaceResponse, "NamespaceService/ExportNamespace", request)

    def apply_namespace(
        self, request: m.ApplyNamespaceRequest, *, validate_only: bool = False
    ) -> m.ApplyNamespaceResponse:
        """Send `request` as it is, but for `validate_only`: its parts are present or not, and mean it."""
        asked = m.ApplyNamespaceRequest()
        asked.CopyFrom(request)
        asked.validate_only = validate_only
        return self._call(m.ApplyNamespaceResponse, "NamespaceService/ApplyNamespace", asked, timeout=_LONG_SECONDS)

    def import_namespace(
        self, namespace_id: str, namespace: m.Namespace, *, validate_only: bool = False
    ) -> m.ImportNamespaceResponse:
        request = m.ImportNamespaceRequest(namespace_id=namespace_id, namespace=namespace, validate_only=validate_only)
        return self._call(m.ImportNamespaceResponse, "NamespaceService/ImportNamespace", request, timeout=_LONG_SECONDS)

    def freeze_namespace(self, name: str, reason: str = "", *, validate_only: bool = False) -> m.Namespace:
        request = m.FreezeNamespaceRequest(name=name, reason=reason, validate_only=validate_only)
        return self._call(m.Namespace, "NamespaceService/FreezeNamespace", request)

    def unfreeze_namespace(self, name: str, *, validate_only: bool = False) -> m.Namespace:
        request = m.UnfreezeNamespaceRequest(name=name, validate_only=validate_only)
        return self._call(m.Namespace, "NamespaceService/UnfreezeNamespace", request)

    # Endpoints

    def get_endpoint(self, name: str) -> m.Endpoint:
        return self._call(m.Endpoint, "EndpointService/GetEndpoint", m.GetEndpointRequest(name=name))

    def endpoints(
        self, parent: str = ALL, *, labels: Mapping[str, str] | None = None, full: bool = False
    ) -> Iterator[m.Endpoint]:
        view = m.ENDPOINT_VIEW_FULL if full else m.ENDPOINT_VIEW_BASIC
        request = m.ListEndpointsRequest(parent=parent, page_size=_PAGE, labels=labels, view=view)
        for page in self._pages(m.ListEndpointsResponse, "EndpointService/ListEndpoints", request):
            yield from page.endpoints

    def create_endpoint(
        self, parent: str, endpoint_id: str, endpoint: m.Endpoint, *, validate_only: bool = False
    ) -> m.Endpoint:
        request = m.CreateEndpointRequest(
            parent=parent, endpoint_id=endpoint_id, endpoint=endpoint, validate_only=validate_only
        )
        return self._call(m.Endpoint, "EndpointService/CreateEndpoint", request)

    def create_endpoints(
        self, parent: str, endpoints: Mapping[str, m.Endpoint], *, validate_only: bool = False
    ) -> list[m.Endpoint]:
        """Create many, each by its id, all or nothing."""
        parts = [m.CreateEndpointRequest(endpoint_id=one, endpoint=endpoint) for one, endpoint in endpoints.items()]
        request = m.BatchCreateEndpointsRequest(parent=parent, requests=parts, validate_only=validate_only)
        answer = self._call(
            m.BatchCreateEndpointsResponse, "EndpointService/BatchCreateEndpoints", request, timeout=_LONG_SECONDS
        )
        return list(answer.endpoints)

    def update_endpoint(
        self,
        endpoint: m.Endpoint,
        mask: Sequence[str] = (),
        *,
        allow_missing: bool = False,
        abort_sockets: bool = False,
        on_aborted: OnAborted | None = None,
        validate_only: bool = False,
    ) -> m.Endpoint:
        """`on_aborted` is told how many live sockets were ended."""
        request = m.UpdateEndpointRequest(
            endpoint=endpoint,
            update_mask=_mask(mask),
            allow_missing=allow_missing,
            abort_sockets=abort_sockets,
            validate_only=validate_only,
        )
        return self._call(m.Endpoint, "EndpointService/UpdateEndpoint", request, on_aborted=on_aborted)

    def delete_endpoint(
        self,
        name: str,
        *,
        etag: str = "",
        allow_missing: bool = False,
        abort_sockets: bool = False,
        validate_only: bool = False,
    ) -> m.DeleteEndpointResponse:
        request = m.DeleteEndpointRequest(
            name=name,
            etag=etag,
            allow_missing=allow_missing,
            abort_sockets=abort_sockets,
            validate_only=validate_only,
        )
        return self._call(m.DeleteEndpointResponse, "EndpointService/DeleteEndpoint", request)

    # Rules

    def get_rule(self, name: str) -> m.Rule:
        return self._call(m.Rule, "RuleService/GetRule", m.GetRuleRequest(name=name))

    def rules(
        self,
        parent: str = ALL,
        *,
        direction: m.RuleDirection = m.RULE_DIRECTION_UNSPECIFIED,
        endpoint: str = "",
    ) -> Iterator[m.Rule]:
        request = m.ListRulesRequest(parent=parent, page_size=_PAGE, direction=direction, endpoint=endpoint)
        for page in self._pages(m.ListRulesResponse, "RuleService/ListRules", request):
            yield from page.rules

    def create_rule(self, parent: str, rule: m.Rule, rule_id: str = "", *, validate_only: bool = False) -> m.Rule:
        """Without an id graftd makes one up."""
        request = m.CreateRuleRequest(parent=parent, rule_id=rule_id, rule=rule, validate_only=validate_only)
        return self._call(m.Rule, "RuleService/CreateRule", request)

    def update_rule(
        self,
        rule: m.Rule,
        mask: Sequence[str] = (),
        *,
        allow_missing: bool = False,
        validate_only: bool = False,
    ) -> m.Rule:
        request = m.UpdateRuleRequest(
            rule=rule, update_mask=_mask(mask), allow_missing=allow_missing, validate_only=validate_only
        )
        return self._call(m.Rule, "RuleService/UpdateRule", request)

    def delete_rule(
        self, name: str, *, etag: str = "", allow_missing: bool = False, validate_only: bool = False
    ) -> m.DeleteRuleResponse:
        request = m.DeleteRuleRequest(name=name, etag=etag, allow_missing=allow_missing, validate_only=validate_only)
        return self._call(m.DeleteRuleResponse, "RuleService/DeleteRule", request)

    # ACL rules

    def get_acl_rule(self, name: str) -> m.AclRule:
        return self._call(m.AclRule, "AclService/GetAclRule", m.GetAclRuleRequest(name=name))

    def acl_rules(self, parent: str = ALL, *, endpoint: str = "") -> list[m.AclRule]:
        """All at once: an order cannot be read in pieces while it changes. A list that changed is read anew."""
        return [rule for page in self._acl_pages(parent, endpoint) for rule in page.acl_rules]

    def _acl_pages(self, parent: str, endpoint: str = "") -> list[m.ListAclRulesResponse]:
        for attempt in range(_LIST_TRIES):
            request = m.ListAclRulesRequest(parent=parent, page_size=_PAGE, endpoint=endpoint)
            try:
                return list(self._pages(m.ListAclRulesResponse, "AclService/ListAclRules", request))
            except GraftdError as error:
                if error.reason != "LIST_CHANGED" or attempt == _LIST_TRIES - 1:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def create_acl_rule(
        self,
        parent: str,
        acl_rule: m.AclRule,
        acl_rule_id: str = "",
        *,
        index: int = 0,
        abort_sockets: bool = False,
        on_aborted: OnAborted | None = None,
        validate_only: bool = False,
    ) -> m.AclRule:
        """At `index`, counted from 1, or at the end. Without an id graftd makes one up."""
        request = m.CreateAclRuleRequest(
            parent=parent,
            acl_rule_id=acl_rule_id,
            acl_rule=acl_rule,
            index=index,
            abort_sockets=abort_sockets,
            validate_only=validate_only,
        )
        return self._call(m.AclRule, "AclService/CreateAclRule", request, on_aborted=on_aborted)

    def update_acl_rule(
        self,
        acl_rule: m.AclRule,
        mask: Sequence[str] = (),
        *,
        allow_missing: bool = False,
        abort_sockets: bool = False,
        on_aborted: OnAborted | None = None,
        validate_only: bool = False,
    ) -> m.AclRule:
        request = m.UpdateAclRuleRequest(
            acl_rule=acl_rule,
            update_mask=_mask(mask),
            allow_missing=allow_missing,
            abort_sockets=abort_sockets,
            validate_only=validate_only,
        )
        return self._call(m.AclRule, "AclService/UpdateAclRule", request, on_aborted=on_aborted)

    def move_acl_rule(
        self,
        name: str,
        index: int,
        *,
        etag: str = "",
        abort_sockets: bool = False,
        on_aborted: OnAborted | None = None,
        validate_only: bool = False,
    ) -> m.AclRule:
        """To `index`, counted from 1; 0 is the end."""
        request = m.MoveAclRuleRequest(
            name=name, index=index, etag=etag, abort_sockets=abort_sockets, validate_only=validate_only
        )
        return self._call(m.AclRule, "AclService/MoveAclRule", request, on_aborted=on_aborted)

    def delete_acl_rule(
        self,
        name: str,
        *,
        etag: str = "",
        allow_missing: bool = False,
        abort_sockets: bool = False,
        validate_only: bool = False,
    ) -> m.DeleteAclRuleResponse:
        request = m.DeleteAclRuleRequest(
            name=name,
            etag=etag,
            allow_missing=allow_missing,
            abort_sockets=abort_sockets,
            validate_only=validate_only,
        )
        return self._call(m.DeleteAclRuleResponse, "AclService/DeleteAclRule", request)

    # Sockets

    def get_socket(self, name: str) -> m.Socket:
        return self._call(m.Socket, "SocketService/GetSocket", m.GetSocketRequest(name=name))

    def sockets(self, parent: str = ALL, *, endpoint: str = "") -> Iterator[m.Socket]:
        request = m.ListSocketsRequest(parent=parent, page_size=_PAGE, endpoint=endpoint)
        for page in self._pages(m.ListSocketsResponse, "SocketService/ListSockets", request):
            yield from page.sockets

    def watch_sockets(
        self,
        parent: str = ALL,
        *,
        kinds: Sequence[m.SocketEventKind] = (),
        endpoint: str = "",
        recent: int = 0,
        seconds: float | None = None,
    ) -> Iterator[m.WatchSocketsResponse]:
        """Grafts, natives and denials as they happen, after at most `recent` of the past, for ever or for `seconds`.

        These count from the first answer, which is empty and comes as soon as nothing is missed any more. It cannot be
        resumed.
        """
        request = m.WatchSocketsRequest(parent=parent, kinds=kinds, endpoint=endpoint, recent=recent)
        return self._transport.stream(m.WatchSocketsResponse, "SocketService/WatchSockets", request, seconds=seconds)

    def abort_sockets(
        self, parent: str, *, names: Sequence[str] = (), endpoint: str = "", everything: bool = False
    ) -> int:
        """End those named, those of an endpoint, or all; how many that were."""
        request = m.AbortSocketsRequest(parent=parent)
        if endpoint:
            request.endpoint = endpoint
        elif everything:
            request.all = True
        else:
            request.sockets.names.extend(names)
        return self._call(m.AbortSocketsResponse, "SocketService/AbortSockets", request).aborted_sockets

    # The node

    def version(self) -> m.GetVersionResponse:
        return self._call(m.GetVersionResponse, "NodeService/GetVersion", m.GetVersionRequest())

    def status(self) -> m.NodeStatus:
        return self._call(m.NodeStatus, "NodeService/GetStatus", m.GetStatusRequest())

    def reconcile(self, namespace: str = "", *, validate_only: bool = False) -> m.ReconcileResponse:
        """Make the kernel equal to the store now, of one namespace or all."""
        request = m.ReconcileRequest(namespace=namespace, validate_only=validate_only)
        return self._call(m.ReconcileResponse, "NodeService/Reconcile", request, timeout=_LONG_SECONDS)

    def freeze(self, reason: str = "") -> int:
        """Deny new grafts everywhere; in how many namespaces that are present."""
        return self._call(m.FreezeResponse, "NodeService/Freeze", m.FreezeRequest(reason=reason)).namespaces

    def unfreeze(self) -> int:
        """End a freeze of all; how many namespaces that are present stay frozen themselves."""
        return self._call(m.UnfreezeResponse, "NodeService/Unfreeze", m.UnfreezeRequest()).namespaces

    def tables(self, *, unregistered_only: bool = False) -> Iterator[m.Table]:
        request = m.ListTablesRequest(page_size=_PAGE, unregistered_only=unregistered_only)
        for page in self._pages(m.ListTablesResponse, "NodeService/ListTables", request):
            yield from page.tables

    def watch_node(self) -> Iterator[m.WatchNodeResponse]:
        """What happens to the node, as it happens. It cannot be resumed."""
        return self._transport.stream(m.WatchNodeResponse, "NodeService/WatchNode", m.WatchNodeRequest())

    def backup(self, write: Callable[[bytes], object]) -> int:
        """Hand a copy of the store to `write`, in pieces; the revision as of which it is.

        A copy that did not come whole raises GraftdError after pieces were written: keep it only if this returns.
        """
        digest, revision, whole = hashlib.sha256(), 0, b""
        for piece in self._transport.stream(m.BackupResponse, "NodeService/Backup", m.BackupRequest()):
            digest.update(piece.data)
            write(piece.data)
            revision = revision or piece.revision
            whole = piece.sha256 or whole
        if digest.digest() != whole:
            raise GraftdError(
                "the copy did not come whole, its checksum is another than graftd's: try again", status="DATA_LOSS"
            )
        return revision

    def restore(self, file: BinaryIO, *, validate_only: bool = False) -> m.RestoreResponse:
        """Replace the store by a copy that `backup` wrote."""

        def pieces() -> Iterator[m.RestoreRequest]:
            digest = hashlib.sha256()
            while data := file.read(_PIECE):
                digest.update(data)
                yield m.RestoreRequest(data=data, validate_only=validate_only)
            yield m.RestoreRequest(sha256=digest.digest(), validate_only=validate_only)

        return self._transport.send(m.RestoreResponse, "NodeService/Restore", pieces(), _LONG_SECONDS)

    # Watching

    def watch(
        self,
        parent: str = ALL,
        *,
        types: Sequence[m.ResourceType] = (),
        after_revision: int | None = None,
        history_id: str = "",
        initial: bool = False,
        on_break: Callable[[GraftdError], object] | None = None,
    ) -> Iterator[Batch]:
        """Changes of what the store holds, a batch for each revision, for as long as it is asked to.

        It begins with the change after `after_revision`, with the next one, or, `initial`, with everything that there
        is. A stream that breaks is told to `on_break` and asked for again, so nothing is missed while graftd restarts.
        Where the changes since are no longer known, everything is listed anew: see Batch.relisted.
        """
        request = m.WatchRequest(parent=parent, types=types, after_revision=after_revision, history_id=history_id)
        return iter(Watch(self._transport, request, self._listers(parent), initial=initial, on_break=on_break))

    def _listers(self, parent: str) -> dict[m.ResourceType, Lister]:
        def namespaces() -> tuple[list[m.Change], int]:
            request = m.ListNamespacesRequest(page_size=_PAGE)
            pages = list(self._pages(m.ListNamespacesResponse, "NamespaceService/ListNamespaces", request))
            found = [one for page in pages for one in page.namespaces if parent in (ALL, one.name)]
            return created("namespace", found), pages[0].revision

        def endpoints() -> tuple[list[m.Change], int]:
            request = m.ListEndpointsRequest(parent=parent, page_size=_PAGE)
            pages = list(self._pages(m.ListEndpointsResponse, "EndpointService/ListEndpoints", request))
            return created("endpoint", (one for page in pages for one in page.endpoints)), pages[0].revision

        def rules() -> tuple[list[m.Change], int]:
            request = m.ListRulesRequest(parent=parent, page_size=_PAGE)
            pages = list(self._pages(m.ListRulesResponse, "RuleService/ListRules", request))
            return created("rule", (one for page in pages for one in page.rules)), pages[0].revision

        def acl_rules() -> tuple[list[m.Change], int]:
            pages = self._acl_pages(parent)
            return created("acl_rule", (one for page in pages for one in page.acl_rules)), pages[0].revision

        return {
            m.RESOURCE_TYPE_NAMESPACE: namespaces,
            m.RESOURCE_TYPE_ENDPOINT: endpoints,
            m.RESOURCE_TYPE_RULE: rules,
            m.RESOURCE_TYPE_ACL_RULE: acl_rules,
        }

    def _pages(self, answer: type[Page], method: str, request: Message) -> Iterator[Page]:
        while True:
            page = self._call(answer, method, request)
            yield page
            token = page.next_page_token  # type: ignore[attr-defined]
            if not token:
                return
            request.page_token = token  # type: ignore[attr-defined]


def _mask(paths: Iterable[str]) -> FieldMask | None:
    found = list(paths)
    return FieldMask(paths=found) if found else None
