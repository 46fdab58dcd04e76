# SPDX-License-Identifier: Apache-2.0
"""What grows with what: processor time of graftd and its memory, as ratios, so that no machine is too slow.

Processor time and not time, because others use the machine; medians of rounds in which what is compared takes turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import pytest

from graft.v1 import endpoint_pb2
from integration.api import Api, batch
from integration.process import Graftd

_FEW, _MANY = 1000, 10_000
_ROUNDS = 5
_CREATES = 100
_IN_PROPORTION = 13.0  # ten times as many, and what goes beyond
_AS_BEFORE = 1.5
_ENDPOINT_BYTES = 4096
_CPUCLOCK_SCHED = 2


class Bed(NamedTuple):
    graftd: Graftd
    api: Api


@pytest.fixture(scope="module")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    graftd = Graftd(tmp_path_factory.mktemp("ratios"))
    # In a process of its own the kernel's memory and time are not counted.
    kernel = graftd.play_kernel([f"ns{number}" for number in range(2 + 2 * _ROUNDS)])
    graftd.start()
    try:
        with Api(graftd.target) as api:
            yield Bed(graftd, api)
        assert graftd.stop() == 0
    finally:
        kernel.close()
        graftd.close()


@pytest.fixture(scope="module")
def lists(bed: Bed) -> tuple[str, str]:
    """Namespaces with few endpoints and with many."""
    for number, (name, size) in enumerate((("few", _FEW), ("many", _MANY))):
        bed.api.register(name, f"ns{number}")
        _fill(bed.api, name, size)
    return "few", "many"


def _fill(api: Api, namespace: str, size: int) -> None:
    api.endpoints.BatchCreateEndpoints(batch(namespace, [f"ep-{number}" for number in range(size)]), timeout=60)


def _processor(graftd: Graftd, act: Callable[[], object]) -> float:
    """Processor time that graftd spends on something, in seconds."""
    clock = (~graftd.pid << 3) | _CPUCLOCK_SCHED  # clock_getcpuclockid(3)
    begun = time.clock_gettime(clock)
    act()
    return time.clock_gettime(clock) - begun


def _ratio(
    graftd: Graftd,
    less: Callable[[int], object],
    more: Callable[[int], object],
    after: Callable[[int], object] = lambda _number: None,
) -> float:
    """How many times what `less` takes `more` takes. They, and `after` each round, are told the round's number."""
    found = []
    for number in range(_ROUNDS):
        base = _processor(graftd, partial(less, number))
        found.append(_processor(graftd, partial(more, number)) / base)
        after(number)
    return median(found)


def _list(api: Api, namespace: str) -> int:
    request: Any = endpoint_pb2.ListEndpointsRequest(parent=f"namespaces/{namespace}", page_size=5000)
    found = 0
    while True:
        page = api.endpoints.ListEndpoints(request, timeout=60)
        found += len(page.endpoints)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


def test_a_list_grows_with_what_is_listed(bed: Bed, lists: tuple[str, str]) -> None:
    few, many = lists
    assert (_list(bed.api, few), _list(bed.api, many)) == (_FEW, _MANY)
    ratio = _ratio(bed.graftd, lambda _: _list(bed.api, few), lambda _: _list(bed.api, many))
    assert ratio <= _IN_PROPORTION


def test_a_batch_grows_with_what_is_created(bed: Bed) -> None:
    for number in range(2 * _ROUNDS):
        bed.api.register(f"batch-{number}", f"ns{2 + number}")
    ratio = _ratio(
        bed.graftd,
        lambda number: _fill(bed.api, f"batch-{2 * number}", _FEW),
        lambda number: _fill(bed.api, f"batch-{2 * number + 1}", _MANY),
    )
    assert ratio <= _IN_PROPORTION


def test_a_create_costs_the_same_however_many_there_are(tmp_path: Path) -> None:
    graftd = Graftd(tmp_path)
    kernel = graftd.play_kernel(["small", "large"])
    graftd.start()
    try:
        with Api(graftd.target) as api:
            for name, size in (("small", 10), ("large", _MANY)):
                api.register(name)
                _fill(api, name, size)

            def create(namespace: str, number: int) -> None:
                for count in range(_CREATES):
                    api.create(namespace, f"one-{number}-{count}")

            def delete(number: int) -> None:
                """As few as before are there in the next round."""
                for namespace in ("small", "large"):
                    for count in range(_CREATES):
                        name = f"namespaces/{namespace}/endpoints/one-{number}-{count}"
                        api.endpoints.DeleteEndpoint(endpoint_pb2.DeleteEndpointRequest(name=name))

            create("small", _ROUNDS)
            ratio = _ratio(graftd, partial(create, "small"), partial(create, "large"), delete)
            assert ratio <= _AS_BEFORE
    finally:
        kernel.close()
        graftd.close()


def test_memory_grows_by_little_for_each_endpoint(tmp_path: Path) -> None:
    """Also while all of them come in one request."""
    graftd = Graftd(tmp_path)
    kernel = graftd.play_kernel(["few", "many"])
    graftd.start()
    try:
        with Api(graftd.target) as api:
            for name in ("few", "many"):
                api.register(name)
            _fill(api, "few", 10)
            assert _list(api, "few") == 10
            before = _resident(graftd.pid)
            _fill(api, "many", _MANY)
            assert _list(api, "many") == _MANY
            assert (_resident(graftd.pid) - before) / _MANY < _ENDPOINT_BYTES
    finally:
        kernel.close()
        graftd.close()


def _resident(pid: int) -> int:
    """Bytes of memory that a process has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (size,) = (line.split()[1] for line in lines if line.startswith("VmRSS:"))
    return 1024 * int(size)
