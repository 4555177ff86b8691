"""The HTTP server that HTTP clients are measured against: one fixed answer, no event loop.

    python benchmarks/run.py http_answers

One thread, epoll, non-blocking sockets. What a client sends is only searched for the ends of heads;
each gets the same 200 with `BODY`. It says "serving on:" with a free port of 127.0.0.1 and ends
by a signal. Always the same, so that only the client differs; and it costs a small part of what a
client in Python does.
"""

from __future__ import annotations

import select
import socket

from traffic.addresses import TcpAddress, listening_socket

BODY = b"Hello, world!"
ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY)
) + BODY
END_OF_HEAD = b"\r\n\r\n"
RECEIVE_BYTES = 64 * 1024


def answers_to(received: bytes) -> tuple[int, bytes]:
    """Return how many requests have ended, and what there is of the next one."""
    *ended, rest = received.split(END_OF_HEAD)
    return len(ended), rest


class Answers:
    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.poller = select.epoll()
        self.poller.register(listener, select.EPOLLIN)
        self.clients: dict[int, tuple[socket.socket, bytes]] = {}

    def accept(self) -> None:
        client, _ = self.listener.accept()
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.clients[client.fileno()] = client, b""
        self.poller.register(client, select.EPOLLIN)

    def answer(self, number: int) -> None:
        client, begun = self.clients[number]
        try:
            received = client.recv(RECEIVE_BYTES)
            count, rest = answers_to(begun + received)
            if count:
                client.send(ANSWER * count)  # small: a client that waits for it leaves it room
        except ConnectionError:
            received = b""
        if received:
            self.clients[number] = client, rest
        else:
            del self.clients[number]
            client.close()

    def run(self) -> None:
        while True:
            for number, _ in self.poller.poll():
                if number == self.listener.fileno():
                    self.accept()
                else:
                    self.answer(number)


def main() -> None:
    listener = listening_socket(TcpAddress("127.0.0.1", 0))
    print(f"serving on: {listener.getsockname()}", flush=True)
    Answers(listener).run()


if __name__ == "__main__":
    main()
