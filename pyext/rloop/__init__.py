"""rloop: an asyncio event loop on io_uring, with an equal epoll engine where it is refused.

    asyncio.run(main(), loop_factory=rloop.new_uring_event_loop)      # Python 3.12 and newer
    rloop.run(main())                                                 # any supported version

``python -m rloop`` explains what this machine allows.
"""

from __future__ import annotations

import asyncio

from . import _stdlib
from . import logs as _logs
from ._core import __version__
from .backend import backend_info
from .errors import BackendUnavailable
from .event_loop import UringEventLoop

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any, TypeVar

    from .policy import EventLoopPolicy

    _T = TypeVar("_T")

__all__ = [
    "BackendUnavailable",
    "UringEventLoop",
    "__version__",
    "backend_info",
    "install",
    "new_event_loop",
    "new_tokio_event_loop",
    "new_uring_event_loop",
    "run",
]

if _stdlib.DefaultEventLoopPolicy is not None:
    __all__ += ["EventLoopPolicy"]

_logs.configure_from_environment()


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


def install() -> None:
    """Make rloop's the loops of asyncio.run() and asyncio.new_event_loop(), by policy.

    Raises RuntimeError where asyncio has no policies any more (Python 3.16). On 3.14 and 3.15
    asyncio warns that they will go (DeprecationWarning).
    """
    if _stdlib.DefaultEventLoopPolicy is None:
        raise RuntimeError(f"rloop.install() needs event loop policies: {_NO_POLICIES}")
    from .policy import EventLoopPolicy

    asyncio.set_event_loop_policy(EventLoopPolicy())


_NO_POLICIES = (
    "this Python's asyncio has none. Use asyncio.run(main(), loop_factory=rloop.new_event_loop), "
    "asyncio.Runner(loop_factory=rloop.new_event_loop) or rloop.run(main())"
)


def __getattr__(name: str) -> Any:
    if name == "EventLoopPolicy":
        if _stdlib.DefaultEventLoopPolicy is None:
            raise AttributeError(f"rloop.EventLoopPolicy is an event loop policy: {_NO_POLICIES}")
        from .policy import EventLoopPolicy

        return EventLoopPolicy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
