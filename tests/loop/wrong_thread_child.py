"""Calls everything that a program can reach of a running loop, from threads that must not.

    wrong_thread_child.py LOOP THREADS SECONDS

Exits with 0 and says "alive" when the loop still works afterwards; Python's exceptions are fine, a
crash is not. Run by test_wrong_thread.py.
"""

import asyncio
import contextlib
import logging
import os
import random
import socket
import ssl
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import trustme
from support import BufferedRecorder, Datagrams, Echo, Recorder, new_loop, tcp_pair


def make_contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


SERVER_TLS, CLIENT_TLS = make_contexts()


class Chatter(Recorder):
    """Answers for a while and remembers nothing."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data[:3000])


class BufferedChatter(BufferedRecorder):
    def buffer_updated(self, nbytes: int) -> None:
        self.transport.write(bytes(self.buffer[: min(nbytes, 3000)]))


class Stage:
    """The loop, and what the threads may call of it."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.transports: list[Any] = []
        # Only aborted from outside: CPython's ssl module gives the GIL up inside OpenSSL, and two
        # threads in one SSL object corrupt memory, with asyncio's own loop as well.
        self.secured: list[Any] = []
        self.datagrams: list[Any] = []
        self.servers: list[Any] = []
        self.handles: list[Any] = []
        self.sockets: list[socket.socket] = []
        self.ended = False

    async def keep_busy(self) -> None:
        """Replace what the threads have ended, and let everything move."""
        server = await self.loop.create_server(self.accepted, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        secure = await self.loop.create_server(Chatter, "127.0.0.1", 0, ssl=SERVER_TLS)
        secure_address = secure.sockets[0].getsockname()
        while not self.ended:
            await asyncio.sleep(0)
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.replace(address, secure_address), 1)
        server.close()
        secure.close()

    def accepted(self) -> Any:
        protocol = Chatter()
        protocol.made.add_done_callback(lambda made: self.transports.append(made.result()))
        return protocol

    async def replace(self, address: Any, secure_address: Any) -> None:
        loop = self.loop
        self.transports = [t for t in self.transports if not t.is_closing()][-40:]
        if len(self.transports) < 20:
            factory = random.choice((Chatter, BufferedChatter))
            transport, _ = await loop.create_connection(factory, *address)
            transport.write(b"x" * random.choice((1, 100, 20_000, 300_000)))
            self.transports.append(transport)
        if random.random() < 0.1:
            transport, _ = await loop.create_connection(
                Chatter, *secure_address, ssl=CLIENT_TLS, server_hostname="localhost"
            )
            transport.write(b"x" * 1000)
            self.secured.append(transport)
        self.secured = [t for t in self.secured if not t.is_closing()]
        self.datagrams = [t for t in self.datagrams if not t.is_closing()]
        if len(self.datagrams) < 4:
            transport, _ = await loop.create_datagram_endpoint(
                Datagrams, local_addr=("127.0.0.1", 0)
            )
            self.datagrams.append(transport)
        self.servers = [s for s in self.servers if s.is_serving()]
        if len(self.servers) < 3:
            self.servers.append(await loop.create_server(Echo, "127.0.0.1", 0))
            with contextlib.suppress(OSError):
                reader = socket.create_connection(self.servers[-1].sockets[0].getsockname())
                reader.close()
        self.handles = self.handles[-50:]
        self.handles.append(loop.call_later(random.random() * 0.01, int))
        self.handles.append(loop.call_soon(int))
        near, far = tcp_pair()
        with contextlib.suppress(TimeoutError):
            far.send(b"x")
            await asyncio.wait_for(loop.sock_recv(near, 1000), 0.1)
        near.close()
        far.close()


def call_something(stage: Stage, near: socket.socket) -> None:
    loop = stage.loop
    kind = random.randrange(15)
    if kind < 8:
        transport = random.choice(stage.transports)
        {
            0: transport.abort,
            1: transport.close,
            2: lambda: transport.write(b"y" * random.choice((10, 5000, 200_000))),
            3: transport.pause_reading,
            4: transport.resume_reading,
            5: lambda: transport.writelines([b"a", b"b" * 1000]),
            6: lambda: (transport.get_extra_info("socket"), transport.get_write_buffer_size()),
            7: lambda: transport.set_protocol(transport.get_protocol()),
        }[kind]()
    elif kind == 8:
        random.choice(stage.servers).close()
    elif kind == 9:
        random.choice(stage.handles).cancel()
    elif kind == 10:
        transport = random.choice(stage.datagrams)
        address = transport.get_extra_info("sockname")
        transport.sendto(b"datagram", address)
        random.choice((transport.close, transport.abort, int, int, int))()
    elif kind == 11:
        stage.handles.append(loop.call_later(0.001, int))
        loop.call_soon(int)
    elif kind == 12:
        loop.add_reader(near, int)
        loop.add_writer(near, int)
        loop.remove_reader(near)
        loop.remove_writer(near)
    elif kind == 13:
        random.choice(stage.transports).write_eof()
    else:
        random.choice(stage.secured).abort()


def disturb(stage: Stage) -> None:
    near, far = tcp_pair()
    far.send(b"readable")
    while not stage.ended:
        with contextlib.suppress(Exception):
            call_something(stage, near)
        if random.random() < 0.02:
            time.sleep(0.0005)
    for direction in (stage.loop.remove_reader, stage.loop.remove_writer):
        direction(near)
    near.close()
    far.close()


def main(loop_id: str, threads: int, seconds: float) -> None:
    sys.setswitchinterval(1e-5)
    logging.disable()
    loop = new_loop(loop_id)
    loop.set_exception_handler(lambda loop, context: None)
    threading.Thread(target=loop.run_forever, daemon=True).start()
    stage = Stage(loop)
    busy = asyncio.run_coroutine_threadsafe(stage.keep_busy(), loop)
    disturbers = [threading.Thread(target=disturb, args=(stage,)) for _ in range(threads)]
    for disturber in disturbers:
        disturber.start()
    time.sleep(seconds)
    stage.ended = True
    for disturber in disturbers:
        disturber.join()
    busy.result(10)
    print(asyncio.run_coroutine_threadsafe(asyncio.sleep(0, "alive"), loop).result(10), flush=True)
    # What was left half done by design is left to the system.
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
