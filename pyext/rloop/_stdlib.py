"""The private names of the standard library's asyncio that rloop relies on, in one place.

Checked on CPython 3.11.7, 3.12.1, 3.13.0, 3.13.18, 3.14.10, 3.15.2. Whatever is not here is
public. UringEventLoop derives from ``BaseEventLoop`` and uses of it what knows no selector:
create_connection, create_server, run_until_complete, run_in_executor, the exception handler,
the shutdown of executor and asynchronous generators, each in the running version's own form.

Of the classes below these members are relied on, beside what their methods ask of a loop
(``_add_reader``, ``_remove_reader``, ``_add_writer``, ``_remove_writer``): Server ``_clients``,
``_attach``, ``_detach``;
WritePipeTransport ``_loop``, ``_fileno``, ``_call_connection_lost``; SubprocessTransport ``_proc``,
``_closed``, ``_exit_waiters``, ``_check_proc``, ``_wait``, ``_process_exited``; SSLProtocol and its
transport those that tls_protocol.py overrides and calls; StreamReaderProtocol and StreamReader
those in ``_FEEDING``.
"""

from __future__ import annotations

from asyncio import (
    base_events,
    coroutines,
    events,
    format_helpers,
    futures,
    selector_events,
    sslproto,
    streams,
    unix_events,
)
from collections.abc import Callable

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

BaseEventLoop = base_events.BaseEventLoop
Server = base_events.Server
SSLProtocol: Any = sslproto.SSLProtocol  # typeshed demands int timeouts and a context
SSLProtocolTransport: Any = sslproto._SSLProtocolTransport
TlsState = sslproto.SSLProtocolState
TlsAppState = sslproto.AppProtocolState
# Its functions for Unix sockets, and the transports of pipes and children, know no selector.
UnixEventLoop = unix_events._UnixSelectorEventLoop
ReadPipeTransport = unix_events._UnixReadPipeTransport  # type: ignore[attr-defined]
WritePipeTransport = unix_events._UnixWritePipeTransport  # type: ignore[attr-defined]
SubprocessTransport = unix_events._UnixSubprocessTransport  # type: ignore[attr-defined]
# For datagrams of families that the native transport does not know.
DatagramTransport = selector_events._SelectorDatagramTransport  # type: ignore[attr-defined]
# What a datagram that waits counts for beside its data: nothing before 3.13. (3.13.0 has the number
# in the code, and forgets to take it off again when the datagram has gone.)
DATAGRAM_HEADER_BYTES: int = getattr(
    DatagramTransport, "_header_size", 8 if 8 in DatagramTransport.sendto.__code__.co_consts else 0
)
# Asked what it says about wrong arguments, which changes from version to version.
SocketTransport = selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
set_running_loop = events._set_running_loop
set_result_unless_cancelled = futures._set_result_unless_cancelled  # type: ignore[attr-defined]
format_handle = base_events._format_handle  # type: ignore[attr-defined]
check_ssl_socket = base_events._check_ssl_socket  # type: ignore[attr-defined]
# None from 3.16 on, which has no policies. asyncio's public name for it warns on 3.14 and 3.15.
DefaultEventLoopPolicy: Any = getattr(unix_events, "_UnixDefaultEventLoopPolicy", None)
# Public until 3.13, private and without a deprecation warning from 3.14 on.
iscoroutinefunction: Callable[[object], bool] = getattr(
    coroutines, "_iscoroutinefunction", None
) or getattr(coroutines, "iscoroutinefunction")  # noqa: B009 - mypy knows neither everywhere

_HIDES_ARGUMENTS = "debug" in (
    getattr(format_helpers._format_callback_source, "__kwdefaults__", None) or ()
)


def format_callback(callback: Any, arguments: Any, *, debug: bool) -> str:
    """A callback as asyncio's messages show it; since 3.13 without its arguments unless `debug`."""
    options = {"debug": debug} if _HIDES_ARGUMENTS else {}
    return format_helpers._format_callback_source(callback, arguments, **options)


