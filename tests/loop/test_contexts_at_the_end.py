"""The context of a transport when things go wrong or end: exception handlers, finalizers, garbage.

See test_contexts_of_transports.py for what a transport's context is.
"""

import asyncio
import socket
import weakref
from typing import Any

import pytest
from support import (
    RLOOP_IDS,
    BufferedRecorder,
    Noise,
    Recorder,
    collect,
    loops_only,
    new_loop,
    tcp_pair,
    turns,
    until_closed,
    wait_until,
)
from traced import (
    asyncio_and_ours,
    since_contexts,
    steps,
    traced,
    where,
    within,
)

# -- what goes wrong ----------------------------------------------------------------------------


@since_contexts
@asyncio_and_ours
@pytest.mark.parametrize(
    ("upcall", "base"),
    [
        ("connection_made", Recorder),
        ("data_received", Recorder),
        ("get_buffer", BufferedRecorder),
        ("buffer_updated", BufferedRecorder),
        ("eof_received", Recorder),
        ("connection_lost", Recorder),
    ],
)
async def test_the_exception_handler_runs_in_the_context(
    loop: asyncio.AbstractEventLoop, upcall: str, base: type
) -> None:
    seen: list[tuple[str, Any, Any]] = []

    def handler(_loop: Any, context: dict[str, Any]) -> None:
        seen.append((str(context["exception"]), where.get(), steps.get()))

    def fail(self: Any, *arguments: Any) -> None:
        getattr(base, upcall)(self, *arguments)
        raise ValueError("on purpose")

    loop.set_exception_handler(handler)
    near, far = tcp_pair()
    protocol = traced(type("Failing", (base,), {upcall: fail}))()
    connect = loop.create_connection(lambda: protocol, sock=near)
    transport, _ = await within("client", connect)
    far.send(b"x")
    far.close()
    if upcall == "connection_made":  # asyncio goes on
        await wait_until(lambda: protocol.data)
    await protocol.lost
    await until_closed(transport)
    ((text, place, done),) = seen
    assert (text, place) == ("on purpose", "client")
    assert done[-1] == upcall, "in the very context of the upcall"


@since_contexts
@asyncio_and_ours
async def test_a_factory_that_fails_is_told_of_in_the_connections_context(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    seen: list[tuple[Any, Any]] = []

    def fail() -> Any:
        steps.set(("factory",))
        raise ValueError("on purpose")

    loop.set_debug(True)
    loop.set_exception_handler(lambda _loop, _context: seen.append((where.get(), steps.get())))
    server = await within("server", loop.create_server(fail, "127.0.0.1", 0))
    with socket.create_connection(server.sockets[0].getsockname()):
        await wait_until(lambda: seen)
    server.close()
    await turns()
    assert seen == [("server", ("factory",))]
    noise.forgive_unclosed()  # asyncio leaves the socket to the collector


# -- the end ------------------------------------------------------------------------------------


@since_contexts
@asyncio_and_ours
async def test_a_protocol_ends_in_the_context(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[Any] = []

    class Ending(Recorder):
        def __del__(self) -> None:
            seen.append(where.get())

    near, far = tcp_pair()

    async def connect() -> Any:
        transport, _ = await loop.create_connection(Ending, sock=near)
        return transport

    transport = await within("client", connect())
    far.close()
    await wait_until(lambda: seen)
    assert transport.is_closing()
    assert seen == ["client"]


class Value:
    """A value of the variable, to see the end of."""


@asyncio_and_ours
@pytest.mark.parametrize("server_side", [False, True])
async def test_a_context_that_knows_its_transport_is_garbage_with_it(
    loop: asyncio.AbstractEventLoop, server_side: bool
) -> None:
    references: list[weakref.ref[Any]] = []

    class Knowing(Recorder):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            value = Value()
            value.transport = transport  # type: ignore[attr-defined]
            where.set(value)
            steps.set((self,))  # type: ignore[arg-type]
            references.extend([weakref.ref(value), weakref.ref(transport), weakref.ref(self)])

    async def connect_and_lose() -> None:
        if server_side:
            server = await loop.create_server(Knowing, "127.0.0.1", 0)
            socket.create_connection(server.sockets[0].getsockname()).close()
            await wait_until(lambda: references)
            server.close()
            references.append(weakref.ref(server))
        else:
            near, far = tcp_pair()
            await loop.create_connection(Knowing, sock=near)
            far.close()

    await within("maker", connect_and_lose())

    def are_gone() -> bool:
        collect()
        return len(references) >= 3 and not any(reference() for reference in references)

    await wait_until(are_gone)


@asyncio_and_ours
async def test_contexts_of_open_connections_die_with_an_abandoned_loop(
    loop: asyncio.AbstractEventLoop, loop_id: str, noise: Noise
) -> None:
    references: list[weakref.ref[Any]] = []

    def abandon() -> None:
        other = new_loop(loop_id)
        near, far = tcp_pair()

        async def connect() -> None:
            value = Value()
            value.loop = other  # type: ignore[attr-defined]
            references.append(weakref.ref(value))
            where.set(value)
            transport, _ = await other.create_connection(Recorder, sock=near)
            await other.create_server(Recorder, "127.0.0.1", 0)
            value.transport = transport  # type: ignore[attr-defined]

        other.run_until_complete(connect())
        other.close()
        far.close()

    await asyncio.to_thread(abandon)
    noise.forgive_unclosed()
    assert references[0]() is None


@since_contexts
@loops_only(*RLOOP_IDS)
async def test_what_is_no_context_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    with near, far, pytest.raises(TypeError, match=r"contextvars\.Context was expected, got dict"):
        loop._make_socket_transport(near, Recorder(), context={})  # type: ignore[attr-defined]
