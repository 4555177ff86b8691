"""A TCP echo server on rloop: run it, then talk to it with `nc 127.0.0.1 8888`.

Stops on Ctrl-C. The only line that concerns rloop is the last one.
"""

import asyncio

import rloop


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back whatever comes until the client closes its side."""
    while data := await reader.read(64 * 1024):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main() -> None:
    """Serve on the loopback interface until cancelled."""
    server = await asyncio.start_server(echo, "127.0.0.1", 8888)
    print("serving on", server.sockets[0].getsockname())
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    rloop.run(main())
