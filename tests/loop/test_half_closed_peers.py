"""A peer that has said all it has to say, closed its half and reads a long answer slowly.

`nc -N` and old HTTP clients do it. The whole answer arrives, and then the end: a half-close is a
hang-up to every poll that asks for one, and must neither end a send nor cost a thread.
"""

import asyncio
import hashlib
import os
import socket
import ssl
import threading
from typing import Any

import pytest
import trustme
from own_threads import named
from support import RLOOP_IDS, Recorder, loops_only, tcp_pair, turns, wait_until

SIZE = 4_000_000  # bytes: much more than the sockets' buffers


class SlowPeer:
    """The other end, in a thread: half-closes, waits, reads to the end."""

    def __init__(self, sock: Any, *, half_close: bool) -> None:
        self.may_read = threading.Event()
        self.size = 0
        self.digest = hashlib.sha1()
        self.error: OSError | None = None
        self._sock = sock
        if half_close:
            self.half_close()
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def half_close(self) -> None:
        # Of the TCP connection, also under TLS: no close_notify.
        socket.socket.shutdown(self._sock, socket.SHUT_WR)

    def _read(self) -> None:
        self.may_read.wait()
        try:
            while part := self._sock.recv(20_000):
                self.size += len(part)
                self.digest.update(part)
        except OSError as exc:
            self.error = exc

    async def finished(self) -> None:
        self.may_read.set()
        await wait_until(lambda: not self.thread.is_alive())
        self.thread.join()
        self._sock.close()


class StaysOpen(Recorder):
    """Goes on writing after the peer's end."""

    def eof_received(self) -> bool:
        super().eof_received()
        return True


def pair(family: str) -> tuple[socket.socket, socket.socket]:
    if family == "tcp":
        near, far = tcp_pair()
    else:
        near, far = socket.socketpair()
    far.setblocking(True)
    return near, far


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("pieces", [1, 8])
@pytest.mark.parametrize("family", ["tcp", "unix"])
async def test_the_whole_answer_arrives(
    loop: asyncio.AbstractEventLoop, family: str, pieces: int, when: str
) -> None:
    near, far = pair(family)
    transport, protocol = await loop.create_connection(StaysOpen, sock=near)
    peer = SlowPeer(far, half_close=when == "before")
    if when == "before":
        await wait_until(lambda: protocol.eof)
    answer = os.urandom(SIZE)
    step = SIZE // pieces
    for start in range(0, SIZE, step):
        transport.write(answer[start : start + step])
        await turns(1)
    if when == "during":
        peer.half_close()
    await turns(20)
    transport.close()
    await turns(20)
    await peer.finished()
    assert peer.error is None
    assert peer.size == SIZE
    assert peer.digest.digest() == hashlib.sha1(answer).digest()
    assert await protocol.lost is None


async def test_a_paused_reader_that_has_not_seen_the_end_sends_everything(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = pair("tcp")
    transport, protocol = await loop.create_connection(StaysOpen, sock=near)
    transport.pause_reading()
    transport.write(bytes(SIZE))
    peer = SlowPeer(far, half_close=True)
    await turns(20)
    transport.writelines([b"and", b" the rest"])
    transport.close()
    await peer.finished()
    assert (peer.error, peer.size) == (None, SIZE + len("and the rest"))
    assert await protocol.lost is None


async def test_under_tls_what_was_written_before_the_peers_end_arrives(
    loop: asyncio.AbstractEventLoop,
) -> None:
    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    # What came before a missing close_notify is whole all the same.
    client_context.options |= getattr(ssl, "OP_IGNORE_UNEXPECTED_EOF", 0)
    made: list[Recorder] = []

    class Server(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            made.append(self)

    server = await loop.create_server(Server, "127.0.0.1", 0, ssl=server_context)
    address = server.sockets[0].getsockname()

    def connect() -> ssl.SSLSocket:
        plain = socket.create_connection(address)
        return client_context.wrap_socket(plain, server_hostname="localhost")

    far = await loop.run_in_executor(None, connect)
    await wait_until(lambda: made)
    for _ in range(8):
        made[0].transport.write(bytes(SIZE // 8))
    peer = SlowPeer(far, half_close=True)
    await turns(20)
    await peer.finished()
    assert peer.size == SIZE
    await made[0].lost
    server.close()
    await turns(2)


@loops_only(*RLOOP_IDS)
async def test_a_blocked_send_costs_no_thread(loop: Any) -> None:
    near, far = pair("tcp")
    transport, protocol = await loop.create_connection(StaysOpen, sock=near)
    transport.write(bytes(SIZE))
    peer = SlowPeer(far, half_close=True)
    await wait_until(lambda: protocol.eof)
    await turns(20)
    assert not named("iou-wrk")
    transport.close()
    await peer.finished()
    assert await protocol.lost is None


@loops_only(*RLOOP_IDS)
async def test_waiting_for_room_at_a_half_closed_peer_does_not_spin(loop: Any) -> None:
    near, far = pair("tcp")
    transport, protocol = await loop.create_connection(StaysOpen, sock=near)
    transport.write(bytes(SIZE))
    peer = SlowPeer(far, half_close=True)
    await wait_until(lambda: protocol.eof)
    await turns(5)
    before = loop.statistics()["turns"]
    await asyncio.sleep(0.05)
    assert loop.statistics()["turns"] - before < 20
    transport.close()
    await peer.finished()
    assert await protocol.lost is None
