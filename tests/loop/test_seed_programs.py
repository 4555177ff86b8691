"""The programs of the predecessor's verification guide, as its users would run them.

An echo server by streams and one by protocols, asked by a client as simple as netcat; the loops
come from `rloop.new_tokio_event_loop()` where the guide says so, and from the loops here otherwise.
Ports are the system's choice, everything else is the guide's.
"""

import os
import signal
import socket

from programs import start_script
from support import DEADLINE, loops_only

STREAMS = """
import asyncio
import sys
from support import new_loop

async def echo_server(reader, writer):
    data = await reader.read(100)
    message = data.decode()
    print(f"Received: {message}")

    writer.write(data)
    await writer.drain()

    print("Closing connection")
    writer.close()
    await writer.wait_closed()

async def main():
    server = await asyncio.start_server(echo_server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()

if __name__ == "__main__":
    try:
        with asyncio.Runner(loop_factory=FACTORY) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        print("bye")
"""

PROTOCOL = """
import asyncio
import sys
from support import new_loop

class EchoProtocol(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport
        print("Connection made")

    def data_received(self, data):
        print(f"Data received: {data}")
        self.transport.write(data)

    def connection_lost(self, exc):
        print("Connection lost")

async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(EchoProtocol, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1])
    async with server:
        await asyncio.sleep(30)  # Run for 30 seconds

if __name__ == "__main__":
    try:
        with asyncio.Runner(loop_factory=FACTORY) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        print("bye")
"""

AS_WRITTEN = """
import asyncio
import rloop

async def echo_server(reader, writer):
    data = await reader.read(100)
    writer.write(data)
    await writer.drain()
    writer.close()
    await writer.wait_closed()

async def main():
    # Use TokioLoop
    loop = rloop.new_tokio_event_loop()
    asyncio.set_event_loop(loop)
    server = await asyncio.start_server(echo_server, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1])
    async with server:
        await server.serve_forever()

if __name__ == "__main__":
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        print("bye")
"""


def netcat(port: int, text: bytes, *, half_close: bool) -> bytes:
    """echo text | nc 127.0.0.1 port"""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as client:
        client.sendall(text)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        while len(received) < len(text) or half_close:
            data = client.recv(100)
            if not data:
                break
            received += data
    return bytes(received)


def converse(source: str, *arguments: str, half_close: bool = True) -> list[str]:
    """Start the server, talk to it twice, interrupt it; the lines it printed."""
    with start_script(source, *arguments) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        for _ in range(2):
            assert netcat(port, b"Hello TokioLoop\n", half_close=half_close) == b"Hello TokioLoop\n"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0, err
    assert err == ""
    return out.splitlines()


HERE = "lambda: new_loop(sys.argv[1])"


def test_the_echo_server_by_streams(loop_id: str) -> None:
    lines = converse(STREAMS.replace("FACTORY", HERE), loop_id, half_close=False)
    assert lines == ["Received: Hello TokioLoop", "", "Closing connection"] * 2 + ["bye"]


def test_the_echo_server_by_a_protocol(loop_id: str) -> None:
    lines = converse(PROTOCOL.replace("FACTORY", HERE), loop_id)
    one = ["Connection made", "Data received: b'Hello TokioLoop\\n'", "Connection lost"]
    assert lines == one * 2 + ["bye"]


@loops_only("rloop-uring")
def test_the_predecessors_factory_makes_the_loop(loop_id: str) -> None:
    factory = "__import__('rloop').new_tokio_event_loop"
    assert converse(PROTOCOL.replace("FACTORY", factory))[-1] == "bye"
    assert converse(STREAMS.replace("FACTORY", factory), half_close=False)[-1] == "bye"


@loops_only("rloop-uring")
def test_the_guides_program_runs_as_written(loop_id: str) -> None:
    # Strictly it runs on asyncio's loop and makes ours beside it: that must do no harm.
    assert converse(AS_WRITTEN, half_close=False)[-1:] == ["bye"]
