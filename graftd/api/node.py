# SPDX-License-Identifier: Apache-2.0
"""NodeService."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from google.protobuf.duration_pb2 import Duration

from graft.v1 import common_pb2, errors_pb2, node_pb2
from graftd.api import names, pages
from graftd.api.call import Call, Core
from graftd.api.convert import difference, namespace, node, values
from graftd.api.errors import RefusedError, Violations
from graftd.api.hub import Hub
from graftd.api.status import refusal_of
from graftd.errors import StoreError, StoreFullError, StoreReadOnlyError, StoreUnavailableError
from graftd.model import Freeze, Table
from graftd.reconcile import Difference, ModuleState, NodeEvent, ReconcileStatus, ResourceKind
from graftd.store import CopyInfo, View

_TOLD_MAX = 1000
_PIECE = 1 << 20
_MOST_BACKUP = 1 << 32
_SCRATCH = ".transfer-"


class NodeService:
    """See proto/graft/v1/node.proto."""

    def __init__(self, core: Core, hub: Hub, version: str) -> None:
        self._core = core
        self._hub = hub
        self._version = version
        self._started = datetime.now(UTC)

    async def GetVersion(self, request: node_pb2.GetVersionRequest, call: Call) -> node_pb2.GetVersionResponse:
        return node_pb2.GetVersionResponse(version=self._version, api_packages=["graft.v1"])

    async def GetStatus(self, request: node_pb2.GetStatusRequest, call: Call) -> node_pb2.NodeStatus:
        def look() -> node_pb2.NodeStatus:
            engine = self._core.engine
            state, info = engine.module
            conditions = engine.conditions()
            status = node_pb2.NodeStatus(
                state=node_pb2.NODE_STATE_DEGRADED if conditions else node_pb2.NODE_STATE_READY,
                conditions=[
                    node_pb2.Condition(reason=one.reason, message=one.message, since=values.timestamp(one.since))
                    for one in conditions
                ],
                version=self._version,
                start_time=values.timestamp(self._started),
                boot_id=engine.own.boot_id,
                netns_cookie=engine.own.cookie,
                kernel=node.kernel_status(os.uname().release, info, refusing=state is ModuleState.REFUSING),
                reconcile=_reconciled(engine.reconciled, bool(conditions)),
                watchers=len(self._hub),
                transparent=node.transparent_status(engine.transparent()),
            )
            try:
                engine.read(lambda view: self._add_store(view, status))
            except StoreError as error:
                _add_condition(status, error)
            status.store.size_bytes = _size(engine.store.path)
            return status

        return await self._core.run(look)

    def _add_store(self, view: View, status: node_pb2.NodeStatus) -> None:
        namespaces, endpoints, rules, acl_rules = view.counts()
        present = self._core.engine.present()
        status.frozen = view.freeze is not None
        status.freeze_reason = view.freeze.reason if view.freeze is not None else ""
        status.store.CopyFrom(
            node_pb2.StoreStatus(
                revision=view.revision,
                oldest_revision=view.oldest_revision,
                history_id=view.history_id,
                schema_version=view.schema_version,
                namespaces_present=present,
                namespaces_absent=max(namespaces - present, 0),
                endpoints=endpoints,
                rules=rules,
                acl_rules=acl_rules,
            )
        )

    async def Reconcile(self, request: node_pb2.ReconcileRequest, call: Call) -> node_pb2.ReconcileResponse:
        found = Violations()
        name = names.parse_namespace(request.namespace, "namespace", found) if request.namespace else None
        found.check()
        report = await self._core.finish(self._core.engine.reconcile, name, dry_run=request.validate_only)
        return node_pb2.ReconcileResponse(
            repairs=[_difference(one) for one in report.repairs[:_TOLD_MAX]],
            repaired=len(report.repairs),
            failures=[
                node_pb2.ReconcileFailure(
                    name=_name(one.resource.kind, one.resource.namespace, one.resource.id),
                    error_number=one.error.errno,
                    message=one.error.message,
                )
                for one in report.failures[:_TOLD_MAX]
            ],
            failed=len(report.failures),
            revision=report.revision,
        )

    async def Freeze(self, request: node_pb2.FreezeRequest, call: Call) -> node_pb2.FreezeResponse:
        found = Violations()
        freeze: Freeze | None = namespace.read_freeze(request.reason, "reason", found)
        found.check()
        return node_pb2.FreezeResponse(namespaces=await self._core.finish(self._core.engine.freeze, freeze))

    async def Unfreeze(self, request: node_pb2.UnfreezeRequest, call: Call) -> node_pb2.UnfreezeResponse:
        return node_pb2.UnfreezeResponse(namespaces=await self._core.finish(self._core.engine.freeze, None))

    async def ListTables(self, request: node_pb2.ListTablesRequest, call: Call) -> node_pb2.ListTablesResponse:
        found = Violations()
        size = pages.page_size(request.page_size, "page_size", found)
        found.check()
        cursor = call.cursor(request)
        after = int(cursor.after[0]) if cursor else 0
        engine = self._core.engine

        def look() -> node_pb2.ListTablesResponse:
            def told(table: Table) -> bool:
                return table.netns_cookie > after and not (
                    request.unregistered_only and engine.namespace_of(table.netns_cookie)
                )

            tables = sorted((one for one in engine.tables() if told(one)), key=lambda one: one.netns_cookie)
            token = call.token(request, pages.Cursor((tables[size - 1].netns_cookie,), 0)) if len(tables) > size else ""
            page = tables[:size]
            hints = engine.hints([one.netns_cookie for one in page])
            return node_pb2.ListTablesResponse(
                tables=[
                    node.table_message(
                        one, namespace=engine.namespace_of(one.netns_cookie), hints=hints.get(one.netns_cookie, ())
                    )
                    for one in page
                ],
                next_page_token=token,
            )

        return await self._core.run(look)

    async def WatchNode(
        self, request: node_pb2.WatchNodeRequest, call: Call
    ) -> AsyncIterator[node_pb2.WatchNodeResponse]:
        with self._hub.node_events() as stream:
            yield node_pb2.WatchNodeResponse()
            while True:
                events, lost, _ = await stream.next()
                yield node_pb2.WatchNodeResponse(events=events, lost=lost)

    async def Backup(self, request: node_pb2.BackupRequest, call: Call) -> AsyncIterator[node_pb2.BackupResponse]:
        engine = self._core.engine
        with _scratch(engine.store.path.parent) as folder:
            target = folder / "backup"

            def make() -> int:
                engine.store.back_up(target)
                return engine.store.check_copy(target).revision

            revision = await self._core.run(make)
            digest = hashlib.sha256()
            with await asyncio.to_thread(target.open, "rb") as file:
                piece = await asyncio.to_thread(file.read, _PIECE)
                while piece:
                    following = await asyncio.to_thread(file.read, _PIECE)
                    digest.update(piece)
                    yield node_pb2.BackupResponse(
                        data=piece, revision=revision, sha256=b"" if following else digest.digest()
                    )
                    piece, revision = following, 0

    async def Restore(self, requests: AsyncIterator[node_pb2.RestoreRequest], call: Call) -> node_pb2.RestoreResponse:
        engine = self._core.engine
        with _scratch(engine.store.path.parent) as folder:
            source = folder / "restore"
            with await asyncio.to_thread(source.open, "xb") as file:
                only_try = await _receive(requests, file)

            def use() -> CopyInfo:
                return engine.store.check_copy(source) if only_try else engine.restore(source)

            info = await self._core.finish(use)
        return node_pb2.RestoreResponse(revision=info.revision, history_id="" if only_try else info.history_id)


async def _receive(requests: AsyncIterator[node_pb2.RestoreRequest], file: IO[bytes]) -> bool:
    """Write what comes into a file; whether it is only to be tried. Raises RefusedError, BACKUP_DAMAGED."""
    digest = hashlib.sha256()
    only_try, first, size, last = False, True, 0, b""
    async for request in requests:
        if first:
            only_try, first = request.validate_only, False
        if last:
            raise _damaged("pieces came after the one with its checksum")
        size += len(request.data)
        if size > _MOST_BACKUP:
            raise RefusedError(
                errors_pb2.ERROR_REASON_REQUEST_TOO_LARGE,
                f"a backup of more than {_MOST_BACKUP} bytes is none of graftd's",
                limit=_MOST_BACKUP,
            )
        digest.update(request.data)
        await asyncio.to_thread(file.write, request.data)
        last = request.sha256
    if last != digest.digest():
        raise _damaged("its checksum is missing" if not last else "its checksum is another one")
    return only_try


def _damaged(why: str) -> RefusedError:
    return RefusedError(
        errors_pb2.ERROR_REASON_BACKUP_DAMAGED, f"the backup came incomplete or changed ({why}): send it again"
    )


@contextlib.contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """A folder of its own below the store's. Raises a StoreError for what the file system refuses inside."""
    try:
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=folder) as path:
            yield Path(path)
    except OSError as error:
        raise _scratch_failure(folder, error) from error


