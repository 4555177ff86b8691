"""gunicorn's workers on the loop that RLOOP_TEST_LOOP names: uvicorn's class, and its own for ASGI.

Read by `gunicorn --worker-class` alone. gunicorn has a class of its own from version 24 on; with an
older one the name is missing here, and its tests are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib

from uvicorn_worker import UvicornWorker
from worker_site import new_loop


class UvicornClass(UvicornWorker):
    CONFIG_KWARGS = {**UvicornWorker.CONFIG_KWARGS, "loop": "worker_site:new_loop"}  # noqa: RUF012


with contextlib.suppress(ImportError):
    from gunicorn.workers.gasgi import ASGIWorker

    class OwnClass(ASGIWorker):
        def _setup_event_loop(self) -> None:
            self.loop = new_loop()
            asyncio.set_event_loop(self.loop)
