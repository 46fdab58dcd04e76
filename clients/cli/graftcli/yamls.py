# SPDX-License-Identifier: Apache-2.0
"""The only home of PyYAML: values to text, and text to nodes that know their lines."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import yaml

from graftcli.cmdline import UsageError

# The C parts, where PyYAML has them, are ten times as fast.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Base: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Flow(list[Any]):
    """A list on one line, as in [tcp, udp]."""


class FlowMap(dict[str, Any]):
    """A mapping on one line, as in {netns: web}."""


class _Dumper(_Base):  # type: ignore[misc]
    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _represent_flow(dumper: Any, value: Flow) -> Any:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=True)


def _represent_flow_map(dumper: Any, value: FlowMap) -> Any:
    return dumper.represent_mapping("tag:yaml.org,2002:map", value, flow_style=True)


_Dumper.add_representer(Flow, _represent_flow)
_Dumper.add_representer(FlowMap, _represent_flow_map)


def dump(values: Iterable[Any]) -> str:
    """One document for each value."""
    text: str = yaml.dump_all(
        values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=120
    )
    return text


# JSON writes what is beyond 16 bits as two halves, which YAML does not take.
_PAIR = re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def compose(text: str, source: str) -> Iterator[yaml.Node]:
    """The documents of a file, as nodes; empty ones are passed over."""
    if text.lstrip()[:1] in ("{", "["):
        text = _PAIR.sub(lambda found: json.loads(f'"{found[0]}"'), text)
    try:
        for node in yaml.compose_all(text, Loader=_Loader):
            if node is not None and not is_null(node):
                yield node
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{source}{line}: this is no YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{source}: this is no YAML: {error}") from None


def line_of(node: yaml.Node) -> int:
    """Counted from 1."""
    return int(node.start_mark.line) + 1


def is_null(node: yaml.Node) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"
