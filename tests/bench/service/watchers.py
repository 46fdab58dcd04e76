# SPDX-License-Identifier: Apache-2.0
"""Many watchers in one process: python3 -m bench.service.watchers TARGET NAMESPACE WATCHERS EVENTS.

It prints 'ready' when each has begun, and for each event when the last watcher had it, in ns of CLOCK_MONOTONIC.
"""

from __future__ import annotations

import asyncio
import sys
import time

import grpc

from graft.v1 import watch_pb2, watch_pb2_grpc

_OF_A_CONNECTION = 100


async def main() -> None:
    target, namespace, watchers, events = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    last = [0] * events
    begun = asyncio.Semaphore(0)
    done = [asyncio.Semaphore(0) for _ in range(events)]

    async def watch(channel: grpc.aio.Channel) -> None:
        stream = watch_pb2_grpc.WatchServiceStub(channel).Watch(
            watch_pb2.WatchRequest(parent=f"namespaces/{namespace}"), wait_for_ready=True
        )
        await stream.read()
        begun.release()
        for event in range(events):
            while not (await stream.read()).changes:
                pass
            last[event] = time.monotonic_ns()
            done[event].release()
        stream.cancel()

    channels = [
        grpc.aio.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        for _ in range(0, watchers, _OF_A_CONNECTION)
    ]
    tasks = [asyncio.create_task(watch(channels[number // _OF_A_CONNECTION])) for number in range(watchers)]
    for _ in range(watchers):
        await begun.acquire()
    print("ready", flush=True)
    for event in range(events):
        for _ in range(watchers):
            await done[event].acquire()
        print(last[event], flush=True)
    await asyncio.gather(*tasks)
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    asyncio.run(main())