def has_threads(executor: Any) -> bool:
    """True for a ThreadPoolExecutor that has started some; a fork takes none of them along."""
    return bool(getattr(executor, "_threads", None))


def pass_bytecodes() -> None:
    """Nothing. Between bytecodes CPython gives the GIL to a thread that has asked for it.

    For the native half, which finds here what it needs of Python at import.
    """


def own_handle_run() -> Any:
    """Handle._run, or None when somebody has replaced it, or its code, before us."""
    return _genuine(vars(events.Handle).get("_run"), events.Handle.cancel)


def own_create_task() -> Any:
    """BaseEventLoop.create_task, likewise."""
    return _genuine(vars(BaseEventLoop).get("create_task"), BaseEventLoop.run_until_complete)


def own_attach() -> Any:
    """Server._attach, likewise."""
    return _genuine(vars(Server).get("_attach"), Server.close)


def own_detach() -> Any:
    """Server._detach, likewise."""
    return _genuine(vars(Server).get("_detach"), Server.close)


def own_task() -> Any:
    """asyncio.tasks.Task and the attributes it stands among; None when it is not asyncio's."""
    module = getattr(base_events, "tasks", None)
    task = getattr(module, "Task", None)
    attributes = getattr(module, "__dict__", None)
    is_own = isinstance(task, type) and task.__module__ in ("_asyncio", "asyncio.tasks")
    return (task, attributes) if is_own and isinstance(attributes, dict) else None


# The methods that native code does the work of, with all the names that they mention; the same from
# 3.11 to 3.15. A patch release that changes one of them most likely mentions another.
_FEEDING = (
    (streams.StreamReaderProtocol, "data_received", "_stream_reader feed_data"),
    (streams.StreamReaderProtocol, "_stream_reader", "_stream_reader_wr"),
    (
        streams.StreamReader,
        "feed_data",
        "_eof _buffer extend _wakeup_waiter _transport _paused len _limit pause_reading"
        " NotImplementedError",
    ),
    (streams.StreamReader, "_wakeup_waiter", "_waiter cancelled set_result"),
)


def own_stream_feed() -> Any:
    """Future, StreamReaderProtocol, StreamReader, and the methods with the functions behind them.

    None when one of the methods is not the one that is known, or has been replaced before us.
    """
    members = [vars(owner).get(name) for owner, name, _ in _FEEDING]
    functions = [getattr(member, "fget", member) for member in members]
    for function, (_, _, names) in zip(functions, _FEEDING, strict=True):
        code = getattr(_genuine(function, streams.StreamReader.read), "__code__", None)
        if code is None or not set(names.split()).issuperset(code.co_names):
            return None
    return (
        futures.Future,
        streams.StreamReaderProtocol,
        streams.StreamReader,
        *members,
        *functions,
    )


def _genuine(function: Any, neighbour: Any) -> Any:
    """`function`, or None when it is from another file than `neighbour`, or traced.

    Tracers put functions of theirs among the constants of the code; compiled code has none.
    """
    code, beside = (getattr(one, "__code__", None) for one in (function, neighbour))
    if code is None or beside is None or code.co_filename != beside.co_filename:
        return None
    return None if any(map(callable, code.co_consts)) else function


# What BaseEventLoop.__init__ would put into the instance's __dict__: slots of ours instead,
# because one instance attribute costs every method lookup 15 ns on 3.13.
STATE = (
    "_default_executor",
    "_internal_fds",
    "_thread_id",
    "_clock_resolution",
    "_exception_handler",
    "_old_agen_hooks",
    "_coroutine_origin_tracking_enabled",
    "_coroutine_origin_tracking_saved_depth",
    "_asyncgens",
    "_asyncgens_shutdown_called",
    "_executor_shutdown_called",
)
