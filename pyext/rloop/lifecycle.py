"""How a loop runs, ends, and survives (or not) a fork.

run_forever is asyncio's, with the native turn in the middle; run_until_complete is inherited.
close() ends all I/O first and then does what BaseEventLoop.close does.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import weakref
from asyncio import events
from asyncio.log import logger

from ._stdlib import has_threads, set_running_loop
from .signals import SignalWakeup

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_live_loops: weakref.WeakSet[LifecycleMixin] = weakref.WeakSet()

#: Called whenever a loop has been made: what the environment asks for begins with the first one of
#: a process, also of one that was forked.
when_loops_are_made: list[Callable[[], None]] = []


class LifecycleMixin:
    """Running, closing and forking of UringEventLoop."""

    __slots__ = ()
    _thread_id: int | None  # of the running loop
    _signal_wakeup: SignalWakeup | None

    def run_forever(self: Any) -> None:
        """Run until stop() is called."""
        self._check_closed()
        self._check_running()
        self._set_coroutine_origin_tracking(self._debug)
        old_agen_hooks = sys.get_asyncgen_hooks()
        wakeup = self._wakeup_for_this_thread()
        try:
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(
                firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
            )
            events._set_running_loop(self)
            if wakeup:
                wakeup.install()
            self._run()
        finally:
            if wakeup:
                wakeup.uninstall()
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*old_agen_hooks)

    def close(self: Any) -> None:
        """Close the loop: end all I/O, drop what is scheduled, let the executor go.

        Raises RuntimeError when the loop is running. Open transports get no connection_lost, as
        with asyncio; their descriptors are closed.
        """
        if self.is_running() or self._in_turn:  # the program may drive the turns by itself
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self._debug:
            logger.debug("Close %r", self)
        self._remove_all_signal_handlers()
        self._forget_children()
        self._close_io()
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is not None:
            self._default_executor = None
            executor.shutdown(wait=False)

    @property
    def _nest_patched(self) -> bool:
        """What nest_asyncio asks first; it would replace run_forever by a turn over the queues of
        asyncio's own loop, which are not here, and fail in the middle of a run. For everybody else
        there is no such attribute.
        """
        caller = sys._getframe(1).f_globals.get("__name__", "")
        if caller.partition(".")[0].startswith("nest_asyncio"):
            raise ValueError(
                f"Can't patch loop of type {type(self)}: rloop's turn is native and does not nest. "
                "Use asyncio's own loop with nest_asyncio, or await instead of run_until_complete()"
            )
        raise AttributeError("_nest_patched")

    def _wakeup_for_this_thread(self: Any) -> SignalWakeup | None:
        if threading.current_thread() is not threading.main_thread():
            return None
        if self._signal_wakeup is None:
            self._signal_wakeup = SignalWakeup(self)
        wakeup: SignalWakeup = self._signal_wakeup
        return wakeup

    def _start_over(self: Any) -> None:
        # What else is the parent's: its children, the pipe of its signals, its threads.
        self._forget_children()
        if self._signal_wakeup is not None:
            self._signal_wakeup.start_over()
        if has_threads(self._default_executor):
            self._default_executor = None

    def _remember_for_fork(self: Any) -> None:
        _live_loops.add(self)
        for begin in when_loops_are_made:
            begin()


def _after_fork_in_child() -> None:
    # The child shares the parent's ring and epoll set through their descriptors: it lets go of
    # them. Its copies of loops that did not run go on with an engine of their own; those that ran,
    # in this thread or another, refuse to.
    with contextlib.suppress(ValueError):  # the thread that forked was not the main one
        wakeups = {loop._signal_wakeup for loop in _live_loops} - {None}
        if any(wakeup.is_installed() for wakeup in wakeups if wakeup):
            signal.set_wakeup_fd(-1)
    for loop in list(_live_loops):
        child_copy: Any = loop
        was_running = child_copy._thread_id is not None
        child_copy._after_fork_in_child(was_running)
        if not child_copy.is_closed() and not was_running:
            child_copy._start_over()
        if was_running:
            child_copy._thread_id = None
            if events._get_running_loop() is child_copy:
                set_running_loop(None)


os.register_at_fork(after_in_child=_after_fork_in_child)
