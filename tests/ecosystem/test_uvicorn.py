"""uvicorn with httptools and websockets: in this process, and as a program of its own."""

# ruff: noqa: E402 - a package that may be missing is imported behind importorskip

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import socket
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from asgi_app import App
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import UPLOADER, ResettingProxy, blocks, killed_program
from programs import script_environment
from support import reset, wait_until

reason = "uvicorn, httptools, httpx or websockets is missing (requirements-ecosystem.txt)"
for package in ("httptools", "httpx", "uvicorn", "websockets"):
    pytest.importorskip(package, reason=reason)

import httpx
import uvicorn
import websockets

#: Talks to a websocket on this port without end.
TALKER = """
import sys
from websockets.sync.client import connect
with connect(f"ws://127.0.0.1:{sys.argv[1]}/") as ws:
    while True:
        ws.send("talk")
        ws.recv()
"""

#: What uvicorn says of a websocket whose connection was lost; the code differs by version.
BROKEN_OFF = ("websocket.disconnect 1005", "websocket.disconnect 1006")

FACTORIES = {
    "asyncio": "asyncio:SelectorEventLoop",
    "io_uring": "rloop:new_uring_event_loop",
    "epoll": "rloop:new_uring_event_loop",
}


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[tuple[App, int]]:
    """uvicorn.Server in a task of this loop, asked to stop as its own signal handler does."""
    app = App()
    config = uvicorn.Config(
        app, port=0, http="httptools", ws="websockets-sansio", log_level="warning",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        # Its _serve is serve() without the signal handlers, which are the test's business.
        task = asyncio.create_task(server._serve(sockets=[listener]))
        try:
            await wait_until(lambda: server.started)
            yield app, listener.getsockname()[1]
        finally:
            server.should_exit = True
            await task
    assert app.events[0] == "lifespan.startup"
    assert app.events[-1] == "lifespan.shutdown"


async def test_requests_are_answered_on_one_connection() -> None:
    async with served() as (_app, port), httpx.AsyncClient() as client:
        for number in range(50):
            answer = await client.get(f"http://127.0.0.1:{port}/greet?{number}")
            assert answer.text == f"hello {number}"


async def test_bodies_stream_both_ways_at_once() -> None:
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        for block in blocks(64):
            sent.update(block)
            yield block

    async with served() as (_app, port), httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/echo"
        async with client.stream("POST", url, content=body()) as answer:
            async for chunk in answer.aiter_raw():
                received.update(chunk)
    assert received.digest() == sent.digest()


async def test_websockets_carry_text_and_binary_messages() -> None:
    async with served() as (app, port):
        async with websockets.connect(f"ws://127.0.0.1:{port}/", max_size=None) as ws:
            for message in ("text", b"", b"x" * 70000, b"y" * (1 << 20)):
                await ws.send(message)
                assert await ws.recv() == message
            await (await ws.ping())
        await wait_until(lambda: "websocket.disconnect 1000" in app.events)


async def test_many_websockets_at_once() -> None:
    async def talk(number: int) -> None:
        async with websockets.connect(f"ws://127.0.0.1:{port}/") as ws:
            for turn in range(20):
                await ws.send(f"{number} {turn}")
                assert await ws.recv() == f"{number} {turn}"

    async with served() as (_app, port):
        await asyncio.gather(*(talk(number) for number in range(20)))


async def test_a_client_cancelled_in_a_download_ends_the_request() -> None:
    async def download() -> None:
        async with client.stream("GET", f"http://127.0.0.1:{port}/endless") as answer:
            async for _chunk in answer.aiter_raw():
                read.set()

    read = asyncio.Event()
    async with served() as (app, port), httpx.AsyncClient() as client:
        task = asyncio.create_task(download())
        await read.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: "http.disconnect" in app.events)


