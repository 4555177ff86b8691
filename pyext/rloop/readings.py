"""What exporters read of a process's loops, and what they make of it.

Read from whatever thread they run in: a reading is one call into a loop, which the GIL makes whole,
and works while the loop sleeps, hangs or ends. Nobody's `statistics()` notices. Each loop goes by a
name that no other one has, so that two of them never are one series.
"""

from __future__ import annotations

import os
import threading
import weakref

from . import histograms, observation

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .event_loop import UringEventLoop

    Reading = Mapping[str, Any]
    # What is made of two readings, at the last collection and now; None where there is nothing.
    Look = Callable[[Reading, Reading], float | None]

_names: weakref.WeakKeyDictionary[UringEventLoop, tuple[str, str]] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


def named_loops() -> list[tuple[str, UringEventLoop]]:
    """The open loops of this process by name; a second "MainThread" is "MainThread-2".

    A loop keeps its number until it is closed or gets another name: its curve does not jump when
    another one ends.
    """
    with _lock:
        wanted = [(observation.name_of(loop), loop) for loop in observation.live_loops()]
        found = {
            _names[loop][1]: loop
            for name, loop in wanted
            if loop in _names and _names[loop][0] == name
        }
        for name, loop in wanted:
            if loop not in found.values():
                free = _free(name, found)
                found[free] = loop
                _names[loop] = name, free
        return sorted(found.items())


def _free(wanted: str, taken: Mapping[str, UringEventLoop]) -> str:
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


class Series:
    """What goes by one name. Its counters never fall: a loop that takes the name of one that was
    closed goes on where that one stood.
    """

    def __init__(self, counters: Sequence[Sequence[Any]]) -> None:
        self._counters = [row[0] for row in counters]
        self._loop: weakref.ref[UringEventLoop] | None = None
        self._before: Reading = {}
        self._now: Reading = {}
        self._past: dict[str, int] = {}  # of the loops that are gone

    def read(self, loop: UringEventLoop) -> None:
        if self._loop is not None and self._loop() is not loop:
            for key in self._counters:
                self._past[key] = self._past.get(key, 0) + self._now[key]
            self._now = {}
        self._loop = weakref.ref(loop)
        self._before, self._now = self._now, loop._observe()

    def value(
        self, look: Callable[[Reading, Reading], float | None], is_counter: bool
    ) -> float | None:
        if not is_counter:
            return look(self._before, self._now)
        sums = {key: self._now[key] + past for key, past in self._past.items()}
        return look({}, {**self._now, **sums})


def gained(before: Reading, now: Reading, key: str) -> Any:
    """What a counter has gained between two readings, a histogram bucket by bucket.

    `before` is empty where a loop is looked at for the first time.
    """
    if isinstance(now[key], tuple):
        then = before.get(key) or (0,) * len(now[key])
        return tuple(count - old for count, old in zip(now[key], then, strict=True))
    return now[key] - before.get(key, 0)


def utilization(before: Reading, now: Reading) -> float | None:
    """The part of its running time in which a loop was awake; None where it did not run."""
    busy: int = gained(before, now, "busy_ns")
    idle: int = gained(before, now, "idle_ns")
    return busy / (busy + idle) if busy + idle > 0 else None


def quantile(counts: Sequence[int], part: float) -> float | None:
    """A quantile of a histogram in seconds; None of an empty one."""
    found = histograms.quantile(counts, part)
    return None if found is None else found / 1e9


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.Lock()  # a thread that is not here may have held it


os.register_at_fork(after_in_child=_after_fork_in_child)
