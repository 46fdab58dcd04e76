# SPDX-License-Identifier: Apache-2.0
"""Which refusals get a record of their own, so that nobody fills the journal by being refused."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

BURST: Final = 200  # records of one caller at once,
PER_SECOND: Final = 2.0  # and from then on
ALL_BURST: Final = 1000  # of all callers together: journald's own limit is 10,000 in 30 s
ALL_PER_SECOND: Final = 20.0
CALLERS_MAX: Final = 1024  # who are told apart
OTHERS: Final = "others"


@dataclass(slots=True)
class _Bucket:
    tokens: float
    seen: float


class Refusals:
    """A token bucket for each caller, and one for all. clock: seconds, as of time.monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._all = _Bucket(ALL_BURST, clock())
        self._callers: dict[str, _Bucket] = {}
        self._left_out: Counter[str] = Counter()

    def admit(self, caller: str) -> bool:
        """Whether a refusal of this caller gets a record; if not, it is counted."""
        now = self._clock()
        caller = self._known(caller, now)
        own = self._callers.setdefault(caller, _Bucket(BURST, now))
        _fill(own, now, BURST, PER_SECOND)
        _fill(self._all, now, ALL_BURST, ALL_PER_SECOND)
        if own.tokens < 1 or self._all.tokens < 1:
            is_told_apart = caller in self._left_out or len(self._left_out) < CALLERS_MAX
            self._left_out[caller if is_told_apart else OTHERS] += 1
            return False
        own.tokens -= 1
        self._all.tokens -= 1
        return True

    def take_left_out(self) -> dict[str, int]:
        """How many got none since this was last asked, by caller, the most first."""
        taken, self._left_out = self._left_out, Counter()
        return dict(taken.most_common())

    def _known(self, caller: str, now: float) -> str:
        """The caller as it is told apart. Who has a full bucket again is forgotten when there is no room."""
        if caller not in self._callers and len(self._callers) >= CALLERS_MAX:
            full = [name for name, one in self._callers.items() if (now - one.seen) * PER_SECOND + one.tokens >= BURST]
            for name in full:
                del self._callers[name]
        return caller if caller in self._callers or len(self._callers) < CALLERS_MAX else OTHERS


def _fill(bucket: _Bucket, now: float, most: float, per_second: float) -> None:
    bucket.tokens = min(most, bucket.tokens + (now - bucket.seen) * per_second)
    bucket.seen = now
