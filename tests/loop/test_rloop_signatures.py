"""Every public method is there, with the signature of asyncio's in the running Python.

Compared are rloop's classes and those of asyncio's selector loop: names, kinds and defaults of the
parameters, and whether a function is a coroutine function. Annotations do not count, nor does
`self`, which no caller names and which methods written in C take by position only. A method that
in asyncio's class only raises NotImplementedError need not be there; no other may be missing.
"""

import ast
import asyncio
import contextvars
import inspect
import socket
from asyncio import selector_events
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import support
from support import Datagrams, Recorder, bound, connected, loops_only, serving

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")
core = __import__("rloop._core", fromlist=["Loop"])

#: The differences that stay: "Class.method" of ours, and why. There is none.
DIFFERENCES: dict[str, str] = {}

#: asyncio's class, ours.
PAIRS = [
    (asyncio.SelectorEventLoop, rloop.UringEventLoop),
    (asyncio.Handle, core.Handle),
    (asyncio.TimerHandle, core.TimerHandle),
    (asyncio.Transport, core.StreamTransport),
    (asyncio.DatagramTransport, core.DatagramTransport),
    # Private: a later Python may have them under another name, or not at all.
    (getattr(selector_events, "_SelectorSocketTransport", None), core.StreamTransport),
    (getattr(selector_events, "_SelectorDatagramTransport", None), core.DatagramTransport),
]

on_both_engines = loops_only(*support.RLOOP_IDS)


def public_methods(cls: type) -> list[str]:
    return [name for name in dir(cls) if name[0] != "_" and callable(getattr(cls, name))]


