# SPDX-License-Identifier: Apache-2.0
"""The one place that speaks netlink with the module, and the one that looks for network namespaces.

What the service alone needs is loaded when it is named, for ip-graft is to start at once.
"""

from typing import TYPE_CHECKING, Any

from graftd.kernel._client import Client
from graftd.kernel._messages import GROUP_EVENT, GROUP_TABLE

if TYPE_CHECKING:
    from graftd.kernel._adapter import KernelAdapter
    from graftd.kernel._listener import Heard, Listener
    from graftd.kernel._transparent import TransparentMap
    from graftd.kernel.finder import Finder, FinderRoots, Watcher

__all__ = [
    "GROUP_EVENT",
    "GROUP_TABLE",
    "Client",
    "Finder",
    "FinderRoots",
    "Heard",
    "KernelAdapter",
    "Listener",
    "TransparentMap",
    "Watcher",
]

_LATER = {
    "Finder": "finder",
    "FinderRoots": "finder",
    "Heard": "_listener",
    "KernelAdapter": "_adapter",
    "Listener": "_listener",
    "TransparentMap": "_transparent",
    "Watcher": "finder",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
