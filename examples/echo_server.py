"""A TCP echo server on rloop.

    python examples/echo_server.py
    nc 127.0.0.1 8888                   # in another terminal

Ctrl-C stops it, with the KeyboardInterrupt that asyncio.run() raises. The only line that concerns
rloop is the last one.
"""

import asyncio
import os

import rloop

PORT = int(os.environ.get("PORT", "8888"))  # 0: any that is free


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back whatever comes until the client closes its side."""
    while data := await reader.read(64 * 1024):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main() -> None:
    """Serve on the loopback interface until cancelled."""
    server = await asyncio.start_server(echo, "127.0.0.1", PORT)
    print("serving on", server.sockets[0].getsockname(), flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    rloop.run(main())
