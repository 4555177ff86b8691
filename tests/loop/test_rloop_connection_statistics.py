"""get_extra_info("statistics") of transports, and what the loop says of its connections."""

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

from support import (
    RLOOP_IDS,
    Datagrams,
    Echo,
    Recorder,
    connected,
    loops_only,
    turns,
    wait_until,
    wired,
)

pytestmark = loops_only(*RLOOP_IDS)

KEYS = {
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
    "backlog",
    "backlog_max",
    "times_paused",
    "age",
    "idle",
}


def figures(transport: Any) -> dict[str, Any]:
    found: dict[str, Any] = transport.get_extra_info("statistics")
    return found


async def test_a_connection_counts_what_it_carries(loop: Any) -> None:
    async with connected(Recorder, Echo) as (client, server):
        assert set(figures(client.transport)) == KEYS
        for number in range(1, 4):
            client.transport.write(b"12345")
            await client.wait_for_bytes(5 * number)
        for end in (client.transport, server.transport):
            found = figures(end)
            assert found["bytes_in"] == found["bytes_out"] == 15
            assert found["messages_in"] == found["messages_out"] == 3
            assert found["backlog"] == found["times_paused"] == 0


async def test_the_loop_counts_what_its_connections_count(loop: Any) -> None:
    before = loop.statistics()
    async with connected(Recorder, Echo) as (client, server):
        client.transport.write(b"x" * 100_000)
        await client.wait_for_bytes(100_000)
        ends = [figures(one.transport) for one in (client, server)]
        after = loop.statistics()
        for key in ("messages_in", "messages_out", "bytes_in", "bytes_out"):
            assert after[key] - before[key] == sum(end[key] for end in ends), key


async def test_a_peer_that_does_not_read_is_a_backlog(loop: Any) -> None:
    async with wired() as (transport, _, far):
        transport.write(bytes(4 << 20))
        await turns()
        found = figures(transport)
        assert found["backlog"] == transport.get_write_buffer_size() > 0
        assert found["backlog_max"] >= found["backlog"]
        assert found["times_paused"] == 1
        far.setblocking(False)

        def everything_came() -> bool:
            try:
                while far.recv(1 << 20):
                    pass
            except BlockingIOError:
                pass
            return figures(transport)["backlog"] == 0

        await wait_until(everything_came)
        assert figures(transport)["backlog_max"] == found["backlog_max"]
        assert figures(transport)["bytes_out"] == 4 << 20
        transport.write(bytes(64 << 20))  # the buffers of both ends have grown
        await turns()
        assert figures(transport)["times_paused"] == 2
        transport.abort()


async def test_age_and_idle_time(loop: Any) -> None:
    began = time.monotonic()
    async with connected(Recorder, Echo) as (client, _):
        client.transport.write(b"x")
        await client.wait_for_bytes(1)
        await asyncio.sleep(0.05)
        found = figures(client.transport)
        assert 0.05 <= found["age"] <= time.monotonic() - began
        assert 0.03 <= found["idle"] <= found["age"] + 0.02  # the kernel counts in ticks
        client.transport.write(b"x")
        await client.wait_for_bytes(2)
        assert figures(client.transport)["messages_out"] == 2


async def test_the_kernel_does_not_say_how_long_a_unix_socket_is_idle(loop: Any) -> None:
    near, far = socket.socketpair()
    with far:
        transport, _ = await loop.create_connection(Recorder, sock=near)
        assert figures(transport)["idle"] is None
        transport.abort()
        await turns()
        assert set(figures(transport)) == KEYS
        assert figures(transport)["backlog"] == 0


async def test_datagrams_are_counted_one_by_one(loop: Any) -> None:
    there, _ = await loop.create_datagram_endpoint(Datagrams, local_addr=("127.0.0.1", 0))
    here, _ = await loop.create_datagram_endpoint(
        Datagrams, remote_addr=there.get_extra_info("sockname")
    )
    for _ in range(5):
        here.sendto(b"123")
    await wait_until(lambda: figures(there)["messages_in"] == 5)
    assert figures(there)["bytes_in"] == figures(here)["bytes_out"] == 15
    assert figures(here)["messages_out"] == 5
    assert figures(here)["idle"] is None
    for transport in (here, there):
        transport.abort()


async def test_sendfile_is_counted(loop: Any, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 300_000)
    async with connected(Recorder, Recorder) as (client, server):
        with path.open("rb") as file:
            assert await loop.sendfile(client.transport, file) == 300_000
        await server.wait_for_bytes(300_000)
        assert figures(client.transport)["bytes_out"] == 300_000
        assert figures(server.transport)["bytes_in"] == 300_000


async def test_the_programs_own_extra_comes_first(loop: Any) -> None:
    near, far = socket.socketpair()
    with far:
        transport = loop._make_socket_transport(near, Recorder(), extra={"statistics": "mine"})
        assert transport.get_extra_info("statistics") == "mine"
        transport.abort()
        await turns()


async def test_the_heaviest_connections_of_a_loop(loop: Any) -> None:
    async with wired() as (heavy, _, _far), wired() as (light, _, _other), wired() as (idle, *_):
        heavy.write(bytes(8 << 20))
        light.write(bytes(4 << 20))
        idle.pause_reading()
        await turns()
        found = loop._connections(2)
        assert found["states"] == {
            "open": 0,
            "reading_paused": 1,
            "writing_paused": 2,
            "closing": 0,
        }
        first, second = found["heaviest"]
        assert first["peername"] == heavy.get_extra_info("peername")
        assert first["sockname"] == heavy.get_extra_info("sockname")
        assert first["fd"] == heavy.get_extra_info("socket").fileno()
        assert (first["kind"], first["state"]) == ("stream", "writing_paused")
        assert first["statistics"]["backlog"] >= second["statistics"]["backlog"] > 0
        assert len(loop._connections(10)["heaviest"]) == 3
        assert loop._connections(0)["heaviest"] == []
        light.close()
        assert loop._connections(0)["states"]["closing"] == 1
        light.abort()
        heavy.abort()