def _scratch_failure(folder: Path, error: OSError) -> StoreError:
    nothing = f"a copy of the store cannot be kept in {folder} ({error.strerror}), and nothing was changed"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFullError(f"{nothing}: free some space there and repeat the request")
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StoreReadOnlyError(
            f"{nothing}: give the folder to the user that graftd runs as, and mount its file system writable"
        )
    return StoreUnavailableError(
        f"{nothing}: see that the folder is there and that graftd may write files of that size"
    )


def remove_leftovers(folder: Path) -> None:
    """Remove what transfers left behind whose graftd was killed."""
    for left in folder.glob(f"{_SCRATCH}*"):
        shutil.rmtree(left, ignore_errors=True)


def _add_condition(status: node_pb2.NodeStatus, error: StoreError) -> None:
    """The store cannot be read; what else is known is told."""
    refusal = refusal_of(error)
    status.state = node_pb2.NODE_STATE_DEGRADED
    if refusal.word not in {one.reason for one in status.conditions}:
        status.conditions.add(reason=refusal.word, message=refusal.message, since=values.timestamp(datetime.now(UTC)))


def _size(path: Path) -> int:
    total = 0
    for one in (path, path.with_name(f"{path.name}-wal")):
        with contextlib.suppress(OSError):
            total += one.stat().st_size
    return total


