"""create_server over TCP: hosts, sockets, options, and its errors.

Source: asyncio's documentation, "Creating network servers".
"""

import asyncio
import inspect
import socket

import pytest
from support import (
    Echo,
    Noise,
    Recorder,
    differs,
    listening_socket,
    needs_ipv6,
    recv_exactly,
    reset,
    serving,
    turns,
    wait_until,
)


def families(server: asyncio.Server) -> set[int]:
    return {sock.family for sock in server.sockets}


async def echoes(address: tuple[object, ...]) -> bool:
    """Whether something at the address sends back what it is sent."""
    loop = asyncio.get_running_loop()
    family = socket.AF_INET6 if len(address) == 4 else socket.AF_INET
    with socket.socket(family) as client:
        client.setblocking(False)
        await loop.sock_connect(client, address)
        await loop.sock_sendall(client, b"hello")
        answer = await recv_exactly(client, 5)
    await turns()
    return answer == b"hello"


async def test_it_serves_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (server, address):
        assert server.is_serving()
        assert await echoes(address)


@needs_ipv6
async def test_it_serves_ipv6(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, "::1") as (server, address):
        assert families(server) == {socket.AF_INET6}
        assert await echoes(address)


@needs_ipv6
@differs("uvloop", "a host named twice is bound twice")
async def test_a_list_of_hosts_gives_a_socket_each(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, ["127.0.0.1", "::1", "127.0.0.1"]) as (server, _):
        assert len(server.sockets) == 2
        assert families(server) == {socket.AF_INET, socket.AF_INET6}
        for sock in server.sockets:
            assert await echoes(sock.getsockname())


@pytest.mark.parametrize("host", [None, ""])
async def test_no_host_means_every_interface(
    loop: asyncio.AbstractEventLoop, host: str | None
) -> None:
    async with serving(Echo, host) as (server, _):
        addresses = {sock.getsockname()[0] for sock in server.sockets}
        assert addresses <= {"0.0.0.0", "::"}
        assert "0.0.0.0" in addresses
        port = next(s.getsockname()[1] for s in server.sockets if s.family == socket.AF_INET)
        assert await echoes(("127.0.0.1", port))


async def test_the_family_restricts_the_sockets(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, None, family=socket.AF_INET) as (server, _):
        assert families(server) == {socket.AF_INET}


async def test_a_name_is_resolved(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, "localhost", family=socket.AF_INET) as (_, address):
        assert address[0] == "127.0.0.1"


async def test_a_bound_socket_is_taken_over(loop: asyncio.AbstractEventLoop) -> None:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    address = sock.getsockname()
    server = await loop.create_server(Echo, sock=sock)
    assert [s.getsockname() for s in server.sockets] == [address]
    assert server.sockets[0].fileno() == sock.fileno()
    assert await echoes(address)
    server.close()
    await wait_until(lambda: sock.fileno() == -1)


async def test_a_listening_socket_is_taken_over(loop: asyncio.AbstractEventLoop) -> None:
    sock = listening_socket()
    server = await loop.create_server(Echo, sock=sock, backlog=10)
    assert await echoes(sock.getsockname())
    server.close()
    await turns()


async def test_clients_that_came_before_the_server_are_served(
    loop: asyncio.AbstractEventLoop,
) -> None:
    sock = listening_socket()
    with socket.create_connection(sock.getsockname()) as early:
        early.setblocking(False)
        early.send(b"early")
        server = await loop.create_server(Echo, sock=sock)
        assert await recv_exactly(early, 5) == b"early"
    server.close()
    await turns()


async def test_a_unix_listener_is_taken_over(loop: asyncio.AbstractEventLoop) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0create-server-{id(loop)}")
    name = listener.getsockname()
    server = await loop.create_server(Echo, sock=listener)
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        await loop.sock_connect(client, name)
        await loop.sock_sendall(client, b"unix")
        assert await recv_exactly(client, 4) == b"unix"
    server.close()
    await turns()


