"""create_connection over TCP: addresses, sockets of the user, local addresses, and its errors.

Source: asyncio's documentation, "Opening network connections". What concerns TLS is elsewhere.
"""

import asyncio
import socket

import pytest
from support import (
    PY312,
    Noise,
    Recorder,
    differs,
    listening_socket,
    needs_ipv6,
    recv_exactly,
    tcp_pair,
    turns,
    until_closed,
    unused_port,
    wait_until,
)


async def test_it_gives_a_transport_and_the_protocol(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener:
        host, port = listener.getsockname()
        transport, protocol = await loop.create_connection(Recorder, host, port)
        assert isinstance(protocol, Recorder)
        assert protocol.transport is transport
        assert protocol.events == ["connection_made"]
        connection, _ = await loop.sock_accept(listener)
        with connection:
            transport.write(b"hello")
            assert await recv_exactly(connection, 5) == b"hello"
            await until_closed(transport)


@pytest.mark.parametrize("port_type", [int, str])
async def test_the_port_may_be_text(
    loop: asyncio.AbstractEventLoop, port_type: type[int] | type[str]
) -> None:
    with listening_socket() as listener:
        port = port_type(listener.getsockname()[1])
        transport, _ = await loop.create_connection(Recorder, "127.0.0.1", port)
        await until_closed(transport)


async def test_a_name_is_resolved(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener:
        transport, _ = await loop.create_connection(
            Recorder, "localhost", listener.getsockname()[1]
        )
        assert transport.get_extra_info("peername")[1] == listener.getsockname()[1]
        await until_closed(transport)


@needs_ipv6
async def test_ipv6_addresses_work(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket("::1") as listener:
        transport, _ = await loop.create_connection(Recorder, "::1", listener.getsockname()[1])
        assert transport.get_extra_info("peername")[:2] == listener.getsockname()[:2]
        assert transport.get_extra_info("socket").family == socket.AF_INET6
        await until_closed(transport)


@needs_ipv6
async def test_the_family_restricts_the_addresses(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener:
        port = listener.getsockname()[1]
        with pytest.raises(OSError):
            await loop.create_connection(Recorder, "127.0.0.1", port, family=socket.AF_INET6)
        transport, _ = await loop.create_connection(
            Recorder, "127.0.0.1", port, family=socket.AF_INET
        )
        await until_closed(transport)


async def test_a_refused_connection_raises_and_leaks_nothing(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Recorder, "127.0.0.1", unused_port())


async def test_the_error_names_the_address(loop: asyncio.AbstractEventLoop) -> None:
    port = unused_port()
    with pytest.raises(ConnectionRefusedError) as caught:
        await loop.create_connection(Recorder, "127.0.0.1", port)
    if "uvloop" not in type(loop).__module__:
        assert str(caught.value).endswith(f"Connect call failed ('127.0.0.1', {port})")


@differs("uvloop", "only the first address's error is raised, as one or as a list")
async def test_the_next_address_is_tried_after_a_refusal(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with listening_socket() as listener:
        wrong, right = unused_port(), listener.getsockname()[1]

        async def two_addresses(*args: object, **kwargs: object) -> list[object]:
            stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
            return [(*stream, ("127.0.0.1", wrong)), (*stream, ("127.0.0.1", right))]

        monkeypatch.setattr(loop, "getaddrinfo", two_addresses)
        transport, _ = await loop.create_connection(Recorder, "a.name.invalid", 80)
        assert transport.get_extra_info("peername")[1] == right
        await until_closed(transport)


@differs("uvloop", "its error for several failures has other words")
async def test_failures_of_all_addresses_are_combined(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = unused_port(), unused_port()

    async def two_addresses(*args: object, **kwargs: object) -> list[object]:
        stream = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*stream, ("127.0.0.1", port)) for port in ports]

    monkeypatch.setattr(loop, "getaddrinfo", two_addresses)
    with pytest.raises(OSError, match=r"^Multiple exceptions: \[Errno 111\]"):
        await loop.create_connection(Recorder, "a.name.invalid", 80)
    if hasattr(asyncio, "eager_task_factory"):
        with pytest.raises(ExceptionGroup) as caught:
            await loop.create_connection(Recorder, "a.name.invalid", 80, all_errors=True)
        assert len(caught.value.exceptions) == 2


async def test_the_local_address_is_bound(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener:
        port = unused_port()
        transport, _ = await loop.create_connection(
            Recorder, *listener.getsockname(), local_addr=("127.0.0.1", port)
        )
        assert transport.get_extra_info("sockname") == ("127.0.0.1", port)
        await until_closed(transport)


async def test_a_local_address_in_use_raises(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener, listening_socket() as other:
        with pytest.raises(OSError) as caught:
            await loop.create_connection(
                Recorder, *listener.getsockname(), local_addr=other.getsockname()
            )
        if "uvloop" not in type(loop).__module__:
            assert "error while attempting to bind on address" in str(caught.value)


async def test_a_connected_socket_is_taken_over(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(True)
    transport, protocol = await loop.create_connection(Recorder, sock=near)
    assert transport.get_extra_info("socket").fileno() == near.fileno()
    assert transport.get_extra_info("socket").gettimeout() == 0
    far.send(b"hello")
    assert await protocol.wait_for_bytes(5) == b"hello"
    transport.close()
    await wait_until(lambda: near.fileno() == -1)
    far.close()


async def test_a_unix_stream_socket_is_taken_over(loop: asyncio.AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, protocol = await loop.create_connection(Recorder, sock=near)
    far.send(b"hello")
    assert await protocol.wait_for_bytes(5) == b"hello"
    transport.write(b"answer")
    assert await recv_exactly(far, 6) == b"answer"
    await until_closed(transport)
    far.close()


@differs("asyncio", "3.11 does not look whether a transport has the socket", when=not PY312)
@differs("uvloop", "it aborts the process")
async def test_a_socket_of_a_transport_cannot_be_taken_twice(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    transport, _ = await loop.create_connection(Recorder, sock=near)
    with pytest.raises(RuntimeError, match="is used by transport"):
        await loop.create_connection(Recorder, sock=near)
    assert not transport.is_closing()
    transport.abort()  # since 3.14 the failed attempt has closed the socket under it
    await until_closed(transport)
    await turns()
    far.close()


async def test_a_datagram_socket_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    with (
        socket.socket(type=socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError, match="A Stream Socket was expected"),
    ):
        await loop.create_connection(Recorder, sock=sock)


async def test_arguments_that_contradict_are_value_errors(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    with near, far:
        with pytest.raises(ValueError, match="host/port and sock can not be specified"):
            await loop.create_connection(Recorder, "127.0.0.1", 80, sock=near)
        with pytest.raises(ValueError, match="host and port was not specified and no sock"):
            await loop.create_connection(Recorder)
        with pytest.raises(ValueError, match="server_hostname is only meaningful with ssl"):
            await loop.create_connection(Recorder, "127.0.0.1", 80, server_hostname="x")
        with pytest.raises(ValueError, match="ssl_handshake_timeout is only meaningful with ssl"):
            await loop.create_connection(Recorder, "127.0.0.1", 80, ssl_handshake_timeout=1)


async def test_a_factory_that_raises_raises_from_create_connection(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    def factory() -> asyncio.Protocol:
        raise ValueError("no protocol today")

    with listening_socket() as listener:
        with pytest.raises(ValueError, match="no protocol today"):
            await loop.create_connection(factory, *listener.getsockname())
        await turns()
    # asyncio leaves the connected socket to the garbage collector here.
    noise.forgive_unclosed()


async def test_a_cancelled_connect_leaves_nothing_open(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket(backlog=0) as listener:
        fillers = []
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            fillers.append(filler)
        task = loop.create_task(loop.create_connection(Recorder, *listener.getsockname()))
        await turns()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        for filler in fillers:
            filler.close()
        await turns()


async def test_connection_made_comes_before_the_coroutine_goes_on(
    loop: asyncio.AbstractEventLoop,
) -> None:
    order: list[str] = []

    class Ordered(Recorder):
        def connection_made(self, transport: object) -> None:
            super().connection_made(transport)
            order.append("connection_made")

    with listening_socket() as listener:
        transport, _ = await loop.create_connection(Ordered, *listener.getsockname())
        order.append("coroutine")
        assert order == ["connection_made", "coroutine"]
        await until_closed(transport)


async def test_nagle_is_off(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket() as listener:
        transport, _ = await loop.create_connection(Recorder, *listener.getsockname())
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        await until_closed(transport)


async def test_many_connections_at_the_same_time(loop: asyncio.AbstractEventLoop) -> None:
    with listening_socket(backlog=200) as listener:
        opened = await asyncio.gather(
            *(loop.create_connection(Recorder, *listener.getsockname()) for _ in range(100))
        )
        assert len({transport.get_extra_info("sockname") for transport, _ in opened}) == 100
        await until_closed(*(transport for transport, _ in opened))


async def test_connect_accepted_socket_makes_a_server_side(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    transport, protocol = await loop.connect_accepted_socket(Recorder, near)
    far.send(b"hello")
    assert await protocol.wait_for_bytes(5) == b"hello"
    await until_closed(transport)
    far.close()