async def test_a_client_killed_in_its_upload_ends_the_request() -> None:
    async with served() as (app, port):
        request = f"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n"
        with killed_program(UPLOADER, port, request) as kill:
            await wait_until(lambda: "/echo" in app.events)
            kill()
            await wait_until(lambda: "http.disconnect" in app.events)


async def test_a_client_that_resets_in_a_download_ends_the_request() -> None:
    async with served() as (app, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await loop.sock_recv(client, 100)
            reset(client)
        await wait_until(lambda: "http.disconnect" in app.events)


async def test_a_client_killed_in_a_websocket_ends_it() -> None:
    async with served() as (app, port):
        with killed_program(TALKER, port) as kill:
            await wait_until(lambda: "websocket.receive" in app.events)
            kill()
            await wait_until(lambda: app.events[-1] in BROKEN_OFF)


async def test_a_connection_reset_in_a_websocket_ends_both_sides() -> None:
    async with served() as (app, port):
        with ResettingProxy(port) as proxy:
            async with websockets.connect(f"ws://127.0.0.1:{proxy.port}/") as ws:
                await ws.send("talk")
                assert await ws.recv() == "talk"
                await asyncio.to_thread(proxy.reset)
                with pytest.raises(websockets.ConnectionClosedError):
                    await ws.recv()
        await wait_until(lambda: app.events[-1] in BROKEN_OFF)


@each_stop
def test_stopped_in_a_websocket(loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async with served() as (_app, port):
            async with websockets.connect(f"ws://127.0.0.1:{port}/") as ws:
                while True:
                    await ws.send(bytes(1 << 16))
                    assert await ws.recv() == bytes(1 << 16)
                    in_the_middle()

    stop_in_the_middle(loop_factory, program, stop)


@each_stop
def test_stopped_in_a_download(loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async with served() as (_app, port), httpx.AsyncClient() as client:
            async with client.stream("GET", f"http://127.0.0.1:{port}/endless") as answer:
                async for _chunk in answer.aiter_raw():
                    in_the_middle()

    stop_in_the_middle(loop_factory, program, stop)


async def exit_code(loop_id: str, sent: signal.Signals) -> int:
    """Run `uvicorn --loop ...`, send the signal in a websocket; the code it leaves with."""
    environment = script_environment(RLOOP_BACKEND="epoll" if loop_id == "epoll" else "io_uring")
    environment["PYTHONPATH"] = f"{Path(__file__).parent}{os.pathsep}{environment['PYTHONPATH']}"
    options = ["--loop", FACTORIES[loop_id], "--port", "0", "--http", "httptools"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "uvicorn", "asgi_app:app", *options,
        stdout=PIPE, stderr=PIPE, env=environment,
    )  # fmt: skip
    assert process.stdout and process.stderr
    try:
        started = (await process.stdout.readline()).decode()
        assert started.startswith("lifespan.startup <")
        assert f"backend={loop_id}" in started or loop_id == "asyncio"
        log = b""
        while b"Uvicorn running on" not in log:
            line = await process.stderr.readline()
            assert line, log
            log += line
        port = int(log.rsplit(b"127.0.0.1:", 1)[1].split()[0])
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"http://127.0.0.1:{port}/greet?1")).text == "hello 1"
        async with websockets.connect(f"ws://127.0.0.1:{port}/") as ws:
            await ws.send("talk")
            assert await ws.recv() == "talk"
            process.send_signal(sent)
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await ws.recv()
            assert closed.value.rcvd and closed.value.rcvd.code == 1012  # the service restarts
        output, log = await process.communicate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    assert b"\nlifespan.shutdown <" in output
    assert b"Finished server process" in log
    assert process.returncode is not None
    return process.returncode


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_the_program_ends_by_a_signal_as_on_asyncio(loop_id: str, name: str) -> None:
    sent = signal.Signals[name]
    # Raising the signal again behind its own clean-up is uvicorn's way, and differs by version.
    assert await exit_code(loop_id, sent) == await exit_code("asyncio", sent)
