"""The event loop that users get.

``UringEventLoop`` joins three layers: ``_core.Loop`` (native: scheduling, the turn, transports),
the mixins of this package (what runs once per loop or per connection) and asyncio's own
``BaseEventLoop`` (what knows no I/O engine; see ``_stdlib``). The method resolution order is the
rule: native wins, then the mixins, then asyncio. The class is named after the io_uring engine and
serves both; ``loop.backend`` says which one works below it.
"""

from __future__ import annotations

import asyncio
import threading
import time
import weakref

from . import _core, _stdlib, logs, reports
from .backend import choose_backend
from .connect import ConnectMixin
from .lifecycle import LifecycleMixin
from .observation import ObservationMixin, serials
from .sendfile import SendfileMixin
from .signals import SignalMixin
from .slow_callbacks import SlowCallbacks
from .sockets import SocketMixin
from .subprocesses import SubprocessMixin
from .tls import TlsMixin
from .unix_sockets import UnixSocketMixin

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class UringEventLoop(  # type: ignore[misc] # typeshed's signal handlers know no *args
    _core.Loop,
    LifecycleMixin,
    ObservationMixin,
    ConnectMixin,
    TlsMixin,
    UnixSocketMixin,
    SocketMixin,
    SendfileMixin,
    SubprocessMixin,
    SignalMixin,
    _stdlib.BaseEventLoop,
):
    """An asyncio event loop on io_uring, or on epoll where io_uring is refused.

    Made by rloop.new_event_loop(); see there for the parameters.
    """

    # The native half calls it by name; imported now, for a failure may be a lack of descriptors.
    _reports = reports

    __slots__ = (
        *_stdlib.STATE,
        "_given_name",
        "_maker",
        "_pidfds",
        "_serial",
        "_signal_wakeup",
        "_slow",
        "_tls_buffers",
        "_transports",
        "_unix_server_sockets",
    )

    def __init__(self, backend: str = "auto", masked: tuple[str, ...] = ()) -> None:
        logs.update_native_level()
        self._configure(choose_backend(backend), masked)
        self._default_executor = None
        self._internal_fds = 0
        self._thread_id = None
        self._clock_resolution = time.get_clock_info("monotonic").resolution
        self._exception_handler = None
        self._old_agen_hooks = None
        self._coroutine_origin_tracking_enabled = False
        self._coroutine_origin_tracking_saved_depth = None
        self._asyncgens: weakref.WeakSet[Any] = weakref.WeakSet()
        self._asyncgens_shutdown_called = False
        self._executor_shutdown_called = False
        self._signal_wakeup = None
        self._tls_buffers = None
        # Where asyncio's own datagram transports enter themselves.
        self._transports: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._unix_server_sockets = {}
        self._pidfds = set()
        self._given_name = None
        self._maker = threading.current_thread().name
        self._slow = SlowCallbacks()
        self._serial = next(serials)
        self.set_debug(asyncio.coroutines._is_debug_mode())  # type: ignore[attr-defined]
        self._remember_for_fork()

    def __repr__(self) -> str:
        return (
            f"<{self.__class__.__name__} backend={self.backend} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )
