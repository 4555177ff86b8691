"""Servers on a Unix path or a TCP port: their starts and ends, and clients before and after.

Clients are plain sockets; every accepted connection is a protocol that says its number. Names of
methods that this Python's Server lacks raise the same AttributeError everywhere.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import weakref
from typing import Any

from interpreter import Actor, said
from peers import small_socket
from program import Kind, Verb

MOST_CLIENTS = 6
MOST_TASKS = 4


class Accepted(asyncio.Protocol):
    def __init__(self, actor: Servers) -> None:
        self.actor = actor
        self.number = -1
        self.transport: Any = None
        actor.watched.append(weakref.ref(self))

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.number = len(self.actor.accepted)
        self.actor.accepted.append(self)
        self.actor.note("connection_made", self.number)

    def data_received(self, data: bytes) -> None:
        self.actor.note("data_received", self.number, data)
        self.transport.write(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.actor.lost += 1
        self.actor.note("lost client", self.number, said(exc))


class Servers(Actor):
    """The options are the family and whether the server starts by itself."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.server: Any = None
        self.accepted: list[Accepted] = []
        self.clients: list[socket.socket] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.begun = self.connected = self.lost = 0
        self.listening = self.closed = False

    async def open(self) -> None:
        family, start = self.setup.options
        if family == "tcp":
            self.listener = small_socket()
            self.listener.bind(("127.0.0.1", 0))
        else:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind("")  # an abstract name of the kernel's choice
        self.name = self.listener.getsockname()
        create = self.loop.create_server if family == "tcp" else self.loop.create_unix_server
        self.server = await create(lambda: Accepted(self), sock=self.listener, start_serving=start)
        self.listening = start

    def expecting(self) -> bool:
        if sum(each.transport.is_closing() for each in self.accepted) > self.lost:
            return True
        return self.listening and not self.closed and len(self.accepted) < self.connected

    async def finish(self) -> None:
        for client in self.clients:
            client.close()
        await self.run.settle()
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await self.run.settle()
        self.note("finally", len(self.accepted), self.lost, self.server.is_serving())
        self.tasks.clear()
        self.accepted.clear()
        self.server = None

    # -- the server

    def begin(self, name: str) -> None:
        if sum(not task.done() for task in self.tasks) < MOST_TASKS:
            self.begun += 1
            self.tasks.append(self.loop.create_task(self.working(name, self.begun)))

    async def working(self, name: str, number: int) -> None:
        if name in ("start_serving", "serve_forever") and not self.closed:
            self.listening = True
        try:
            answer = await getattr(self.server, name)()
            self.note(name, number, answer)
        except (Exception, asyncio.CancelledError) as exc:
            # A server that ends as its serve_forever is cancelled.
            self.closed = self.closed or not self.server.is_serving()
            self.note(name, number, type(exc).__name__)

    def start_serving(self) -> None:
        self.begin("start_serving")

    def serve_forever(self) -> None:
        self.begin("serve_forever")

    def wait_closed(self) -> None:
        self.begin("wait_closed")

    def cancel(self, which: int) -> None:
        if which < len(self.tasks):
            self.tasks[-1 - which].cancel()

    def close(self) -> None:
        self.closed = True
        self.server.close()

    def close_clients(self) -> None:
        self.server.close_clients()

    def abort_clients(self) -> None:
        self.server.abort_clients()

    def look(self) -> Any:
        return self.server.is_serving(), len(self.server.sockets), self.server.get_loop() is None

    def close_accepted(self, which: int) -> None:
        if which < len(self.accepted):
            self.accepted[-1 - which].transport.close()

    def abort_accepted(self, which: int) -> None:
        if which < len(self.accepted):
            self.accepted[-1 - which].transport.abort()

    # -- the clients

    def client(self) -> None:
        """A listening socket takes it into its queue whether or not the server accepts."""
        if len(self.clients) >= MOST_CLIENTS:
            return
        sock = socket.socket(self.listener_family())
        sock.setblocking(False)
        error = sock.connect_ex(self.name)
        self.note("connects", errno.errorcode[error] if error not in (0, 115) else "")
        self.clients.append(sock)
        if error in (0, 115) and self.listening and not self.closed:
            self.connected += 1

    def listener_family(self) -> socket.AddressFamily:
        return socket.AF_INET if self.setup.options[0] == "tcp" else socket.AF_UNIX

    def client_send(self, which: int) -> None:
        if which < len(self.clients):
            try:
                self.clients[which].send(b"ping")
            except OSError as exc:
                self.note("client's send raised", type(exc).__name__)

    def client_receive(self, which: int) -> None:
        if which < len(self.clients):
            try:
                self.note("client got", self.clients[which].recv(1000))
            except OSError as exc:
                self.note("client's receive raised", type(exc).__name__)

    def client_close(self, which: int) -> None:
        if which < len(self.clients):
            self.clients[which].close()


WHICH = ((0, 1, 2),)
KINDS = (
    Kind(
        "servers",
        Servers,
        verbs=(
            Verb("client", 6),
            Verb("client_send", 3, WHICH),
            Verb("client_receive", 3, WHICH),
            Verb("client_close", 1, WHICH),
            Verb("start_serving", 2),
            Verb("serve_forever", 1),
            Verb("cancel", 1, WHICH),
            Verb("wait_closed", 2),
            Verb("close", 1),
            Verb("close_clients", 1),
            Verb("abort_clients", 1),
            Verb("close_accepted", 1, WHICH),
            Verb("abort_accepted", 1, WHICH),
            Verb("look", 2),
        ),
        options=(("unix", "tcp"), (True, False)),
        weight=4,
    ),
)
