# SPDX-License-Identifier: Apache-2.0
"""The thread that an engine, and all that it is given, belongs to."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

_CALL_SECONDS = 1800.0  # at most
_WORKING_SHARE = 0.01  # of a processor

P = ParamSpec("P")
T = TypeVar("T")


class EngineThread(ThreadPoolExecutor):
    """One thread, which makes one call after the other. ended: calls that it has done."""

    def __init__(self) -> None:
        super().__init__(1, "engine", self._begin)
        self._clock: int | None = None
        self.ended = 0
        self._waiting: dict[Future[Any], BaseException | None] = {}  # and what those raise that are not to be made

    @property
    def worked(self) -> float:
        """Seconds of processor time that it has used, its system calls' among them: not while it waits."""
        return 0.0 if self._clock is None else time.clock_gettime(self._clock)

    async def run(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call something there, from an event loop."""
        future = self.submit(partial(function, *args, **kwargs))
        self._waiting[future] = None
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if (error := self._waiting[future]) is not None:
                raise error from None
            raise
        finally:
            del self._waiting[future]

    def refuse(self, error: BaseException) -> None:
        """Make none of the calls of `run` and `finish` that have not begun: they raise this at once. From the loop."""
        for future in self._waiting:
            if future.cancel():
                self._waiting[future] = error

    async def finish(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """As run, and to its end: whoever is cancelled meanwhile goes on when it is done, as if nothing had been."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        future = self.submit(partial(function, *args, **kwargs))
        self._waiting[future] = None
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(done.set))
        try:
            while not future.done():
                with suppress(asyncio.CancelledError):
                    await done.wait()
            if (error := self._waiting[future]) is not None:
                raise error
            return future.result()
        finally:
            del self._waiting[future]

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future = super().submit(function, *args, **kwargs)
        future.add_done_callback(self._count)
        return future

    def _begin(self) -> None:
        self._clock = time.pthread_getcpuclockid(threading.get_ident())

    def _count(self, future: Future[Any]) -> None:
        self.ended += not future.cancelled()


class Pulse:
    """Whether the engine's thread works, while something waits for it.

    Calls end, or the one that is under way uses the processor, which a restore of a large store may do for minutes. Who
    waits for the kernel or the disk uses none; and half an hour of one call is too much.
    """

    def __init__(self, thread: EngineThread, clock: Callable[[], float]) -> None:
        self._thread = thread
        self._clock = clock
        self._ended, self._worked = thread.ended, thread.worked
        self._seen = self._begun = clock()

    def beats(self) -> bool:
        """Since this was last asked."""
        now, ended, worked = self._clock(), self._thread.ended, self._thread.worked
        if ended != self._ended:
            self._begun = now
        share = (worked - self._worked) / max(now - self._seen, 1e-3)
        works = ended != self._ended or (share > _WORKING_SHARE and now - self._begun < _CALL_SECONDS)
        self._ended, self._worked, self._seen = ended, worked, now
        return works
