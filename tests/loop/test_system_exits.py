"""SystemExit and KeyboardInterrupt leave the loop through whatever callback raised them.

And the loop can be used afterwards: nothing that was ready is lost, connections live on. asyncio
documents it in "Error Handling"; the rule for protocols is that of its selector transports.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from support import (
    BufferedRecorder,
    Noise,
    Recorder,
    differs,
    finish,
    new_loop,
    recv_exactly,
    run_briefly,
    tcp_pair,
    wait_until,
    wired,
)

EXITS = [SystemExit, KeyboardInterrupt]


def raiser(kind: type[BaseException]) -> Callable[..., None]:
    def raise_it(*args: object) -> None:
        raise kind("out of the loop")

    return raise_it


@pytest.mark.parametrize("kind", EXITS)
@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later"])
def test_an_exit_leaves_the_loop_and_the_loop_stays_usable(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException], method: str
) -> None:
    ran: list[str] = []
    arguments = (0.001,) if method == "call_later" else ()
    getattr(loop, method)(*arguments, raiser(kind))
    with pytest.raises(kind):
        loop.run_forever()
    assert not loop.is_running()
    assert not loop.is_closed()
    loop.call_soon(ran.append, "again")
    run_briefly(loop)
    assert ran == ["again"]
    assert loop.run_until_complete(asyncio.sleep(0.001, "slept")) == "slept"


@pytest.mark.parametrize("kind", EXITS)
@differs("uvloop", "the rest of the ready callbacks runs before the exception leaves")
def test_what_was_ready_with_it_runs_in_the_next_run(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    ran: list[str] = []
    loop.call_soon(ran.append, "before")
    loop.call_soon(raiser(kind))
    loop.call_soon(ran.append, "after")
    with pytest.raises(kind):
        loop.run_forever()
    assert ran == ["before"]
    run_briefly(loop)
    assert ran == ["before", "after"]


@pytest.mark.parametrize("kind", EXITS)
def test_an_exit_in_a_coroutine_leaves_run_until_complete(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        raise kind("in the coroutine")

    with pytest.raises(kind):
        loop.run_until_complete(work())
    assert loop.run_until_complete(asyncio.sleep(0, "usable")) == "usable"


@pytest.mark.parametrize("kind", EXITS)
def test_an_exit_in_a_reader_leaves_the_loop(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    near, far = tcp_pair()
    far.send(b"x")
    loop.add_reader(near, raiser(kind))
    with pytest.raises(kind):
        loop.run_forever()
    got: list[bytes] = []
    loop.add_reader(near, lambda: (got.append(near.recv(1)), loop.stop()))
    loop.run_forever()
    assert got == [b"x"]
    loop.remove_reader(near)
    near.close()
    far.close()


class Interrupting(Recorder):
    """Raises in the callback that it is told, once."""

    def __init__(self, method: str, kind: type[BaseException]) -> None:
        super().__init__()
        self.method = method
        self.kind = kind

    def interrupt(self, method: str) -> None:
        if method == self.method:
            self.method = ""
            raise self.kind(method)

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.interrupt("connection_made")

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.interrupt("data_received")

    def eof_received(self) -> bool | None:
        super().eof_received()
        self.interrupt("eof_received")
        return None

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.interrupt("connection_lost")


async def open_transport(
    protocol: Callable[[], Recorder], sock: socket.socket
) -> tuple[Any, Recorder]:
    return await asyncio.get_running_loop().create_connection(protocol, sock=sock)


@pytest.mark.parametrize("kind", EXITS)
@differs("uvloop", "the exception does not leave the run, which then never ends")
def test_an_exit_in_data_received_leaves_the_loop_and_the_connection_open(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    near, far = tcp_pair()
    transport, protocol = loop.run_until_complete(
        open_transport(lambda: Interrupting("data_received", kind), near)
    )
    far.send(b"first")
    with pytest.raises(kind):
        loop.run_forever()
    assert not transport.is_closing()
    far.send(b" second")
    assert loop.run_until_complete(protocol.wait_for_bytes(12)) == b"first second"
    transport.write(b"answer")
    loop.run_until_complete(wait_until(lambda: transport.get_write_buffer_size() == 0))
    far.close()
    loop.run_until_complete(asyncio.wait_for(protocol.lost, 10))


@pytest.mark.parametrize("kind", EXITS)
def test_an_exit_in_connection_lost_leaves_the_loop(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    near, far = tcp_pair()
    transport, protocol = loop.run_until_complete(
        open_transport(lambda: Interrupting("connection_lost", kind), near)
    )
    transport.close()
    with pytest.raises(kind):
        loop.run_forever()
    assert protocol.events[-1] == "connection_lost"
    loop.run_until_complete(wait_until(lambda: near.fileno() == -1))
    far.close()


@pytest.mark.parametrize("kind", EXITS)
@differs("uvloop", "the exception does not leave the run, which then never ends")
def test_the_other_completions_of_the_turn_are_not_lost(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    pairs = [tcp_pair() for _ in range(10)]
    opened = [
        loop.run_until_complete(open_transport(lambda: Interrupting("data_received", kind), near))
        for near, _ in pairs
    ]
    for number, (_, far) in enumerate(pairs):
        far.send(b"%d" % number)
    for _ in pairs:
        with pytest.raises(kind):
            loop.run_forever()
    assert [bytes(protocol.data) for _, protocol in opened] == [b"%d" % n for n in range(10)]
    for (transport, protocol), (_, far) in zip(opened, pairs, strict=True):
        transport.abort()
        far.close()
        loop.run_until_complete(asyncio.wait_for(protocol.lost, 10))


def test_a_base_exception_of_another_kind_goes_to_the_handler(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    class Odd(BaseException):
        pass

    loop.call_soon(raiser(Odd))
    run_briefly(loop)
    assert isinstance(noise.take_one()["exception"], Odd)


def test_a_loop_left_by_an_exit_can_be_closed(loop_id: str) -> None:
    loop = new_loop(loop_id)
    loop.call_soon(raiser(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    finish(loop)
    assert loop.is_closed()


class InterruptingBuffer(BufferedRecorder):
    """Raises in one call of get_buffer."""

    def __init__(self, kind: type[BaseException], call: int) -> None:
        super().__init__(100)
        self.kind = kind
        self.call = call

    def get_buffer(self, sizehint: int) -> bytearray:
        if len(self.sizehints) + 1 == self.call:
            self.call = 0
            raise self.kind("get_buffer")
        return super().get_buffer(sizehint)


@pytest.mark.parametrize("kind", EXITS)
@pytest.mark.parametrize("call", [1, 2, 3])
@differs("uvloop", "it is a fatal error of the transport there")
def test_an_exit_in_get_buffer_leaves_the_loop_and_loses_nothing(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException], call: int
) -> None:
    near, far = tcp_pair()

    async def exchange() -> tuple[Any, InterruptingBuffer]:
        transport, protocol = await loop.create_connection(
            lambda: InterruptingBuffer(kind, call), sock=near
        )
        for number in range(1, 6):
            far.send(b"hello")
            assert await protocol.wait_for_bytes(5 * number) == b"hello" * number
        return transport, protocol

    exchanging = loop.create_task(exchange())
    with pytest.raises(kind):
        loop.run_until_complete(exchanging)
    transport, protocol = loop.run_until_complete(asyncio.wait_for(exchanging, 10))
    assert all(type(nbytes) is int for nbytes in protocol.updates)
    assert sum(protocol.updates) == 25
    assert not transport.is_closing()
    far.close()
    loop.run_until_complete(asyncio.wait_for(protocol.lost, 10))


@pytest.mark.parametrize("kind", EXITS)
async def test_an_exit_in_pause_writing_comes_out_of_write(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    class Pausing(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            raise kind("pause_writing")

    payload = b"x" * (16 << 20)
    async with wired(Pausing) as (transport, protocol, far):
        with pytest.raises(kind):
            transport.write(payload)
        assert not transport.is_closing()
        assert len(await recv_exactly(far, len(payload))) == len(payload)
        await wait_until(lambda: "resume_writing" in protocol.events)
