"""Descriptors, sockets, callbacks and times that are not what they should be.

A forgotten return, a wrong type, an attribute that fails when it is looked up: asyncio answers with
an exception, at once or through the exception handler, and so must a loop whose other half is
native. Types and texts are asyncio's.
"""

from __future__ import annotations

import asyncio
import contextvars
import fractions
import socket
import sys
from typing import Any

import pytest
from support import (
    Datagrams,
    Noise,
    Recorder,
    differs,
    needs_ipv6,
    recv_exactly,
    tcp_pair,
    turns,
    wired,
)

OWN_CHECKS = "it checks its arguments in words of its own"


# --- file objects and sockets ----------------------------------------------------------------


class File:
    """fileno() gives what it was told, or raises it."""

    def __init__(self, number: Any) -> None:
        self.number = number

    def fileno(self) -> Any:
        if isinstance(self.number, Exception):
            raise self.number
        return self.number

    def __repr__(self) -> str:
        return "File"


@pytest.mark.parametrize(
    ("file", "kind", "text"),
    [
        (None, ValueError, "Invalid file object: None"),
        ("x", ValueError, "Invalid file object: 'x'"),
        (-1, ValueError, "Invalid file descriptor: -1"),
        (File(None), ValueError, "Invalid file object: File"),
        (File(ValueError()), ValueError, "Invalid file object: File"),
        (File(AttributeError()), ValueError, "Invalid file object: File"),
        (File(RuntimeError("mine")), RuntimeError, "mine"),
        (File(OSError("mine")), OSError, "mine"),
        (File(-1), ValueError, "Invalid file descriptor: -1"),
    ],
)
def test_file_objects_that_are_none(
    loop: asyncio.AbstractEventLoop, file: Any, kind: type[Exception], text: str
) -> None:
    for method in (loop.add_reader, loop.add_writer):
        with pytest.raises(kind) as caught:
            method(file, print)
        assert str(caught.value) == text
    for remove in (loop.remove_reader, loop.remove_writer):
        with pytest.raises(kind) as caught:
            remove(file)
        assert str(caught.value) == text


@differs("uvloop", OWN_CHECKS)
def test_numbers_that_are_no_descriptor(loop: asyncio.AbstractEventLoop) -> None:
    for number in (10**30, 2**31):
        with pytest.raises(OverflowError):
            loop.add_reader(number, print)
        assert loop.remove_reader(number) is False


@differs("uvloop", OWN_CHECKS)
def test_readers_of_a_closed_socket(loop: asyncio.AbstractEventLoop) -> None:
    never_watched, watched = tcp_pair()
    loop.add_reader(watched, print)
    never_watched.close()
    watched.close()
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(never_watched)
    assert loop.remove_reader(watched) is True
    with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
        loop.remove_reader(watched)


@differs("uvloop", OWN_CHECKS)
@pytest.mark.parametrize("sock", [None, 5, "x", object()])
async def test_sockets_that_are_none(loop: asyncio.AbstractEventLoop, sock: Any) -> None:
    kind = type(sock).__name__
    for method, call in {
        "recv": loop.sock_recv(sock, 5),
        "recv_into": loop.sock_recv_into(sock, bytearray(5)),
        "send": loop.sock_sendall(sock, b"x"),
        "recvfrom": loop.sock_recvfrom(sock, 5),
    }.items():
        with pytest.raises(AttributeError, match=f"'{kind}' object has no attribute '{method}'"):
            await call


