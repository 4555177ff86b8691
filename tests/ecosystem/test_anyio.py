"""anyio and httpx: task groups, deadlines, threads, listeners, on anyio's asyncio backend."""

# ruff: noqa: E402 - a package that may be missing is imported behind importorskip

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from subprocess import PIPE

import pytest
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import ResettingProxy, blocks
from services import Certificate
from support import DEADLINE, unused_port

reason = "anyio or httpx is missing (requirements-ecosystem.txt)"
pytest.importorskip("anyio", reason=reason)
pytest.importorskip("httpx", reason=reason)

import anyio
import anyio.lowlevel
import httpx
from anyio.abc import ByteStream, SocketAttribute, SocketStream, TaskStatus
from anyio.streams.tls import TLSListener


async def echo(stream: SocketStream) -> None:
    """Send back what comes, until the peer ends the stream or breaks it."""
    async with stream:
        with contextlib.suppress(anyio.BrokenResourceError):
            async for data in stream:
                await stream.send(data)


async def hold(stream: SocketStream) -> None:
    """Keep the connection open; read nothing."""
    async with stream:
        await anyio.sleep_forever()


@contextlib.asynccontextmanager
async def served(handler: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """A listener whose connections `handler` gets; yields its port."""
    async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, handler)
            yield int(listener.extra(SocketAttribute.local_port))
            group.cancel_scope.cancel()


def test_anyio_run_takes_the_loop_factory(loop_factory: LoopFactory) -> None:
    async def main() -> str:
        await anyio.lowlevel.checkpoint()
        return type(asyncio.get_running_loop()).__name__

    loop = loop_factory()
    loop.close()
    options = {"loop_factory": loop_factory}
    assert anyio.run(main, backend="asyncio", backend_options=options) == type(loop).__name__


def test_a_portal_runs_the_loop_in_another_thread(loop_factory: LoopFactory) -> None:
    async def answer(number: int) -> tuple[int, bool]:
        await anyio.lowlevel.checkpoint()
        return number, threading.current_thread() is threading.main_thread()

    options = {"loop_factory": loop_factory}
    with anyio.from_thread.start_blocking_portal("asyncio", options) as portal:
        assert portal.call(answer, 42) == (42, False)
        futures = [portal.start_task_soon(answer, number) for number in range(50)]
        assert [future.result(DEADLINE)[0] for future in futures] == list(range(50))


