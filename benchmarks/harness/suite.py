"""What the benchmark files have in common: cases, interleaved rounds, collecting, running alone.

A `Benchmark` is a list of groups; a group is cases that share one set-up per loop, usually a server
process. In every round each case is measured on all loops one after the other, another loop first
each time, so that neighbours in time are compared; where a round has several short windows
(`Benchmark.windows`), each of them is measured so, on the same servers. One figure of the sample,
`Case.figure`, is what is compared; the whole sample goes to JSON. A loop that has no such feature
is noted, one that fails is a failure, and one that has failed a case twice is not asked again: what
hangs takes seconds each time. `full.py` runs several benchmarks this way, `run_alone` one.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from harness.measure import (
    MeasurementError,
    Point,
    Rig,
    Sample,
    Server,
    UnsupportedError,
    measure_load,
)
from harness.peers import Peer
from harness.report import Spread

CPU_PER_MESSAGE = "server_cpu_us"
CPU_OF_BOTH = "both_cpu_us"
CPU_PER_OPERATION = "own_cpu_us"
PER_CPU_SECOND = "operations_per_cpu_second"
UNITS = {
    CPU_PER_MESSAGE: "us of CPU per message",
    CPU_OF_BOTH: "us of CPU of both sides per message",
    CPU_PER_OPERATION: "us of CPU",
    PER_CPU_SECOND: "per CPU second",
    "messages_per_cpu_second": "requests per CPU second",
    "handshakes_per_cpu_second": "handshakes per CPU second",
    "megabytes_per_cpu_second": "MB per CPU second",
    "p50_us": "us, median latency",
    "syscalls": "system calls per message",
    "kib_per_connection": "KiB per connection",
    "kib_of_growth": "KiB of growth",
    "operations_per_second": "per second",
}
MORE_IS_BETTER = (
    PER_CPU_SECOND,
    "messages_per_cpu_second",
    "handshakes_per_cpu_second",
    "megabytes_per_cpu_second",
    "operations_per_second",
)

MOST_FAILURES = 2


@dataclass(frozen=True)
class Case:
    """One thing measured; `key` is its name in JSON and in the claims, `detail` the benchmark's."""

    key: str
    label: str
    figure: str
    detail: Any = None

    @property
    def more_is_better(self) -> bool:
        return self.figure in MORE_IS_BETTER


@dataclass(frozen=True)
class Settings:
    """How long to measure; times in seconds."""

    rounds: int = 5
    seconds: float = 0.6
    warm_up: float = 0.15


Open = Callable[[Rig, Peer, Settings], contextlib.AbstractContextManager[Any]]
Measure = Callable[[Rig, Any, Case, Settings], Sample]


@dataclass(frozen=True)
class Group:
    """Cases and their common set-up: `open` gives what `measure` takes.

    `limited`: the limits of peers.py can serve it too.
    """

    cases: list[Case]
    open: Open
    measure: Measure
    limited: bool = False


@dataclass(frozen=True)
class Benchmark:
    """One file's measurements; `most_rounds` limits those that take long or hardly vary.

    Those that vary much have several short windows in each round, `windows`, which share its time.
    """

    name: str
    title: str
    groups: list[Group]
    most_rounds: int | None = None
    windows: int = 1

    @property
    def cases(self) -> list[Case]:
        return [case for group in self.groups for case in group.cases]


@dataclass
class Collected:
    """The samples of one or more benchmarks by case key and loop; None is a failed round."""

    peers: list[Peer]
    samples: dict[str, dict[str, list[Sample | None]]] = field(default_factory=dict)
    cases: dict[str, Case] = field(default_factory=dict)
    unsupported: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    limits: list[Peer] = field(default_factory=list)
    # Of cases that were measured again: the rounds before that (repeats.py).
    first_rounds: dict[str, int] = field(default_factory=dict)

    @property
    def columns(self) -> list[Peer]:
        return self.peers + self.limits

    def measured(self, group: Group) -> list[Peer]:
        return self.columns if group.limited else self.peers

    def add(self, case: Case, peer: Peer, sample: Sample | None) -> None:
        self.cases[case.key] = case
        self.samples.setdefault(case.key, {}).setdefault(peer.name, []).append(sample)

    def rounds(self, key: str, name: str) -> list[Sample | None]:
        return self.samples.get(key, {}).get(name, [])

    def spread(self, key: str, name: str) -> Spread | None:
        return Spread.of(self.rounds(key, name), self.cases[key].figure)

    def explain(self, what: str, error: MeasurementError) -> None:
        """Keep why something has no figure, once."""
        to = self.unsupported if isinstance(error, UnsupportedError) else self.failures
        text = f"{what}: {error}"
        if text not in to:
            to.append(text)


