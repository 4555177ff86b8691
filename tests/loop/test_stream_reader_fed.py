"""Data on its way into an asyncio.StreamReader, and the methods that may be others than asyncio's.

rloop puts it into the reader's buffer without calling StreamReaderProtocol.data_received, as long
as nobody could tell the difference. Here somebody can: methods are replaced on the classes and on
the objects, before and after the start, for good and for a while. All of it is asyncio's behaviour,
and so each test runs on asyncio too.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from stream_readers import Protocol, Reader, reading
from support import RLOOP_IDS, Recorder, differs, loops_only, turns, wait_until, wanted

CACHED = "it looks data_received up when the protocol is set"


def prefixing(original: Callable[..., Any], calls: list[Any]) -> Callable[..., Any]:
    def replacement(*arguments: Any) -> Any:
        calls.append(arguments)
        return original(*arguments)

    return replacement


# --- nobody has a say -----------------------------------------------------------------------------


async def test_pieces_of_all_sizes_arrive(loop: asyncio.AbstractEventLoop) -> None:
    async with reading(limit=1 << 20) as connection:
        for size in (1, 10, 1000, 16384, 65536, 262144):
            data = os.urandom(size)
            sending = loop.run_in_executor(None, connection.far.sendall, data)
            assert await connection.reader.readexactly(size) == data
            await sending
        await connection.receive(b"for later")
        assert bytes(connection.reader._buffer) == b"for later"
        assert connection.reader._waiter is None


@loops_only(*RLOOP_IDS)
async def test_no_frame_of_asyncio_is_in_between(loop: Any) -> None:
    callers: list[str] = []
    original = loop.call_soon

    def call_soon(*arguments: Any, **options: Any) -> Any:
        callers.append(sys._getframe(1).f_code.co_name)
        return original(*arguments, **options)

    async with reading() as connection:
        await connection.exchange()
        task = loop.create_task(connection.reader.readexactly(1))
        await turns(2)
        loop.call_soon = call_soon
        connection.far.send(b"1")
        await task
        del loop.call_soon
        # Where somebody looks, asyncio's frames are there.
        assert callers and "_wakeup_waiter" not in callers
        callers.clear()
        loop.set_debug(True)
        loop.call_soon = call_soon
        await connection.exchange()
        del loop.call_soon
        assert "_wakeup_waiter" in callers


async def test_a_reader_behind_a_server_is_fed(loop: asyncio.AbstractEventLoop) -> None:
    async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    server = await asyncio.start_server(shout, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for number in range(20):
        writer.write(b"line %d\n" % number)
        assert await reader.readline() == b"LINE %d\n" % number
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    await turns()


# --- replaced methods -----------------------------------------------------------------------------

METHODS = [
    pytest.param(Protocol, "data_received", id="data_received"),
    pytest.param(Reader, "feed_data", id="feed_data"),
    pytest.param(Reader, "_wakeup_waiter", id="wakeup_waiter"),
]


@differs("uvloop", CACHED)
@pytest.mark.parametrize(("owner", "name"), METHODS)
async def test_a_method_replaced_on_the_class(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str
) -> None:
    calls: list[Any] = []
    async with reading() as connection:
        await connection.exchange()
        for _ in range(2):
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, prefixing(getattr(owner, name), calls))
                await connection.exchange(b"12")
                await connection.exchange(b"34")
            assert len(calls) == 2
            await connection.exchange()
            assert len(calls) == 2
            calls.clear()


@differs("uvloop", CACHED)
@pytest.mark.parametrize(("owner", "name"), METHODS)
async def test_a_method_replaced_on_the_object(
    loop: asyncio.AbstractEventLoop, owner: Any, name: str
) -> None:
    calls: list[Any] = []
    async with reading() as connection, reading() as other:
        target = connection.protocol if owner is Protocol else connection.reader
        await connection.exchange()
        setattr(target, name, prefixing(getattr(target, name), calls))
        await connection.exchange()
        await connection.exchange()
        await other.exchange()
        assert len(calls) == 2
        delattr(target, name)
        await connection.exchange()
        await other.exchange()
        assert len(calls) == 2


@differs("uvloop", CACHED)
@pytest.mark.parametrize(("owner", "name"), METHODS)
async def test_a_method_put_into_the_attributes(
    loop: asyncio.AbstractEventLoop, owner: Any, name: str
) -> None:
    calls: list[Any] = []
    for replaces_dict in (False, True):
        async with reading() as connection:
            target = connection.protocol if owner is Protocol else connection.reader
            await connection.exchange()
            if replaces_dict:
                target.__dict__ = dict(vars(target))
                await connection.exchange()
            vars(target)["".join(name)] = prefixing(getattr(target, name), calls)
            await connection.exchange()
            assert len(calls) == 1
            del vars(target)[name]
            await connection.exchange()
            assert len(calls) == 1
        calls.clear()


@pytest.mark.parametrize(("owner", "name"), METHODS)
async def test_other_code_in_a_function(
    loop: asyncio.AbstractEventLoop, owner: Any, name: str
) -> None:
    calls: list[Any] = []
    Protocol.calls = Reader.calls = calls  # type: ignore[attr-defined]
    function = getattr(owner, name)
    code = function.__code__

    def other(self: Any, data: Any = None) -> None:
        self.calls.append(data)

    async with reading() as connection:
        await connection.exchange()
        function.__code__ = other.__code__
        function.__defaults__ = (None,)
        try:
            connection.far.send(b"1")
            await wait_until(lambda: calls)
        finally:
            function.__code__ = code
            function.__defaults__ = None
            del Protocol.calls, Reader.calls  # type: ignore[attr-defined]
        assert len(calls) == 1
        if name == "_wakeup_waiter":
            connection.reader._buffer.clear()
        await connection.exchange()


async def test_the_property_replaced_on_the_class(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Reader(loop=loop)
    async with reading() as connection:
        await connection.exchange()
        with monkeypatch.context() as patch:
            patch.setattr(Protocol, "_stream_reader", property(lambda self: other))
            connection.far.send(b"other")
            assert await other.readexactly(5) == b"other"
        await connection.exchange()


@pytest.mark.parametrize("name", ["_buffer", "_eof", "_limit", "_waiter"])
async def test_a_property_before_an_attribute(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked: list[str] = []

    def get(self: Any) -> Any:
        asked.append(name)
        return vars(self)[name]

    def put(self: Any, value: Any) -> None:
        vars(self)[name] = value

    async with reading() as connection:
        await connection.exchange()
        with monkeypatch.context() as patch:
            patch.setattr(Reader, name, property(get, put), raising=False)
            await turns(2)
            asked.clear()
            connection.far.send(b"data")
            await wait_until(lambda: asked)
        assert await connection.reader.readexactly(4) == b"data"
        await connection.exchange()


@pytest.mark.parametrize("owner", [Protocol, Reader])
async def test_a_class_that_is_asked_for_each_attribute(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, owner: Any
) -> None:
    asked: list[str] = []

    def get(self: Any, name: str) -> Any:
        asked.append(name)
        return object.__getattribute__(self, name)

    wanted_name = "_stream_reader" if owner is Protocol else "_eof"
    async with reading() as connection:
        await connection.exchange()
        with monkeypatch.context() as patch:
            patch.setattr(owner, "__getattribute__", get, raising=False)
            connection.far.send(b"data")
            await wait_until(lambda: wanted_name in asked)
        assert await connection.reader.readexactly(4) == b"data"
        await connection.exchange()


async def test_a_class_that_is_told_of_each_attribute(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    def put(self: Any, name: str, value: Any) -> None:
        told.append((name, value))
        object.__setattr__(self, name, value)

    async with reading() as connection:
        await connection.exchange()
        task = loop.create_task(connection.reader.read(10))
        await turns(2)
        with monkeypatch.context() as patch:
            patch.setattr(Reader, "__setattr__", put, raising=False)
            connection.far.send(b"data")
            assert await task == b"data"
        # By _wakeup_waiter, and by the coroutine that has waited.
        assert told == [("_waiter", None)] * 2


def noting_subclasses(calls: list[str]) -> Any:
    """A reader's and a protocol's, which note each piece of data."""

    class OwnReader(asyncio.StreamReader):
        def feed_data(self, data: Any) -> None:
            calls.append("reader")
            super().feed_data(data)

    class OwnProtocol(asyncio.StreamReaderProtocol):
        def data_received(self, data: bytes) -> None:
            calls.append("protocol")
            super().data_received(data)

    return OwnReader, OwnProtocol


async def test_subclasses(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    OwnReader, OwnProtocol = noting_subclasses(calls)
    async with reading(reader=OwnReader(loop=loop)) as connection:
        await connection.exchange()
    async with reading(protocol=OwnProtocol) as connection:
        await connection.exchange()
    assert calls == ["reader", "protocol"]


@differs("uvloop", CACHED)
async def test_another_class_for_a_living_object(loop: asyncio.AbstractEventLoop) -> None:
    calls: list[str] = []
    OwnReader, OwnProtocol = noting_subclasses(calls)
    async with reading() as connection:
        await connection.exchange()
        connection.reader.__class__ = OwnReader
        await connection.exchange()
        connection.protocol.__class__ = OwnProtocol
        await connection.exchange()
        connection.reader.__class__ = Reader
        connection.protocol.__class__ = Protocol
        await connection.exchange()
    assert calls == ["reader", "protocol", "reader"]


async def test_another_protocol_or_reader(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as connection:
        await connection.exchange()
        recorder = Recorder()
        recorder.connection_made(connection.transport)
        connection.transport.set_protocol(recorder)
        connection.far.send(b"1")
        assert await recorder.wait_for_bytes(1) == b"1"
        connection.transport.set_protocol(connection.protocol)
        await connection.exchange()
        first, connection.reader = connection.reader, Reader(loop=loop)
        connection.reader.set_transport(connection.transport)
        connection.protocol.__init__(connection.reader, loop=loop)
        connection.protocol._transport = connection.transport
        await connection.exchange()
        assert not first._buffer


# --- who looks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("install", [sys.settrace, sys.setprofile])
async def test_tracers_and_profilers_see_the_frames(
    loop: asyncio.AbstractEventLoop, install: Any
) -> None:
    names: set[str] = set()

    def look(frame: FrameType, event: str, argument: Any) -> None:
        names.add(frame.f_code.co_name)

    before = sys.gettrace() if install is sys.settrace else sys.getprofile()
    async with reading() as connection:
        await connection.exchange()
        install(look)
        try:
            await connection.exchange()
        finally:
            install(before)
        await connection.exchange()
    assert {"data_received", "feed_data", "_wakeup_waiter"} <= names


async def test_debug_mode(loop: asyncio.AbstractEventLoop) -> None:
    async with reading() as connection:
        await connection.exchange()
        loop.set_debug(True)
        await connection.exchange()
        loop.set_debug(False)
        await connection.exchange()


REPLACED_BEFORE = """
import asyncio, socket