async def test_start_serving_false_waits(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, start_serving=False) as (server, address):
        assert not server.is_serving()
        with socket.socket() as client, pytest.raises(ConnectionRefusedError):
            client.connect(address)
        await server.start_serving()
        assert server.is_serving()
        assert await echoes(address)
        await server.start_serving()


async def test_an_address_in_use_raises(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo) as (_, address):
        with pytest.raises(OSError) as caught:
            await loop.create_server(Echo, *address)
        assert caught.value.errno == 98
        assert f"error while attempting to bind on address {address!r}: " in str(caught.value)


async def test_reuse_port_lets_two_servers_share_a_port(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, reuse_port=True) as (_, address):
        second = await loop.create_server(Echo, *address, reuse_port=True)
        assert second.sockets[0].getsockname() == address
        second.close()
        await turns()


@pytest.mark.parametrize(("reuse", "wanted"), [(None, 1), (True, 1), (False, 0)])
async def test_reuse_address_is_the_default(
    loop: asyncio.AbstractEventLoop, reuse: bool | None, wanted: int
) -> None:
    async with serving(Echo, reuse_address=reuse) as (server, _):
        got = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
        assert got == wanted


@pytest.mark.skipif(
    "keep_alive" not in inspect.signature(asyncio.BaseEventLoop.create_server).parameters,
    reason="the keep_alive parameter is new in Python 3.13",
)
@differs("uvloop", "its create_server does not know the parameter")
async def test_keep_alive_is_set_on_the_listener(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, keep_alive=True) as (server, _):
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    async with serving(Echo) as (server, _):
        assert server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0


async def test_arguments_that_contradict_are_value_errors(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with socket.socket() as sock, socket.socket(type=socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(ValueError, match="host/port and sock can not be specified"):
            await loop.create_server(Echo, "127.0.0.1", 0, sock=sock)
        with pytest.raises(ValueError, match="Neither host/port nor sock were specified"):
            await loop.create_server(Echo)
        with pytest.raises(ValueError, match="A Stream Socket was expected"):
            await loop.create_server(Echo, sock=datagrams)
        with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
            await loop.create_server(Echo, "127.0.0.1", 0, ssl_handshake_timeout=1)
        with pytest.raises(TypeError, match="ssl argument must be an SSLContext or None"):
            await loop.create_server(Echo, "127.0.0.1", 0, ssl=True)  # type: ignore[arg-type]


async def test_an_unknown_host_raises(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(OSError):
        await loop.create_server(Echo, "999.999.999.999", 0, flags=socket.AI_NUMERICHOST)


async def test_a_burst_larger_than_the_backlog_is_served(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Echo, backlog=20) as (_, address):
        clients = []
        for _ in range(60):
            client = socket.socket()
            client.setblocking(False)
            await loop.sock_connect(client, address)
            clients.append(client)
        for number, client in enumerate(clients):
            await loop.sock_sendall(client, b"%05d" % number)
        for number, client in enumerate(clients):
            assert await recv_exactly(client, 5) == b"%05d" % number
            client.close()
        await turns()


async def test_a_client_that_is_gone_before_the_accept_does_no_harm(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    lost: list[BaseException | None] = []

    class Noting(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            lost.append(exc)

    async with serving(Noting, start_serving=False) as (server, address):
        await server.start_serving()
        for _ in range(10):
            reset(socket.create_connection(address))
        await wait_until(lambda: len(lost) == 10)
        with socket.create_connection(address):
            pass
        await wait_until(lambda: len(lost) == 11)


@differs("uvloop", "the error is reported with debug mode off as well")
async def test_a_failing_factory_does_not_stop_the_server(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    calls: list[int] = []

    def factory() -> asyncio.Protocol:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("the first client has bad luck")
        return Echo()

    async with serving(factory) as (_, address):
        with socket.create_connection(address):
            await wait_until(lambda: calls)
        assert await echoes(address)
    assert noise.take() == [], "asyncio reports it in debug mode only"
    noise.forgive_unclosed()
