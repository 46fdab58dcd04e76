# SPDX-License-Identifier: Apache-2.0
"""The files that describe the contract, as a client of reflection gets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool

from graft.rpc.v1 import status_pb2


class Files:
    """Every file that graftd knows, and google.rpc's messages that come with an error."""

    def __init__(self) -> None:
        self._pools = (descriptor_pool.Default(), _google_rpc())

    def named(self, name: str) -> list[bytes]:
        """A file and all that it imports, serialized. Raises KeyError."""
        return self._find(lambda pool: pool.FindFileByName(name), name)

    def containing(self, symbol: str) -> list[bytes]:
        """The file of a symbol and all that it imports, serialized. Raises KeyError."""
        return self._find(lambda pool: _containing(pool, symbol), symbol)

    def _find(self, find: Any, name: str) -> list[bytes]:
        for pool in self._pools:
            try:
                return _with_imports(find(pool))
            except KeyError:
                pass
        raise KeyError(name)


def _containing(pool: Any, symbol: str) -> Any:
    try:
        return pool.FindFileContainingSymbol(symbol)
    except KeyError:  # not every pool goes by the names of methods
        service, _, method = symbol.rpartition(".")
        return pool.FindServiceByName(service).methods_by_name[method].containing_service.file


def _with_imports(first: Any) -> list[bytes]:
    seen: dict[str, Any] = {}
    waiting = [first]
    while waiting:
        file = waiting.pop()
        if file.name not in seen:
            seen[file.name] = file
            waiting += file.dependencies
    return [_described(file).SerializeToString() for file in seen.values()]


def _described(file: Any) -> descriptor_pb2.FileDescriptorProto:
    """With the JSON name of each field, which Python's descriptors keep to themselves."""
    made = descriptor_pb2.FileDescriptorProto()
    file.CopyToProto(made)
    _name_fields(made.message_type, file.message_types_by_name)
    return made


def _name_fields(messages: Iterable[Any], described: Mapping[str, Any]) -> None:
    for message in messages:
        own = described[message.name]
        for field in message.field:
            field.json_name = own.fields_by_name[field.name].json_name
        _name_fields(message.nested_type, own.nested_types_by_name)


def _google_rpc() -> descriptor_pool.DescriptorPool:
    """The details of an error under the names that they travel by. Apart, for a process may have google.rpc's own."""
    file = _described(status_pb2.DESCRIPTOR)
    own = f".{file.package}."
    file.name, file.package = "google/rpc/error_details.proto", "google.rpc"
    del file.dependency[:]  # of Status alone
    details = [message for message in file.message_type if message.name != "Status"]
    del file.message_type[:]
    file.message_type.extend(details)
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(own, ".google.rpc.")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool
