"""One TCP connection from its beginning to its end, seen by both protocols.

The predecessor's tests of the same name checked the same five things: the client connects, its
data arrives, the answer arrives, the connection closes, and the states follow each other.
"""

import asyncio
from typing import Any


class States(asyncio.Protocol):
    """INITIAL -> CONNECTED -> (EOF) -> CLOSED, and the bytes on the way."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.state = "INITIAL"
        self.states = ["INITIAL"]
        self.data = b""
        self.closed: asyncio.Future[BaseException | None] = loop.create_future()

    def goes_to(self, state: str, *before: str) -> None:
        assert self.state in before, f"{self.state} -> {state}"
        self.state = state
        self.states.append(state)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.goes_to("CONNECTED", "INITIAL")

    def data_received(self, data: bytes) -> None:
        assert self.state == "CONNECTED"
        self.data += data

    def eof_received(self) -> None:
        self.goes_to("EOF", "CONNECTED")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.goes_to("CLOSED", "CONNECTED", "EOF")
        self.closed.set_result(exc)


class Answering(States):
    """The server's side: answers, then closes."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.data == b"hello":
            self.transport.write(b"hello back")
            self.transport.close()


def test_a_connection_from_beginning_to_end(loop: asyncio.AbstractEventLoop) -> None:
    server_side = Answering(loop)

    async def main() -> States:
        server = await loop.create_server(lambda: server_side, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(lambda: States(loop), *address)
        transport.write(b"hello")
        assert await asyncio.wait_for(client.closed, 10) is None
        assert await asyncio.wait_for(server_side.closed, 10) is None
        server.close()
        await server.wait_closed()
        return client

    client = loop.run_until_complete(main())
    assert server_side.data == b"hello"
    assert client.data == b"hello back"
    assert client.states == ["INITIAL", "CONNECTED", "EOF", "CLOSED"]
    assert server_side.states == ["INITIAL", "CONNECTED", "CLOSED"]


def test_the_client_may_close_first(loop: asyncio.AbstractEventLoop) -> None:
    server_side = States(loop)

    async def main() -> None:
        server = await loop.create_server(lambda: server_side, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(lambda: States(loop), *address)
        transport.write(b"goodbye")
        transport.close()
        await asyncio.wait_for(client.closed, 10)
        await asyncio.wait_for(server_side.closed, 10)
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())
    assert server_side.data == b"goodbye"
    assert server_side.states == ["INITIAL", "CONNECTED", "EOF", "CLOSED"]
