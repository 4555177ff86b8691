"""The picture of a run: what has to be flat, over time, with the line of its regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from .flatness import WARM_UP, Trend


def draw(
    path: Path,
    title: str,
    samples: Sequence[Mapping[str, float]],
    trends: Mapping[str, Trend],
    rates: Sequence[tuple[float, float]],
) -> None:
    """Write a PNG. `samples` have a "time" in seconds; `rates` are messages per second."""
    rows = (len(trends) + 2) // 2
    figure, axes = plt.subplots(rows, 2, figsize=(13, 2.2 * rows), squeeze=False)
    places = [place for row in axes for place in row]
    minutes = [sample["time"] / 60 for sample in samples]
    for place, (name, trend) in zip(places, trends.items(), strict=False):
        place.plot(minutes, [sample[name] for sample in samples], linewidth=0.6)
        begin = minutes[0] + WARM_UP * (minutes[-1] - minutes[0])
        place.axvspan(minutes[0], begin, color="0.93")
        half = trend.growth / 2
        place.plot([begin, minutes[-1]], [trend.level - half, trend.level + half], linewidth=1.5)
        place.set_title(f"{name}: {trend.verdict.value}, {trend.per_hour():+.4g} per hour", size=9)
        place.set_ylim(bottom=0)
    rest = places[len(trends) :]
    rest[0].plot([t / 60 for t, _ in rates], [r for _, r in rates], linewidth=0.6)
    rest[0].set_title("messages per second", size=9)
    rest[0].set_ylim(bottom=0)
    for place in rest[1:]:
        place.axis("off")
    for place in axes[-1]:
        place.set_xlabel("minutes")
    figure.suptitle(title, size=10)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
