"""Server._clients, which is private, and of which nobody should see that ours is another one.

asyncio's Server (3.13 and newer) asks it for its length and a copy, and adds and discards.
"""

import asyncio
import gc
import weakref
from typing import Any, ClassVar

import pytest
from programs import check_script
from support import PY313, RLOOP_IDS, Recorder, loops_only, serving, turns, wait_until

pytestmark = [
    pytest.mark.skipif(not PY313, reason="a Server knows its transports since Python 3.13"),
    loops_only("asyncio", *RLOOP_IDS),
]


class Foreign:
    """A transport that is none of the loop's."""

    def close(self) -> None:
        self.closed = True


class Side(Recorder):
    all: ClassVar[list["Side"]] = []

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.all.append(self)


async def open_clients(loop: asyncio.AbstractEventLoop, address: Any, count: int) -> list[Any]:
    Side.all = []
    clients = [await loop.create_connection(Recorder, *address) for _ in range(count)]
    await wait_until(lambda: len(Side.all) == count)
    return [protocol for _, protocol in clients]


async def end(clients: list[Any]) -> None:
    for client in clients:
        client.transport.close()
        await client.lost
    await turns()


async def test_it_behaves_as_a_set(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Side) as (server, address):
        protocols = await open_clients(loop, address, 3)
        clients = server._clients
        ours = {side.transport for side in Side.all}
        assert set(clients) == set(clients.copy()) == ours
        assert len(clients) == 3 and bool(clients)
        assert all(transport in clients for transport in ours)
        assert protocols[0].transport not in clients and object() not in clients
        some = next(iter(ours))
        clients.add(some)
        assert len(clients) == 3
        clients.discard(some)
        clients.discard(some)
        assert len(clients) == 2 and set(clients) == ours - {some}
        with pytest.raises(KeyError):
            clients.remove(some)
        clients.add(some)
        assert set(clients | set()) == ours and not set(clients - ours)
        del ours, some
        await end(protocols)
        await wait_until(lambda: len(clients) == 0)
        assert not clients and not list(clients)


async def test_others_are_held_weakly(loop: asyncio.AbstractEventLoop) -> None:
    async with serving(Side) as (server, address):
        protocols = await open_clients(loop, address, 1)
        foreign = Foreign()
        server._attach(foreign)
        assert foreign in server._clients and len(server._clients) == 2
        server.close_clients()
        assert foreign.closed
        await Side.all[0].lost
        await turns()
        assert list(server._clients) == [foreign]
        server._detach(foreign)
        assert len(server._clients) == 0
        server._attach(foreign)
        del foreign
        gc.collect()
        assert len(server._clients) == 0
        await end(protocols)


async def test_another_servers_transport_is_another_servers(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with serving(Side) as (one, address), serving(Side) as (other, _):
        protocols = await open_clients(loop, address, 2)
        assert len(one._clients) == 2 and len(other._clients) == 0
        stranger = Side.all[0].transport
        other._clients.add(stranger)
        assert stranger in other._clients and len(other._clients) == 1
        one._clients.discard(stranger)
        assert stranger in other._clients and len(one._clients) == 1
        other.close_clients()
        await Side.all[0].lost
        del stranger
        one._clients.add(Side.all[0].transport)  # gone, but somebody has it
        one._clients.discard(Side.all[0].transport)
        await end(protocols)
        await wait_until(lambda: not len(one._clients))


async def test_a_server_ends_with_its_last_reference(loop: asyncio.AbstractEventLoop) -> None:
    gone: list[Any] = []
    async with serving(Side) as (server, address):
        protocols = await open_clients(loop, address, 2)
        await end(protocols)
        server.close()
        await server.wait_closed()
        weakref.finalize(server, gone.append, True)
    del server
    Side.all = []
    gc.disable()
    try:
        await wait_until(lambda: gone)
    finally:
        gc.enable()


async def test_closing_one_of_them_may_close_others(loop: asyncio.AbstractEventLoop) -> None:
    class Last(Side):
        def connection_lost(self, exc: BaseException | None) -> None:
            super().connection_lost(exc)
            for side in self.all:
                side.transport.abort()

    async with serving(Last) as (server, address):
        protocols = await open_clients(loop, address, 10)
        server.close()
        server.close_clients()
        await server.wait_closed()
        assert all(side.lost.done() for side in Side.all)
        await end(protocols)


def test_a_loop_is_closed_while_somebody_waits_for_the_last_connection(loop_id: str) -> None:
    source = """
    import asyncio, gc, socket, sys, warnings
    from support import *
    warnings.simplefilter("ignore")
    loop = new_loop(sys.argv[1])

    async def main():
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        await wait_until(lambda: len(server._clients) == 1)
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        await turns(3)
        return server, client, waiting

    server, client, waiting = loop.run_until_complete(main())
    loop.close()
    assert not waiting.done() and len(server._clients) == 1
    waiting._log_destroy_pending = False
    client.close()
    del server, client, waiting
    gc.collect()
    """
    check_script(source, loop_id)


@pytest.mark.parametrize("where", ["class", "instance", "code"])
@pytest.mark.parametrize("method", ["_attach", "_detach"])
async def test_what_a_program_puts_in_the_place_of_a_method_is_called(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, where: str, method: str
) -> None:
    seen: list[Any] = []
    original = getattr(asyncio.Server, method)

    def replaced(self: Any, transport: Any) -> None:
        seen.append(transport)
        original(self, transport)

    async with serving(Side) as (server, address):
        with monkeypatch.context() as patched:
            if where == "class":
                patched.setattr(asyncio.Server, method, replaced)
            elif where == "instance":
                patched.setattr(server, method, lambda transport: replaced(server, transport))
            else:
                saved = original.__code__
                body = type(original)(saved, {**original.__globals__, "seen": seen})
                original.__code__ = swapped.__code__
                swapped.__globals__.update(seen=seen, body=body)
            try:
                protocols = await open_clients(loop, address, 2)
                transports = [side.transport for side in Side.all]
                await end(protocols)
                await wait_until(lambda: len(server._clients) == 0)
            finally:
                if where == "code":
                    original.__code__ = saved
        assert sorted(map(id, seen)) == sorted(map(id, transports))


def swapped(self: Any, transport: Any) -> None:
    import test_server_clients as me

    me.seen.append(transport)  # type: ignore[attr-defined]
    me.body(self, transport)  # type: ignore[attr-defined]
