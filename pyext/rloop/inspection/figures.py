"""What two answers of a process, a moment apart, say of a loop: rates, shares, quantiles.

Arithmetic alone, on the statistics() of a loop. What an older or newer rloop does not count is 0,
and what cannot be said (a quantile of nothing) is None.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..histograms import quantile

COUNTERS = (
    "turns",
    "syscalls",
    "messages_in",
    "messages_out",
    "bytes_in",
    "bytes_out",
    "slow_callbacks",
    "stalls",
    "busy_ns",
    "idle_ns",
)
HISTOGRAMS = ("turn_ns", "ready_lag_ns", "timer_lag_ns")


@dataclass(frozen=True)
class Figures:
    """A loop over some seconds: `gained` are counters' differences, `now` its latest statistics."""

    seconds: float
    now: Mapping[str, Any]
    gained: Mapping[str, int]
    histograms: Mapping[str, Sequence[int]]

    @classmethod
    def between(
        cls, before: Mapping[str, Any] | None, now: Mapping[str, Any], seconds: float
    ) -> Figures:
        """From two statistics(); without the first, since the loop was made."""
        then = before or {}
        # What a newer or older rloop does not count is 0.
        gained = {name: now.get(name, 0) - then.get(name, 0) for name in COUNTERS}
        histograms = {
            name: [
                count - earlier
                for count, earlier in zip(
                    now.get(name, ()), then.get(name, [0] * len(now.get(name, ()))), strict=True
                )
            ]
            for name in HISTOGRAMS
        }
        if before is None:
            seconds = (gained["busy_ns"] + gained["idle_ns"]) / 1e9
        return cls(seconds, now, gained, histograms)

    @property
    def utilization(self) -> float | None:
        """The busy part of the time; None for a loop that did not run."""
        ran = self.gained["busy_ns"] + self.gained["idle_ns"]
        return self.gained["busy_ns"] / ran if ran > 0 else None

    @property
    def hangs(self) -> bool:
        """It was busy all the time, and did not end a turn."""
        return self.gained["turns"] == 0 and self.gained["busy_ns"] > 0.9e9 * self.seconds > 0

    @property
    def calls_per_message(self) -> float | None:
        messages = self.gained["messages_in"] + self.gained["messages_out"]
        return self.gained["syscalls"] / messages if messages else None

    def rate(self, *names: str) -> float:
        """Of these counters together, per second."""
        return sum(self.gained[name] for name in names) / self.seconds if self.seconds > 0 else 0.0

    def quantiles(self, name: str) -> tuple[float | None, float | None]:
        """The median and the 99th percentile of a histogram, in ns."""
        counts = self.histograms[name]
        return quantile(counts, 0.5), quantile(counts, 0.99)


def figures(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> dict[str, Figures]:
    """By the loop's id: for all loops of `now`, a whole answer, that could be read."""
    seconds = now["at"] - before["at"] if before else 0.0
    known = {loop["id"]: loop.get("statistics") for loop in (before or {}).get("loops", ())}
    return {
        loop["id"]: Figures.between(known.get(loop["id"]), loop["statistics"], seconds)
        for loop in now["loops"]
        if loop.get("statistics")
    }