def rotated(peers: list[Peer], index: int) -> list[Peer]:
    """Let another loop be the first in every round."""
    start = index % len(peers)
    return peers[start:] + peers[:start]


def run_round(
    rig: Rig,
    benchmark: Benchmark,
    settings: Settings,
    collected: Collected,
    index: int,
    step: Callable[[str], None],
) -> None:
    """Measure every case of the benchmark on every loop, once in each of its windows."""
    share = 1 / benchmark.windows
    settings = replace(settings, seconds=settings.seconds * share, warm_up=settings.warm_up * share)
    for group in benchmark.groups:
        order = rotated(collected.measured(group), index)
        with contextlib.ExitStack() as stack:
            opened: dict[str, Any] = {}
            for peer in order:
                try:
                    opened[peer.name] = stack.enter_context(group.open(rig, peer, settings))
                except MeasurementError as error:
                    collected.explain(f"{benchmark.name}, {peer.label}", error)
            for case, window in itertools.product(group.cases, range(benchmark.windows)):
                for peer in rotated(order, window):
                    step(f"round {index + 1}, {benchmark.name}: {case.label}, {peer.label}")
                    sample = None
                    try:
                        failures = collected.rounds(case.key, peer.name).count(None)
                        if peer.name in opened and failures < MOST_FAILURES:
                            sample = group.measure(rig, opened[peer.name], case, settings)
                    except MeasurementError as error:
                        collected.explain(f"{case.label}, {peer.label}", error)
                    collected.add(case, peer, sample)


def steps_of(benchmark: Benchmark, collected: Collected) -> int:
    once = sum(len(group.cases) * len(collected.measured(group)) for group in benchmark.groups)
    return once * benchmark.windows


# --- load on a server -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Service:
    """How the server of a group is started; the loads are the cases' points."""

    mode: str
    transport: str = "tcp"
    options: tuple[str, ...] = ()
    program: str = "server.py"


def load_group(service: Service, cases: list[Case], *, limited: bool = False) -> Group:
    """Return a group whose cases load one server; `Case.detail` is the Point."""

    @contextlib.contextmanager
    def open_server(rig: Rig, peer: Peer, settings: Settings) -> Iterator[Server]:
        # Each case of each of the loops waits for its turn; then some for a slow machine.
        limit = 60 + 2 * 5 * len(cases) * (settings.seconds + settings.warm_up + 1)
        with Server(
            rig,
            peer,
            service.mode,
            limit,
            transport=service.transport,
            options=service.options,
            program=service.program,
        ) as server:
            # All share a CPU: one that is ready at once, as a limit is, would be measured while the
            # others still start.
            server.wait_until_ready()
            yield server

    return Group(cases, open_server, measure_point, limited)


def measure_point(rig: Rig, server: Server, case: Case, settings: Settings) -> Sample:
    return measure_load(rig, server, case.detail, settings.warm_up, settings.seconds)


def point_case(prefix: str, point: Point, figure: str = CPU_PER_MESSAGE) -> Case:
    """Return the usual case of a point: its key names transport, mode, size and connections."""
    key = f"{prefix}/{point.transport}-{point.mode}-{point.size}-{point.connections}"
    label = point.label if point.transport != "tcp" else f"tcp {point.label}"
    return Case(key, label, figure, point)


# --- JSON -----------------------------------------------------------------------------------------


def as_json(
    collected: Collected, environment: dict[str, Any], settings: Settings
) -> dict[str, Any]:
    """Return everything measured, with the raw samples of every round."""
    return {
        "environment": environment,
        "settings": asdict(settings),
        "loops": {
            peer.name: {"class": peer.class_name, "version": peer.version}
            for peer in collected.peers
        },
        "limits": {limit.name: limit.version for limit in collected.limits},
        "left_out": collected.left_out,
        "notes": collected.notes,
        "unsupported": collected.unsupported,
        "failures": collected.failures,
        "cases": {
            key: {
                "label": case.label,
                "figure": case.figure,
                "unit": UNITS.get(case.figure, case.figure),
                "more_is_better": case.more_is_better,
                "first_rounds": collected.first_rounds.get(key),
                "loops": {
                    name: {"spread": _spread_json(collected.spread(key, name)), "rounds": rounds}
                    for name, rounds in collected.samples[key].items()
                },
            }
            for key, case in collected.cases.items()
        },
    }


def _spread_json(spread: Spread | None) -> dict[str, float] | None:
    return None if spread is None else asdict(spread)
