"""rloop: an asyncio event loop on io_uring, with an equal epoll engine where it is refused.

    asyncio.run(main(), loop_factory=rloop.new_uring_event_loop)      # Python 3.12 and newer
    rloop.run(main())                                                 # any supported version

``python -m rloop`` explains what this machine allows.
"""

from __future__ import annotations

import asyncio
import os

from . import _stdlib
from . import logs as _logs
from ._core import BackendUnavailable, __version__
from .backend import backend_info
from .event_loop import UringEventLoop

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    from _typeshed import HasFileno, StrOrBytesPath

    from .interval_report import LoggingReport
    from .policy import EventLoopPolicy

    _T = TypeVar("_T")

__all__ = [
    "BackendUnavailable",
    "UringEventLoop",
    "__version__",
    "backend_info",
    "install",
    "logging_report",
    "new_event_loop",
    "new_tokio_event_loop",
    "new_uring_event_loop",
    "run",
    "watchdog",
]

if _stdlib.DefaultEventLoopPolicy is not None:
    __all__ += ["EventLoopPolicy"]

_logs.configure_from_environment()
if os.environ.get("RLOOP_WATCHDOG"):
    from . import stall_watchdog as _stall_watchdog

    _stall_watchdog.configure_from_environment()
if os.environ.get("RLOOP_INSPECT", "").lower() not in ("", "0", "false", "no", "off"):
    from . import inspect as _inspect

    _inspect.listen_with_loops()


def new_event_loop(backend: str = "auto", *, masked: tuple[str, ...] = ()) -> UringEventLoop:
    """A new event loop.

    backend: 'auto' (io_uring, or epoll where it is refused; RLOOP_BACKEND overrides), 'io_uring'
    or 'epoll'. masked: names of capabilities (see backend_info) to do without, for tests and
    diagnosis. Raises ValueError for unknown names, BackendUnavailable (a RuntimeError) when
    io_uring is demanded and cannot be used, OSError when no file descriptor is left.
    """
    return UringEventLoop(backend, masked)


def new_uring_event_loop() -> UringEventLoop:
    """A new event loop on io_uring; on epoll where io_uring is refused, with the reason logged."""
    return new_event_loop()


# The predecessor's name for it, so that its users' programs run unchanged.
new_tokio_event_loop = new_uring_event_loop


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """asyncio.run() on a new rloop event loop, on every supported Python."""
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)


def watchdog(seconds: float | None, file: StrOrBytesPath | HasFileno | int | None = None) -> None:
    """Write about every loop of this process that does not turn for `seconds`; 0 or None: no more.

    file: a path, which is appended to, a descriptor or an object with fileno(); standard error
    without it. What is written: the stack of the loop's thread, the task, who awaits it (3.14 and
    newer), again each time the age has doubled, and that the loop turns again. Concerns loops that
    run already as well; RLOOP_WATCHDOG and RLOOP_WATCHDOG_FILE do the same from outside. Raises
    ValueError below 0.01 and above 86400 seconds, TypeError for what is no number or no file,
    OSError when the file cannot be opened or no thread can be made.
    """
    from .stall_watchdog import watch

    watch(seconds, file)


def install() -> None:
    """Make rloop's the loops of asyncio.run() and asyncio.new_event_loop(), by policy.

    Raises RuntimeError where asyncio has no policies any more (Python 3.16). On 3.14 and 3.15
    asyncio warns that they will go (DeprecationWarning).
    """
    if _stdlib.DefaultEventLoopPolicy is None:
        raise RuntimeError(f"rloop.install() needs event loop policies: {_NO_POLICIES}")
    from .policy import EventLoopPolicy

    asyncio.set_event_loop_policy(EventLoopPolicy())


def logging_report(interval: float = 60.0) -> LoggingReport:
    """Log a line for each open loop of the process every `interval` seconds, until cancel().

    Logger rloop.report, level INFO: how busy, lag, turns, messages, connections. It may be called
    before a loop runs; a thread writes the lines, so that they come while a loop hangs. A child of
    a fork calls it again. Raises ValueError for what is no interval.
    """
    from .interval_report import LoggingReport

    return LoggingReport(interval)


_NO_POLICIES = (
    "this Python's asyncio has none. Use asyncio.run(main(), loop_factory=rloop.new_event_loop), "
    "asyncio.Runner(loop_factory=rloop.new_event_loop) or rloop.run(main())"
)


def __getattr__(name: str) -> Any:
    if name == "inspect":  # rloop.inspect.listen(), without an import for those who do not call it
        import importlib

        return importlib.import_module(f"{__name__}.inspect")
    if name == "EventLoopPolicy":
        if _stdlib.DefaultEventLoopPolicy is None:
            raise AttributeError(f"rloop.EventLoopPolicy is an event loop policy: {_NO_POLICIES}")
        from .policy import EventLoopPolicy

        return EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
