# SPDX-License-Identifier: Apache-2.0
"""The uapi header, kmod/spec/graft.yaml and graftd/kernel say the same, number by number."""

import enum
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from graftd import model
from graftd.kernel import _messages

ROOT = Path(__file__).resolve().parents[2]
HEADER = (ROOT / "kmod/uapi/linux/graft.h").read_text(encoding="utf-8")
SPEC: dict[str, Any] = yaml.safe_load((ROOT / "kmod/spec/graft.yaml").read_text(encoding="utf-8"))
SETS = {one["name"]: one for one in SPEC["attribute-sets"]}
DEFINITIONS = {one["name"]: one for one in SPEC["definitions"]}
OPERATIONS: list[dict[str, Any]] = SPEC["operations"]["list"]

# What pyroute2 calls a type of the spec; nests are classes.
CODECS = {
    "u8": "uint8",
    "u16": "uint16",
    "u32": "uint32",
    "u64": "uint64",
    "string": "cdata",
    "binary": "cdata",
    "pad": "cdata",
    "flag": "flag",
}

MESSAGES: dict[str, Any] = {
    "graft": _messages.Message,
    "info": _messages.Info,
    "table": _messages.Table,
    "endpoint": _messages.Endpoint,
    "denials": _messages.Denials,
    "rule": _messages.Rule,
    "acl": _messages.Acl,
    "socket": _messages.Socket,
    "event-info": _messages.Event,
}

# The C prefix of a definition where it is not graft_NAME_.
C_PREFIXES = {"direction": "GRAFT_", "ep-type": "GRAFT_EP_"}

ENUMS: dict[str, type[enum.IntEnum] | type[enum.IntFlag]] = {
    "direction": model.Direction,
    "verdict": model.Verdict,
    "ep-type": model.EndpointType,
    "event": model.EventKind,
    "reason": model.Reason,
    "proto": model.Protocols,
    "verb": model.Verbs,
}


def c_name(prefix: str, name: str) -> str:
    return (prefix + name).upper().replace("-", "_")


def header_enum(header: str, name: str) -> dict[str, int]:
    """The values of `enum name`, without its closing MAX."""
    body = re.search(rf"\benum {name} \{{(.*?)\n\}};", header, re.DOTALL)
    assert body, f"the header has no enum {name}"
    values: dict[str, int] = {}
    following = 0
    for entry in re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL).split(","):
        word, _, value = (part.strip() for part in entry.partition("="))
        if not word or word.startswith("__") or word.endswith("_MAX"):
            continue
        following = int(value) if value else following
        values[word] = following
        following += 1
    return values


def header_define(name: str) -> int:
    value = re.search(rf"^#define {name}\s+(\d+)\b", HEADER, re.MULTILINE)
    assert value, f"the header does not define {name}"
    return int(value[1])


def spec_set(name: str) -> dict[str, int]:
    """C names and values of an attribute set; numbers start at 1 unless the spec says otherwise."""
    prefix = SETS[name]["name-prefix"]
    values: dict[str, int] = {}
    following = 1
    for attribute in SETS[name]["attributes"]:
        following = attribute.get("value", following)
        values[c_name(prefix, attribute["name"])] = following
        following += 1
    return values


def spec_definition(name: str) -> dict[str, int]:
    definition = DEFINITIONS[name]
    prefix = C_PREFIXES.get(name, f"graft-{name}-")
    words = [entry if isinstance(entry, str) else entry["name"] for entry in definition["entries"]]
    flags = definition["type"] == "flags"
    start = definition.get("value-start", 0)
    return {c_name(prefix, word): 1 << index if flags else start + index for index, word in enumerate(words)}


def codec_set(name: str) -> dict[str, tuple[int, Any]]:
    """C name to number and codec, as pyroute2 has them."""
    cls = MESSAGES[name]
    return {
        entry[-2]: (entry[0] if len(entry) == 3 else index, getattr(cls, entry[-1]))
        for index, entry in enumerate(cls.nla_map)
    }


def test_the_family_has_one_name_and_version() -> None:
    assert SPEC["name"] == _messages.FAMILY_NAME
    assert f'#define GRAFT_GENL_NAME\t\t"{_messages.FAMILY_NAME}"' in HEADER
    assert header_define("GRAFT_GENL_VERSION") == _messages.FAMILY_VERSION


def test_groups() -> None:
    groups = {group["name"] for group in SPEC["mcast-groups"]["list"]}
    assert groups == {_messages.GROUP_TABLE, _messages.GROUP_EVENT}
    for group in groups:
        assert re.search(rf'^#define GRAFT_MCGRP_{group.upper()}\t+"{group}"', HEADER, re.MULTILINE)


def test_commands() -> None:
    header = header_enum(HEADER, "graft_cmd")
    prefix = SPEC["operations"]["name-prefix"]
    spec = {c_name(prefix, op["name"]): number for number, op in enumerate(OPERATIONS, start=1)}
    codec = {f"GRAFT_CMD_{command.name}": command.value for command in _messages.Command}
    assert header == {"GRAFT_CMD_UNSPEC": 0, **spec}
    assert header == codec


