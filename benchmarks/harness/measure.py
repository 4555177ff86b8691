"""Measuring one loop at one point: server processes, the load generator, call_soon.

Each server is a process of its own on the server CPU, on a free loopback port, with a time limit
inside it; it is ended by its process id. The load generator reads the server's CPU clock at both
ends of its measured window, so CPU per message and throughput speak of the same messages; page
faults, context switches and TCP segments are counted alike and go to JSON.
System calls are counted in `syscalls.py`. Nothing here compares or prints.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine import Cpus, pinned_to
from harness.peers import Peer, command_of

MODES = {"raw": [], "streams": ["--streams"], "proto": ["--proto"], "buffered": ["--buffered"]}
MODE_LABELS = {
    "raw": "raw sockets",
    "streams": "streams",
    "proto": "protocol",
    "buffered": "buffered protocol",
}
START_SECONDS = 15.0
STOP_SECONDS = 3.0
# What the load generator may take beyond warm-up and window, in seconds.
SLACK_SECONDS = 12.0
ANY_PORT = "127.0.0.1:0"
# How the servers put a NotImplementedError and an ImportError.
UNSUPPORTED = ("has no such server or mode", "is not installed")
# What the load generator counts in its window beside the clocks; segments are the whole machine's.
COUNTERS = {"minor_faults", "voluntary_switches", "involuntary_switches", "tcp_segments"}

Sample = dict[str, Any]


class MeasurementError(Exception):
    """One measurement failed; the text says at what."""


class UnsupportedError(MeasurementError):
    """The loop has no such server or mode, and says so."""


@dataclass(frozen=True)
class Point:
    """One way of using a server: mode, message size in bytes, number of connections.

    `transport` is tcp, unix, udp or tls; `work` is what the load generator does (its --work), and
    `buffer_bytes` what its sockets ask for as SO_SNDBUF and SO_RCVBUF (0: nothing).
    """

    mode: str
    size: int
    connections: int
    transport: str = "tcp"
    work: str = "echo"
    buffer_bytes: int = 0

    @property
    def label(self) -> str:
        size = f"{self.size / 1024:g} KiB" if self.size >= 1024 else f"{self.size} B"
        mode = MODE_LABELS.get(self.mode, self.mode)
        mode = mode if self.transport == "tcp" else f"{self.transport} {mode}"
        return f"{mode}, {size} x {self.connections}"


@dataclass(frozen=True)
class Rig:
    """What every measurement needs: the load generator, the CPUs, the servers' environment."""

    loadgen: Path
    cpus: Cpus
    environment: dict[str, str]


class Server:
    """One server process; a context manager that ends it.

    `program` is server.py or another one that knows its options and says "serving on"; a limit is
    one of its own. `address`
    is in the words of the load generator: host:port, udp:host:port or unix:path.
    """

    def __init__(
        self,
        rig: Rig,
        peer: Peer,
        mode: str,
        limit_seconds: float,
        *,
        transport: str = "tcp",
        options: Sequence[str] = (),
        program: str = "server.py",
    ) -> None:
        of_transport = "" if transport == "tcp" else f"{transport}, "
        self.name = f"{peer.name} server ({of_transport}{MODE_LABELS.get(mode, mode)})"
        self.transport = transport
        self.output = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed by stop()
        self.folder = tempfile.TemporaryDirectory(prefix="rloop-benchmark-")
        command = [*peer.command(program), "--loop", peer.loop_option]
        command += [
            "--addr",
            f"unix:{self.folder.name}/socket" if transport == "unix" else ANY_PORT,
        ]
        command += ["--exit-after", f"{limit_seconds:.0f}", "--allow-tracer"]
        command += MODES.get(mode, [])
        command += ["--udp"] if transport == "udp" else []
        with pinned_to(rig.cpus.server):
            self.process = subprocess.Popen(
                [*command, *options],
                stdin=subprocess.DEVNULL,
                stdout=self.output,
                stderr=subprocess.STDOUT,
                env=rig.environment,
            )
        self.address = ""

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until_ready(self) -> None:
        """Wait for the server to say where it listens; raise MeasurementError if it does not."""
        found = wait_for(
            lambda: re.search(r"serving on: (?:\('([\d.]+)', (\d+)\)|(/.+))\n", self.text()),
            START_SECONDS,
            self.process,
        )
        if found is None:
            self.raise_if_unsupported()
            raise MeasurementError(f"the {self.name} did not start: {last_line(self.text())}")
        prefix = {"unix": "unix:", "udp": "udp:"}.get(self.transport, "")
        self.address = prefix + (found[3] or f"{found[1]}:{found[2]}")

    def raise_if_unsupported(self) -> None:
        """Raise UnsupportedError if the server ended because the loop cannot do what it asks."""
        said = last_line(self.text())
        if any(words in said for words in UNSUPPORTED):
            raise UnsupportedError(said.partition(": ")[2])

    def text(self) -> str:
        """Return what it has written so far; reading as usual would move where it writes."""
        number = self.output.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode(errors="replace")

    def stop(self) -> None:
        end_process(self.process, signal.SIGTERM)
        self.output.close()
        self.folder.cleanup()


