"""What stands for asyncio's ``loop._selector``: for tools that replace its select().

They measure how long the loop is idle, or play with time. The engine needs no selector, and the
loop calls select() only once a program has put another one in its place; that one may call the
original, which waits. asyncio's pipe transports ask get_key() for their repr(). There is nothing
else here: no register(), no get_map().
"""

from __future__ import annotations

import selectors

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class Selector:
    """The waiting of one loop."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        """Wait for `timeout` seconds (None: without limit) at most; not empty if something came.

        Raises RuntimeError outside a turn of the loop.
        """
        return [None] if self._loop._wait_for_selector(timeout) else []

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """What the loop's readers and writers of a descriptor wait for.

        Raises KeyError when there are none, as in `selectors`.
        """
        fd = fileobj if isinstance(fileobj, int) else int(fileobj.fileno())
        events = self._loop._watched_events(fd)
        if not events:
            raise KeyError(f"{fileobj!r} is not registered")
        return selectors.SelectorKey(fileobj, fd, events, None)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        self._follow()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self._follow()

    def _follow(self) -> None:
        self._loop._wait_by_selector("select" in vars(self))