def is_stub(function: Any) -> bool:
    """Whether a Python function does nothing but raise NotImplementedError."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    code = getattr(function, "__code__", None)
    return code is not None and code.co_names == ("NotImplementedError",)


def parameters(function: Callable[..., Any]) -> list[tuple[str, str, Any]]:
    """(name, kind, default) of each parameter after `self`."""
    found = list(inspect.signature(function).parameters.values())[1:]
    return [(parameter.name, parameter.kind.description, parameter.default) for parameter in found]


@pytest.mark.parametrize(
    ("theirs", "ours", "name"),
    [
        pytest.param(theirs, ours, name, id=f"{ours.__name__}.{name}-{theirs.__name__}")
        for theirs, ours in PAIRS
        if theirs is not None
        for name in public_methods(theirs)
        if not is_stub(getattr(theirs, name))
    ],
)
def test_a_method_has_the_signature_of_asyncio_s(theirs: type, ours: type, name: str) -> None:
    wanted, got = getattr(theirs, name), getattr(ours, name, None)
    same = (
        got is not None
        and parameters(got) == parameters(wanted)
        and inspect.iscoroutinefunction(got) == inspect.iscoroutinefunction(wanted)
    )
    reason = DIFFERENCES.get(f"{ours.__name__}.{name}")
    if reason is not None:
        assert not same, "this difference is gone: take it out of the table"
        pytest.skip(reason)
    assert got is not None, "it is missing"
    assert parameters(got) == parameters(wanted)
    assert inspect.iscoroutinefunction(got) == inspect.iscoroutinefunction(wanted)


def test_no_method_of_the_loop_is_left_as_asyncio_s_stub() -> None:
    left = [
        name
        for name in public_methods(asyncio.AbstractEventLoop)
        if is_stub(getattr(rloop.UringEventLoop, name))
        and not is_stub(getattr(asyncio.SelectorEventLoop, name))
    ]
    assert left == []


def test_stubs_are_told_from_methods() -> None:
    assert is_stub(asyncio.AbstractEventLoop.create_server)
    assert is_stub(asyncio.Transport.write)
    assert not is_stub(asyncio.SelectorEventLoop.create_server)
    assert not is_stub(asyncio.Transport.writelines)


def test_the_package_raises_no_not_implemented_error_of_its_own() -> None:
    sources = list(Path(rloop.__file__).parent.glob("*.py"))
    assert len(sources) > 5
    raised = [
        f"{path.name}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise) and node.exc and "NotImplementedError" in ast.dump(node.exc)
    ]
    native = Path(__file__).parents[2] / "pyext"
    raised += [
        path.name
        for path in native.rglob("*.[ch]pp")
        if "PyExc_NotImplementedError" in path.read_text()
    ]
    assert raised == []


@on_both_engines
async def test_the_compared_classes_are_what_the_loop_gives(
    loop: asyncio.AbstractEventLoop,
) -> None:
    assert type(loop) is rloop.UringEventLoop
    assert type(loop.call_soon(bool)) is core.Handle
    assert type(loop.call_later(0, bool)) is core.TimerHandle
    async with serving(Recorder) as (server, _), connected() as (client, _), bound() as endpoint:
        assert type(server) is asyncio.Server
        assert type(client.transport) is core.StreamTransport
        assert type(endpoint.transport) is core.DatagramTransport


# -- what a signature promises, a call must keep ------------------------------------------------


@on_both_engines
async def test_scheduling_takes_its_arguments_by_name(loop: asyncio.AbstractEventLoop) -> None:
    called: list[str] = []
    context = contextvars.copy_context()
    loop.call_soon(callback=lambda: called.append("soon"), context=context)
    loop.call_soon_threadsafe(callback=lambda: called.append("threadsafe"), context=context)
    loop.call_at(when=loop.time(), callback=lambda: called.append("at"), context=context)
    loop.call_later(delay=0, callback=lambda: called.append("later"), context=context)
    await support.wait_until(lambda: len(called) == 4)
    assert sorted(called) == ["at", "later", "soon", "threadsafe"]


@on_both_engines
async def test_readers_and_writers_take_their_arguments_by_name(
    loop: asyncio.AbstractEventLoop,
) -> None:
    near, far = socket.socketpair()
    with near, far:
        readable, writable = asyncio.Event(), asyncio.Event()
        far.send(b"x")
        loop.add_reader(fd=near, callback=readable.set)
        loop.add_writer(fd=near, callback=writable.set)
        await readable.wait()
        await writable.wait()
        assert loop.remove_reader(fd=near)
        assert loop.remove_writer(fd=near)


@on_both_engines
async def test_a_stream_transport_takes_its_arguments_by_name(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with connected() as (client, server_side):
        transport = client.transport
        transport.set_write_buffer_limits(high=4000, low=2000)
        assert transport.get_write_buffer_limits() == (2000, 4000)
        assert transport.get_extra_info(name="nonsense", default="default") == "default"
        transport.set_protocol(protocol=client)
        transport.write(data=b"one,")
        transport.writelines(list_of_data=[b"two,", b"three"])
        assert await server_side.wait_for_bytes(13) == b"one,two,three"


@on_both_engines
async def test_a_datagram_transport_takes_its_arguments_by_name(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with bound() as near, bound() as far:
        transport = near.transport
        transport.set_write_buffer_limits(high=4000, low=2000)
        assert transport.get_write_buffer_limits() == (2000, 4000)
        assert transport.get_extra_info(name="nonsense", default="default") == "default"
        transport.set_protocol(protocol=Datagrams())
        transport.set_protocol(protocol=near)
        transport.sendto(data=b"one", addr=far.transport.get_extra_info("sockname"))
        assert await far.wait_for(1) == [b"one"]


@on_both_engines
async def test_native_methods_refuse_what_their_signature_does_not_have(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with connected() as (client, _), bound() as endpoint:
        timer = loop.call_later(0, bool)
        for owner in (loop, client.transport, endpoint.transport, loop.call_soon(bool), timer):
            for name in public_methods(type(owner)):
                method = getattr(owner, name)
                if inspect.isbuiltin(method):
                    check_refusals(method)


def check_refusals(method: Any) -> None:
    """An unknown keyword, and a positional argument too many, are TypeErrors."""
    signature = inspect.signature(method)
    kinds = [parameter.kind for parameter in signature.parameters.values()]
    given = [bool] * kinds.count(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    with pytest.raises(TypeError):
        method(*given, surely_unknown=1)
    if inspect.Parameter.VAR_POSITIONAL not in kinds:
        with pytest.raises(TypeError):
            method(*given, bool)
    if given and all(
        parameter.default is inspect.Parameter.empty
        for parameter in signature.parameters.values()
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
    ):
        with pytest.raises(TypeError):
            method(*given[1:])
