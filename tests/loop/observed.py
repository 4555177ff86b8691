"""What the tests of the exporters share: loops that have something to tell."""

from __future__ import annotations

import asyncio
from typing import Any

from support import Echo, connected, wait_until

#: What `loop.backend` is, by the test's id of the loop.
BACKENDS = {"rloop-epoll": "epoll", "rloop-uring": "io_uring"}


def converse(loop: Any) -> None:
    """Give the loop something to count: turns, a timer, 40 messages in and 40 out."""

    async def talk() -> None:
        async with connected(server_factory=Echo) as (client, _):
            for number in range(1, 21):
                client.transport.write(b"hello")
                await wait_until(lambda n=number: len(client.data) == 5 * n)
            await asyncio.sleep(0.001)

    loop.run_until_complete(talk())
