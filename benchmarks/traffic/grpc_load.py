"""The load of the gRPC server: unary calls, one after the other in each of some tasks.

    python benchmarks/run.py grpc_load --addr 127.0.0.1:25001 --server-pid PID --connections 20

Options and printed JSON are those of `tls_load.py`, `--connections` the number of calls at a time;
they share the one connection of a channel, as a client's calls do. grpc.aio on asyncio's own loop,
whichever loop the server has. It costs as much CPU as the server.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time

import grpc
import grpc.aio
from traffic.addresses import TcpAddress
from traffic.tls_load import SILENCE_SECONDS, Load, LoadError, main_of

METHOD = "/echo/unary"


class GrpcLoad(Load):
    """As many calls at a time as asked for."""

    def open(
        self, address: TcpAddress, context: ssl.SSLContext | None, size: int, count: int
    ) -> None:
        self.loop = asyncio.SelectorEventLoop()
        self.message = b"x" * size
        self.count = count

        async def connect() -> None:
            channel = grpc.aio.insecure_channel(f"{address.host}:{address.port}")
            self.call = channel.unary_unary(METHOD)
            await asyncio.wait_for(channel.channel_ready(), SILENCE_SECONDS)

        self.loop.run_until_complete(connect())

    def start_all(self) -> None:
        """Nothing is in flight between two runs."""

    def run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds

        async def repeat() -> None:
            while time.monotonic() < deadline:
                started_ns = time.monotonic_ns()
                if await self.call(self.message, timeout=SILENCE_SECONDS) != self.message:
                    raise LoadError("the echo differs from what was sent")
                self.latencies_ns.append(time.monotonic_ns() - started_ns)

        async def all_of_them() -> None:
            await asyncio.gather(*(repeat() for _ in range(self.count)))

        try:
            self.loop.run_until_complete(all_of_them())
        except grpc.RpcError as error:
            raise LoadError(f"a call failed: {error}") from error


if __name__ == "__main__":
    sys.exit(main_of(GrpcLoad))
