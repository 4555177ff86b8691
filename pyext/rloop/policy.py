"""asyncio's event loop policy, for programs that use one.

Imported only when asked for: policies are deprecated from Python 3.14 on and will go.
"""

import asyncio

from .loop import UringEventLoop


class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
    """A policy whose new event loops are rloop's; see rloop.install()."""

    def new_event_loop(self) -> UringEventLoop:
        """A new loop on the best backend."""
        from . import new_event_loop

        return new_event_loop()