lengths = []
original = asyncio.StreamReader.feed_data

def feed_data(self, data):
    lengths.append(len(data))
    original(self, data)

asyncio.StreamReader.feed_data = feed_data

import rloop

async def main():
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    for _ in range(3):
        far.send(b"data")
        assert await reader.readexactly(4) == b"data"
    asyncio.StreamReader.feed_data = original
    far.send(b"data")
    assert await reader.readexactly(4) == b"data"
    writer.close()
    far.close()

with asyncio.Runner(loop_factory=rloop.new_event_loop) as runner:
    runner.run(main())
assert lengths == [4, 4, 4], lengths
"""


@pytest.mark.skipif(not wanted("rloop"), reason="RLOOP_TESTS_LOOPS asks for other loops alone")
@pytest.mark.parametrize("flags", [(), ("-O",)])
def test_what_was_replaced_before_the_import(flags: tuple[str, ...]) -> None:
    subprocess.run([sys.executable, *flags, "-c", REPLACED_BEFORE], check=True)


@pytest.mark.skipif(not wanted("rloop"), reason="RLOOP_TESTS_LOOPS asks for other loops alone")
@pytest.mark.skipif(sys.version_info >= (3, 16), reason="what a later Python has is not known yet")
def test_this_python_is_known() -> None:
    core = __import__("rloop._core", fromlist=["Loop"])
    stdlib = __import__("rloop._stdlib", fromlist=["own_stream_feed"])
    assert core._instance_layout_fits()
    assert stdlib.own_stream_feed() is not None
