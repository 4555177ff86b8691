"""The comparison as a picture: throughput above, server CPU per message below.

One column of panels per mode and message size, one group of bars per number of connections, one
bar per loop; the thin line on a bar runs from the smallest to the largest round. The caption names
machine, kernel and versions, so that the file means something by itself. Needs matplotlib; without
it there is no picture, and the report says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from measure import MODE_LABELS, Point
from report import Results, Spread

METRICS = (
    ("messages_per_second", "thousand messages / s", 1e-3),
    ("server_cpu_us", "server CPU, us / message", 1.0),
)
COLORS = {
    "asyncio": "#9aa0a6",
    "uvloop": "#4c78a8",
    "peer": "#b279a2",
    "uring": "#e45756",
    "epoll": "#f2a65a",
}


def write_plot(path: Path, results: Results, caption: str) -> str:
    """Write a PNG; return an empty text, or why there is none."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError as error:
        return f"no picture: {error}"
    columns = list(dict.fromkeys((point.mode, point.size) for point in results.points))
    figure, axes = plt.subplots(
        len(METRICS), len(columns), figsize=(2.2 + 3.4 * len(columns), 7.5), squeeze=False
    )
    for row, (key, label, scale) in enumerate(METRICS):
        for column, (mode, size) in enumerate(columns):
            points = [p for p in results.points if (p.mode, p.size) == (mode, size)]
            _draw(axes[row][column], results, points, key, scale)
            axes[row][column].set_title(f"{MODE_LABELS[mode]}, {size / 1024:g} KiB", fontsize=10)
        axes[row][0].set_ylabel(label)
    handles, labels = axes[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=len(labels), frameon=False)
    figure.text(0.01, 0.005, caption, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.04, 1, 0.95))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return ""


def _draw(axis: Any, results: Results, points: list[Point], key: str, scale: float) -> None:
    width = 0.8 / len(results.peers)
    for index, peer in enumerate(results.peers):
        for group, point in enumerate(points):
            spread = Spread.of(results.rounds(point, peer.name), key)
            if spread is None:
                continue
            middle = group - 0.4 + (index + 0.5) * width
            axis.bar(
                middle,
                spread.median * scale,
                width * 0.92,
                color=COLORS[peer.name],
                label=peer.label if group == 0 else None,
            )
            axis.vlines(middle, spread.least * scale, spread.most * scale, color="black", lw=0.8)
    axis.set_xticks(range(len(points)), [f"{point.connections}" for point in points])
    axis.set_xlabel("connections")
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)
