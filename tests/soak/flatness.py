"""Whether what was measured over a run is flat: a regression over time, never two points.

Samples of neighbouring seconds resemble each other, so a regression over them would believe itself
too much. They are averaged in BLOCKS blocks first, whose means are nearly independent. The verdict
compares the growth over the whole run, and the interval it lies in, with what is allowed: a part of
the level or a fixed amount, whichever is more.

- flat: even the upper end of the interval is allowed;
- grows: the lower end is above zero, and the growth itself is above what is allowed;
- noisy: neither can be said. A longer run says more.
"""

from __future__ import annotations

import enum
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST = 240.0  # seconds; less, after the warm-up, is not judged
WARM_UP = 0.2  # of the run: caches, free lists and arenas fill
BLOCKS = 24
#: 99 % to each side, for BLOCKS - 2 degrees of freedom (Student's t).
_DEVIATIONS = 2.51


class Verdict(enum.Enum):
    FLAT = "flat"
    GROWS = "grows"
    NOISY = "noisy"
    TOO_SHORT = "too short"


@dataclass(frozen=True)
class Allowance:
    """What a value may grow by over a run."""

    part: float  # of its level
    amount: float

    def of(self, level: float) -> float:
        return max(self.part * level, self.amount)


@dataclass(frozen=True)
class Trend:
    """A value over the part of a run that is judged."""

    level: float
    growth: float  # over that part
    margin: float  # the interval is growth - margin to growth + margin
    allowed: float
    seconds: float
    verdict: Verdict

    def per_hour(self) -> float:
        return self.growth / self.seconds * 3600 if self.seconds else 0.0


def judge(times: Sequence[float], values: Sequence[float], allowance: Allowance) -> Trend:
    """The trend of `values` at `times` (seconds, ascending) after the warm-up."""
    begin = times[0] + WARM_UP * (times[-1] - times[0]) if times else 0.0
    points = [(t, v) for t, v in zip(times, values, strict=True) if t >= begin]
    seconds = points[-1][0] - points[0][0] if points else 0.0
    level = statistics.fmean(v for _, v in points) if points else 0.0
    if seconds < SHORTEST or len(points) < 2 * BLOCKS:
        return Trend(level, 0.0, math.inf, allowance.of(level), seconds, Verdict.TOO_SHORT)
    means = [
        (statistics.fmean(t for t, _ in block), statistics.fmean(v for _, v in block))
        for block in _blocks(points)
    ]
    slope, error = _slope([t for t, _ in means], [v for _, v in means])
    growth, margin = slope * seconds, _DEVIATIONS * error * seconds
    allowed = allowance.of(level)
    if growth + margin <= allowed:
        verdict = Verdict.FLAT
    elif growth - margin > 0 and growth > allowed:
        verdict = Verdict.GROWS
    else:
        verdict = Verdict.NOISY
    return Trend(level, growth, margin, allowed, seconds, verdict)


def _blocks(points: Sequence[tuple[float, float]]) -> list[Sequence[tuple[float, float]]]:
    bounds = [len(points) * i // BLOCKS for i in range(BLOCKS + 1)]
    return [points[a:b] for a, b in itertools.pairwise(bounds)]


def _slope(xs: Sequence[float], ys: Sequence[float]) -> tuple[float, float]:
    """The slope of the regression line, and its standard error."""
    slope, intercept = statistics.linear_regression(xs, ys)
    residuals = sum((y - intercept - slope * x) ** 2 for x, y in zip(xs, ys, strict=True))
    mean = statistics.fmean(xs)
    spread = sum((x - mean) ** 2 for x in xs)
    return slope, math.sqrt(residuals / (len(xs) - 2) / spread)
