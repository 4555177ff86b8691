"""Peers that vanish: a proxy that resets its connections, a program that is killed.

They run in threads and processes of their own with blocking sockets, so nothing of them depends
on the loop that is tested.
"""

from __future__ import annotations

import contextlib
import random
import select
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

from support import reset


def blocks(count: int, size: int = 1 << 16) -> Iterator[bytes]:
    """`count` blocks that all differ, the same ones at each call."""
    source = random.Random(count)
    for _ in range(count):
        yield source.randbytes(size)


class ResettingProxy:
    """Passes TCP connections on to a server until reset() is called; then all of them get RST."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._peers: dict[socket.socket, socket.socket] = {}
        self._near, self._far = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> ResettingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.reset()

    def reset(self) -> None:
        """Reset every connection and stop listening; back when that is done."""
        if self._thread.is_alive():
            self._near.close()
            self._thread.join()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, self._far, self._listener:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._far, selectors.EVENT_READ)
            while True:
                for key, _events in selector.select():
                    if key.fileobj is self._far:
                        for peer in self._peers:
                            reset(peer)
                        return
                    if key.fileobj is self._listener:
                        self._accept(selector)
                    elif isinstance(key.fileobj, socket.socket):
                        self._pass_on(selector, key.fileobj)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _address = self._listener.accept()
        server = socket.create_connection(self._server)
        self._peers |= {client: server, server: client}
        for peer in (client, server):
            selector.register(peer, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(1 << 16)
            self._send(target, data)
        except OSError:
            data = b""
        if not data:
            selector.unregister(source)
            with contextlib.suppress(OSError):
                target.shutdown(socket.SHUT_WR)

    def _send(self, target: socket.socket, data: bytes) -> None:
        """All of it, unless reset() comes first: a client that waits for that reads nothing."""
        while data:
            ended, _writable, _ = select.select([self._far], [target], [])
            if ended:
                return
            data = data[target.send(data, socket.MSG_DONTWAIT) :]


#: Connects to argument 1, a port, sends argument 2 and then zeros without end.
UPLOADER = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as client:
    client.sendall(sys.argv[2].encode())
    while True:
        client.sendall(bytes(1 << 16))
"""


@contextlib.contextmanager
def killed_program(source: str, *arguments: object) -> Iterator[Callable[[], None]]:
    """Runs a Python program in a process of its own; yields what kills it."""
    command = [sys.executable, "-c", source, *map(str, arguments)]
    with subprocess.Popen(command) as process:
        try:
            yield process.kill
        finally:
            process.kill()
