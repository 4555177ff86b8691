"""Claim: an idle connection takes less memory, and ten thousand of them cost the busy ones nothing.

    python benchmarks/run.py idle
    python benchmarks/run.py idle --only memory --rounds 1

A fresh server is sent one message on each of 10 000 connections (as many as the descriptor limit
allows); its resident memory afterwards, less that before, divided by their number, is the memory
per connection: Python's and the loop's, not the kernel's. Then 100 further connections are loaded
while the 10 000 stay idle.
"""

from __future__ import annotations

import contextlib
import ipaddress
import itertools
import os
import re
import resource
import socket
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness.alone import main_of
from harness.machine import pinned_to
from harness.measure import MeasurementError, Point, Rig, Sample, Server
from harness.suite import (
    CPU_PER_MESSAGE,
    Benchmark,
    Case,
    Group,
    Service,
    Settings,
    load_group,
    measure_point,
)

WANTED = 10_000
ACTIVE = 100
KIB = 1024
# Descriptors that this process and the server need for other things.
OTHER_DESCRIPTORS = 200
MESSAGE = b"one message, then silence\n"
TIMEOUT_SECONDS = 20.0
# Connections of one source address. Closed ones keep their ports for a minute, so the sources are
# many, and other ones in each process.
PER_SOURCE = 1000
SOURCES = itertools.count(os.getpid() * 64)
# Named by the socket module since Python 3.12.
IP_BIND_ADDRESS_NO_PORT = 24
MEMORY = "kib_per_connection"


def connection_count() -> int:
    """Raise the descriptor limit of this process; the servers raise their own to the same."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(WANTED, hard - OTHER_DESCRIPTORS - ACTIVE)


def next_source() -> str:
    """Return one of 127.2.0.1 to 127.2.255.255, which no server listens on."""
    return str(ipaddress.IPv4Address("127.2.0.1") + next(SOURCES) % 0xFFFF)


def connect(address: str, source: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    connected = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    connected.settimeout(TIMEOUT_SECONDS)
    # Otherwise bind searches for a port, slowly, and those of former servers count as taken.
    connected.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
    connected.bind((source, 0))
    connected.connect((host, int(port)))
    return connected


def exchange(connected: socket.socket) -> None:
    connected.sendall(MESSAGE)
    received = b""
    while len(received) < len(MESSAGE):
        if not (piece := connected.recv(len(MESSAGE))):
            raise MeasurementError("the server closed an idle connection")
        received += piece


@contextlib.contextmanager
def idle_connections(rig: Rig, server: Server, count: int) -> Iterator[None]:
    """Hold connections that have exchanged one message each for the block."""
    with contextlib.ExitStack() as stack, pinned_to(rig.cpus.load):
        try:
            for number in range(count):
                # One after the other: a full backlog would cost a second for each refused SYN.
                if number % PER_SOURCE == 0:
                    source = next_source()
                exchange(stack.enter_context(connect(server.address, source)))
        except OSError as error:
            raise MeasurementError(f"{server.name}: idle connections: {error}") from error
        yield


def resident_kib(pid: int) -> int:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    if found is None:
        raise MeasurementError("the server is gone")
    return int(found[1])


def measure_memory(rig: Rig, server: Server) -> Sample:
    server.wait_until_ready()
    count = connection_count()
    # The first connections make what all of them share.
    with idle_connections(rig, server, 10):
        before = resident_kib(server.process.pid)
    with idle_connections(rig, server, count):
        after = resident_kib(server.process.pid)
    return {
        MEMORY: (after - before) / count,
        "connections": count,
        "resident_kib_before": before,
        "resident_kib": after,
    }


def measure(rig: Rig, server: Server, case: Case, settings: Settings) -> Sample:
    if case.figure == MEMORY:
        return measure_memory(rig, server)
    server.wait_until_ready()
    count = connection_count()
    with idle_connections(rig, server, count):
        return measure_point(rig, server, case, settings) | {"idle_connections": count}


def memory_case(mode: str, label: str) -> Case:
    return Case(f"idle/memory-{mode}", f"memory, {label}", MEMORY)


def active_case(mode: str, label: str) -> Case:
    return Case(
        f"idle/active-{mode}",
        f"{ACTIVE} active among them, {label}, 1 KiB",
        CPU_PER_MESSAGE,
        Point(mode, KIB, ACTIVE),
    )


def group_of(mode: str, cases: list[Case]) -> Group:
    return Group(cases, load_group(Service(mode), cases).open, measure)


PROTOCOL, STREAMS = ("proto", "protocol"), ("streams", "streams")
# The one claim by itself: it hardly varies, but a verdict takes three rounds, and ten thousand
# connections take their time.
CLAIMED = Benchmark(
    "idle memory",
    f"Memory of {WANTED} idle connections",
    [group_of("proto", [memory_case(*PROTOCOL)])],
    most_rounds=3,
)
OTHERS = Benchmark(
    "idle",
    f"{WANTED} idle connections",
    [
        group_of("proto", [active_case(*PROTOCOL)]),
        group_of("streams", [memory_case(*STREAMS), active_case(*STREAMS)]),
    ],
    most_rounds=1,
)
BENCHMARK = replace(OTHERS, groups=[*CLAIMED.groups, *OTHERS.groups])

if __name__ == "__main__":
    sys.exit(main_of(BENCHMARK, __doc__))
