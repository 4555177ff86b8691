"""The context of datagrams, pipes and children: no version of asyncio hands one over for them.

They have copies of their maker's, and what a program's own call does at once stays in the caller's.
See test_contexts_of_transports.py for streams.
"""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from support import PY312, differs, turns, wait_until
from traced import (
    Traced,
    TracedDatagrams,
    asyncio_and_ours,
    context_of,
    elsewhere,
    traced,
    within,
)


@contextlib.asynccontextmanager
async def datagrams(path: Path) -> AsyncIterator[tuple[Any, Any, socket.socket]]:
    """A transport made in "maker" over a connected Unix socket, its protocol, and the peer."""
    near, far = (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    far.bind(str(path / "far"))
    near.bind(str(path / "near"))
    near.connect(far.getsockname())
    far.connect(near.getsockname())
    near.setblocking(False)
    far.setblocking(False)
    loop = asyncio.get_running_loop()
    connect = loop.create_datagram_endpoint(TracedDatagrams, sock=near)
    transport, protocol = await within("maker", connect)
    try:
        yield transport, protocol, far
    finally:
        far.close()
        context_of("maker").run(transport.abort)
        await protocol.lost


@asyncio_and_ours
async def test_datagrams(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    async with datagrams(tmp_path) as (transport, protocol, far):
        for count in (1, 2):
            far.send(b"x")
            await protocol.wait_for(count)
        transport.set_write_buffer_limits(high=2000)
        while "pause_writing" not in protocol.events:
            elsewhere(transport.sendto, bytes(1000))
    assert [(name, place) for name, place, _ in protocol.trace] == [
        ("connection_made", "maker"),
        ("datagram_received", "maker"),
        ("datagram_received", "maker"),
        ("pause_writing", "elsewhere"),
        ("connection_lost", "maker"),
    ]
    # What one datagram sets, the next one finds; connection_made is a callback by itself.
    assert protocol.trace[2][2] == ("datagram_received",)


@asyncio_and_ours
async def test_an_error_of_a_datagram_is_told_where_it_is_sent(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    async with datagrams(tmp_path) as (transport, protocol, far):
        await turns()
        far.close()
        elsewhere(transport.sendto, b"to nobody")
        await wait_until(lambda: protocol.errors)
    assert protocol.trace[1][:2] == ("error_received", "elsewhere")


async def test_pipes(loop: asyncio.AbstractEventLoop) -> None:
    reader, writer = os.pipe()
    read = loop.connect_read_pipe(Traced, os.fdopen(reader, "rb", 0))
    write = loop.connect_write_pipe(Traced, os.fdopen(writer, "wb", 0))
    _, reading = await within("reader", read)
    writing_transport, writing = await within("writer", write)
    elsewhere(writing_transport.write, b"x")
    await reading.wait_for_bytes(1)
    context_of("writer").run(writing_transport.close)
    await writing.lost
    await reading.lost
    assert {place for _, place, _ in reading.trace} == {"reader"}
    assert {place for _, place, _ in writing.trace} == {"writer"}
    assert [name for name, _, _ in reading.trace] == [
        "connection_made",
        "data_received",
        "eof_received",
        "connection_lost",
    ]


@differs("asyncio", "a thread waits for the child, in a context of its own", when=not PY312)
@asyncio_and_ours
async def test_children(loop: asyncio.AbstractEventLoop) -> None:
    class Child(asyncio.SubprocessProtocol):
        def __init__(self) -> None:
            self.lost = loop.create_future()

        def connection_lost(self, exc: BaseException | None) -> None:
            self.lost.set_result(exc)

    program = (sys.executable, "-c", "print('hello')")
    transport, child = await within("parent", loop.subprocess_exec(traced(Child), *program))
    await child.lost
    transport.close()
    names = [name for name, _, _ in child.trace]
    assert {"connection_made", "pipe_data_received", "process_exited"} <= set(names)
    assert {place for _, place, _ in child.trace} == {"parent"}
