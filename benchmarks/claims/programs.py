"""Claim: real programs do more per second of CPU time, without a change to them.

    python benchmarks/run.py programs
    python benchmarks/run.py programs --only asyncpg --rounds 1 --seconds 0.3

Servers on the loop: websockets (echo of 1 KiB on 50 connections) and grpc.aio (unary calls of
100 B, 20 at a time; its core polls in threads of its own, whose CPU counts, and the loop only gets
what is complete). Clients on the loop, whose own CPU counts, with 10 tasks each: aiohttp and httpx
(GET of 13 bytes), asyncpg (`SELECT 1`, 1000 rows), redis-py (GET, a pipeline of 100). asyncssh
copies files of 10 MB by SFTP, server and client on the same loop. web.py has uvicorn and aiohttp's
server, shuffle.py Dask. Needs requirements-benchmarks.txt and scripts/services.sh; what is missing
is named.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

from harness.alone import main_of
from harness.asked import AskedClient
from harness.measure import Point, Rig, Sample, Server, measure_python_load
from harness.peers import Peer
from harness.services import HttpAnswers, PostgreSQL, Redis, Service
from harness.suite import Benchmark, Case, Group, Settings, load_group
from harness.suite import Service as Served

KIB = 1024
REQUESTS = "messages_per_cpu_second"
MEGABYTES = "megabytes_per_cpu_second"
HTTP, POSTGRESQL, REDIS = HttpAnswers(), PostgreSQL(), Redis()


def server_group(app: str, load: str, label: str, point: Point) -> Group:
    """A server on the loop, with a load of its own protocol on the other CPU."""

    def measure(rig: Rig, server: Server, case: Case, settings: Settings) -> Sample:
        return measure_python_load(
            rig, server, load, case.detail, settings.warm_up, settings.seconds
        )

    service = Served(app, options=("--app", app), program="web_server")
    cases = [Case(f"programs/{app}", label, REQUESTS, point)]
    return replace(load_group(service, cases), measure=measure)


@dataclass(frozen=True)
class Program:
    """A program of traffic/clients.py, the server that it needs, its cases and their labels."""

    name: str
    service: Service | None
    cases: dict[str, str]
    figure: str = REQUESTS


def client_group(program: Program) -> Group:
    """A client on the loop; its server, the same for all loops, runs on the other CPU."""

    @contextlib.contextmanager
    def open_client(rig: Rig, peer: Peer, settings: Settings) -> Iterator[AskedClient]:
        with contextlib.ExitStack() as stack:
            port = stack.enter_context(program.service.used(rig)) if program.service else 0
            client = stack.enter_context(AskedClient(rig, peer, program.name, port))
            client.wait_until_ready()
            yield client

    def measure(rig: Rig, client: AskedClient, case: Case, settings: Settings) -> Sample:
        sample = client.measure(case.detail, settings.warm_up, settings.seconds)
        return sample | {case.figure: sample[REQUESTS]}

    cases = [
        Case(f"programs/{program.name}-{name}", label, program.figure, name)
        for name, label in program.cases.items()
    ]
    return Group(cases, open_client, measure)


SERVERS = [
    server_group("websockets", "websocket_load", "websockets echo", Point("websockets", KIB, 50)),
    server_group("grpc", "grpc_load", "gRPC unary", Point("grpc", 100, 20)),
]
CLIENTS = [
    Program("aiohttp", HTTP, {"get": "aiohttp client"}),
    Program("httpx", HTTP, {"get": "httpx client"}),
    Program("asyncpg", POSTGRESQL, {"select": "asyncpg SELECT 1", "rows": "asyncpg 1000 rows"}),
    Program("redis", REDIS, {"get": "redis GET", "pipeline": "redis pipeline of 100"}),
    Program("asyncssh", None, {"copy": "asyncssh copy, MB"}, MEGABYTES),
]
BENCHMARK = Benchmark(
    "programs", "Real programs", [*SERVERS, *map(client_group, CLIENTS)], most_rounds=3
)

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
