"""System calls per message of one loop at one point, counted by strace.

A pass of its own, because tracing slows the server several times: of these runs only the number of
calls per message means anything. The load generator connects and warms up before the tracer comes,
falls silent, and stays connected until the tracer has gone, so the calls counted are those of
exactly the messages counted, without accepting and closing. Where strace is missing or may not
attach, the report says so and has no such column.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from typing import IO

from harness.machine import pinned_to
from harness.measure import (
    SLACK_SECONDS,
    START_SECONDS,
    MeasurementError,
    Point,
    Rig,
    Server,
    end_process,
    last_line,
    loadgen_command,
    wait_for,
)

WARM_UP_SECONDS = 0.1


def tracer_path() -> str | None:
    return shutil.which("strace")


def count_syscalls(rig: Rig, server: Server, point: Point, seconds: float) -> dict[str, float]:
    """Return the server's system calls per message, by name and as `total`."""
    server.wait_until_ready()
    with waiting_load(rig, server, point, seconds) as load:
        assert load.stdin
        assert load.stdout
        with tempfile.NamedTemporaryFile("r") as summary:
            with traced(server, summary.name):
                load.stdin.write("\n")
                load.stdin.flush()
                line = load.stdout.readline()
            counts = parse_summary(summary)
    if load.returncode != 0:
        raise MeasurementError(f"{server.name}, {point.label}, traced: the load failed")
    messages = json.loads(line)["messages"]
    if messages == 0 or not counts:
        raise MeasurementError(f"{server.name}, {point.label}, traced: nothing was counted")
    counts["total"] = sum(counts.values())
    return {name: count / messages for name, count in counts.items()}


@contextlib.contextmanager
def waiting_load(
    rig: Rig, server: Server, point: Point, seconds: float
) -> Iterator[subprocess.Popen[str]]:
    """Start the load generator, warmed up and waiting for a line; disconnect it at the end."""
    with pinned_to(rig.cpus.load):
        load = subprocess.Popen(
            [*loadgen_command(rig, server, point, WARM_UP_SECONDS, seconds), "--handshake"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        assert load.stdout
        assert load.stderr
        # Bounded by the load generator's own hard time limit.
        if load.stdout.readline().strip() != "ready":
            said = last_line(load.stderr.read())
            raise MeasurementError(f"{server.name}, {point.label}, traced: {said}")
        yield load
        # Closes stdin, which is the sign to disconnect.
        load.communicate(timeout=SLACK_SECONDS)
    finally:
        end_process(load, signal.SIGKILL)
        for stream in (load.stdin, load.stdout, load.stderr):
            if stream is not None:
                stream.close()


@contextlib.contextmanager
def traced(server: Server, summary_path: str) -> Iterator[None]:
    """Trace all threads of the server for the block; the summary is written at its end."""
    with tempfile.TemporaryFile("w+") as messages:
        command = [tracer_path() or "strace", "-f", "-c", "-o", summary_path]
        tracer = subprocess.Popen(
            [*command, "-p", str(server.process.pid)], stdout=messages, stderr=messages
        )

        def said() -> str:
            messages.seek(0)
            return messages.read()

        try:
            if not wait_for(lambda: "attached" in said(), START_SECONDS, tracer):
                raise MeasurementError(f"strace does not attach: {last_line(said())}")
            yield
        finally:
            end_process(tracer, signal.SIGINT)


def parse_summary(summary: IO[str]) -> dict[str, float]:
    """Read the table of `strace -c`: the fourth column counts calls, the last names them."""
    counts: dict[str, float] = {}
    for line in summary:
        words = line.split()
        if len(words) >= 5 and words[3].isdigit() and words[-1] != "total":
            counts[words[-1]] = float(words[3])
    return counts
