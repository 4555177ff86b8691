"""Claim: web servers answer more requests per second of CPU time, without a change to them.

    python benchmarks/run.py web
    python benchmarks/run.py web --only aiohttp --rounds 1 --seconds 0.3

uvicorn (httptools) with a plaintext answer and with a body of 10 KiB, aiohttp's server with a
plaintext answer: GET on 50 kept connections, one request in flight on each. Requests per second of
the server's CPU time: that is its rate when its CPU is busy, and another process on the machine
changes it less. Needs requirements-benchmarks.txt in both environments; what is missing is named.
"""

from __future__ import annotations

import sys

from harness.alone import main_of
from harness.measure import Point
from harness.suite import Benchmark, Case, Service, load_group

KIB = 1024
CONNECTIONS = 50
PLAINTEXT = len(b"Hello, world!")
REQUESTS = "messages_per_cpu_second"
CASES = [
    ("uvicorn", PLAINTEXT, "uvicorn plaintext"),
    ("uvicorn", 10 * KIB, "uvicorn, body of 10 KiB"),
    ("aiohttp", PLAINTEXT, "aiohttp server, plaintext"),
]

BENCHMARK = Benchmark(
    "web",
    "Web servers",
    [
        load_group(
            Service(app, options=("--app", app, "--body", str(body)), program="web_server"),
            [
                Case(
                    f"web/{app}-{body}",
                    label,
                    REQUESTS,
                    Point(app, body, CONNECTIONS, "tcp", "http"),
                )
            ],
        )
        for app, body, label in CASES
    ],
)

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
