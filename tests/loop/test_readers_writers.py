"""add_reader, add_writer and their removal.

Level-triggered: a callback is called in every turn in which the descriptor is ready. Source:
asyncio's documentation, "Watching file descriptors", and the selector loop for what it leaves out.
"""

import asyncio
import os
import socket
import tempfile

import pytest
from support import (
    Recorder,
    differs,
    fill_send_buffer,
    run_briefly,
    tcp_pair,
    turns,
    wait_until,
    wired,
)


@pytest.fixture
def pair() -> tuple[socket.socket, socket.socket]:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    return near, far


@pytest.fixture(autouse=True)
def closes_the_pair(
    pair: tuple[socket.socket, socket.socket], loop: asyncio.AbstractEventLoop
) -> object:
    yield
    for sock in pair:
        if not loop.is_closed() and sock.fileno() != -1:
            loop.remove_reader(sock)
            loop.remove_writer(sock)
        sock.close()


Pair = tuple[socket.socket, socket.socket]


async def test_a_reader_is_called_with_its_arguments(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    called = loop.create_future()
    loop.add_reader(pair[0], lambda *args: called.done() or called.set_result(args), 1, "two")
    pair[1].send(b"x")
    assert await called == (1, "two")


async def test_a_reader_is_called_every_turn_while_there_is_data(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    read: list[bytes] = []
    loop.add_reader(pair[0], lambda: read.append(pair[0].recv(1)))
    pair[1].send(b"abcdefgh")
    await wait_until(lambda: len(read) == 8)
    assert b"".join(read) == b"abcdefgh"


async def test_a_reader_that_reads_nothing_is_called_again(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[int] = []
    loop.add_reader(pair[0], calls.append, 1)
    pair[1].send(b"x")
    await wait_until(lambda: len(calls) >= 5)
    assert pair[0].recv(10) == b"x"
    await turns(3)
    count = len(calls)
    await turns(10)
    assert len(calls) == count, "called although nothing is there any more"


async def test_a_reader_hears_the_end_of_the_stream(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    ended = loop.create_future()

    def read() -> None:
        ended.set_result(pair[0].recv(10))
        loop.remove_reader(pair[0])

    loop.add_reader(pair[0], read)
    pair[1].close()
    assert await ended == b""


async def test_data_that_came_before_the_reader_is_seen(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    pair[1].send(b"early")
    await turns(3)
    read = loop.create_future()
    loop.add_reader(pair[0], lambda: read.done() or read.set_result(pair[0].recv(10)))
    assert await read == b"early"


async def test_a_writer_is_called_every_turn_while_there_is_room(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[int] = []
    loop.add_writer(pair[0], calls.append, 1)
    await wait_until(lambda: len(calls) >= 5)
    loop.remove_writer(pair[0])
    count = len(calls)
    await turns(5)
    assert len(calls) == count


async def test_a_writer_waits_for_room(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    fill_send_buffer(pair[0])
    calls: list[int] = []
    loop.add_writer(pair[0], calls.append, 1)
    await turns(10)
    assert calls == []
    while True:
        try:
            pair[1].recv(1 << 20)
        except BlockingIOError:
            break
    await wait_until(lambda: calls)


async def test_reader_and_writer_live_on_one_descriptor(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[str] = []
    loop.add_reader(pair[0], lambda: calls.append("r" + pair[0].recv(1).decode()))
    loop.add_writer(pair[0], calls.append, "w")
    pair[1].send(b"1")
    await wait_until(lambda: "r1" in calls and "w" in calls)
    loop.remove_writer(pair[0])
    await turns(2)
    calls.clear()
    pair[1].send(b"2")
    await wait_until(lambda: "r2" in calls)
    assert "w" not in calls
    loop.add_writer(pair[0], calls.append, "w")
    loop.remove_reader(pair[0])
    await turns(2)
    calls.clear()
    pair[1].send(b"3")
    await wait_until(lambda: "w" in calls)
    assert "r3" not in calls


async def test_a_second_reader_replaces_the_first(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[str] = []
    loop.add_reader(pair[0], calls.append, "first")
    loop.add_reader(pair[0], lambda: calls.append("second" + pair[0].recv(1).decode()))
    pair[1].send(b"x")
    await wait_until(lambda: calls)
    assert calls == ["secondx"]
    loop.add_writer(pair[0], calls.append, "first writer")
    loop.add_writer(pair[0], lambda: (calls.append("w"), loop.remove_writer(pair[0])))
    await wait_until(lambda: "w" in calls)
    assert "first writer" not in calls


@differs("uvloop", "there removing gives None")
async def test_remove_tells_whether_there_was_one(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    assert loop.remove_reader(pair[0]) is False
    assert loop.remove_writer(pair[0]) is False
    loop.add_reader(pair[0], print)
    assert loop.remove_writer(pair[0]) is False
    assert loop.remove_reader(pair[0]) is True
    assert loop.remove_reader(pair[0]) is False


async def test_a_removed_reader_is_not_called_any_more(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[int] = []
    loop.add_reader(pair[0], calls.append, 1)
    pair[1].send(b"x")
    loop.remove_reader(pair[0])
    await turns(5)
    assert calls == []


async def test_a_callback_may_remove_the_reader_of_another_descriptor(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[str] = []

    def only_one(mine: socket.socket, other: socket.socket) -> None:
        calls.append("called")
        loop.remove_reader(mine)
        loop.remove_reader(other)

    loop.add_reader(pair[0], only_one, pair[0], pair[1])
    loop.add_reader(pair[1], only_one, pair[1], pair[0])
    pair[0].send(b"x")
    pair[1].send(b"x")
    await wait_until(lambda: calls)
    await turns(10)
    assert calls == ["called"], "both were ready, the second had been removed by the first"


async def test_a_descriptor_number_works_as_well(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    called = loop.create_future()
    loop.add_reader(pair[0].fileno(), lambda: called.done() or called.set_result(1))
    pair[1].send(b"x")
    await called
    loop.remove_reader(pair[0])


async def test_a_pipe_can_be_watched(loop: asyncio.AbstractEventLoop) -> None:
    read_end, write_end = os.pipe()
    got = loop.create_future()
    loop.add_reader(read_end, lambda: got.done() or got.set_result(os.read(read_end, 10)))
    os.write(write_end, b"piped")
    assert await got == b"piped"
    loop.remove_reader(read_end)
    os.close(read_end)
    os.close(write_end)


async def test_a_reused_number_is_a_new_descriptor(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    for round_ in range(20):
        near, far = socket.socketpair()
        near.setblocking(False)
        got = loop.create_future()
        loop.add_reader(near, lambda near=near, got=got: got.done() or got.set_result(near.recv(9)))
        far.send(b"%d" % round_)
        assert await got == b"%d" % round_
        loop.remove_reader(near)
        near.close()
        far.close()


@differs("uvloop", "libuv refuses the descriptor with another error")
async def test_a_regular_file_cannot_be_watched(loop: asyncio.AbstractEventLoop) -> None:
    with tempfile.TemporaryFile() as file:
        with pytest.raises(PermissionError):
            loop.add_reader(file, print)
        with pytest.raises(PermissionError):
            loop.add_writer(file, print)
        assert loop.remove_reader(file) is False


@pytest.mark.parametrize("wrong", [object(), "3", None, -1])
async def test_what_is_no_descriptor_is_a_value_error(
    loop: asyncio.AbstractEventLoop, wrong: object
) -> None:
    with pytest.raises(ValueError):
        loop.add_reader(wrong, print)  # type: ignore[arg-type]
    with pytest.raises(ValueError):
        loop.add_writer(wrong, print)  # type: ignore[arg-type]


async def test_a_closed_descriptor_is_an_os_error(loop: asyncio.AbstractEventLoop) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    os.close(write_end)
    with pytest.raises(OSError):
        loop.add_reader(read_end, print)


async def test_the_descriptor_of_a_transport_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        descriptor = transport.get_extra_info("socket").fileno()
        for method in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match=r"File descriptor .* is used by transport"):
                method(descriptor, print)
        for method in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match=r"File descriptor .* is used by transport"):
                method(descriptor)
        far.send(b"still works")
        protocol = transport.get_protocol()
        assert isinstance(protocol, Recorder)
        assert await protocol.wait_for_bytes(11) == b"still works"


def test_readers_on_a_closed_loop_raise(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    loop.add_reader(pair[0], print)
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_reader(pair[0], print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.add_writer(pair[0], print)


@differs("uvloop", "there removing from a closed loop raises")
def test_removing_from_a_closed_loop_is_false(loop: asyncio.AbstractEventLoop, pair: Pair) -> None:
    loop.add_reader(pair[0], print)
    loop.close()
    assert loop.remove_reader(pair[0]) is False
    assert loop.remove_writer(pair[0]) is False


def test_a_reader_added_before_the_run_is_called(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    calls: list[bytes] = []
    loop.add_reader(pair[0], lambda: (calls.append(pair[0].recv(10)), loop.stop()))
    pair[1].send(b"x")
    loop.run_forever()
    assert calls == [b"x"]


async def test_hundreds_of_readers_are_all_heard(loop: asyncio.AbstractEventLoop) -> None:
    pairs = [tcp_pair() for _ in range(100)]
    heard: set[int] = set()
    for number, (near, _) in enumerate(pairs):
        loop.add_reader(near, lambda n=number, s=near: (heard.add(n), s.recv(10)))
    for _, far in pairs:
        far.send(b"x")
    await wait_until(lambda: len(heard) == 100)
    for near, far in pairs:
        loop.remove_reader(near)
        near.close()
        far.close()


def test_a_closed_socket_with_a_reader_does_not_spin_or_crash(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # A user's mistake that happens: the socket is closed before its reader is removed.
    near, far = socket.socketpair()
    loop.add_reader(near, near.fileno)
    run_briefly(loop)
    number = near.fileno()
    near.close()
    far.close()
    loop.call_later(0.005, loop.stop)
    loop.run_forever()
    loop.remove_reader(number)


@differs("uvloop", "a closed socket is the descriptor -1 to it")
def test_a_reader_of_a_socket_closed_since_is_removed_by_the_socket(
    loop: asyncio.AbstractEventLoop, pair: Pair
) -> None:
    near, _ = pair
    number = near.fileno()
    loop.add_reader(near, print)
    run_briefly(loop)
    near.close()
    assert loop.remove_reader(near) is True
    assert loop.remove_reader(number) is False
