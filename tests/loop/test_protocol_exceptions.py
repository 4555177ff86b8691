"""Exceptions raised by a protocol's callbacks: what is reported, and what the connection does.

The texts and keys of the reports are those of asyncio's selector transports; uvloop's are its own,
so most of this file is not for it.
"""

import asyncio
import socket
from typing import Any

import pytest
from support import (
    BufferedRecorder,
    Noise,
    Recorder,
    differs,
    recv_all,
    recv_exactly,
    reset,
    turns,
    wait_until,
    wired,
)

OWN_WORDS = "its reports have words and keys of their own"
LARGE = b"x" * (8 << 20)


class Failing(Recorder):
    """Raises in one callback, the first time."""

    method = ""

    def fail(self, method: str) -> None:
        if method == self.method:
            self.method = ""
            raise ValueError(f"in {method}")

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.fail("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.fail("data_received")

    def eof_received(self) -> bool | None:
        result = super().eof_received()
        self.fail("eof_received")
        return result

    def pause_writing(self) -> None:
        super().pause_writing()
        self.fail("pause_writing")

    def resume_writing(self) -> None:
        super().resume_writing()
        self.fail("resume_writing")

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.fail("connection_lost")


def failing_in(method: str) -> Any:
    class FailingIn(Failing):
        pass

    FailingIn.method = method
    return FailingIn


def check_fatal(context: dict[str, Any], message: str, transport: Any, protocol: Any) -> None:
    assert context["message"] == message
    assert context["transport"] is transport
    assert context["protocol"] is protocol
    assert isinstance(context["exception"], ValueError)
    assert set(context) == {"message", "exception", "transport", "protocol"}


@differs("uvloop", OWN_WORDS)
async def test_in_data_received(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    async with wired(failing_in("data_received")) as (transport, protocol, far):
        far.send(b"x")
        error = await protocol.lost
        assert str(error) == "in data_received"
        check_fatal(
            noise.take_one(),
            "Fatal error: protocol.data_received() call failed.",
            transport,
            protocol,
        )
        assert await loop.sock_recv(far, 1) == b""


@differs("uvloop", OWN_WORDS)
async def test_in_eof_received(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:
    async with wired(failing_in("eof_received")) as (transport, protocol, far):
        far.shutdown(socket.SHUT_WR)
        assert str(await protocol.lost) == "in eof_received"
        check_fatal(
            noise.take_one(),
            "Fatal error: protocol.eof_received() call failed.",
            transport,
            protocol,
        )


@differs("uvloop", OWN_WORDS)
@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated"])
async def test_in_a_buffered_protocol(
    loop: asyncio.AbstractEventLoop, noise: Noise, method: str
) -> None:
    class FailingBuffered(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> bytearray:
            if method == "get_buffer":
                raise ValueError("in get_buffer")
            return super().get_buffer(sizehint)

        def buffer_updated(self, nbytes: int) -> None:
            if method == "buffer_updated":
                raise ValueError("in buffer_updated")

    async with wired(FailingBuffered) as (transport, protocol, far):
        far.send(b"x")
        assert str(await protocol.lost) == f"in {method}"
        check_fatal(
            noise.take_one(),
            f"Fatal error: protocol.{method}() call failed.",
            transport,
            protocol,
        )


@differs("uvloop", OWN_WORDS)
async def test_in_connection_made_leaves_the_connection_open(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired(failing_in("connection_made")) as (transport, protocol, far):
        context = noise.take_one()
        assert context["message"].startswith("Exception in callback ")
        assert "connection_made" in context["message"]
        assert str(context["exception"]) == "in connection_made"
        assert not transport.is_closing()
        far.send(b"x")
        await protocol.wait_for_bytes(1)
        transport.write(b"y")
        assert await recv_exactly(far, 1) == b"y"


async def test_in_connection_lost_closes_the_descriptor_all_the_same(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired(failing_in("connection_lost")) as (transport, _, far):
        sock = transport.get_extra_info("socket")
        transport.close()
        await wait_until(lambda: sock.fileno() == -1)
        context = noise.take_one()
        assert context["message"].startswith("Exception in callback ")
        assert "connection_lost" in context["message"]
        assert str(context["exception"]) == "in connection_lost"
        assert await recv_all(far) == b""


async def test_in_pause_writing_loses_nothing(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired(failing_in("pause_writing")) as (transport, protocol, far):
        transport.write(LARGE)
        check_fatal(noise.take_one(), "protocol.pause_writing() failed", transport, protocol)
        assert len(await recv_exactly(far, len(LARGE))) == len(LARGE)
        await wait_until(lambda: "resume_writing" in protocol.events)
        assert not transport.is_closing()


async def test_in_resume_writing_loses_nothing(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired(failing_in("resume_writing")) as (transport, protocol, far):
        transport.write(LARGE)
        assert len(await recv_exactly(far, len(LARGE))) == len(LARGE)
        await wait_until(lambda: noise.contexts)
        check_fatal(noise.take_one(), "protocol.resume_writing() failed", transport, protocol)
        assert not transport.is_closing()
        transport.write(b"more")
        assert await recv_exactly(far, 4) == b"more"


async def test_a_protocol_without_the_callback_is_reported_too(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    class Silent:
        """Has no data_received at all."""

        def __init__(self) -> None:
            self.lost = loop.create_future()

        def connection_made(self, transport: Any) -> None:
            pass

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    if "uvloop" in type(loop).__module__:
        pytest.skip("it looks the callbacks up when the transport is made")
    async with wired(Silent) as (_, protocol, far):
        far.send(b"x")
        assert isinstance(await protocol.lost, AttributeError)
        context = noise.take_one()
        assert context["message"] == "Fatal error: protocol.data_received() call failed."


async def test_one_failing_protocol_does_not_harm_another(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired(failing_in("data_received")) as (_, bad, far_bad), wired() as (_, good, far):
        far_bad.send(b"x")
        far.send(b"y")
        await bad.lost
        await good.wait_for_bytes(1)
        far.send(b"z")
        assert await good.wait_for_bytes(2) == b"yz"
        assert noise.take()


async def test_a_read_error_is_silent_unless_debugging(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired() as (_, protocol, far):
        reset(far)
        assert isinstance(await protocol.lost, ConnectionResetError)
        await turns()
        assert noise.take() == []


async def test_data_that_followed_the_failure_is_not_delivered(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async with wired(failing_in("data_received")) as (_, protocol, far):
        far.send(b"x" * 100_000)
        await protocol.lost
        assert len(protocol.chunks) == 1
        assert protocol.events.count("connection_lost") == 1
        assert noise.take()
