"""A TCP echo server: one client, many clients, a megabyte, and IPv6 where there is any."""

import asyncio
import os
import socket
import threading
from typing import Any

import pytest


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def talk(address: tuple[Any, ...], message: bytes, answers: list[bytes]) -> None:
    """A plain blocking client, in a thread of its own."""
    with socket.create_connection(address[:2], timeout=20) as client:
        sender = threading.Thread(target=client.sendall, args=(message,))
        sender.start()
        received = bytearray()
        while len(received) < len(message):
            data = client.recv(65536)
            if not data:
                break
            received += data
        sender.join()
        answers.append(bytes(received))


def echo(loop: asyncio.AbstractEventLoop, host: str, messages: list[bytes]) -> list[bytes]:
    """What a server at `host` sends back to as many clients as there are messages."""

    async def main() -> list[bytes]:
        server = await loop.create_server(Echo, host, 0)
        address = server.sockets[0].getsockname()
        answers: list[bytes] = []
        await asyncio.gather(
            *(asyncio.to_thread(talk, address, message, answers) for message in messages)
        )
        server.close()
        await server.wait_closed()
        await loop.shutdown_default_executor()
        return answers

    return loop.run_until_complete(asyncio.wait_for(main(), 40))


def test_it_sends_back_what_it_receives(loop: asyncio.AbstractEventLoop) -> None:
    assert echo(loop, "127.0.0.1", [b"hello"]) == [b"hello"]


def test_a_message_of_a_megabyte(loop: asyncio.AbstractEventLoop) -> None:
    message = os.urandom(1 << 20)
    assert echo(loop, "127.0.0.1", [message]) == [message]


def test_many_clients_at_once(loop: asyncio.AbstractEventLoop) -> None:
    messages = [b"client %d " % number * 1000 for number in range(20)]
    assert sorted(echo(loop, "127.0.0.1", messages)) == sorted(messages)


def test_ipv6(loop: asyncio.AbstractEventLoop) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    assert echo(loop, "::1", [b"hello"]) == [b"hello"]