@differs("uvloop", "it reads from and writes to the descriptor")
async def test_a_class_of_sockets_with_methods_of_its_own_is_asked(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Shouting(socket.socket):
        def recv(self, *args: Any) -> bytes:
            return super().recv(*args).upper()

        def recv_into(self, *args: Any) -> int:  # type: ignore[override]
            count = super().recv_into(*args)
            args[0][:count] = bytes(args[0][:count]).upper()
            return count

        def send(self, data: Any, *args: Any) -> int:  # type: ignore[override]
            return super().send(bytes(data[:3]).upper(), *args)

    plain, far = tcp_pair()
    with Shouting(fileno=plain.detach()) as near, far:
        near.setblocking(False)
        waiting = asyncio.ensure_future(loop.sock_recv(near, 10))
        await turns()
        far.send(b"waited")
        assert await waiting == b"WAITED"
        far.send(b"into")
        buffer = bytearray(10)
        assert await loop.sock_recv_into(near, buffer) == 4
        assert buffer[:4] == b"INTO"
        await loop.sock_sendall(near, b"in small steps")
        assert await recv_exactly(far, 14) == b"IN SMALL STEPS"


async def test_a_socket_that_was_closed_or_is_none_makes_no_transport(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = tcp_pair()
    near.close()
    with pytest.raises((ValueError, OSError)):
        await loop.create_connection(Recorder, sock=near)
    far.close()
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.setblocking(False)
    closed.close()
    with pytest.raises((ValueError, OSError)):
        await loop.create_datagram_endpoint(Datagrams, sock=closed)


@differs("uvloop", OWN_CHECKS)
@pytest.mark.parametrize(
    "address",
    [
        None,
        5,
        "127.0.0.1",
        [],
        (),
        ("127.0.0.1",),
        ("127.0.0.1", "9"),
        ("127.0.0.1", 70_000),
        ("127.0.0.1", -1),
        ("127.0.0.1", 10**30),
        ("127.0.0.1", 9, 0),
        (None, 9),
        (5, 9),
        ("nul\0", 9),
    ],
)
async def test_datagram_addresses_that_are_none(
    loop: asyncio.AbstractEventLoop, noise: Noise, address: Any
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
        with pytest.raises((TypeError, OverflowError)) as refused:
            plain.sendto(b"x", address)
    transport, protocol = await loop.create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0)
    )
    transport.sendto(b"x", address)
    error = await protocol.lost
    assert (type(error), str(error)) == (refused.type, str(refused.value))
    assert noise.take_one()["message"] == "Fatal write error on datagram transport"


@needs_ipv6
@differs("uvloop", OWN_CHECKS)
@pytest.mark.parametrize(
    "address",
    [
        ("::1",),
        ("::1", 9, "0"),
        ("::1", 9, -1),
        ("::1", 9, 2**20),
        ("::1", 9, 0, "lo"),
        ("::1", 9, 0, 0, 0),
    ],
)
async def test_ipv6_datagram_addresses_that_are_none(
    loop: asyncio.AbstractEventLoop, noise: Noise, address: Any
) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as plain:
        with pytest.raises((TypeError, OverflowError)) as refused:
            plain.sendto(b"x", address)
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, local_addr=("::1", 0))
    transport.sendto(b"x", address)
    error = await protocol.lost
    assert (type(error), str(error)) == (refused.type, str(refused.value))
    assert noise.take_one()["message"] == "Fatal write error on datagram transport"


@differs("uvloop", OWN_CHECKS)
@pytest.mark.parametrize("lines", [5, "text", b"bytes", [1], [b"1", "2"], (b"1", 2)])
async def test_lines_that_are_none(loop: asyncio.AbstractEventLoop, lines: Any) -> None:
    with pytest.raises(TypeError) as refused:
        if sys.version_info >= (3, 12):
            for line in lines:
                memoryview(line)
        else:
            b"".join(lines)
    async with wired() as (transport, _, far):
        with pytest.raises(TypeError) as caught:
            transport.writelines(lines)
        assert str(caught.value) == str(refused.value)
        if "asyncio" not in type(loop).__module__:  # whose queue is left half filled
            transport.write(b"next")
            assert await recv_exactly(far, 4) == b"next"


# --- callbacks, contexts, times --------------------------------------------------------------


@differs("uvloop", OWN_CHECKS)
async def test_what_cannot_be_called_is_reported(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    loop.call_soon(None)  # type: ignore[arg-type]
    await turns()
    context = noise.take_one()
    assert str(context["exception"]) == "'NoneType' object is not callable"
    assert "handle" in context


@differs("uvloop", OWN_CHECKS)
async def test_a_context_that_is_none_of_pythons(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    ran: list[Any] = []

    class Context:
        def run(self, callback: Any, *args: Any) -> Any:
            ran.append("through run()")
            return callback(*args)

    loop.call_soon(ran.append, "called", context=Context())  # type: ignore[arg-type]
    await turns()
    assert ran == ["through run()", "called"]
    loop.call_soon(ran.append, "never", context=5)  # type: ignore[arg-type]
    await turns()
    assert str(noise.take_one()["exception"]) == "'int' object has no attribute 'run'"
    entered = contextvars.copy_context()
    entered.run(lambda: loop.call_soon(ran.append, "later", context=entered))
    await turns()
    assert ran[-1] == "later"


@differs("uvloop", "it rounds to milliseconds")
def test_the_type_of_a_time_is_kept(loop: asyncio.AbstractEventLoop) -> None:
    half = fractions.Fraction(2**33 + 1, 2)
    for when in (2**31, True, 2.5, half):
        handle = loop.call_at(when, print)  # type: ignore[arg-type]
        assert (type(handle.when()), handle.when()) == (type(when), when)
        handle.cancel()
    handle = loop.call_later(1, print)
    assert type(handle.when()) is float
    handle.cancel()
    with pytest.raises(TypeError, match=r"unsupported operand type\(s\) for \+"):
        loop.call_later("1", print)  # type: ignore[arg-type]


def test_times_of_several_types_come_in_their_order(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    soon = int(loop.time())
    times = {"float": soon - 1.5, "int": soon - 1, "bool": True, "fraction": soon - 0.75}
    times["fraction"] = fractions.Fraction(times["fraction"])  # type: ignore[assignment]
    if "uvloop" in type(loop).__module__:
        pytest.skip("what is due already comes in the order of the calls")
    for name, when in times.items():
        loop.call_at(when, ran.append, name)
    loop.call_later(0, loop.stop)
    loop.run_forever()
    assert ran == ["bool", "float", "int", "fraction"]


@differs("uvloop", "it looks at the argument first")
async def test_running_a_running_loop(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(RuntimeError, match="running"):
        loop.run_until_complete(5)  # type: ignore[arg-type]