def wait_for(
    condition: Callable[[], Any], limit_seconds: float, process: subprocess.Popen[Any]
) -> Any:
    """Return the first true answer, or None after the limit or the end of the process."""
    deadline = time.monotonic() + limit_seconds
    while not (answer := condition()):
        if process.poll() is not None:
            return condition() or None
        if time.monotonic() >= deadline:
            return None
        time.sleep(0.01)
    return answer


def end_process(process: subprocess.Popen[Any], number: signal.Signals) -> None:
    """Ask with a signal, insist with SIGKILL after STOP_SECONDS."""
    if process.poll() is None:
        process.send_signal(number)
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


@contextlib.contextmanager
def servers(
    rig: Rig, peers: list[Peer], mode: str, limit_seconds: float
) -> Iterator[dict[str, Server]]:
    """Run one server per loop at the same time (idle ones cost nothing) for the block."""
    with contextlib.ExitStack() as stack:
        running = {
            peer.name: stack.enter_context(Server(rig, peer, mode, limit_seconds)) for peer in peers
        }
        yield running


def loadgen_command(
    rig: Rig, server: Server, point: Point, warm_up: float, seconds: float
) -> list[str]:
    options = {
        "--addr": server.address,
        "--connections": point.connections,
        "--size": point.size,
        "--warm-up": warm_up,
        "--seconds": seconds,
        "--work": point.work,
        "--limit": warm_up + seconds + SLACK_SECONDS,
        "--server-pid": server.process.pid,
    }
    if point.buffer_bytes:
        options["--buffers"] = point.buffer_bytes
    return [str(rig.loadgen), *(str(word) for pair in options.items() for word in pair)]


def measure_load(rig: Rig, server: Server, point: Point, warm_up: float, seconds: float) -> Sample:
    """Load the server for `seconds` after `warm_up`; return the load generator's figures."""
    server.wait_until_ready()
    command = loadgen_command(rig, server, point, warm_up, seconds)
    try:
        return run_load(rig, command, f"{server.name}, {point.label}", warm_up + seconds)
    except MeasurementError:
        server.raise_if_unsupported()
        raise


def measure_python_load(
    rig: Rig,
    server: Server,
    program: str,
    point: Point,
    warm_up: float,
    seconds: float,
    *options: str,
) -> Sample:
    """As `measure_load`, by a load of traffic/ that is built on `tls_load.Load`."""
    server.wait_until_ready()
    common = {
        "--addr": server.address,
        "--connections": point.connections,
        "--size": point.size,
        "--warm-up": warm_up,
        "--seconds": seconds,
        "--limit": warm_up + seconds + SLACK_SECONDS,
        "--server-pid": server.process.pid,
    }
    command = command_of(sys.executable, program)
    command += [str(word) for pair in common.items() for word in pair]
    try:
        what = f"{server.name}, {point.label}"
        return run_load(rig, [*command, *options], what, warm_up + seconds)
    except MeasurementError:
        server.raise_if_unsupported()
        raise


def run_load(rig: Rig, command: list[str], what: str, seconds: float) -> Sample:
    """Run a load program on the load CPU; it prints the figures of the load generator as JSON."""
    with pinned_to(rig.cpus.load):
        load = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        output, errors = load.communicate(timeout=seconds + SLACK_SECONDS + 5)
    finally:
        end_process(load, signal.SIGKILL)
    if load.returncode != 0:
        raise MeasurementError(f"{what}: {last_line(errors)}")
    return with_derived(json.loads(output))


def with_derived(sample: Sample) -> Sample:
    """Add CPU microseconds and what was counted per message, and the busy shares of both CPUs."""
    messages = sample["messages"]
    if messages == 0:
        raise MeasurementError("no message was answered in the measured window")
    sample["server_cpu_us"] = sample["server_cpu_seconds"] * 1e6 / messages
    for counter in COUNTERS & sample.keys():
        sample[f"{counter}_per_message"] = sample[counter] / messages
    sample["server_busy"] = sample["server_cpu_seconds"] / sample["seconds"]
    sample["messages_per_cpu_second"] = messages / max(sample["server_cpu_seconds"], 1e-9)
    if "client_cpu_seconds" in sample:  # not of a client that is measured itself
        both = sample["server_cpu_seconds"] + sample["client_cpu_seconds"]
        sample["both_cpu_us"] = both * 1e6 / messages
        sample["client_busy"] = sample["client_cpu_seconds"] / sample["seconds"]
    return sample


def measure_call_soon(rig: Rig, peer: Peer, seconds: float) -> dict[str, float]:
    """Run call_soon.py for one loop on the server CPU; return its operations per second."""
    command = [*command_of(peer.python, "call_soon"), "--loop", peer.loop_option]
    with pinned_to(rig.cpus.server):
        process = subprocess.Popen(
            [*command, "--seconds", str(seconds)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=rig.environment,
        )
    try:
        output, errors = process.communicate(timeout=START_SECONDS + 10 * seconds)
    except subprocess.TimeoutExpired:
        raise MeasurementError(f"call_soon on {peer.name}: not finished in time") from None
    finally:
        end_process(process, signal.SIGKILL)
    if process.returncode != 0:
        raise MeasurementError(f"call_soon on {peer.name}: {last_line(errors)}")
    answer: dict[str, float] = json.loads(output)
    return answer