@pytest.mark.parametrize("name", sorted(set(SETS) - {"denials"}))
def test_attributes_of_the_header_and_the_spec(name: str) -> None:
    header = header_enum(HEADER, SETS[name]["enum-name"].replace("-", "_"))
    unspec = c_name(SETS[name]["name-prefix"], "unspec")
    assert header == {unspec: 0, **spec_set(name)}


@pytest.mark.parametrize("name", sorted(SETS))
def test_attributes_of_the_spec_and_the_codec(name: str) -> None:
    codec = codec_set(name)
    codec.pop(c_name(SETS[name]["name-prefix"], "unspec"), None)
    assert {word: number for word, (number, _) in codec.items()} == spec_set(name)
    for attribute, (word, (_, cls)) in zip(SETS[name]["attributes"], codec.items(), strict=True):
        if attribute["type"] == "nest":
            assert cls is MESSAGES[attribute["nested-attributes"]], word
        else:
            assert cls is getattr(_messages.Message, CODECS[attribute["type"]]), word


def test_types_that_the_header_names() -> None:
    named = 0
    for name, attributes in SETS.items():
        for attribute in attributes["attributes"]:
            word = c_name(attributes["name-prefix"], attribute["name"])
            comment = re.search(rf"^\t{word},\t+/\* (u\d+|string|flag|nest)\b", HEADER, re.MULTILINE)
            if comment and name != "denials":
                assert attribute["type"] == comment[1], word
                named += 1
    assert named > 80


def test_every_enum_of_the_header_is_in_the_spec() -> None:
    enums = set(re.findall(r"^enum graft_(\w+) \{", HEADER, re.MULTILINE))
    known = {one["enum-name"].removeprefix("graft-") for one in SETS.values() if "enum-name" in one}
    known |= {name for name, one in DEFINITIONS.items() if one["type"] == "enum"} | {"cmd"}
    assert enums == {name.replace("-", "_") for name in known}


@pytest.mark.parametrize("name", sorted(ENUMS))
def test_values_of_the_header_the_spec_and_the_model(name: str) -> None:
    spec = spec_definition(name)
    if DEFINITIONS[name]["type"] == "flags":
        assert spec == {word: header_define(word) for word in spec}
    else:
        assert spec == header_enum(HEADER, f"graft_{name.replace('-', '_')}")
    prefix = C_PREFIXES.get(name, f"graft-{name}-")
    members = ENUMS[name].__members__.items()
    assert spec == {c_name(prefix, word): member.value for word, member in members if word != "BOTH"}


def test_denials_are_the_reasons() -> None:
    assert spec_set("denials") == spec_definition("reason")


def test_socket_states() -> None:
    assert spec_definition("state") == header_enum(HEADER, "graft_state")


def test_lengths() -> None:
    assert header_define("GRAFT_NAME_MAX") == DEFINITIONS["name-max"]["value"]
    longest = "n" * (DEFINITIONS["name-max"]["value"] - 1)
    model.AclRule(allow=True, endpoint=longest)
    with pytest.raises(ValueError, match="1 to 63 bytes"):
        model.AclRule(allow=True, endpoint=longest + "n")


def test_the_spec_refers_to_nothing_that_it_lacks() -> None:
    for attributes in SETS.values():
        for attribute in attributes["attributes"]:
            assert attribute.get("nested-attributes", "graft") in SETS, attribute
            assert attribute.get("enum", "proto") in DEFINITIONS, attribute
    top = {attribute["name"] for attribute in SETS["graft"]["attributes"]}
    names = {operation["name"] for operation in OPERATIONS}
    groups = {group["name"] for group in SPEC["mcast-groups"]["list"]}
    for operation in OPERATIONS:
        assert operation["doc"], operation
        assert operation.get("notify", "info-get") in names
        assert operation.get("mcgrp", "table") in groups
        assert operation["name"].endswith("-ntf") == ("mcgrp" in operation)
        for kind in ("do", "dump"):
            for part in operation.get(kind, {}).values():
                assert set(part["attributes"]) <= top, operation
        assert set(operation.get("event", {}).get("attributes", ())) <= top, operation


def test_a_difference_would_be_seen() -> None:
    swapped = HEADER.replace("GRAFT_EP_A_BINDS,", "GRAFT_EP_A_X,").replace("GRAFT_EP_A_CONNECTS,", "GRAFT_EP_A_BINDS,")
    assert header_enum(swapped, "graft_ep_attr") != header_enum(HEADER, "graft_ep_attr")
    grown = HEADER.replace("\tGRAFT_RULE_A_ENDPOINT,", "\tGRAFT_RULE_A_NEW,\n\tGRAFT_RULE_A_ENDPOINT,")
    assert header_enum(grown, "graft_rule_attr") != header_enum(HEADER, "graft_rule_attr")