def _reconciled(status: ReconcileStatus, degraded: bool) -> node_pb2.ReconcileStatus:  # noqa: FBT001
    if status.failed:
        sync = values.failed(f"the kernel refuses {status.failed} resources")
    elif status.last is None or degraded:
        sync = values.pending("it waits for what the conditions name" if degraded else "none has ended yet")
    else:
        sync = common_pb2.Sync(state=common_pb2.SYNC_STATE_IN_SYNC)
    message = node_pb2.ReconcileStatus(sync=sync, repaired=status.repaired)
    if status.last is not None:
        message.last_time.CopyFrom(values.timestamp(status.last))
        duration = Duration()
        duration.FromTimedelta(status.took)
        message.last_duration.CopyFrom(duration)
    return message


def event_message(event: NodeEvent) -> node_pb2.NodeEvent:
    return node_pb2.NodeEvent(
        time=values.timestamp(event.time),
        kind=values.enum_number(event.kind.value),
        namespace=names.namespace(event.namespace) if event.namespace else "",
        detail=event.detail,
        repairs=[_difference(one) for one in event.repairs[:_TOLD_MAX]],
    )


def _difference(one: Difference) -> common_pb2.Difference:
    name = _name(one.resource.kind, one.resource.namespace, one.resource.id)
    return difference.difference(name, one.kind, one.fields)


def _name(kind: ResourceKind, namespace_id: str, child: str) -> str:
    if kind is ResourceKind.NAMESPACE:
        return names.namespace(namespace_id)
    return f"namespaces/{namespace_id}/{kind.value}/{child}"
