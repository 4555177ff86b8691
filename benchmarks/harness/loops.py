"""The event loops that the benchmarks can run, by the names used on their command lines.

A loop is imported only when it is asked for, so an environment needs only what it measures.
Two packages are imported as `rloop`: ours, and an older one for which this project's benchmarks
also have a name; whichever is installed in the environment is taken, and the older one therefore
needs an environment of its own.

Run as a program with one name, it makes that loop, runs it once and prints as JSON what it is;
`peers.py` asks this of each environment before anything is measured.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.metadata
import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

LoopFactory = Callable[[], asyncio.AbstractEventLoop]

# Packages whose factory is called new_event_loop.
PLAIN = ("uvloop", "zuvloop", "rsloop", "blazio")
NAMES = ("asyncio", *PLAIN, "rloop", "tokioloop", "uring", "epoll")


class LoopUnavailableError(Exception):
    """The loop of this name cannot be made here; the text says why."""


def factory_for(name: str) -> LoopFactory:
    """Return the factory for a name of NAMES or for `module:factory`.

    Raises ValueError for a name that means nothing and LoopUnavailableError for a loop that is not
    installed in this environment.
    """
    if name == "asyncio":
        return asyncio.SelectorEventLoop
    if name in PLAIN:
        return _attribute(_module(name), "new_event_loop")
    if name == "rloop":
        return _rloop_factory()
    if name in ("tokioloop", "uring"):
        return _attribute(_module("rloop"), "new_uring_event_loop")
    if name == "epoll":
        return _epoll_factory()
    module, colon, attribute = name.partition(":")
    if colon and module and attribute:
        return _attribute(_module(module), attribute)
    raise ValueError(f"unknown loop {name!r}: use {', '.join(NAMES)} or module:factory")


def _rloop_factory() -> LoopFactory:
    module = _module("rloop")
    if is_ours(module):
        return _epoll_factory()
    return _attribute(module, "new_event_loop")


def _epoll_factory() -> LoopFactory:
    module = _module("rloop")
    if not is_ours(module):
        raise LoopUnavailableError("the installed rloop is another project's")
    new_event_loop = _attribute(module, "new_event_loop")
    return lambda: new_event_loop(backend="epoll")


def is_ours(module: ModuleType) -> bool:
    """Tell this project's `rloop` from the other package of that import name."""
    return hasattr(module, "new_uring_event_loop")


def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise LoopUnavailableError(f"{name} cannot be imported ({error})") from error


def _attribute(module: ModuleType, name: str) -> Callable[..., asyncio.AbstractEventLoop]:
    factory = getattr(module, name, None)
    if not callable(factory):
        raise LoopUnavailableError(f"the installed {module.__name__} has no {name}()")
    return factory  # type: ignore[no-any-return]


def describe(loop: asyncio.AbstractEventLoop, name: str) -> str:
    """Return what the server prints after "using"; `name` is as on the command line."""
    parts = [type(loop).__name__]
    if backend := getattr(loop, "backend", None):
        parts.append(str(backend))
    if name == "tokioloop":
        return f"TokioLoop ({', '.join(parts)})"
    return parts[0] if len(parts) == 1 else f"{parts[0]} ({parts[1]})"


def _version_of(loop: asyncio.AbstractEventLoop) -> str:
    package = type(loop).__module__.partition(".")[0]
    for distribution in importlib.metadata.packages_distributions().get(package, []):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return f"{distribution} {importlib.metadata.version(distribution)}"
    if version := getattr(sys.modules.get(package), "__version__", None):
        return f"{package} {version}"
    return f"python {sys.version.split()[0]}"


def _backend_reason() -> str:
    info = getattr(sys.modules.get("rloop"), "backend_info", None)
    return str(info()) if callable(info) else ""


def probe(name: str) -> dict[str, Any]:
    """Make the loop, run it once and return what it is; may raise whatever the loop raises."""
    loop = factory_for(name)()
    try:
        loop.run_until_complete(asyncio.sleep(0))
        return {
            "class": type(loop).__name__,
            "backend": getattr(loop, "backend", None),
            "version": _version_of(loop),
            "reason": _backend_reason(),
        }
    finally:
        loop.close()


def main() -> None:
    try:
        answer = probe(sys.argv[1])
    except Exception as error:
        answer = {"error": f"{error or type(error).__name__}"}
    print(json.dumps(answer, default=str))


if __name__ == "__main__":
    main()
