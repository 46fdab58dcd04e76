# SPDX-License-Identifier: Apache-2.0
"""The contract's files as a client of reflection gets them, and reads answers and errors with them."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pb2

from graft.rpc.v1 import status_pb2
from graft.v1 import endpoint_pb2
from graftd.api.described import Files

_FILE = endpoint_pb2.DESCRIPTOR.name


def _parsed(files: list[bytes]) -> dict[str, Any]:
    found = [descriptor_pb2.FileDescriptorProto.FromString(data) for data in files]
    assert len({file.name for file in found}) == len(found)
    return {file.name: file for file in found}


def _json_names(messages: Any, within: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for message in messages:
        found |= {f"{within}{message.name}.{field.name}": field.json_name for field in message.field}
        found |= _json_names(message.nested_type, f"{within}{message.name}.")
    return found


def test_a_file_comes_with_all_that_it_imports() -> None:
    found = _parsed(Files().named(_FILE))
    assert _FILE in found
    assert {needed for file in found.values() for needed in file.dependency} <= set(found)


@pytest.mark.parametrize(
    "symbol",
    [
        "graft.v1.EndpointService",
        "graft.v1.EndpointService.GetEndpoint",
        "graft.v1.Endpoint",
        "graft.v1.Endpoint.LabelsEntry",
    ],
)
def test_the_file_of_a_symbol(symbol: str) -> None:
    assert _FILE in _parsed(Files().containing(symbol))


def test_each_field_has_its_json_name() -> None:
    names = _json_names(_parsed(Files().named(_FILE))[_FILE].message_type)
    assert names["Endpoint.create_time"] == "createTime"
    assert names["Endpoint.LabelsEntry.key"] == "key"
    assert all(names.values())


def test_the_details_of_an_error_are_known_by_the_names_that_they_travel_by() -> None:
    """As graft.rpc.v1 has them, but for the package."""
    for symbol in ("google.rpc.ErrorInfo", "google.rpc.BadRequest", "google.rpc.BadRequest.FieldViolation"):
        ((name, file),) = _parsed(Files().containing(symbol)).items()
        assert (name, file.package) == ("google/rpc/error_details.proto", "google.rpc")
    ours = _parsed(Files().named("graft/rpc/v1/status.proto"))["graft/rpc/v1/status.proto"]
    expected = [message for message in ours.message_type if message.name != "Status"]
    assert [one.name for one in file.message_type] == [one.name for one in expected] == ["ErrorInfo", "BadRequest"]
    for theirs, own in zip(file.message_type, expected, strict=True):
        text = str(own).replace(f".{status_pb2.DESCRIPTOR.package}.", ".google.rpc.")
        assert str(theirs) == text


@pytest.mark.parametrize("name", ["", "graft/v1/none.proto", "graft.v1.None", "graft.v1.EndpointService.Nothing"])
def test_what_is_not_there(name: str) -> None:
    with pytest.raises(KeyError):
        Files().named(name)
    with pytest.raises(KeyError):
        Files().containing(name)
