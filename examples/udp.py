"""A server that answers datagrams, and a client that asks again when an answer gets lost.

python examples/udp.py              # the server
python examples/udp.py hello        # the client, in another terminal
"""

import asyncio
import os
import sys
from typing import Any

import rloop

PORT = int(os.environ.get("PORT", "9999"))  # 0: the server takes any that is free


class Upper(asyncio.DatagramProtocol):
    """The server: there are no connections, each datagram has its sender's address."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.transport.sendto(data.upper(), address)


class Answers(asyncio.DatagramProtocol):
    """The client's side: what comes goes into a queue."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def datagram_received(self, data: bytes, address: Any) -> None:
        self.queue.put_nowait(data)

    def error_received(self, exc: OSError) -> None:
        print("nobody is there yet:", exc)  # the other machine said so


async def serve() -> None:
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(Upper, local_addr=("127.0.0.1", PORT))
    print("serving on", transport.get_extra_info("sockname"), flush=True)
    await loop.create_future()  # for ever: Ctrl-C ends it


async def ask(text: str) -> None:
    loop = asyncio.get_running_loop()
    transport, answers = await loop.create_datagram_endpoint(
        Answers, remote_addr=("127.0.0.1", PORT)
    )
    for _attempt in range(3):
        transport.sendto(text.encode())
        try:
            async with asyncio.timeout(0.5):
                print((await answers.queue.get()).decode())
                break
        except TimeoutError:
            print("no answer, asking again")
    transport.close()


if __name__ == "__main__":
    rloop.run(ask(sys.argv[1]) if len(sys.argv) > 1 else serve())
