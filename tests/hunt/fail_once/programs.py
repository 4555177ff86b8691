"""The ten programs: small, complete, deterministic, each uses one part of the loop.

A program is a coroutine function that takes a `Run`. It lets exceptions through: whoever runs it
notes them. It awaits nothing for a fixed time, and both ends live in the one loop. To add one,
write it here and name it in PROGRAMS.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import Callable
from typing import Any

import trustme
from record import Recorder, Run, serving

BULK = bytes(range(256)) * 1200  # 300 KiB: more than a socket takes at once
AUTHORITY = trustme.CA(key_type=trustme.KeyType.ECDSA)
SERVER_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
AUTHORITY.issue_cert("localhost", key_type=trustme.KeyType.ECDSA).configure_cert(SERVER_TLS)
CLIENT_TLS = ssl.create_default_context()
AUTHORITY.configure_trust(CLIENT_TLS)


class EchoServer(Recorder):
    """Answers what it gets; the client's `back` is what comes home."""

    def on_data(self, data: bytes) -> None:
        self.run.got("there", data)
        self.transport.write(data)


async def echo_over(
    run: Run, factory: Any, address: Any, messages: list[bytes], **options: Any
) -> None:
    loop = asyncio.get_running_loop()
    transport, client = await loop.create_connection(factory, *address[:2], **options)
    total = 0
    for message in messages:
        run.sent("there", message)
        run.sent("back", message)
        transport.write(message)
        total += len(message)
        if not await client.wait_for_bytes(total):
            return
    transport.close()
    await client.wait_for_end()


async def tcp_echo(run: Run) -> None:
    async with serving(run, lambda: EchoServer(run, "server")) as address:
        messages = [b"one", b"two" * 100, BULK, b"three"]
        await echo_over(run, lambda: Recorder(run, "back"), address, messages)


async def streams(run: Run) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                run.got("there", line)
                writer.write(line.upper())
                await writer.drain()
            writer.write_eof()
        except OSError as exc:
            run.caught(exc)
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    run.servers.append(server)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    try:
        for line in (b"first\n", b"x" * 30_000 + b"\n", b"last\n"):
            run.sent("there", line)
            run.sent("back", line.upper())
            writer.writelines([line[:3], line[3:]])
            await writer.drain()
            run.got("back", await reader.readline())
        writer.write_eof()
        run.got("back", await reader.read())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        server.close()


async def tls(run: Run) -> None:
    async with serving(run, lambda: EchoServer(run, "server"), ssl=SERVER_TLS) as address:
        await echo_over(
            run,
            lambda: Recorder(run, "back"),
            address,
            [b"secret", BULK[:100_000]],
            ssl=CLIENT_TLS,
            server_hostname="localhost",
        )


class DatagramEnd(Recorder, asyncio.DatagramProtocol):
    def __init__(self, run: Run, name: str, answers: bool) -> None:
        super().__init__(run, name)
        self.answers = answers
        self.seen: list[bytes] = []

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.seen.append(data)
        if self.answers:
            self.transport.sendto(data, addr)
        self.changed.set()

    def error_received(self, exc: OSError) -> None:
        self.run.caught(exc)
        for end in self.run.protocols:  # what is lost here the other one awaits
            end.changed.set()


async def udp(run: Run) -> None:
    loop = asyncio.get_running_loop()
    far, _ = await loop.create_datagram_endpoint(
        lambda: DatagramEnd(run, "far", True), local_addr=("127.0.0.1", 0)
    )
    near, client = await loop.create_datagram_endpoint(
        lambda: DatagramEnd(run, "near", False),
        remote_addr=far.get_extra_info("socket").getsockname(),
    )
    for i in range(6):
        datagram = b"%d" % i * (1 + 200 * i)
        heard = len(run.errors)
        near.sendto(datagram)
        wanted = len(client.seen) + 1
        await client.wait_for(lambda: len(client.seen) >= wanted or len(run.errors) > heard)
        if client.seen and client.seen[-1] not in [b"%d" % j * (1 + 200 * j) for j in range(6)]:
            run.got("wrong datagram", client.seen[-1])
    near.close()
    far.close()


