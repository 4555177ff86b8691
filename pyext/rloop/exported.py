"""What of a loop's statistics is exported, and under which names: one list for all exporters.

A row says: the key in `loop.statistics()`; the name for Prometheus behind "rloop_"; OpenTelemetry's
name behind "rloop.", the attribute that tells rows of one name apart, and the unit; what it is.
Keys in ns are exported as seconds. `longest_turn_ns` is not here: it begins anew when somebody
calls statistics(), whoever that is.
"""

from __future__ import annotations

import itertools

from .readings import gained, quantile, utilization

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Iterator

    from .readings import Look, Reading

    Attributes = dict[str, str]
    Row = tuple[str, str, str, Attributes, str, str]
    # Kind, name, unit, description, and what is said under which attributes.
    Instrument = tuple[str, str, str, str, list[tuple[Attributes, Look]]]

# The conventions have these two for Node.js; the other two are theirs for every network metric.
_ACTIVE = {"rloop.eventloop.state": "active"}
_IDLE = {"rloop.eventloop.state": "idle"}
_IN = {"network.io.direction": "receive"}
_OUT = {"network.io.direction": "transmit"}
_STREAM = {"rloop.connection.kind": "stream"}
_DATAGRAM = {"rloop.connection.kind": "datagram"}

# fmt: off
COUNTERS: tuple[Row, ...] = (
    ("busy_ns", "busy_seconds", "eventloop.time", _ACTIVE, "s", "Time that the loop was awake."),
    ("idle_ns", "idle_seconds", "eventloop.time", _IDLE, "s", "Time asleep in its engine."),
    ("turns", "turns", "eventloop.turns", {}, "{turn}", "Turns of the loop."),
    ("slow_callbacks", "slow_callbacks", "eventloop.slow_callbacks", {}, "{callback}",
     "Callbacks found to take longer than slow_callback_duration, after a slow turn."),
    ("slow_turns", "slow_turns", "eventloop.slow_turns", {}, "{turn}",
     "Turns that took longer than slow_callback_duration."),
    ("stalls", "stalls", "eventloop.stalls", {}, "{stall}", "Stalls that the watchdog saw."),
    ("messages_in", "received_messages", "network.messages", _IN, "{message}",
     "Pieces of data and datagrams that protocols were given."),
    ("messages_out", "sent_messages", "network.messages", _OUT, "{message}",
     "Pieces of data and datagrams that were sent."),
    ("bytes_in", "received_bytes", "network.io", _IN, "By", "Bytes that came in."),
    ("bytes_out", "sent_bytes", "network.io", _OUT, "By", "Bytes that went out."),
    ("syscalls", "system_calls", "engine.system_calls", {}, "{call}",
     "System calls of the loop's engine."),
    ("submitted", "submissions", "engine.submissions", {}, "{operation}",
     "Operations that were given to the kernel."),
    ("completions", "completions", "engine.completions", {}, "{completion}",
     "Completions of operations."),
    ("buffers_lent", "buffers_lent", "engine.buffers.lent", {}, "{buffer}",
     "Receive buffers that the kernel has filled and lent."),
    ("buffers_returned", "buffers_returned", "engine.buffers.returned", {}, "{buffer}",
     "Receive buffers that the kernel got back."),
    ("buffers_short", "buffers_short", "engine.buffers.short", {}, "{operation}",
     "Receives that found no free buffer."),
    ("ring_rebuilds", "ring_rebuilds", "engine.ring_rebuilds", {}, "{ring}",
     "Rings that were made anew."),
)
GAUGES: tuple[Row, ...] = (
    ("ready", "ready_callbacks", "eventloop.callbacks", {}, "{callback}",
     "Callbacks that wait for their turn."),
    ("timers", "timers", "eventloop.timers", {}, "{timer}", "Timers that are not due yet."),
    ("watched_descriptors", "watched_descriptors", "eventloop.watched_descriptors", {},
     "{descriptor}", "Descriptors of add_reader and add_writer."),
    ("children", "children", "eventloop.children", {}, "{process}", "Child processes."),
    ("streams", "streams", "network.connections", _STREAM, "{connection}", "Open connections."),
    ("datagram_endpoints", "datagram_endpoints", "network.connections", _DATAGRAM,
     "{connection}", "Open datagram endpoints."),
    ("listeners", "listeners", "network.listeners", {}, "{socket}", "Listening sockets."),
    ("backlog_bytes", "backlog_bytes", "network.backlog", {}, "By",
     "Bytes that wait until the kernel takes them."),
    ("operations_in_flight", "operations_in_flight", "engine.operations", {}, "{operation}",
     "Operations that the kernel has now."),
    ("buffers_held", "buffers_held", "engine.buffers.held", {}, "{buffer}",
     "Receive buffers that are lent now."),
)
# The counts are at key + "_ns", the sum at key + "_total_ns". OpenTelemetry gets quantiles.
HISTOGRAMS: tuple[Row, ...] = (
    ("turn", "turn_seconds", "eventloop.turn.duration", {}, "s", "How long turns took."),
    ("ready_lag", "ready_lag_seconds", "eventloop.delay", {"rloop.eventloop.queue": "ready"}, "s",
     "How long ready callbacks waited for their turn."),
    ("timer_lag", "timer_lag_seconds", "eventloop.delay", {"rloop.eventloop.queue": "timers"}, "s",
     "How late timers ran."),
)
# fmt: on


def in_base_units(key: str, value: float) -> float:
    """Seconds for what is counted in ns, everything else as it is."""
    return value / 1e9 if key.endswith("_ns") else value


def instruments() -> Iterator[Instrument]:
    """OpenTelemetry's, of kind "counter", "up_down_counter" or "gauge"."""
    text = "The part of its running time in which the loop was awake."
    yield "gauge", "rloop.eventloop.utilization", "1", text, [({}, utilization)]
    for kind, rows in (("counter", COUNTERS), ("up_down_counter", GAUGES)):
        for name, unit, text, same in _by_name(rows):
            yield kind, name, unit, text, [(row[3], _total(row[0])) for row in same]
    for name, unit, text, same in _by_name(HISTOGRAMS):
        for percent in (50, 90, 99):
            looks = [(row[3], _quantile(row[0], percent / 100)) for row in same]
            yield "gauge", f"{name}.p{percent}", unit, f"{text} {percent} % no longer.", looks


def _by_name(rows: tuple[Row, ...]) -> Iterator[tuple[str, str, str, list[Row]]]:
    for name, group in itertools.groupby(rows, key=lambda row: row[2]):
        same = list(group)
        yield f"rloop.{name}", same[0][4], " ".join(row[5] for row in same), same


def _total(key: str) -> Look:
    def look(_before: Reading, now: Reading) -> float:
        return in_base_units(key, now[key])

    return look


def _quantile(key: str, part: float) -> Look:
    def look(before: Reading, now: Reading) -> float | None:
        return quantile(gained(before, now, f"{key}_ns"), part)

    return look
