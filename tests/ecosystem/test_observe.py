"""examples/observe/: the application's pages, scraped by a real Prometheus, and the dashboard.

Two workers, each with a page on a port of its own as the documentation says; a thread of blocking
clients gives them something to show. Skipped where Prometheus is not installed.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import os
import shlex
import signal
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dashboard
import pytest
from deployments import PATIENCE, wait_for
from programs import script_environment
from services import Prometheus, Unavailable
from started import EXAMPLES, Program
from support import unused_port

for package in ("prometheus_client", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} (requirements-*.txt)")

#: Between scrapes, and over which rates are taken: as Grafana would choose it, four scrapes.
SCRAPES, INTERVAL = "200ms", "5s"


@pytest.fixture(autouse=True)
def on_rloop(loop_id: str) -> None:
    if loop_id == "asyncio":
        pytest.skip("the examples are rloop's")


def served(loop_id: str, folder: Path, *options: str, **extra: str) -> Program:
    """examples/observe/app.py in uvicorn."""
    command = [
        sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(EXAMPLES / "observe"),
        "--loop", "rloop:new_uring_event_loop", "--port", "0", "--log-level", "info", *options,
    ]  # fmt: skip
    return Program(command, loop_id, folder, **extra)


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        return answer.read().decode()


def families_of(page: str) -> dict[str, Any]:
    """What is on a page, by name."""
    from prometheus_client.parser import text_string_to_metric_families

    return {family.name: family for family in text_string_to_metric_families(page)}


@contextlib.contextmanager
def asked(port: int) -> Iterator[list[str]]:
    """Clients at work; the paths that were answered."""
    over, answered = threading.Event(), []

    def ask(path: str) -> None:
        while not over.is_set():
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
                for _ in range(20):
                    client.request("GET", path)
                    assert client.getresponse().read() == b"done\n"
                    answered.append(path)

    threads = [
        threading.Thread(target=ask, args=(path,))
        for path in ("/", "/", "/sleep?0.01", "/sleep?0.02", "/block?0.01")
    ]
    for thread in threads:
        thread.start()
    try:
        yield answered
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_the_application_serves_the_page_of_its_loop(loop_id: str, tmp_path: Path) -> None:
    with served(loop_id, tmp_path) as program:
        port = program.port(r"running on http://127\.0\.0\.1:(\d+)")
        for _ in range(10):
            assert get(port, "/sleep?0.001") == "done\n"
        families = families_of(get(port, "/metrics"))
        (info,) = families["rloop_loop_info"].samples
        assert info.labels["backend"] == loop_id
        assert info.labels["loop"] == "MainThread"
        assert info.labels["process"] == str(program.pid)
        (received,) = families["rloop_received_messages"].samples
        assert received.value >= 11
        assert families["rloop_turn_seconds"].type == "histogram"
        assert "python_info" in families  # what the client library has beside ours
        program.ends_by(signal.SIGINT)
        assert "Application shutdown complete" in program.log()
        assert "Traceback" not in program.log()


@pytest.mark.parametrize("recipe", ["gunicorn-uvicorn", "gunicorn-asgi", "hypercorn", "granian"])
def test_each_worker_of_a_server_has_a_page(recipe: str, loop_id: str, tmp_path: Path) -> None:
    words = shlex.split((EXAMPLES / "servers" / f"{recipe}.sh").read_text().splitlines()[-1])
    server = next(word for word in words if word in ("gunicorn", "hypercorn", "granian"))
    pytest.importorskip(server, reason=f"{server} (requirements-ecosystem.txt)")
    if recipe == "gunicorn-uvicorn":
        pytest.importorskip("uvicorn_worker")
    if recipe == "gunicorn-asgi":
        pytest.importorskip("gunicorn.workers.gasgi", reason="gunicorn 24 or newer")
    python = [sys.executable] if words[0] == "python" else [sys.executable, "-m"]
    words = words[1:] if words[0] == "python" else words
    # granian's workers each bind the port that they are told.
    port = str(unused_port()) if server == "granian" else "0"
    bind = ["--port", port] if server == "granian" else ["--bind", f"127.0.0.1:{port}"]
    path = os.pathsep.join([str(EXAMPLES / "observe"), script_environment()["PYTHONPATH"]])
    extra = {"PYTHONPATH": path, "METRICS_PORT": str(unused_port())}
    with Program([*python, *words, *bind], loop_id, tmp_path, **extra) as program:
        said = program.says(r"(?s)metrics on port (\d+)\n.*metrics on port (\d+)\n")
        processes = set()
        for page in map(int, said.groups()):
            (about,) = families_of(get(page, "/metrics"))["rloop_loop_info"].samples
            assert about.labels["backend"] == loop_id
            processes.add(about.labels["process"])
        assert len(processes - {str(program.pid)}) == 2


@pytest.fixture
def scraped(loop_id: str, tmp_path: Path) -> Iterator[tuple[int, list[int], dashboard.Client]]:
    """The application's port, those of its workers' pages, and the Prometheus that reads them."""
    options = ("--workers", "2", "--no-access-log")
    with served(loop_id, tmp_path, *options, METRICS_PORT=str(unused_port())) as program:
        port = program.port(r"running on http://127\.0\.0\.1:(\d+)")
        said = program.says(r"(?s)metrics on port (\d+)\n.*metrics on port (\d+)\n")
        pages = [int(said[1]), int(said[2])]
        targets = [f"127.0.0.1:{page}" for page in pages]
        try:
            server = Prometheus(dashboard.configuration(targets, SCRAPES))
        except Unavailable as why:
            pytest.skip(str(why))
        with server:
            client = dashboard.Client(server.port)
            wait_for(lambda: client.healthy_targets() == 2, "two targets that are up")
            yield port, pages, client


def test_every_query_of_the_dashboard_gives_figures(
    loop_id: str, scraped: tuple[int, list[int], dashboard.Client]
) -> None:
    port, pages, client = scraped
    instances = {f"127.0.0.1:{page}" for page in pages}
    with asked(port) as answered:
        for panel in dashboard.panels():
            for expression, legend in panel.targets:
                query = dashboard.filled_in(expression, INTERVAL)

                def figures(query: str = query) -> bool:
                    values = [series.points[-1][1] for series in client.now(query)]
                    return any(map(math.isfinite, values))

                wait_for(figures, f"figures of {panel.title}, {legend}: {query}")
        wait_for(lambda: len(answered) > 100, "answers")
        for series in client.now(query_of("Utilization")):
            assert 0 < series.points[-1][1] <= 1
        # Every loop is there, under the labels that one can choose by.
        about = client.now(query_of("Loops"))
        assert {series.labels["instance"] for series in about} == instances
        assert {series.labels["backend"] for series in about} == {loop_id}
        assert len({series.labels["process"] for series in about}) == 2
        choices = {"job": {"rloop"}, "instance": instances, "loop": {"MainThread"}}
        assert set(dashboard.variables()) == set(choices)
        for name, query in dashboard.variables().items():
            assert set(client.values_of(dashboard.filled_in(query, INTERVAL))) == choices[name]
    # All that was answered has come in and gone out, in pieces of its own.
    for direction in ("received", "sent"):
        total = f"sum(rloop_{direction}_messages_total)"
        wait_for(
            lambda total=total: client.now(total)[0].points[-1][1] >= len(answered),
            f"{len(answered)} messages in {total}",
        )
    bounds = client.now("count by (instance) (rloop_turn_seconds_bucket)")
    assert {series.points[-1][1] for series in bounds} == {22.0}


def query_of(title: str) -> str:
    """The first query of a panel."""
    (panel,) = (panel for panel in dashboard.panels() if panel.title == title)
    return dashboard.filled_in(panel.targets[0][0], INTERVAL)
