"""sock_accept and sock_connect on the program's own sockets, over TCP and Unix sockets.

One sock_accept at a time, as asyncio asks for. Connections carry a few bytes of the pattern, so an
accepted socket that is mixed up with another one shows.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from interpreter import Actor, said
from peers import PATTERN, small_socket
from program import Kind, Verb

MOST = 5


class Accepting(Actor):
    """The option is the family."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.listener = self.new_socket()
        self.bind(self.listener)
        self.listener.listen(128)
        self.refusing = self.new_socket()
        self.bind(self.refusing)
        self.accepting: asyncio.Task[None] | None = None
        self.connecting: list[asyncio.Task[None]] = []
        #: Clients in the order in which they came, and how many of these were accepted.
        self.clients: list[socket.socket] = []
        self.accepted: list[socket.socket] = []

    def new_socket(self) -> socket.socket:
        if self.setup.options[0] == "unix":
            sock = socket.socket(socket.AF_UNIX)
        else:
            sock = small_socket()
        sock.setblocking(False)
        return sock

    def bind(self, sock: socket.socket) -> None:
        sock.bind("" if self.setup.options[0] == "unix" else ("127.0.0.1", 0))

    def expecting(self) -> bool:
        if any(not task.done() for task in self.connecting):
            return True
        return self.under_way() and len(self.clients) > len(self.accepted)

    def under_way(self) -> bool:
        return self.accepting is not None and not self.accepting.done()

    async def finish(self) -> None:
        for task in (self.accepting, *self.connecting):
            if task is not None:
                task.cancel()
        await self.run.settle()
        self.note("finally", len(self.clients), len(self.accepted))
        for sock in (*self.clients, *self.accepted, self.listener, self.refusing):
            sock.close()
        self.accepting = None
        self.connecting.clear()

    # -- steps

    def accept(self) -> None:
        if not self.under_way():
            self.accepting = self.loop.create_task(self.accepts())

    async def accepts(self) -> None:
        try:
            sock, _ = await self.loop.sock_accept(self.listener)
        except (Exception, asyncio.CancelledError) as exc:
            self.note("accept", said(exc))
            return
        number = len(self.accepted)
        self.accepted.append(sock)
        self.note("accepted", number, sock.getblocking(), sock.family.name)

    def cancel_accept(self) -> None:
        if self.accepting is not None:
            self.accepting.cancel()

    def connect(self) -> None:
        """Counts as a client when it is begun: the kernel queues it at once."""
        if len(self.clients) < MOST and self.listener.fileno() != -1:
            sock = self.new_socket()
            number = len(self.clients)
            self.clients.append(sock)
            self.begin(number, sock, self.listener.getsockname())

    def connect_refused(self) -> None:
        self.begin(-1, self.new_socket(), self.refusing.getsockname())

    def connect_nowhere(self) -> None:
        self.begin(-2, self.new_socket(), None)

    def connect_again(self, which: int) -> None:
        """A socket that is connected already."""
        if which < len(self.clients) and self.listener.fileno() != -1:
            self.begin(which, self.clients[which], self.listener.getsockname())

    def begin(self, number: int, sock: socket.socket, address: Any) -> None:
        self.connecting = [task for task in self.connecting if not task.done()]
        self.connecting.append(self.loop.create_task(self.connects(number, sock, address)))

    async def connects(self, number: int, sock: socket.socket, address: Any) -> None:
        try:
            self.note("connected", number, await self.loop.sock_connect(sock, address))
        except (Exception, asyncio.CancelledError) as exc:
            self.note("connect", number, type(exc).__name__)
        if number < 0:
            sock.close()

    def plain_client(self) -> None:
        if len(self.clients) < MOST and self.listener.fileno() != -1:
            sock = self.new_socket()
            sock.connect_ex(self.listener.getsockname())
            self.clients.append(sock)

    def talk(self, which: int) -> None:
        """A client's bytes come from the connection that was accepted for it."""
        if which < len(self.accepted):
            piece = PATTERN[which * 8 : which * 8 + 8]
            self.clients[which].send(piece)
            self.note("heard", which, self.accepted[which].recv(100) == piece)

    def close_listener(self) -> None:
        """Not under a sock_accept, which asyncio would leave watching a closed descriptor."""
        if not self.under_way():
            self.listener.close()


KINDS = (
    Kind(
        "accepting",
        Accepting,
        verbs=(
            Verb("accept", 5),
            Verb("connect", 4),
            Verb("plain_client", 2),
            Verb("cancel_accept", 2),
            Verb("connect_refused", 1),
            Verb("connect_nowhere", 1),
            Verb("connect_again", 1, ((0, 1),)),
            Verb("talk", 3, ((0, 1, 2),)),
            Verb("close_listener", 1),
        ),
        options=(("tcp", "unix"),),
        weight=2,
    ),
)
