"""aiohttp: a server and its client on one loop, over TCP, TLS and Unix sockets."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from leftovers import LoopFactory, each_stop, stop_in_the_middle
from peers import UPLOADER, ResettingProxy, blocks, killed_program
from services import Certificate
from support import reset, wait_until

pytest.importorskip("aiohttp", reason="aiohttp is not installed (requirements-ecosystem.txt)")

from aiohttp import ClientError, ClientSession, TCPConnector, UnixConnector, web
from aiohttp_site import Site, served

BLOCKS = 128  # of 64 KiB


async def test_keep_alive_requests_share_one_connection() -> None:
    async with served() as (site, port), ClientSession() as client:
        for number in range(50):
            async with client.get(f"http://127.0.0.1:{port}/peer?n={number}") as response:
                assert (await response.json())["query"] == {"n": str(number)}
        assert len(site.peers) == 1


async def test_concurrent_requests_keep_to_the_connection_limit() -> None:
    async def get(number: int) -> None:
        async with client.get(f"http://127.0.0.1:{port}/peer?n={number}") as response:
            assert (await response.json())["query"] == {"n": str(number)}

    async with served() as (site, port), ClientSession(connector=TCPConnector(limit=10)) as client:
        await asyncio.gather(*(get(number) for number in range(200)))
        assert 1 < len(site.peers) <= 10


async def test_host_names_are_resolved() -> None:
    async with served() as (_site, port), ClientSession() as client:
        async with client.get(f"http://localhost:{port}/peer") as response:
            assert response.status == 200


async def echo_stream(client: ClientSession, url: str) -> None:
    sent, received = hashlib.sha256(), hashlib.sha256()

    async def body() -> AsyncIterator[bytes]:
        for block in blocks(BLOCKS):
            sent.update(block)
            yield block

    async with client.post(url, data=body()) as response:
        async for chunk in response.content.iter_any():
            received.update(chunk)
    assert received.digest() == sent.digest()


async def test_bodies_stream_both_ways_at_once() -> None:
    async with served() as (_site, port), ClientSession() as client:
        await echo_stream(client, f"http://127.0.0.1:{port}/echo")


async def test_bodies_stream_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    async with served(path), ClientSession(connector=UnixConnector(str(path))) as client:
        await echo_stream(client, "http://unix/echo")


async def test_bodies_stream_over_tls(certificate: Certificate) -> None:
    connector = TCPConnector(ssl=certificate.client())
    async with served(ssl_context=certificate.server()) as (site, port):
        async with ClientSession(connector=connector) as client:
            await echo_stream(client, f"https://127.0.0.1:{port}/echo")
            url = f"https://127.0.0.1:{port}/endless"
            async with client.get(url) as response:
                await response.content.readany()
            await wait_until(lambda: site.ended)


async def test_files_are_served(tmp_path: Path) -> None:
    content = b"".join(blocks(BLOCKS))
    async with served() as (site, port), ClientSession() as client:
        site.file = tmp_path / "file"
        site.file.write_bytes(content)
        url = f"http://127.0.0.1:{port}/file"
        async with client.get(url) as response:
            assert await response.read() == content
        async with client.get(url, headers={"Range": "bytes=70000-199999"}) as response:
            assert await response.read() == content[70000:200000]


async def test_a_client_cancelled_in_a_download_ends_the_handler() -> None:
    read = asyncio.Event()

    async def download() -> None:
        async with client.get(f"http://127.0.0.1:{port}/endless") as response:
            async for _chunk in response.content.iter_any():
                read.set()

    async with served() as (site, port), ClientSession() as client:
        task = asyncio.create_task(download())
        await read.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: site.ended)
        async with client.get(f"http://127.0.0.1:{port}/peer") as response:
            assert response.status == 200


async def test_a_client_cancelled_in_an_upload_ends_the_handler() -> None:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield bytes(1 << 16)

    async def upload() -> None:
        async with client.post(f"http://127.0.0.1:{port}/swallow", data=body()):
            pass

    async with served() as (site, port), ClientSession() as client:
        task = asyncio.create_task(upload())
        await site.started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await wait_until(lambda: site.ended)


@each_stop
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_stopped_in_a_download(
    loop_factory: LoopFactory, certificate: Certificate, stop: str, scheme: str
) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        ssl_context = certificate.server() if scheme == "https" else None
        connector = TCPConnector(ssl=certificate.client())
        async with served(ssl_context=ssl_context) as (_site, port):
            async with ClientSession(connector=connector) as client:
                async with client.get(f"{scheme}://127.0.0.1:{port}/endless") as response:
                    await response.content.readany()
                    in_the_middle()
                    async for _chunk in response.content.iter_any():
                        pass

    stop_in_the_middle(loop_factory, program, stop)


@each_stop
def test_stopped_in_an_upload(loop_factory: LoopFactory, stop: str) -> None:
    async def program(in_the_middle: Callable[[], None]) -> None:
        async def body() -> AsyncIterator[bytes]:
            while True:
                yield bytes(1 << 16)
                if site.started.is_set():
                    in_the_middle()

        async with served() as (site, port), ClientSession() as client:
            async with client.post(f"http://127.0.0.1:{port}/swallow", data=body()):
                pass

    stop_in_the_middle(loop_factory, program, stop)


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_run_app_ends_by_a_signal_in_a_download(loop_factory: LoopFactory, name: str) -> None:
    killer = threading.Thread(target=os.kill, args=(os.getpid(), signal.Signals[name]))
    site = Site()

    async def download() -> None:
        async with ClientSession() as client:
            async with client.get(f"http://127.0.0.1:{port}/endless") as response:
                await response.content.readany()
                killer.start()
                async for _chunk in response.content.iter_any():
                    pass

    async def visited(_app: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(download())
        yield
        with pytest.raises(ClientError):
            await task

    site.app.cleanup_ctx.append(visited)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        web.run_app(
            site.app, sock=listener, loop=loop_factory(), print=None,
            handler_cancellation=True, shutdown_timeout=0.1,
        )  # fmt: skip
    killer.join()
    assert site.ended


async def test_a_client_killed_in_its_upload_ends_the_handler() -> None:
    async with served() as (site, port):
        request = f"POST /swallow HTTP/1.1\r\nHost: x\r\nContent-Length: {1 << 40}\r\n\r\n"
        with killed_program(UPLOADER, port, request) as kill:
            await site.started.wait()
            kill()
            await wait_until(lambda: site.ended)


async def test_a_client_that_resets_in_a_download_ends_the_handler() -> None:
    async with served() as (site, port):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
            assert await loop.sock_recv(client, 100)
            reset(client)
        await wait_until(lambda: site.ended)


async def test_a_server_that_resets_fails_the_download() -> None:
    async with served() as (site, port), ClientSession() as client:
        with ResettingProxy(port) as proxy:
            async with client.get(f"http://127.0.0.1:{proxy.port}/endless") as response:
                await response.content.readany()
                await asyncio.to_thread(proxy.reset)
                with pytest.raises(ClientError):
                    async for _chunk in response.content.iter_any():
                        pass
        await wait_until(lambda: site.ended)
