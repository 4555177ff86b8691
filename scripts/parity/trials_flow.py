"""The trials of a transport that is open: writing, flow control, half-close, files, protocols.

Each is a row of the table of parity, below those of parity.trials_transports; see
parity.probe for what a trial is.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from typing import Any

from parity.probe import Loop, Notes, connected, expect, report_missing, row, socket_pair, until
from parity.trials_transports import LOCAL, Datagrams


@row("transports and servers are instances of asyncio's classes")
async def classes(loop: Loop) -> None:
    endpoint, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=LOCAL)
    server = await loop.create_server(Notes, *LOCAL)
    async with connected(loop) as (near, _):
        pairs: list[tuple[Any, type]] = [
            (near.transport, asyncio.Transport),
            (endpoint, asyncio.DatagramTransport),
            (server, asyncio.AbstractServer),
        ]
        wrong = [cls.__name__ for thing, cls in pairs if not isinstance(thing, cls)]
        report_missing("not", wrong, len(pairs))
    endpoint.close()
    server.close()


@row("`write`, `writelines`: every kind of buffer")
async def writing(loop: Loop) -> None:
    async with connected(loop) as (near, far):
        changing = bytearray(b"two,")
        near.transport.write(b"one,")
        near.transport.write(changing)
        changing[:] = b"xxxx"
        near.transport.writelines([memoryview(b"three,"), bytearray(b"four"), b""])
        await until(lambda: len(far.data) == 18)
        expect(far.data == b"one,two,three,four", f"{bytes(far.data)!r} arrived")


@row("`write_eof`, `can_write_eof`: half-close")
async def half_close(loop: Loop) -> None:
    async with connected(loop, far_keeps_open=True) as (near, far):
        expect(near.transport.can_write_eof(), "can_write_eof is False")
        near.transport.write(b"question")
        near.transport.write_eof()
        await until(lambda: far.events == ["eof"])
        far.transport.write(b"answer")
        await until(lambda: near.data == b"answer")
        far.transport.close()
        expect(await near.lost is None, "an orderly end has an exception")


@row("`pause_reading`, `resume_reading`, `is_reading`")
async def reading(loop: Loop) -> None:
    async with connected(loop) as (near, far):
        expect(near.transport.is_reading(), "is_reading is False")
        near.transport.pause_reading()
        near.transport.pause_reading()
        expect(not near.transport.is_reading(), "is_reading is True while paused")
        far.transport.write(b"hello")
        await asyncio.sleep(0.05)
        expect(not near.data, "data came while paused")
        near.transport.resume_reading()
        await until(lambda: near.data == b"hello")


@row("water marks, `pause_writing`, `resume_writing`")
async def flow_control(loop: Loop) -> None:
    sock, far = socket_pair()
    transport, near = await loop.create_connection(Notes, sock=sock)
    transport.set_write_buffer_limits(high=4000, low=1000)
    expect(transport.get_write_buffer_limits() == (1000, 4000), "other limits")
    for _ in range(10_000):
        if near.events:
            break
        transport.write(bytes(10_000))
    expect(near.events == ["pause"], f"{near.events} instead of pause_writing")
    expect(transport.get_write_buffer_size() > 4000, "get_write_buffer_size is too small")
    while near.events == ["pause"]:
        await loop.sock_recv(far, 1_000_000)
    expect(near.events == ["pause", "resume"], f"{near.events} instead of resume_writing")
    transport.abort()
    far.close()


@row("`close`, `abort`, `is_closing`: `connection_lost` once, after the backlog")
async def closing(loop: Loop) -> None:
    async with connected(loop) as (near, far):
        near.transport.write(bytes(1_000_000))
        near.transport.close()
        near.transport.close()
        expect(near.transport.is_closing(), "is_closing is False")
        expect(await near.lost is None, "close gave an exception")
        await far.lost
        expect(len(far.data) == 1_000_000, f"{len(far.data)} of 1000000 bytes arrived")
    async with connected(loop) as (near, far):
        near.transport.abort()
        expect(await near.lost is None, "abort gave an exception")
        await far.lost


@row("`get_extra_info`: `socket`, `sockname`, `peername`")
async def extra_info(loop: Loop) -> None:
    async with connected(loop) as (near, far):
        info = near.transport.get_extra_info
        expect(info("peername") == far.transport.get_extra_info("sockname"), "another peername")
        expect(info("sockname") == info("socket").getsockname(), "another sockname")
        sock = info("socket")
        expect(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), "TCP_NODELAY is off")
        expect(sock.fileno() > 0 and sock.family == socket.AF_INET, "fileno or family")
        expect(info("nothing", "default") == "default", "no default")


@row("`set_protocol`, `get_protocol`")
async def protocols(loop: Loop) -> None:
    async with connected(loop) as (near, far):
        other = Notes()
        near.transport.set_protocol(other)
        expect(near.transport.get_protocol() is other, "get gives another one")
        far.transport.write(b"hello")
        await until(lambda: other.data == b"hello")
        near.transport.abort()
        await other.lost


class Buffered(asyncio.BufferedProtocol):
    """Receives into one buffer of its own."""

    def __init__(self) -> None:
        self.buffer = bytearray(1000)
        self.data = bytearray()

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data += self.buffer[:nbytes]


@row("`asyncio.BufferedProtocol`")
async def buffered(loop: Loop) -> None:
    sock, far = socket_pair()
    transport, near = await loop.create_connection(Buffered, sock=sock)
    await loop.sock_sendall(far, bytes(10_000))
    await until(lambda: len(near.data) == 10_000)
    transport.close()
    far.close()


@row("`sendfile`, `sock_sendfile`")
async def sendfile(loop: Loop) -> None:
    with tempfile.TemporaryFile() as file:
        file.write(b"0123456789")
        file.flush()
        async with connected(loop) as (near, far):
            near.transport.write(b"before,")
            sent = await loop.sendfile(near.transport, file, 2, 5)
            near.transport.write(b",behind")
            await until(lambda: len(far.data) == 19)
        expect(sent == 5, f"it says {sent} bytes instead of 5")
        expect(far.data == b"before,23456,behind", f"{bytes(far.data)!r} arrived")
        one, other = socket_pair()
        with one, other:
            sent = await loop.sock_sendfile(one, file, 2, 5)
            expect(sent == 5 and other.recv(100) == b"23456", f"{sent} bytes were sent")