async def test_an_error_in_a_task_group_cancels_the_others() -> None:
    cancelled = []

    async def wait(number: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.append(number)

    async def fail() -> None:
        await anyio.lowlevel.checkpoint()
        raise OSError("wanted")

    with pytest.raises(BaseExceptionGroup) as caught:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(wait, number)
            group.start_soon(fail)
    assert caught.group_contains(OSError, match="wanted")
    assert sorted(cancelled) == list(range(5))


async def test_move_on_after_leaves_a_read_that_gets_nothing() -> None:
    async with served(hold) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            with anyio.move_on_after(0.01) as scope:
                await stream.receive()
            assert scope.cancelled_caught
            with pytest.raises(TimeoutError), anyio.fail_after(0.01):
                while True:
                    await stream.send(bytes(1 << 16))


async def test_threads_call_back_into_the_loop() -> None:
    def work(number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return anyio.from_thread.run_sync(lambda: number) + anyio.from_thread.run(double, number)

    async def double(number: int) -> int:
        await anyio.lowlevel.checkpoint()
        return 2 * number

    results: dict[int, int] = {}

    async def call(number: int) -> None:
        results[number] = await anyio.to_thread.run_sync(work, number)

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(call, number)
    assert results == {number: 3 * number for number in range(30)}


async def stream_both_ways(stream: ByteStream, count: int) -> None:
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def send() -> None:
        for block in blocks(count):
            sent.update(block)
            await stream.send(block)
        await stream.send_eof()

    async with anyio.create_task_group() as group:
        group.start_soon(send)
        async for data in stream:
            received.update(data)
    assert received.digest() == sent.digest()


async def test_tcp_streams_carry_megabytes_both_ways() -> None:
    async with served(echo) as port:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream_both_ways(stream, 128)


async def test_unix_streams_carry_megabytes_both_ways(tmp_path: Path) -> None:
    path = tmp_path / "anyio.sock"
    async with await anyio.create_unix_listener(path) as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            async with await anyio.connect_unix(path) as stream:
                await stream_both_ways(stream, 128)
            group.cancel_scope.cancel()


async def test_tls_streams_carry_megabytes_both_ways(certificate: Certificate) -> None:
    tcp_listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = int(tcp_listener.extra(SocketAttribute.local_port))
    async with TLSListener(tcp_listener, certificate.server()) as listener:
        async with anyio.create_task_group() as group:
            group.start_soon(listener.serve, echo)
            context = certificate.client()
            async with await anyio.connect_tcp("127.0.0.1", port, ssl_context=context) as stream:
                for block in blocks(32):
                    await stream.send(block)
                    received = b""
                    while len(received) < len(block):
                        received += await stream.receive()
                    assert received == block
            group.cancel_scope.cancel()


async def test_udp_sockets_exchange_datagrams() -> None:
    async with await anyio.create_udp_socket(local_host="127.0.0.1") as server:
        port = server.extra(SocketAttribute.local_port)
        async with await anyio.create_connected_udp_socket("127.0.0.1", port) as client:
            for size in (1, 1400, 60000):
                await client.send(b"u" * size)
                data, (host, client_port) = await server.receive()
                assert data == b"u" * size
                await server.sendto(data[::-1], host, client_port)
                assert await client.receive() == b"u" * size


async def test_a_process_is_read_and_written() -> None:
    async with await anyio.open_process(["cat"], stderr=PIPE) as process:
        assert process.stdin and process.stdout
        await process.stdin.send(b"through the cat")
        await process.stdin.aclose()
        assert b"".join([data async for data in process.stdout]) == b"through the cat"
    assert process.returncode == 0


async def test_signals_arrive_as_a_stream() -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGUSR1) as received:
        for sent in (signal.SIGTERM, signal.SIGUSR1, signal.SIGTERM):
            os.kill(os.getpid(), sent)
            assert await anext(received) == sent


async def test_connection_errors_are_anyios_own() -> None:
    with pytest.raises(OSError, match=r"(?i)connect|attempts failed"):
        await anyio.connect_tcp("127.0.0.1", unused_port())
    async with served(echo) as port:
        with ResettingProxy(port) as proxy:
            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as stream:
                await stream.send(b"x")
                assert await stream.receive() == b"x"
                await anyio.to_thread.run_sync(proxy.reset)
                with pytest.raises(anyio.BrokenResourceError):
                    await stream.receive()


async def test_httpx_fails_when_the_server_resets() -> None:
    async def half_answer(stream: SocketStream) -> None:
        async with stream:
            with contextlib.suppress(anyio.BrokenResourceError):
                await stream.receive()
                await stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
                await stream.receive()

    async with served(half_answer) as port, httpx.AsyncClient() as client:
        with ResettingProxy(port) as proxy:
            async with client.stream("GET", f"http://127.0.0.1:{proxy.port}/") as answer:
                with pytest.raises(httpx.ReadError):
                    async for _chunk in answer.aiter_raw():
                        await anyio.to_thread.run_sync(proxy.reset)


async def test_httpx_timeouts_close_the_connection() -> None:
    timeout = httpx.Timeout(DEADLINE, read=0.05)
    async with served(hold) as port, httpx.AsyncClient(timeout=timeout) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.get(f"http://127.0.0.1:{port}/")


@each_stop
def test_stopped_in_a_task_group(loop_factory: LoopFactory, stop: str) -> None:
    async def serve(*, task_status: TaskStatus[int]) -> None:
        async with await anyio.create_tcp_listener(local_host="127.0.0.1") as listener:
            task_status.started(int(listener.extra(SocketAttribute.local_port)))
            await listener.serve(echo)

    async def program(in_the_middle: Callable[[], None]) -> None:
        async with anyio.create_task_group() as group:
            port = await group.start(serve)
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                async with await anyio.open_process(["cat"]):
                    await stream.send(b"x")
                    assert await stream.receive() == b"x"
                    in_the_middle()
                    await stream.receive()

    stop_in_the_middle(loop_factory, program, stop)
