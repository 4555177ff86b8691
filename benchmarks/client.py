"""A simple client of the echo server: blocking sockets, one process per connection, closed loop.

    python benchmarks/client.py --addr 127.0.0.1:25000 --duration 10 --concurrency 10

A request is `--mpr` messages of `--msize` bytes, the last byte of each a newline; the client sends
one, reads the whole echo, compares it and sends the next. All processes connect, send one request
that is not counted, and meet at a barrier; only then does the time begin, so neither process
start-up nor connecting is in the figures. With one connection this measures latency, not what the
server can do: for that see `loadgen/`, which also costs less CPU per message than Python can.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from traffic.addresses import Address, TcpAddress, connect, parse_address

PERCENTILES = (50, 75, 90, 95, 99)
# The longest wait for all processes to be connected, in seconds.
START_SECONDS = 30.0


@dataclass
class Latencies:
    """Request latencies in nanoseconds: exact moments, and a histogram in microseconds."""

    count: int = 0
    total: int = 0
    total_squares: int = 0
    least: int = sys.maxsize
    most: int = 0
    bins: dict[int, int] = field(default_factory=dict)

    def add(self, value: int) -> None:
        self.count += 1
        self.total += value
        self.total_squares += value * value
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        microseconds = value // 1000
        self.bins[microseconds] = self.bins.get(microseconds, 0) + 1

    def merge(self, other: Latencies) -> None:
        self.count += other.count
        self.total += other.total
        self.total_squares += other.total_squares
        self.least = min(self.least, other.least)
        self.most = max(self.most, other.most)
        for microseconds, count in other.bins.items():
            self.bins[microseconds] = self.bins.get(microseconds, 0) + count

    def mean_ms(self) -> float:
        return self.total / self.count / 1e6

    def deviation_ms(self) -> float:
        """Return the standard deviation of the population."""
        mean = self.total / self.count
        return math.sqrt(max(self.total_squares / self.count - mean * mean, 0.0)) / 1e6

    def percentile_ms(self, percent: float) -> float:
        wanted = math.ceil(self.count * percent / 100)
        seen = 0
        for microseconds in sorted(self.bins):
            seen += self.bins[microseconds]
            if seen >= wanted:
                return (microseconds + 1) / 1000
        return self.most / 1e6


@dataclass(frozen=True)
class Plan:
    """What each client process does; sizes in bytes, times in seconds."""

    address: Address
    message_size: int
    messages_per_request: int
    duration: float
    timeout: float

    def request(self) -> bytes:
        return (b"x" * (self.message_size - 1) + b"\n") * self.messages_per_request


class EchoError(Exception):
    """The server's answer was not what was sent."""


def exchange(connection: socket.socket, request: bytes, answer: memoryview) -> None:
    """Send one request and read its whole echo into `answer`, which has the request's size."""
    connection.sendall(request)
    received = 0
    while received < len(request):
        size = connection.recv_into(answer[received:])
        if size == 0:
            raise EchoError("the server closed the connection")
        received += size
    if answer != request:
        raise EchoError("the echo differs from what was sent")


def run_client(plan: Plan, start: Barrier, results: Connection) -> None:
    """Be one client process: send the Latencies, or a text saying what went wrong."""
    try:
        results.send(measure(plan, start))
    except threading.BrokenBarrierError:
        results.send("another client failed before the start")
    except (OSError, EchoError) as error:
        start.abort()
        results.send(str(error))


def measure(plan: Plan, start: Barrier) -> Latencies:
    request = plan.request()
    answer = memoryview(bytearray(len(request)))
    latencies = Latencies()
    with connect(plan.address, plan.timeout) as connection:
        exchange(connection, request, answer)
        start.wait(START_SECONDS)
        began = time.perf_counter_ns()
        end = began + int(plan.duration * 1e9)
        while began < end:
            exchange(connection, request, answer)
            now = time.perf_counter_ns()
            latencies.add(now - began)
            began = now
    return latencies


