"""write() hands the bytes to the kernel before it returns, as in asyncio.

Programs rely on it: a handler that writes and then computes, ends the process, blocks until the
peer has answered, or goes on with the socket itself. When many connections write in one turn,
rloop may keep the writes of one group of them for a moment, but no longer than a slow handler runs.
"""

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from programs import run_script
from support import (
    RLOOP_IDS,
    Recorder,
    bound,
    connected,
    differs,
    loops_only,
    serving,
    turns,
    wait_until,
    wired,
)


def arrived(sock: socket.socket, count: int = 1000) -> bytes:
    """What the peer can receive now, without any turn of the loop."""
    try:
        return sock.recv(count, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return b""


@contextlib.asynccontextmanager
async def accepted(
    count: int, kind: type[Recorder] = Recorder
) -> AsyncIterator[list[tuple[Recorder, socket.socket]]]:
    """Connections of a server, with their clients; nobody else holds their sockets."""
    made: list[Recorder] = []
    clients: list[socket.socket] = []

    def factory() -> Recorder:
        made.append(kind())
        return made[-1]

    async with serving(factory) as (_, address):
        try:
            for number in range(count):
                clients.append(socket.create_connection(address))
                await wait_until(lambda n=number: len(made) > n and made[n].transport)
            await turns(2)
            yield list(zip(made, clients, strict=True))
        finally:
            for client in clients:
                client.close()
            await wait_until(lambda: all(protocol.lost.done() for protocol in made))


async def test_a_write_is_with_the_kernel_when_it_returns(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        await turns(2)
        transport.write(b"one")
        assert arrived(far) == b"one"
        transport.write(b" two")
        transport.writelines([b" three", b" four"])
        assert arrived(far) == b" two three four"
        await turns(2)
        transport.write(b"next turn")
        assert arrived(far) == b"next turn"


async def test_a_stream_writer_has_sent_what_it_has_drained(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = socket.socketpair()
    with far:
        _, writer = await asyncio.open_connection(sock=near)
        near = None  # else the program could write to it by itself, and nothing is gathered
        for count in (1, 30):
            for _ in range(count):
                writer.write(b"progress")
            await writer.drain()
            assert arrived(far) == b"progress" * count
        writer.close()
        await writer.wait_closed()


async def test_a_datagram_is_with_the_kernel_when_sendto_returns(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as far:
        far.bind(("127.0.0.1", 0))
        async with bound() as endpoint:
            for data in (b"one", b"two", b"three"):
                endpoint.transport.sendto(data, far.getsockname())
                assert arrived(far) == data


async def test_an_answer_to_each_of_many_clients_does_not_wait_for_a_slow_handler(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """All requests come in one turn; the last handler looks at what the others' clients got."""
    count, group = 160, 64
    seen: list[int] = []

    class Handler(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"answer")
            handled.append(self)
            if len(handled) == count:
                seen.append(sum(arrived(client) == b"answer" for _, client in connections))

    handled: list[Handler] = []
    async with accepted(count, Handler) as connections:
        for _, client in connections:
            client.sendall(b"request")
        await wait_until(lambda: seen)
        assert seen[0] >= count - group


@differs("uvloop", "its sends wait for the end of the turn")
async def test_the_answer_of_a_slow_handler_does_not_wait_for_the_next_one(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Five clients ask at the same time, again and again, and each answer is a lot of work."""
    count = 5

    class Handler(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if handled:
                before.append(arrived(clients[handled[-1]]))
            time.sleep(0.001)  # the work: a callback of 300 us hands over what it wrote
            self.transport.write(b"answer")
            handled.append(self)

    handled: list[Recorder] = []
    before: list[bytes] = []
    async with accepted(count, Handler) as connections:
        clients = dict(connections)
        for _ in range(5):
            handled.clear()
            for _, client in connections:
                client.sendall(b"request")
            await wait_until(lambda: len(handled) == count)
            await turns(2)
            arrived(clients[handled[-1]])
        assert before == [b"answer"] * (5 * (count - 1))


@differs("uvloop", "its sends wait for the end of the turn")
async def test_after_many_have_written_few_do_not_wait_for_their_handler(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with accepted(12) as connections:
        for count in (12, 12, 1, 12, 4):
            for side, client in connections[:count]:
                for piece in (b"head", b"body"):
                    side.transport.write(piece)
                    if count <= 4:
                        assert arrived(client) == piece
            await turns(2)
            if count > 4:
                assert all(arrived(client) == b"headbody" for _, client in connections)


@loops_only(*RLOOP_IDS)
async def test_where_many_write_an_answer_in_pieces_leaves_whole(loop: Any) -> None:
    count = 12
    seen: list[bytes] = []

    def answer(side: Recorder) -> None:
        side.transport.write(b"head ")
        side.transport.write(b"body")

    async with accepted(count) as connections:
        for turn in range(4):
            before = loop.statistics()["messages_out"]
            seen.clear()
            for side, client in connections:
                loop.call_soon(answer, side)
                loop.call_soon(lambda far=client: seen.append(arrived(far)))
            await turns(3)
            for early, (_, client) in zip(seen, connections, strict=True):
                assert early + arrived(client) == b"head body"
            if turn > 0:
                assert loop.statistics()["messages_out"] - before == count


@loops_only(*RLOOP_IDS)
async def test_so_does_an_answer_that_is_written_where_the_request_comes_in(loop: Any) -> None:
    count = 12

    class Answering(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"head ")
            self.transport.write(b"body")

    async with accepted(count, Answering) as connections:
        for turn in range(4):
            before = loop.statistics()["messages_out"]
            for _, client in connections:
                client.send(b"request")
            await wait_until(
                lambda n=turn: all(len(side.data) == (n + 1) * 7 for side, _ in connections)
            )
            await turns(3)
            assert all(arrived(client) == b"head body" for _, client in connections)
            if turn > 0:
                assert loop.statistics()["messages_out"] - before == count


@pytest.mark.parametrize("writes", [1, 3, 10])
async def test_what_is_written_through_a_copy_of_the_socket_comes_after_the_writes(
    loop: asyncio.AbstractEventLoop, writes: int
) -> None:
    async with wired() as (transport, _, far):
        await turns(2)
        for _ in range(writes):
            transport.write(b"HEAD ")
        with transport.get_extra_info("socket").dup() as copy:
            copy.send(b"BODY ")
            for _ in range(writes):
                transport.write(b"tail ")
            copy.send(b"end")
        expected = b"HEAD " * writes + b"BODY " + b"tail " * writes + b"end"
        assert arrived(far) == expected


# What the program does with the socket that it has asked for, and what the peer gets of it.
GOING_ON: dict[str, tuple[Callable[[Any], object], bytes]] = {
    "dup": (lambda sock: send_by_a_copy(sock, b"copy "), b"copy "),
    "number": (lambda sock: os.write(sock.fileno(), b"number "), b"number "),
    "shutdown": (lambda sock: sock.shutdown(socket.SHUT_WR), b""),
}


def send_by_a_copy(sock: Any, data: bytes) -> None:
    with sock.dup() as copy:
        copy.send(data)


@differs("uvloop", "its sends wait for the end of the turn")
@pytest.mark.parametrize("how", GOING_ON)
@pytest.mark.parametrize("pieces", [(1, 1), (2,), (1, 2, 1)])
async def test_of_many_who_ask_for_the_socket_after_writes_each_has_its_order(
    loop: asyncio.AbstractEventLoop, how: str, pieces: tuple[int, ...]
) -> None:
    """Sends of their group may be under way, with more behind them. `pieces`: writes by turn."""
    act, more = GOING_ON[how]

    async def answer(side: Recorder) -> None:
        for number, writes in enumerate(pieces):
            if number > 0:
                await asyncio.sleep(0)
            for _ in range(writes):
                side.transport.write(b"written ")
        assert side.transport.get_write_buffer_size() == 0
        act(side.transport.get_extra_info("socket"))
        if how != "shutdown":
            side.transport.write(b"end")

    async with accepted(40) as connections:
        await asyncio.gather(*(answer(side) for side, _ in connections))
        end = b"" if how == "shutdown" else b"end"
        for _, client in connections:
            assert arrived(client) == b"written " * sum(pieces) + more + end
    assert all(side.lost.result() is None for side, _ in connections)


async def test_the_programs_own_socket_object_keeps_the_order(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = socket.socketpair()
    with far:
        transport, _ = await loop.create_connection(Recorder, sock=near)
        number = os.dup(near.fileno())
        for piece in range(10):
            transport.write(b"w%d " % piece)
            near.send(b"s%d " % piece)
            os.write(number, b"n%d " % piece)
        os.close(number)
        assert arrived(far) == b"".join(b"w%d s%d n%d " % (i, i, i) for i in range(10))
        transport.close()
        await turns(3)


async def test_the_peer_may_be_asked_in_the_same_callback(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        far.settimeout(10)
        transport.write(b"question")
        assert far.recv(100) == b"question"  # blocks, and the loop with it


async def test_a_write_from_another_thread_reaches_the_peer(
    loop: asyncio.AbstractEventLoop,
) -> None:
    """Against asyncio's rules, and it works there: the loop sleeps, and nothing else wakes it."""
    async with wired() as (transport, _, far):
        far.settimeout(10)
        await turns(3)
        answers: list[bytes] = []

        def talk() -> None:
            for number in range(20):
                transport.write(b"%3d" % number)
                answers.append(far.recv(3))

        thread = threading.Thread(target=talk)
        thread.start()
        await wait_until(lambda: not thread.is_alive())
        thread.join()
        assert answers == [b"%3d" % number for number in range(20)]


@pytest.mark.parametrize("way", ["_exit", "kill", "exec", "exit", "abort", "raise"])
def test_the_last_words_of_a_process_arrive(loop_id: str, way: str) -> None:
    source = """
    import asyncio, os, signal, socket, sys
    from support import *
    loop_id, way, number = sys.argv[1:]

    async def main():
        _, writer = await asyncio.open_connection(sock=socket.socket(fileno=int(number)))
        writer.write(b"last ")
        writer.write(b"words")
        await writer.drain()
        if way == "_exit":
            os._exit(0)
        if way == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if way == "exec":
            os.execv("/bin/true", ["true"])
        if way == "exit":
            sys.exit(0)
        if way == "raise":
            raise KeyboardInterrupt
        writer.transport.abort()
        await asyncio.sleep(0)

    loop = new_loop(loop_id)
    loop.run_until_complete(main())
    """
    near, far = socket.socketpair()
    with near, far:
        copy = os.dup(near.fileno())
        near.close()
        run_script(source, loop_id, way, str(copy), pass_fds=(copy,))
        os.close(copy)
        far.settimeout(10)
        assert far.recv(100) == b"last words"


@loops_only(*RLOOP_IDS)
async def test_many_small_writes_of_one_callback_are_gathered(loop: Any) -> None:
    async with connected() as (client, server_side):
        await turns(2)
        before = loop.statistics()["messages_out"]
        for _ in range(1000):
            server_side.transport.write(b"x")
        assert await client.wait_for_bytes(1000) == b"x" * 1000
        assert loop.statistics()["messages_out"] - before <= 100