async def subprocess(run: Run) -> None:
    process = await asyncio.create_subprocess_exec(
        "/bin/cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    data = run.sent("cat", BULK[:100_000])
    try:
        out, _ = await process.communicate(data)
        run.got("cat", out)
        if process.stdin:  # communicate() keeps to itself that it could not write
            await process.stdin.wait_closed()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def pipes(run: Run) -> None:
    loop = asyncio.get_running_loop()
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb", 0) as source, os.fdopen(write_end, "wb", 0) as sink:
        _, reader = await loop.connect_read_pipe(lambda: Recorder(run, "pipe"), source)
        transport, _ = await loop.connect_write_pipe(lambda: Recorder(run, "writing"), sink)
        for data in (b"small", BULK[:150_000]):
            transport.write(run.sent("pipe", data))
        await reader.wait_for_bytes(len(run.sent_bytes["pipe"]))
        transport.close()
        await reader.wait_for_end()


async def server_close(run: Run) -> None:
    loop = asyncio.get_running_loop()
    ends: list[Recorder] = []
    async with serving(run, lambda: EchoServer(run, "server")) as address:
        for i in range(3):
            transport, client = await loop.create_connection(
                lambda: Recorder(run, f"back{len(ends)}"), *address
            )
            ends.append(client)
            transport.write(run.sent(f"back{i}", b"hello"))
            run.sent("there", b"hello")
            if not await client.wait_for_bytes(5):
                return
        run.servers[0].close()
    ends[0].transport.write_eof()
    await ends[0].wait_for(lambda: ends[0].eof)
    ends[1].transport.abort()
    await ends[1].wait_for_end()
    ends[2].transport.close()
    await ends[2].wait_for_end()
    await run.servers[0].wait_closed()


async def sendfile(run: Run) -> None:
    loop = asyncio.get_running_loop()
    async with serving(run, lambda: Recorder(run, "file")) as address:
        transport, client = await loop.create_connection(lambda: Recorder(run, "client"), *address)
        with tempfile.TemporaryFile() as file:
            file.write(run.sent("file", BULK[:200_000]))
            file.seek(0)
            await loop.sendfile(transport, file)
        for server in [protocol for protocol in run.protocols if protocol is not client]:
            if not await server.wait_for_bytes(200_000):
                return
        transport.close()
        await client.wait_for_end()


def background(sockets: contextlib.ExitStack, work: Any) -> asyncio.Task[Any]:
    """A task that ends before the sockets that it uses are closed."""
    task = asyncio.ensure_future(work)
    sockets.callback(task.cancel)
    return task


async def send_all(sock: socket.socket, data: bytes) -> None:
    """And no more, so that whoever receives learns of a failure."""
    try:
        await asyncio.get_running_loop().sock_sendall(sock, data)
    finally:
        sock.shutdown(socket.SHUT_WR)


async def sock_methods(run: Run) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)
        near = sockets.enter_context(socket.socket())
        near.setblocking(False)
        accepting = background(sockets, loop.sock_accept(listener))
        await loop.sock_connect(near, listener.getsockname())
        far, _ = await accepting
        sockets.enter_context(far)
        waiting = background(sockets, loop.sock_recv(far, 100))
        await asyncio.sleep(0)  # so that the receive waits before anything comes
        await loop.sock_sendall(near, run.sent("there", b"hello"))
        run.got("there", await waiting)
        sending = background(sockets, send_all(far, run.sent("back", BULK)))
        memory = bytearray(100_000)
        while len(run.got_bytes.get("back", b"")) < len(BULK):
            size = await loop.sock_recv_into(near, memory)
            if size == 0:
                break
            run.got("back", memory[:size])
        await sending
        await sock_datagrams(run, sockets)


async def sock_datagrams(run: Run, sockets: contextlib.ExitStack) -> None:
    loop = asyncio.get_running_loop()
    ends = [sockets.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(2)]
    for end in ends:
        end.setblocking(False)
        end.bind(("127.0.0.1", 0))
    waiting = background(sockets, loop.sock_recvfrom(ends[1], 100))
    await asyncio.sleep(0)  # so that the receive waits before anything comes
    await loop.sock_sendto(ends[0], run.sent("datagram", b"ping"), ends[1].getsockname())
    data, _ = await waiting
    run.got("datagram", data)


async def readers(run: Run) -> None:
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        done = loop.create_future()

        def telling(step: Callable[[], object]) -> None:
            """What a callback raises ends the program, which waits for the last of them."""
            try:
                step()
            except Exception as exc:
                if not done.done():
                    done.set_exception(exc)

        def write() -> None:
            loop.remove_writer(near)
            near.send(run.sent("pair", b"hello"))

        def read() -> None:
            loop.remove_reader(far)
            run.got("pair", far.recv(100))
            loop.add_signal_handler(signal.SIGUSR1, telling, on_signal)
            os.kill(os.getpid(), signal.SIGUSR1)

        def on_signal() -> None:
            loop.remove_signal_handler(signal.SIGUSR1)
            loop.run_in_executor(None, from_thread)

        def from_thread() -> None:
            loop.call_soon_threadsafe(lambda: done.done() or done.set_result(None))

        loop.add_reader(far, telling, read)
        loop.add_writer(near, telling, write)
        try:
            await done
        finally:
            loop.remove_reader(far)
            loop.remove_writer(near)


PROGRAMS = {
    "tcp_echo": tcp_echo,
    "streams": streams,
    "tls": tls,
    "udp": udp,
    "subprocess": subprocess,
    "pipes": pipes,
    "server_close": server_close,
    "sendfile": sendfile,
    "sock": sock_methods,
    "readers": readers,
}
