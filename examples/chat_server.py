"""A chat over WebSockets: each hears what the others say.

pip install websockets
python examples/chat_server.py
websockets ws://127.0.0.1:8765      # in another terminal, and in a third; one line, one message
"""

import asyncio
import os

from websockets.asyncio.server import ServerConnection, broadcast, serve

import rloop

PORT = int(os.environ.get("PORT", "8765"))  # 0: any that is free

people: set[ServerConnection] = set()


async def talk(person: ServerConnection) -> None:
    """One of these runs for each connection, from its beginning to its end."""
    name = f"guest {person.remote_address[1]}"
    broadcast(people, f"{name} has come")
    people.add(person)
    try:
        async for text in person:  # until the person leaves
            broadcast(people - {person}, f"{name}: {text!s}")
    finally:
        people.remove(person)
        broadcast(people, f"{name} has left")


async def main() -> None:
    async with serve(talk, "127.0.0.1", PORT) as server:
        print("chatting on", server.sockets[0].getsockname(), flush=True)
        await asyncio.get_running_loop().create_future()  # for ever: Ctrl-C ends it


if __name__ == "__main__":
    rloop.run(main())
