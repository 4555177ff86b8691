"""A server that ends well: at SIGTERM it takes nobody new, and finishes what it has begun.

    python examples/graceful_shutdown.py
    nc 127.0.0.1 8888                   # each line is a request, which takes a second
    kill PID                            # in between; the server has said its PID

Requests under way are answered, clients that ask for nothing are let go, and the exit code is 0.
"""

import asyncio
import os
import signal

import rloop

PORT = int(os.environ.get("PORT", "8888"))  # 0: any that is free
PATIENCE = 30  # seconds that requests get to be finished


class Service:
    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.clients: set[asyncio.Task[None]] = set()

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One of these runs for each connection."""
        task = asyncio.current_task()
        assert task is not None
        self.clients.add(task)
        try:
            while line := await self.next_line(reader):
                writer.write(await self.answer(line))
                await writer.drain()
        except ConnectionError:
            pass  # this client has gone
        finally:
            self.clients.remove(task)
            writer.close()

    async def next_line(self, reader: asyncio.StreamReader) -> bytes:
        """The next request; nothing when there will be none: the client or the service ends."""
        reading = asyncio.create_task(reader.readline())
        stopping = asyncio.create_task(self.stopping.wait())
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if reading.done():
            return reading.result()
        reading.cancel()
        return b""

    async def answer(self, line: bytes) -> bytes:
        print("request", line.decode().strip(), flush=True)
        await asyncio.sleep(1)  # the work
        return line.upper()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stopping.set)
        server = await asyncio.start_server(self.client, "127.0.0.1", PORT)
        print(f"process {os.getpid()} on", server.sockets[0].getsockname(), flush=True)
        await self.stopping.wait()

        server.close()  # from here on connecting is refused
        print("stopping,", len(self.clients), "clients", flush=True)
        try:
            async with asyncio.timeout(PATIENCE):
                while self.clients:
                    await asyncio.wait(self.clients)
        except TimeoutError:
            print("given up:", len(self.clients), "clients")
        print("done")


async def main() -> None:
    await Service().run()


if __name__ == "__main__":
    rloop.run(main())
