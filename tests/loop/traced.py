"""What the tests of transports' contexts share: protocols that note where each upcall runs.

A context is told from a copy of it by what is set there: each upcall adds its name to `steps`.
"""

import asyncio
import contextvars
import inspect
from asyncio import selector_events
from collections.abc import Callable
from typing import Any

import pytest
from support import RLOOP_IDS, BufferedRecorder, Datagrams, Recorder, loops_only

where: contextvars.ContextVar[Any] = contextvars.ContextVar("where", default="nowhere")
#: The upcalls that have run in this very context before.
steps: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("steps", default=())

HAS_CONTEXTS = (
    "context"
    in inspect.signature(
        selector_events.BaseSelectorEventLoop._make_socket_transport  # type: ignore[attr-defined]
    ).parameters
)
since_contexts = pytest.mark.skipif(
    not HAS_CONTEXTS, reason="transports have a context of their own since Python 3.15"
)
asyncio_and_ours = loops_only("asyncio", *RLOOP_IDS)

UPCALLS = (
    "connection_made",
    "data_received",
    "get_buffer",
    "buffer_updated",
    "eof_received",
    "pause_writing",
    "resume_writing",
    "datagram_received",
    "error_received",
    "pipe_data_received",
    "pipe_connection_lost",
    "process_exited",
    "connection_lost",
)


def noting(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
    def upcall(self: Any, *arguments: Any) -> Any:
        self.trace.append((name, where.get(), steps.get()))
        steps.set((*steps.get(), name))
        return method(self, *arguments)

    return upcall


def traced(base: type) -> type:
    """`base`, which also notes for each upcall where it runs and what ran there before."""
    methods = {name: noting(name, getattr(base, name)) for name in UPCALLS if hasattr(base, name)}

    def __init__(self: Any, *arguments: Any) -> None:
        self.trace: list[tuple[str, Any, tuple[str, ...]]] = []
        base.__init__(self, *arguments)  # type: ignore[misc]

    return type(f"Traced{base.__name__}", (base,), {"__init__": __init__, **methods})


Traced: Any = traced(Recorder)
TracedBuffered: Any = traced(BufferedRecorder)
TracedDatagrams: Any = traced(Datagrams)


def assert_one_context(protocol: Any, name: Any, wanted: list[str], before: Any = ()) -> None:
    """All upcalls ran where `where` is `name`, and with HAS_CONTEXTS in one and the same Context,
    where the steps `before` had been done."""
    assert [upcall for upcall, _, _ in protocol.trace] == wanted
    assert {place for _, place, _ in protocol.trace} == {name}
    if HAS_CONTEXTS:
        seen = [done for _, _, done in protocol.trace]
        assert seen == [(*before, *wanted[:count]) for count in range(len(wanted))]


def context_of(name: Any) -> contextvars.Context:
    context = contextvars.copy_context()
    context.run(where.set, name)
    return context


def elsewhere(function: Callable[..., Any], *arguments: Any) -> Any:
    return context_of("elsewhere").run(function, *arguments)


async def within(name: Any, work: Any) -> Any:
    return await asyncio.get_running_loop().create_task(work, context=context_of(name))
