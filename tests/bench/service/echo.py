# SPDX-License-Identifier: Apache-2.0
"""A gRPC server that answers at once, to be measured beside graftd: python3 -m bench.service.echo SOCKET."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import grpc

METHOD = "/bench.Echo/Echo"


async def _echo(request: bytes, _context: Any) -> bytes:
    return request


async def main() -> None:
    server = grpc.aio.server()
    handler: Any = grpc.unary_unary_rpc_method_handler(_echo)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    server.add_insecure_port(f"unix:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
