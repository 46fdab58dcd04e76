# SPDX-License-Identifier: Apache-2.0
"""From runs of `make bench-service` to what is said of them."""

from __future__ import annotations

import pytest

from bench.service.targets import MEASURES, figures


def test_the_median_is_held_against_the_target() -> None:
    keys = [one.key for one in MEASURES]
    runs = [dict.fromkeys(keys, value) | {"batch": batch} for value, batch in ((1.0, 4.0), (1.2, 5.1), (1000.0, 5.2))]
    found = {one.measure.key: one for one in figures(runs)}
    assert list(found) == keys
    assert (found["batch"].median, found["batch"].held) == (5.1, False)
    assert (found["create_p50"].median, found["create_p50"].held) == (1.2, True)
    assert found["echo_p50"].held is None


def test_a_measure_that_a_run_lacks_is_an_error() -> None:
    with pytest.raises(KeyError):
        figures([{"batch": 1.0}])
