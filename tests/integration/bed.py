# SPDX-License-Identifier: Apache-2.0
"""A graftd that the tests of a module share, with the kernel that it plays against."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from graft.v1 import namespace_pb2
from integration import played
from integration.api import Api
from integration.process import Graftd

_PLACES = tuple(f"ns{number}" for number in range(20))


class Bed(NamedTuple):
    graftd: Graftd
    api: Api
    kernel: played.Remote

    def of_kernel(self, place: str) -> set[str]:
        """The names of the endpoints in a table."""
        return {one.endpoint.name for one in self.kernel.endpoints(self.kernel.namespaces[place])}

    def export(self, name: str) -> Any:
        return self.api.namespaces.ExportNamespace(namespace_pb2.ExportNamespaceRequest(name=f"namespaces/{name}"))

    def revision(self) -> int:
        return int(self.api.status().store.revision)


@contextmanager
def serving(folder: Path, configuration: str = "", places: Sequence[str] = _PLACES) -> Iterator[Bed]:
    """Namespaces of ip netns are there, ns0 to ns19 unless it is said; at the end it stops as it should, without a
    defect in its log."""
    graftd = Graftd(folder, configuration)
    kernel = graftd.play_kernel(list(places))
    graftd.start()
    try:
        with Api(graftd.target) as api:
            yield Bed(graftd, api, kernel)
        assert graftd.stop() == 0
        assert "Traceback" not in graftd.log.read_text()
    finally:
        kernel.close()
        graftd.close()
