"""What an operator asks a loop: its figures, how busy it is, its name, what is slow.

The figures are counted natively (native/loop_observation.cpp). Everything here may be called from
any thread that holds the GIL: also while the loop runs, hangs, or is closed.
"""

from __future__ import annotations

import itertools
import threading

from ._stdlib import iscoroutinefunction
from .lifecycle import _live_loops
from .slow_callbacks import SlowCallbacks

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from ._core import _Statistics


#: Each loop of the process has one of its own; id() may come again.
serials = itertools.count(1)


def live_loops() -> list[Any]:
    """The event loops of this process that are not closed, those that never ran included.

    In the child of a fork without those that the parent was running: they are dead there.
    """
    # Copied in one step: while a WeakSet is iterated over, another thread may make a loop.
    references: list[Any] = list(_live_loops.data)  # type: ignore[attr-defined]
    loops = [reference() for reference in references]
    return [loop for loop in loops if loop and not (loop.is_closed() or loop._forked)]


def name_of(loop: Any) -> str:
    """Its name; where a subclass has one that fails, that of the thread that made it."""
    try:
        return str(loop.name).encode("utf-8", "replace").decode()
    except Exception:
        maker: str = loop._maker
        return maker


class ObservationMixin:
    """statistics(), utilization(), name and the slow callbacks of UringEventLoop."""

    __slots__ = ()
    _given_name: str | None
    _maker: str  # the name of the thread that made it
    _pidfds: set[int]
    _serial: int
    _slow: SlowCallbacks
    _thread_id: int | None

    def statistics(self) -> _Statistics:
        """What happened since the loop was made, how it spent its time, what there is now.

        The keys are in the documentation (Observe). `longest_turn_ns` is of the time since the
        last call of this method.
        """
        return self._figures(True)

    def _observe(self) -> _Statistics:
        """The same for exporters, which must not take the longest turn from anybody."""
        return self._figures(False)

    def _figures(self: Any, takes_longest: bool) -> _Statistics:
        found: _Statistics = self._statistics(takes_longest)
        found["children"] = len(self._pidfds)
        return found

    def utilization(self, since: Mapping[str, Any] | None = None) -> float:
        """The part of its running time in which the loop was awake, 0.0 to 1.0.

        `since`: what statistics() gave earlier; without it, since the loop was made. 0.0 where it
        did not run. As Node.js computes it: what is no wait in the engine is busy, also a callback
        that blocks and the wait for the GIL.
        """
        now = self._observe()
        busy: int = now["busy_ns"] - (since["busy_ns"] if since else 0)
        idle: int = now["idle_ns"] - (since["idle_ns"] if since else 0)
        return busy / (busy + idle) if busy + idle > 0 else 0.0

    @property
    def name(self) -> str:
        """For logs and figures: what was set, else the name of the thread that runs the loop, or
        has made it. None gives the latter back. TypeError for what is no str, UnicodeEncodeError
        for lone surrogates."""
        if self._given_name is not None:
            return self._given_name
        for thread in threading.enumerate():
            if thread.ident == self._thread_id:
                return thread.name
        return self._maker

    @name.setter
    def name(self: Any, name: str | None) -> None:
        if name is not None:
            if not isinstance(name, str):
                raise TypeError(f"the name of a loop is a str, not {type(name).__name__}")
            name.encode()  # UnicodeEncodeError: no page could hold it
        self._given_name = name
        self._name_changed()

    def set_slow_callback_handler(
        self, handler: Callable[[Any, dict[str, Any]], object] | None
    ) -> None:
        """Have `handler(loop, report)` called for each callback that is found to be slow.

        `report`: callback, file, line, task (its name, or None), duration (seconds). It is called
        in the loop's thread, after the callback; what it raises goes to the loop's exception
        handler. None: no handler. Raises TypeError for what cannot be called.
        """
        if handler is not None and (not callable(handler) or iscoroutinefunction(handler)):
            raise TypeError(
                f"a callable that is no coroutine function is expected, got {handler!r}"
            )
        self._slow.handler = handler

    @property
    def _slow_recent(self) -> Any:
        """The last reports of slow callbacks, each with `at`, the time.time() of its end."""
        return self._slow.recent
