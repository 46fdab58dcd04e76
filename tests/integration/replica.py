# SPDX-License-Identifier: Apache-2.0
"""A copy of what the store holds, built from one read and kept by a Watch, as a controller would keep it."""

from __future__ import annotations

import random
import threading
from typing import Any

import grpc

from graft.v1 import namespace_pb2, watch_pb2
from integration.api import Api

_ENDS = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.UNKNOWN)


class Replica:
    """Follows one namespace, or, without one, everything from the very first change on.

    It leaves its stream from time to time, and whenever graftd goes, and resumes after the last revision that it has
    whole. `wrong` says what a watcher must never see.
    """

    def __init__(self, target: str, chance: random.Random, namespace: str = "") -> None:
        self.resources: dict[str, Any] = {}  # name -> message; ACL rules are in `acl`
        self.acl: dict[str, list[Any]] = {}  # namespace -> rules, in order
        self.revision = 0
        self.resumed = 0
        self.wrong: list[str] = []
        self._target = target
        self._chance = chance
        self._namespace = namespace
        self._history = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._call: Any = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        if self._call is not None:
            self._call.cancel()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        if self._namespace:
            self._list()
        while not self._stop.is_set() and not self.wrong:
            try:
                with Api(self._target) as api:
                    self._follow(api)
            except grpc.RpcError as error:
                if error.code() not in _ENDS:
                    self.wrong.append(f"the stream ended with {error}")
            self.resumed += 1

    def _list(self) -> None:
        with Api(self._target) as api:
            whole = api.namespaces.ExportNamespace(
                namespace_pb2.ExportNamespaceRequest(name=f"namespaces/{self._namespace}"), wait_for_ready=True
            )
        for one in (whole.namespace, *whole.endpoints.endpoints, *whole.rules.rules):
            self.resources[one.name] = one
        self.acl[self._namespace] = list(whole.acl_rules.acl_rules)
        self.revision = whole.revision

    def _follow(self, api: Api) -> None:
        self._call = api.watch.Watch(
            watch_pb2.WatchRequest(
                parent=f"namespaces/{self._namespace or '-'}",
                after_revision=self.revision,
                history_id=self._history,
            ),
            wait_for_ready=True,
        )
        left = self._chance.randrange(1, 200)
        waiting: list[Any] = []
        for response in self._call:
            self._history = response.history_id
            waiting += response.changes
            if response.fragment:
                continue
            self._take(response.revision, waiting)
            waiting = []
            left -= 1
            if self.wrong or self._stop.is_set() or not left:
                self._call.cancel()
                return

    def _take(self, revision: int, changes: list[Any]) -> None:
        if changes and revision <= self.revision:
            self.wrong.append(f"revision {revision} came after {self.revision}")
        if changes and not self._namespace and revision != self.revision + 1:
            self.wrong.append(f"after revision {self.revision} came {revision}")
        if revision < self.revision:
            self.wrong.append(f"the stream was at {self.revision}, and says {revision}")
        for change in changes:
            self._apply(change)
        self.revision = revision

    def _apply(self, change: Any) -> None:
        kind = change.WhichOneof("resource")
        resource = getattr(change, kind)
        gone = change.kind == watch_pb2.CHANGE_KIND_DELETED
        if kind == "acl_rule":
            rules = self.acl.setdefault(resource.name.split("/")[1], [])
            there = next((one for one in rules if one.name == resource.name), None)
            if there is not None:
                rules.remove(there)
            if not gone:
                rules.insert(resource.index - 1, resource)
        elif gone:
            there = self.resources.pop(resource.name, None)
        else:
            there = self.resources.get(resource.name)
            self.resources[resource.name] = resource
        if (there is None) != (change.kind == watch_pb2.CHANGE_KIND_CREATED):
            self.wrong.append(f"{resource.name} was {watch_pb2.ChangeKind.Name(change.kind)}, and there was {there}")

    def differences(self, namespace: str) -> list[str]:
        """In what it is otherwise than the store, for a namespace."""
        with Api(self._target) as api:
            whole = api.namespaces.ExportNamespace(
                namespace_pb2.ExportNamespaceRequest(name=f"namespaces/{namespace}"), wait_for_ready=True
            )
        there = {one.name: one for one in (whole.namespace, *whole.endpoints.endpoints, *whole.rules.rules)}
        # Copies, for its thread goes on.
        mine = {name: one for name, one in list(self.resources.items()) if name.split("/")[1] == namespace}
        acl = list(self.acl.get(namespace, []))
        found = [
            f"{name} is {mine.get(name)}" for name in {*mine, *there} if _core(mine.get(name)) != _core(there.get(name))
        ]
        if [_core(one) for one in acl] != [_core(one) for one in whole.acl_rules.acl_rules]:
            found.append(f"the ACL is {[one.name for one in acl]}")
        return found


def _core(message: Any) -> bytes | None:
    """Without what changes by itself: how it stands against the kernel, and the index."""
    if message is None:
        return None
    copy = type(message)()
    copy.CopyFrom(message)
    copy.ClearField("sync")
    if hasattr(copy, "index"):
        copy.ClearField("index")
    return bytes(copy.SerializeToString(deterministic=True))
