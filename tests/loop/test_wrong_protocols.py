"""Protocols, buffers and names that are not what they should be, in every place that takes one.

A forgotten return, a wrong type, an attribute that fails when it is looked up: asyncio answers with
an exception, at once or through the exception handler, and so must a loop whose other half is
native. Types and texts are asyncio's.
"""

from __future__ import annotations

import asyncio
import math
import socket
from typing import Any

import pytest
from support import (
    BufferedRecorder,
    Noise,
    Recorder,
    bound,
    connected,
    differs,
    new_loop,
    recv_exactly,
    serving,
    tcp_pair,
    turns,
    wait_until,
    wired,
)

OWN_CHECKS = "it checks its arguments in words of its own"


class Unwilling:
    """Every attribute fails in a way that is not AttributeError."""

    def __getattr__(self, name: str) -> Any:
        raise LookupError(name)


# --- factories and protocols -----------------------------------------------------------------


@differs("uvloop", OWN_CHECKS)
@pytest.mark.parametrize("made", [None, 5, "protocol", object()])
async def test_a_factory_that_makes_no_protocol(
    loop: asyncio.AbstractEventLoop, noise: Noise, made: Any
) -> None:
    kind = type(made).__name__
    message = f"'{kind}' object has no attribute 'connection_made'"
    with pytest.raises(AttributeError, match=message):
        await loop.create_datagram_endpoint(lambda: made, local_addr=("127.0.0.1", 0))
    near, far = tcp_pair()
    with pytest.raises(AttributeError, match=message):
        await loop.create_connection(lambda: made, sock=near)
    near.close()
    far.close()
    noise.forgive_unclosed()  # asyncio's own transports and their sockets


