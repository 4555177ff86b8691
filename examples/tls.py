"""A TLS server and its client. First a certificate for this machine, which both need:

    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -keyout key.pem -out cert.pem \
        -subj /CN=localhost -addext subjectAltName=DNS:localhost \
        -addext keyUsage=digitalSignature,keyCertSign
    python examples/tls.py              # the server
    python examples/tls.py hello        # the client, in another terminal
"""

import asyncio
import os
import ssl
import sys

import rloop

PORT = int(os.environ.get("PORT", "8443"))  # 0: the server takes any that is free


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The streams carry plain text: the loop encrypts and decrypts."""
    print("somebody came by", writer.get_extra_info("ssl_object").version(), flush=True)
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def serve() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain("cert.pem", "key.pem")
    server = await asyncio.start_server(echo, "127.0.0.1", PORT, ssl=context)
    print("serving on", server.sockets[0].getsockname(), flush=True)
    async with server:
        await server.serve_forever()


async def ask(text: str) -> None:
    # For a certificate that an authority has signed: ssl=True, and no context.
    context = ssl.create_default_context(cafile="cert.pem")
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", PORT, ssl=context, server_hostname="localhost"
    )
    writer.write(text.encode() + b"\n")
    print((await reader.readline()).decode().strip())
    writer.close()
    await writer.wait_closed()


if __name__ == "__main__":
    rloop.run(ask(sys.argv[1]) if len(sys.argv) > 1 else serve())