def run_clients(plan: Plan, concurrency: int) -> Latencies:
    """Run the processes and return what they measured together; raise EchoError on any failure."""
    context = multiprocessing.get_context("fork")
    start = context.Barrier(concurrency)
    processes = []
    receivers = []
    for _ in range(concurrency):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run_client, args=(plan, start, sender), daemon=True)
        process.start()
        sender.close()
        processes.append(process)
        receivers.append(receiver)
    answers = [receive(receiver) for receiver in receivers]
    for process in processes:
        process.join()
    failures = {answer for answer in answers if isinstance(answer, str)}
    if failures:
        raise EchoError("; ".join(sorted(failures)))
    return merged([answer for answer in answers if isinstance(answer, Latencies)])


def receive(receiver: Connection) -> Latencies | str:
    try:
        answer: Latencies | str = receiver.recv()
    except EOFError:
        return "a client process died"
    return answer


def merged(parts: list[Latencies]) -> Latencies:
    whole = Latencies()
    for part in parts:
        whole.merge(part)
    if whole.count == 0:
        raise EchoError("no request was answered in time")
    return whole


def figures(plan: Plan, latencies: Latencies) -> dict[str, object]:
    """Return the results: latencies in ms, `transfer` in MiB/s of one direction."""
    mean, deviation = latencies.mean_ms(), latencies.deviation_ms()
    rps = latencies.count / plan.duration
    return {
        "messages": latencies.count * plan.messages_per_request,
        "transfer": rps * plan.message_size * plan.messages_per_request / 1024 / 1024,
        "rps": rps,
        "latency_min": latencies.least / 1e6,
        "latency_mean": mean,
        "latency_max": latencies.most / 1e6,
        "latency_std": deviation,
        "latency_cv": deviation / mean * 100,
        "latency_percentiles": [[p, latencies.percentile_ms(p)] for p in PERCENTILES],
    }


def print_text(plan: Plan, latencies: Latencies) -> None:
    found = figures(plan, latencies)
    distribution = "; ".join(f"{p}% under {latencies.percentile_ms(p):.3f}ms" for p in PERCENTILES)
    kib = plan.message_size / 1024
    print(f"{found['messages']} {kib:.1f}KiB messages in {plan.duration:.1f} seconds")
    print(
        f"Latency: min {found['latency_min']:.3f}ms; max {found['latency_max']:.3f}ms; "
        f"mean {found['latency_mean']:.3f}ms;"
    )
    print(f"std: {found['latency_std']:.3f}ms ({found['latency_cv']:.1f}%)")
    print(f"Latency distribution: {distribution}")
    print(f"Requests/sec: {found['rps']:.1f}")
    print(f"Transfer/sec: {found['transfer']:.1f}MiB")


def address_option(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def read_options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = TcpAddress("127.0.0.1", 25000)
    parser.add_argument(
        "--addr", default=default, type=address_option, help="host:port or unix:path"
    )
    parser.add_argument("--msize", default=1024, type=positive, help="message size, bytes (1024)")
    parser.add_argument("--mpr", default=1, type=positive, help="messages per request (1)")
    parser.add_argument("--duration", "-T", default=10.0, type=float, help="seconds (10)")
    parser.add_argument("--concurrency", default=1, type=positive, help="connections (1)")
    parser.add_argument("--timeout", default=2.0, type=float, help="of one read, seconds (2)")
    parser.add_argument("--output", default="text", choices=("text", "json"))
    return parser.parse_args()


def main() -> None:
    options = read_options()
    plan = Plan(options.addr, options.msize, options.mpr, options.duration, options.timeout)
    try:
        latencies = run_clients(plan, options.concurrency)
    except EchoError as error:
        raise SystemExit(f"client.py: {error}") from error
    if options.output == "json":
        print(json.dumps(figures(plan, latencies)))
    else:
        print_text(plan, latencies)


if __name__ == "__main__":
    main()