@differs("uvloop", OWN_CHECKS)
async def test_a_protocol_that_fails_when_it_is_looked_at(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    with pytest.raises(LookupError, match="connection_made"):
        await loop.create_datagram_endpoint(Unwilling, local_addr=("127.0.0.1", 0))
    near, far = tcp_pair()
    with pytest.raises(LookupError, match="connection_made"):
        await loop.create_connection(Unwilling, sock=near)
    near.close()
    far.close()
    noise.forgive_unclosed()


@differs("uvloop", OWN_CHECKS)
@differs("asyncio", "it leaves the connection to the collector")
async def test_a_server_whose_factory_makes_no_protocol_drops_the_connection(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    loop.set_debug(True)  # otherwise asyncio says nothing
    async with serving(lambda: None) as (_, address):
        with socket.create_connection(address) as client:
            client.setblocking(False)
            await wait_until(lambda: noise.contexts)
            context = noise.take_one()
            assert context["message"] == "Error on transport creation for incoming connection"
            text = "'NoneType' object has no attribute 'connection_made'"
            assert str(context["exception"]) == text
    loop.set_debug(False)
    noise.forgive_unclosed()


@differs("uvloop", OWN_CHECKS)
async def test_a_transport_whose_protocol_becomes_none(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired() as (transport, _, far):
        transport.set_protocol(None)
        assert transport.get_protocol() is None
        far.send(b"x")
        await wait_until(lambda: len(noise.contexts) == 2)
        received, lost = noise.take()
        assert received["message"] == "Fatal error: protocol.data_received() call failed."
        assert str(received["exception"]) == "'NoneType' object has no attribute 'data_received'"
        assert str(lost["exception"]) == "'NoneType' object has no attribute 'connection_lost'"


@differs("uvloop", OWN_CHECKS)
async def test_a_datagram_transport_whose_protocol_becomes_none(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with bound() as receiver, bound() as sender:
        transport = receiver.transport
        transport.set_protocol(None)
        sender.transport.sendto(b"x", transport.get_extra_info("sockname"))
        await wait_until(lambda: noise.contexts)
        context = noise.take_one()
        text = "'NoneType' object has no attribute 'datagram_received'"
        assert str(context["exception"]) == text
        assert set(context) == {"message", "exception", "handle"}
        transport.set_protocol(receiver)


@differs("uvloop", "its context has no handle")
async def test_a_failing_connection_lost_is_told_with_its_handle(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    class Failing(Recorder):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            raise ValueError("in connection_lost")

    async with wired(Failing) as (transport, protocol, _):
        transport.close()
        await protocol.lost
        await turns()
        context = noise.take_one()
        assert set(context) == {"message", "exception", "handle"}
        assert isinstance(context["handle"], asyncio.Handle)
        assert "connection_lost" in repr(context["handle"])


async def test_a_protocol_that_closes_the_loop_while_it_is_looked_at(
    loop: asyncio.AbstractEventLoop, loop_id: str, noise: Noise
) -> None:
    """The coroutine is stepped by hand: only a loop that does not run can be closed."""
    if loop_id == "uvloop":
        pytest.skip("it asks the protocol while it runs")
    other = new_loop(loop_id)

    class Closing(asyncio.BaseProtocol):
        @property
        def connection_made(self) -> Any:  # type: ignore[override]
            other.close()
            return print

    near, far = tcp_pair()
    opening = other.create_connection(Closing, sock=near)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        opening.send(None)
    near.close()
    far.close()
    noise.forgive_unclosed()


# --- buffers ---------------------------------------------------------------------------------


class Awkward:
    def __init__(self, length: Any) -> None:
        self.length = length

    def __len__(self) -> Any:
        if isinstance(self.length, Exception):
            raise self.length
        return self.length


GET_BUFFER = "Fatal error: protocol.get_buffer() call failed."
READ_ERROR = "Fatal read error on socket transport"
NOT_WRITABLE = "recv_into() argument 1 must be read-write bytes-like object, not "


@differs("uvloop", OWN_CHECKS)
@pytest.mark.parametrize(
    ("lent", "message", "kind", "text"),
    [
        (None, GET_BUFFER, TypeError, "object of type 'NoneType' has no len()"),
        (5, GET_BUFFER, TypeError, "object of type 'int' has no len()"),
        (bytearray(), GET_BUFFER, RuntimeError, "get_buffer() returned an empty buffer"),
        (Awkward(0), GET_BUFFER, RuntimeError, "get_buffer() returned an empty buffer"),
        (Awkward(KeyError("x")), GET_BUFFER, KeyError, "'x'"),
        (Awkward(3), READ_ERROR, TypeError, NOT_WRITABLE + "Awkward"),
        (b"readonly", READ_ERROR, TypeError, NOT_WRITABLE + "bytes"),
        ("text", READ_ERROR, TypeError, NOT_WRITABLE + "str"),
        (memoryview(b"readonly"), READ_ERROR, TypeError, NOT_WRITABLE + "memoryview"),
        (memoryview(bytearray(9))[::2], READ_ERROR, TypeError, NOT_WRITABLE + "memoryview"),
    ],
)
async def test_get_buffer_returns_what_is_no_buffer(
    loop: asyncio.AbstractEventLoop,
    noise: Noise,
    lent: Any,
    message: str,
    kind: type[Exception],
    text: str,
) -> None:
    async with wired(BufferedRecorder) as (transport, protocol, far):
        protocol.buffer = lent
        far.send(b"x")
        error = await protocol.lost
        context = noise.take_one()
        assert (type(error), str(error)) == (kind, text)
        assert context["message"] == message
        assert context["exception"] is error
        assert context["transport"] is transport


@pytest.mark.parametrize("buffer", [None, 5, b"readonly", "text", memoryview(b"readonly")])
async def test_receiving_into_what_is_no_buffer(
    loop: asyncio.AbstractEventLoop, buffer: Any
) -> None:
    near, far = tcp_pair()
    far.send(b"x")
    if "uvloop" in type(loop).__module__:
        with pytest.raises((TypeError, BufferError)):
            await loop.sock_recv_into(near, buffer)
    else:
        kind = "None" if buffer is None else type(buffer).__name__
        text = f"recv_into\\(\\) argument 1 must be read-write bytes-like object, not {kind}"
        with pytest.raises(TypeError, match=text):
            await loop.sock_recv_into(near, buffer)
    assert await recv_exactly(near, 1) == b"x"  # nothing was consumed
    near.close()
    far.close()


# --- water marks, extra info, sockets --------------------------------------------------------


@differs("uvloop", OWN_CHECKS)
async def test_water_marks_of_any_number(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, _):
        for high, low in ((1e6, 5.5), (2**70, 0), (True, False), (math.inf, 0)):
            client.transport.set_write_buffer_limits(high=high, low=low)
            found_low, found_high = client.transport.get_write_buffer_limits()
            assert found_high in (high, 2**63 - 1)
            assert int(low) <= found_low <= low
        for wrong in ({"high": "x"}, {"high": 1, "low": 2}, {"low": -1}):
            with pytest.raises((TypeError, ValueError)):
                client.transport.set_write_buffer_limits(**wrong)
        client.transport.set_write_buffer_limits()


@differs("uvloop", OWN_CHECKS)
async def test_extra_info_of_any_name(loop: asyncio.AbstractEventLoop) -> None:
    async with connected() as (client, _):
        assert client.transport.get_extra_info("nothing", 5) == 5
        assert client.transport.get_extra_info(7) is None
        with pytest.raises(TypeError, match="unhashable"):
            client.transport.get_extra_info([])
