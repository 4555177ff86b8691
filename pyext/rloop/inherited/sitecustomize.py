"""What `python -m rloop run` puts into a Python process, and into all that it starts.

Its folder stands first on PYTHONPATH, so `site` imports this module before the program begins, in
children of the same environment too. It costs next to nothing where no loop is made: asyncio is
changed when it is imported, rloop is imported when a loop is made.

Environment: RLOOP_RUN=1 switches it on, RLOOP_AS_UVLOOP=1 gives rloop to programs that ask for
uvloop. A Python that has no rloop, another version that a program starts, is left as it is.

Imports nothing of rloop at its top: the folder is all that it can rely on.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_folder = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 (imports pathlib)


def _has_rloop() -> bool:
    from importlib.util import find_spec

    return find_spec("rloop") is not None


def _new_loop() -> Any:
    """A loop of ours, or None where rloop is not installed."""
    try:
        import rloop
    except ModuleNotFoundError as exc:
        if exc.name != "rloop":
            raise
        return None
    return rloop.new_event_loop()


def _change_selector_loop(unix_events: Any) -> None:
    """Let SelectorEventLoop() make our loop.

    It is asyncio's default: what its policy, asyncio.EventLoop and new_event_loop() make, and what
    servers name when they want asyncio. Classes derived from it stay what they are, and so does one
    that is given a selector.
    """
    selector_loop = unix_events._UnixSelectorEventLoop

    def __new__(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if cls is selector_loop and not args and not kwargs:
            loop = _new_loop()
            if loop is not None:
                return loop  # not an instance of cls, so __init__ is not called
        return super(selector_loop, cls).__new__(cls)

    selector_loop.__new__ = __new__


def _warn_of_uvloop() -> None:
    """Programs that ask for uvloop by name get it: say how they would get ours."""
    import logging

    logging.getLogger("rloop.run").warning(
        "the program imports uvloop; `python -m rloop run --as-uvloop` would give it rloop"
    )


class _Finder:
    """Sees asyncio.unix_events and uvloop being imported."""

    has_warned = False

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == "asyncio.unix_events":
            return self.changed(name, path, target)
        if name == "uvloop" and _has_rloop():
            if os.environ.get("RLOOP_AS_UVLOOP"):
                return self.stand_in(name)
            if not self.has_warned and self.found(name, path, target) is not None:
                self.has_warned = True
                _warn_of_uvloop()
        return None

    def found(self, name: str, path: Any, target: Any) -> ModuleSpec | None:
        """What the other finders say."""
        for finder in sys.meta_path:
            if finder is not self:
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
        return None

    def changed(self, name: str, path: Any, target: Any) -> ModuleSpec | None:
        spec = self.found(name, path, target)
        loader: Any = None if spec is None else spec.loader
        if hasattr(loader, "exec_module"):
            execute = loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _change_selector_loop(module)

            loader.exec_module = exec_module
        return spec

    def stand_in(self, name: str) -> ModuleSpec | None:
        from importlib.util import spec_from_file_location

        package = os.path.dirname(_folder)  # noqa: PTH120
        return spec_from_file_location(name, os.path.join(package, "as_uvloop.py"))  # noqa: PTH118


def _run_users_own() -> None:
    """The sitecustomize that this one stands before."""
    sys.path[:] = [entry for entry in sys.path if entry != _folder]
    ours = sys.modules.pop(__name__)
    try:
        __import__(__name__)
    except ModuleNotFoundError as exc:
        if exc.name != __name__:
            raise
        sys.modules[__name__] = ours


def _begin() -> None:
    if os.environ.get("RLOOP_RUN") and sys.implementation.name == "cpython":
        loaded = sys.modules.get("asyncio.unix_events")
        if loaded is not None:  # a .pth file did that
            _change_selector_loop(loaded)
        sys.meta_path.insert(0, _Finder())
    _run_users_own()


if __name__ == "sitecustomize":
    _begin()
