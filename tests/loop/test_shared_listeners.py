"""One listening socket, several holders: workers that inherited it, or servers on copies of it.

A connection is taken only by a loop that is about to serve it; everything else stays in the backlog
for whoever is free. That a server closes takes nothing away from the others.
"""

import asyncio
import socket
import textwrap
from typing import Any

import pytest
from programs import check_script
from support import (
    RLOOP_IDS,
    Recorder,
    listening_socket,
    loops_only,
    recv_all,
    serving,
    turns,
    wait_until,
)

WORKERS = """
import asyncio, os, signal, socket, sys, time
from support import *

listener = listening_socket()
port = listener.getsockname()[1]

def start_worker(at_sigterm=None):
    # A forked worker that answers each connection with its pid; ready when this returns.
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        assert os.read(reading, 1) == b"r"
        os.close(reading)
        return pid
    try:
        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                transport.write(b"%d" % os.getpid())
                transport.close()

        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Server, sock=listener)
            if at_sigterm:
                loop.add_signal_handler(signal.SIGTERM, at_sigterm, server)
            await turns(5)
            os.write(writing, b"r")
            await asyncio.sleep(60)

        loop = new_loop(sys.argv[1])
        loop.run_until_complete(main())
    finally:
        os._exit(1)

def ask():
    # The pid of the worker that served.
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        return int(sock.recv(100))

def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])

def end(*pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
"""


def test_a_stopped_worker_takes_no_connection(loop_id: str) -> None:
    source = """
    first, second = start_worker(), start_worker()
    for stopped, other in ((first, second), (second, first)):
        stop(stopped)
        assert {ask() for _ in range(5)} == {other}
        os.kill(stopped, signal.SIGCONT)
    stop(first)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        end(first)
        assert int(sock.recv(100)) == second
    end(second)
    """
    check_script(WORKERS + textwrap.dedent(source), loop_id)


def test_a_worker_that_leaves_loses_no_connection(loop_id: str) -> None:
    source = """
    entered, told = os.pipe()
    go, may_go = os.pipe()

    def leave(server):
        os.write(told, b"x")
        os.read(go, 1)  # busy while the connections come
        server.close()

    leaving, staying = start_worker(leave), start_worker()
    os.kill(leaving, signal.SIGTERM)
    os.read(entered, 1)
    clients = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(20)]
    os.write(may_go, b"x")
    assert {int(client.recv(100)) for client in clients} == {staying}
    assert ask() == staying
    end(leaving, staying)
    """
    check_script(WORKERS + textwrap.dedent(source), loop_id)


class Worker(Recorder):
    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        transport.write(b"served")
        transport.close()


@pytest.mark.parametrize("turns_before", [0, 1, 2, 3, 4])
@loops_only("uvloop", *RLOOP_IDS)  # asyncio's accepts in the turn of the close, and drops
async def test_a_server_that_closes_in_the_turn_of_an_accept_loses_nothing(
    loop: asyncio.AbstractEventLoop, turns_before: int
) -> None:
    with listening_socket() as listener:
        first = await loop.create_server(Worker, sock=listener.dup())
        await turns(2)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(3)]

        def close_after(count: int) -> None:
            if count:
                loop.call_soon(close_after, count - 1)
            else:
                first.close()

        close_after(turns_before)
        await turns(8)
        second = await loop.create_server(Worker, sock=listener.dup())
        for client in clients:
            client.setblocking(False)
            assert await recv_all(client) == b"served"
            client.close()
        second.close()
        await turns(3)


async def test_two_servers_on_one_socket_serve_every_connection_once(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with listening_socket() as listener:
        served: list[Worker] = []

        class Counting(Worker):
            def connection_made(self, transport: Any) -> None:
                served.append(self)
                super().connection_made(transport)

        servers = [await loop.create_server(Counting, sock=listener.dup()) for _ in range(2)]
        clients = [socket.create_connection(listener.getsockname()) for _ in range(30)]
        for client in clients:
            client.setblocking(False)
            assert await recv_all(client) == b"served"
            client.close()
        assert len(served) == len(clients)
        for server in servers:
            server.close()
        await wait_until(lambda: all(worker.lost.done() for worker in served))


async def test_a_closed_server_leaves_a_listener_that_others_hold(
    loop: asyncio.AbstractEventLoop,
) -> None:
    with listening_socket() as listener:
        server = await loop.create_server(Worker, sock=listener.dup())
        await turns(2)
        server.close()
        await turns(2)
        with socket.create_connection(listener.getsockname()) as client:
            taken, _ = listener.accept()
            taken.close()
            assert client.recv(1) == b""


async def test_a_connection_that_came_before_the_close_is_served_or_refused_not_forgotten(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with serving(Worker) as (server, address):
        with socket.create_connection(address) as client:
            server.close()
            client.settimeout(10)
            try:
                assert client.recv(100) in (b"", b"served")
            except ConnectionResetError:
                pass
