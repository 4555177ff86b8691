"""An application whose event loop Prometheus scrapes.

    uvicorn app:app --loop rloop:new_uring_event_loop
    curl http://127.0.0.1:8000/metrics

With several workers the kernel gives a scrape to any of them. So each also has a page on a port of
its own, the first that is free from METRICS_PORT on; a worker that is replaced leaves its port to
the next one. A thread answers there, and goes on while the loop hangs.

    METRICS_PORT=9101 uvicorn app:app --loop rloop:new_uring_event_loop --workers 4

Beside /metrics: `/` answers at once, `/sleep?0.1` waits, `/block?0.1` does what no callback should.
"""

import asyncio
import os
import time

from prometheus_client import REGISTRY, make_asgi_app, start_http_server

import rloop
import rloop.prometheus

REGISTRY.register(rloop.prometheus.Collector())
metrics = make_asgi_app(REGISTRY)
PORTS_TRIED = 100


def serve_metrics(first: int) -> int:
    """Serve this process's page on a port of its own; returns the port."""
    for port in range(first, first + PORTS_TRIED):
        try:
            start_http_server(port, "127.0.0.1")
        except OSError:  # another worker's
            continue
        return port
    raise OSError(f"no port is free from {first} to {first + PORTS_TRIED - 1}")


async def app(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif scope["path"] == "/metrics":
        await metrics(scope, receive, send)
    else:
        seconds = float(scope["query_string"] or 0)
        if scope["path"] == "/sleep":
            await asyncio.sleep(seconds)
        elif scope["path"] == "/block":
            time.sleep(seconds)  # noqa: ASYNC251
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"done\n"})


async def lifespan(receive, send) -> None:
    """What happens once in each worker, before its first request and after its last."""
    await receive()
    if first := os.environ.get("METRICS_PORT"):
        # In one piece, so that a line of one worker is not within a line of another.
        print(f"metrics on port {serve_metrics(int(first))}\n", end="", flush=True)
    report = rloop.logging_report(60)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    report.cancel()
    await send({"type": "lifespan.shutdown.complete"})
