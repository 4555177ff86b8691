"""asyncio's event loop policy, for programs that use one.

Imported only when asked for: policies are deprecated from Python 3.14 on and gone in 3.16, where
this module cannot be imported.
"""

from typing import TYPE_CHECKING, Any

from . import _stdlib
from .event_loop import UringEventLoop

if TYPE_CHECKING:
    from asyncio import DefaultEventLoopPolicy
else:
    DefaultEventLoopPolicy: Any = _stdlib.DefaultEventLoopPolicy


class EventLoopPolicy(DefaultEventLoopPolicy):
    """A policy whose new event loops are rloop's; see rloop.install()."""

    def new_event_loop(self) -> UringEventLoop:
        """A new loop on the best backend."""
        from . import new_event_loop

        return new_event_loop()
