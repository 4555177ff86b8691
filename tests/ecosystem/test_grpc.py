"""grpc.aio: its core polls in a thread of its own and wakes the loop through add_reader.

Messages are plain bytes, so no generated code and no protobuf is needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import ResettingProxy, blocks, killed_program
from support import wait_until

pytest.importorskip("grpc", reason="grpcio is not installed (requirements-ecosystem.txt)")

import grpc
from grpc import aio

SERVICE = "rloop.Test"

#: Reads what the method `endless` of a server on this port sends.
READER = f"""
import grpc, sys
with grpc.insecure_channel("127.0.0.1:" + sys.argv[1]) as channel:
    for message in channel.unary_stream("/{SERVICE}/endless")(b""):
        pass
"""


class Handlers(grpc.GenericRpcHandler):
    """One method of each kind; `ended` names those whose call was broken off."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended: list[str] = []

    def service(self, details: Any) -> Any:
        name = details.method.rsplit("/", 1)[1]
        kind = {
            "reverse": grpc.unary_unary_rpc_method_handler,
            "fail": grpc.unary_unary_rpc_method_handler,
            "wait": grpc.unary_unary_rpc_method_handler,
            "digest": grpc.stream_unary_rpc_method_handler,
            "endless": grpc.unary_stream_rpc_method_handler,
            "echo": grpc.stream_stream_rpc_method_handler,
        }[name]
        return kind(getattr(self, name))

    async def reverse(self, request: bytes, _context: Any) -> bytes:
        return request[::-1]

    async def fail(self, _request: bytes, context: Any) -> bytes:
        await context.abort(grpc.StatusCode.NOT_FOUND, "nothing here")
        raise AssertionError

    async def wait(self, _request: bytes, _context: Any) -> bytes:
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append("wait")
        raise AssertionError

    async def digest(self, requests: AsyncIterator[bytes], _context: Any) -> bytes:
        digest = hashlib.sha256()
        async for block in requests:
            digest.update(block)
        return digest.digest()

    async def endless(self, _request: bytes, _context: Any) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1000)
                self.started.set()
        finally:
            self.ended.append("endless")

    async def echo(self, requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
        async for block in requests:
            yield block


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[Handlers, int]]:
    """A server on this loop, and its port."""
    handlers = Handlers()
    server = aio.server(handlers=[handlers])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield handlers, port
    finally:
        await server.stop(None)


def channel(port: int) -> aio.Channel:
    # Channels of one process share their connections otherwise, and keep them.
    options = [("grpc.use_local_subchannel_pool", 1)]
    return aio.insecure_channel(f"127.0.0.1:{port}", options=options)


async def test_unary_calls_one_by_one_and_at_once() -> None:
    async with served() as (_handlers, port), channel(port) as client:
        reverse = client.unary_unary(f"/{SERVICE}/reverse")
        for number in range(50):
            assert await reverse(b"%04d" % number) == (b"%04d" % number)[::-1]
        answers = await asyncio.gather(*(reverse(b"%04d" % number) for number in range(200)))
        assert answers == [(b"%04d" % number)[::-1] for number in range(200)]


async def test_an_error_of_the_server_reaches_the_client() -> None:
    async with served() as (_handlers, port), channel(port) as client:
        with pytest.raises(aio.AioRpcError) as caught:
            await client.unary_unary(f"/{SERVICE}/fail")(b"")
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND
        assert caught.value.details() == "nothing here"


async def test_streams_carry_megabytes() -> None:
    async def requests() -> AsyncIterator[bytes]:
        for block in blocks(64):
            sent.update(block)
            yield block

    async with served() as (_handlers, port), channel(port) as client:
        sent = hashlib.sha256()
        answer = await client.stream_unary(f"/{SERVICE}/digest")(requests())
        assert answer == sent.digest()
        sent, received = hashlib.sha256(), hashlib.sha256()
        async for block in client.stream_stream(f"/{SERVICE}/echo")(requests()):
            received.update(block)
        assert received.digest() == sent.digest()


async def test_a_cancelled_call_is_cancelled_in_the_server() -> None:
    async with served() as (handlers, port), channel(port) as client:
        call = client.unary_stream(f"/{SERVICE}/endless")(b"")
        async for _message in call:
            break
        call.cancel()
        await wait_until(lambda: handlers.ended == ["endless"])
        with pytest.raises(aio.AioRpcError) as caught:
            await client.unary_unary(f"/{SERVICE}/wait")(b"", timeout=1)
        assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        await wait_until(lambda: handlers.ended == ["endless", "wait"])


async def test_a_connection_reset_in_a_stream_fails_it() -> None:
    async with served() as (handlers, port):
        with ResettingProxy(port) as proxy:
            async with channel(proxy.port) as client:
                call = client.unary_stream(f"/{SERVICE}/endless")(b"")
                with pytest.raises(aio.AioRpcError) as caught:
                    async for _message in call:
                        proxy.reset()
                assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        await wait_until(lambda: handlers.ended == ["endless"])


async def test_a_client_killed_in_a_stream_ends_the_call() -> None:
    async with served() as (handlers, port):
        with killed_program(READER, port) as kill:
            await handlers.started.wait()
            kill()
            await wait_until(lambda: handlers.ended == ["endless"])


@each_stop
def test_stopped_in_streams_both_ways(loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async def requests() -> AsyncIterator[bytes]:
            while True:
                yield bytes(1 << 16)

        async with served() as (_handlers, port), channel(port) as client:
            async for _message in client.stream_stream(f"/{SERVICE}/echo")(requests()):
                in_the_middle()

    stop_in_the_middle(loop_factory, program, stop)


@each_stop
def test_stopped_in_a_stream(loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async with served() as (_handlers, port), channel(port) as client:
            async for _message in client.unary_stream(f"/{SERVICE}/endless")(b""):
                in_the_middle()

    stop_in_the_middle(loop_factory, program, stop)
