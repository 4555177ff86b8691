"""gunicorn's workers on rloop: ``gunicorn -k rloop.gunicorn.UvicornWorker app:app``.

``UvicornWorker`` is uvicorn's (package uvicorn-worker, before it uvicorn.workers), ``ASGIWorker``
gunicorn's own (version 24 and newer). Each is made when gunicorn asks for it by name; without its
package it is a ModuleNotFoundError that says what to install.
"""

import asyncio
from importlib import import_module
from typing import Any

from . import new_uring_event_loop

__all__ = ["ASGIWorker", "UvicornWorker"]  # noqa: F822 (see __getattr__)


def _class_of(name: str, modules: tuple[str, ...], install: str) -> Any:
    """The class of that name in the first of the modules that is there."""
    for module in modules:
        try:
            return getattr(import_module(module), name)
        except ModuleNotFoundError:
            pass
    raise ModuleNotFoundError(f"rloop.gunicorn.{name} needs {modules[0]}: pip install '{install}'")


def _uvicorn_worker() -> type:
    base = _class_of("UvicornWorker", ("uvicorn_worker", "uvicorn.workers"), "uvicorn-worker")

    class UvicornWorker(base):  # type: ignore[misc, valid-type]
        """uvicorn in a gunicorn worker, on rloop."""

        CONFIG_KWARGS = {**base.CONFIG_KWARGS, "loop": "rloop:new_uring_event_loop"}  # noqa: RUF012

    return UvicornWorker


def _asgi_worker() -> type:
    base = _class_of("ASGIWorker", ("gunicorn.workers.gasgi",), "gunicorn>=24")

    class ASGIWorker(base):  # type: ignore[misc, valid-type]
        """gunicorn's own worker for ASGI, on rloop whatever --asgi-loop says."""

        def _setup_event_loop(self) -> None:
            self.loop = new_uring_event_loop()
            asyncio.set_event_loop(self.loop)

    return ASGIWorker


_MAKERS = {"ASGIWorker": _asgi_worker, "UvicornWorker": _uvicorn_worker}


def __getattr__(name: str) -> Any:
    if name not in _MAKERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = _MAKERS[name]()
    return found
