"""uvicorn, hypercorn and gunicorn with two workers on one listening socket, as they are deployed.

What a loop has to do for them: it takes a connection only when it is about to serve it, so that a
busy or stopped worker leaves it to the other one, and a worker that ends takes none with it. Where
asyncio itself is not perfect (it takes all that wait in the backlog at once; servers close what
they were given and has asked for nothing yet), it runs in the same test and is the measure.
"""

# ruff: noqa: E402 - a package that may be missing is imported behind importorskip

from __future__ import annotations

import contextlib
import math
import os
import signal
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

reason = "uvicorn, hypercorn, gunicorn or uvicorn-worker is missing (requirements-ecosystem.txt)"
for package in ("uvicorn", "hypercorn", "gunicorn", "uvicorn_worker"):
    pytest.importorskip(package, reason=reason)

import worker_classes
from deployments import SERVERS, Client, Deployment, load, state_of, stopped, wait_for

#: A busy request keeps its worker for so long: the noise of the machine is little beside it, and it
#: is little beside the time that a test measures.
SECONDS = 0.015

#: Seconds that ours may take for one of asyncio's.
TOLERANCE = 1.1

Start = Callable[..., Deployment]


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    if request.param == "gunicorn-own" and not hasattr(worker_classes, "OwnClass"):
        pytest.skip("this gunicorn has no worker class of its own for ASGI")
    return request.param


@pytest.fixture
def start(server: str, loop_id: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the server on the tested loop, or on another one that it is compared with."""
    with contextlib.ExitStack() as running:

        def start_one(on: str = loop_id, kind: str = "tcp") -> Deployment:
            return running.enter_context(Deployment(server, on, tmp_path, kind))

        yield start_one


def seconds_of(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def burst(deployment: Deployment) -> None:
    """Requests that all come at the same time."""
    deployment.ask_at_once(16, SECONDS)


def steady(deployment: Deployment) -> None:
    """Requests of four clients, each of which waits for its answer."""

    def client() -> None:
        for _ in range(10):
            deployment.ask(SECONDS)

    threads = [threading.Thread(target=client) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("requests", [burst, steady])
def test_two_workers_share_busy_requests_as_on_asyncio(
    start: Start, loop_id: str, requests: Callable[[Deployment], None]
) -> None:
    if loop_id == "asyncio":
        pytest.skip("asyncio is the measure: how it shares a burst is left to chance")
    reference, tested = start("asyncio"), start()
    taken: dict[Deployment, list[float]] = {reference: [], tested: []}
    for _ in range(5):
        for deployment, times in taken.items():
            times.append(seconds_of(lambda: requests(deployment)))
    # The machine may stall any repetition; a worker that takes what is the other's does so in each.
    theirs, ours = statistics.median(taken[reference]), min(taken[tested])
    assert ours <= theirs * TOLERANCE, list(taken.values())


def lost_by_a_reload(deployment: Deployment) -> Counter[str]:
    """Replace the workers under load; what of that was lost, from before it until after it."""
    old = deployment.both_serve()
    before = len(deployment.events())
    with load(deployment) as clients:
        wait_for(lambda: all(client.answers for client in clients), "every client's first answer")
        deployment.send_signal(signal.SIGHUP)
        wait_for(lambda: not any(map(state_of, old)), "the end of the old workers")
        for client in clients:
            seen = len(client.answers)
            wait_for(lambda: len(client.answers) > seen, "an answer of the new workers")
    assert not old & deployment.both_serve()
    return lost(clients, set(deployment.events()[before:]))


def lost(clients: list[Client], events: set[str]) -> Counter[str]:
    """Requests without an answer, by what had become of them.

    `unseen`: the connection came to no server's protocol, so it was the loop that lost it.
    `answered`: the application had answered. `closed`: the server was given the connection and
    closed it, as it may while it has seen no request, and uvicorn does with those that it has.
    `idle`: the same, but behind an answer: clients send such a request again, on another one.
    """
    found: Counter[str] = Counter(unseen=0, answered=0, closed=0, idle=0)
    for failure in (failure for client in clients for failure in client.failures):
        if f"connected {failure.port}" not in events:
            found["unseen"] += 1
        elif f"answered {failure.request}" in events:
            found["answered"] += 1
        else:
            found["closed" if failure.new else "idle"] += 1
    return found


def test_a_reload_under_load_loses_no_request(start: Start, server: str) -> None:
    tested = start()
    found = Counter[str]()
    for _ in range(3):
        found += lost_by_a_reload(tested)
    if server == "hypercorn":
        # It cancels its own tasks with what they were still to send, and leaves its loop right
        # behind that, so that asyncio loses requests of each kind too.
        reference = start("asyncio")
        theirs = Counter[str]()
        for _ in range(3):
            theirs += lost_by_a_reload(reference)
        total, allowed = (each.total() - each["idle"] for each in (found, theirs))
        # One of each client; and such counts scatter as their roots do.
        assert total <= allowed + 4 + 2 * math.sqrt(total + allowed), (found, theirs)
        return
    assert (found["unseen"], found["answered"]) == (0, 0), found
    if server == "gunicorn-own":  # it waits for the connections that it has
        assert found["closed"] == 0, found


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_a_stopped_worker_leaves_the_requests_to_the_other(start: Start, kind: str) -> None:
    deployment = start(kind=kind)
    first, second = sorted(deployment.both_serve())
    for pid, other in ((first, second), (second, first)):
        with stopped(pid):
            answers = deployment.ask_at_once(6, 0.01)
            answers += [deployment.ask() for _ in range(6)]
            assert {answer.pid for answer in answers} == {other}
        assert deployment.both_serve() == {first, second}


def test_a_worker_killed_while_it_is_stopped_takes_no_request_with_it(
    start: Start, server: str
) -> None:
    if server == "hypercorn":
        pytest.skip("a worker that was killed ends hypercorn's master, and with it what waits")
    deployment = start()
    killed = min(deployment.both_serve())
    with stopped(killed):
        # Some of them still wait for the worker that runs when the stopped one is killed.
        waiting = deployment.asking(8, SECONDS)
        wait_for(lambda: len(waiting.answers) >= 2, "the first answers")
        os.kill(killed, signal.SIGKILL)
        assert killed not in {answer.pid for answer in waiting.join()}
    wait_for(lambda: state_of(killed) == "", "the end of the killed worker")
    assert killed not in deployment.both_serve()
