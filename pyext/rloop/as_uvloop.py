"""What `import uvloop` gives under `python -m rloop run --as-uvloop`: its names, rloop's loops.

For programs that ask for uvloop by name. Loaded under the name `uvloop` by
inherited/sitecustomize.py; contract: uvloop's __init__.py.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import rloop
from rloop import UringEventLoop as Loop
from rloop import install

__all__ = ["Loop", "__version__", "install", "new_event_loop", "run"]

_T = TypeVar("_T")

#: The uvloop whose names these are; what programs compare versions with.
__version__ = "0.23.0"


def new_event_loop() -> Loop:
    """A new loop, on the backend that RLOOP_BACKEND or this machine chooses."""
    return rloop.new_event_loop()


def run(
    main: Coroutine[Any, Any, _T],
    *,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = new_event_loop,
    debug: bool | None = None,
) -> _T:
    """asyncio.run() on a new loop of `loop_factory`; raises what asyncio.Runner does."""
    with asyncio.Runner(loop_factory=loop_factory, debug=debug) as runner:
        return runner.run(main)


def __getattr__(name: str) -> Any:
    if name == "EventLoopPolicy":  # made when it is asked for: policies are on their way out
        return rloop.EventLoopPolicy
    raise AttributeError(f"module {__name__!r}, for which rloop stands in, has no {name!r}")


# `from uvloop.loop import Loop` is how some name the class, and `uvloop.loop.Loop` how others do.
loop = sys.modules[f"{__name__}.loop"] = sys.modules[__name__]
