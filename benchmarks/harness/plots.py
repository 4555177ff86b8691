"""The comparisons as pictures.

`write_plot`: throughput above, server CPU per message below; one column of panels per mode and
message size, one group of bars per number of connections, one bar per loop; the thin line on a bar
runs from the smallest to the largest round. `write_curves`: how a cost grows, a line per loop, a
dashed one per limit. `write_claims`: the ratios of the claim table with their bounds.
`write_programs`: real programs, every loop to uvloop. The caption names machine, kernel and
versions, so that a file means something by itself. Needs matplotlib; without it there is no
picture, and the report says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.measure import MODE_LABELS, Point
from harness.peers import LIMITS, REFERENCE
from harness.report import Results, Spread, ratio

if TYPE_CHECKING:
    from harness.claims import Verdict
    from harness.suite import Collected

METRICS = (
    ("messages_per_second", "thousand messages / s", 1e-3),
    ("server_cpu_us", "server CPU, us / message", 1.0),
)
COLORS = {
    "asyncio": "#9aa0a6",
    "uvloop": "#4c78a8",
    "peer": "#b279a2",
    "zuvloop": "#54a24b",
    "rsloop": "#9d755d",
    "blazio": "#72b7b2",
    "uring": "#e45756",
    "epoll": "#f2a65a",
    "limit-uring": "black",
    "limit-epoll": "#7f7f7f",
}


def _pyplot() -> Any:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot


def write_plot(path: Path, results: Results, caption: str) -> str:
    """Write a PNG; return an empty text, or why there is none."""
    try:
        plt = _pyplot()
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


@dataclass(frozen=True)
class Curve:
    """One panel: (x, key of the case) in order, and what makes a cost of the figure."""

    title: str
    x_label: str
    y_label: str
    points: Sequence[tuple[int, str]]
    cost: Callable[[float], float] = float


def write_curves(path: Path, collected: Collected, curves: list[Curve], caption: str) -> str:
    """Write a PNG with a panel per curve; return an empty text, or why there is none."""
    try:
        plt = _pyplot()
    except ImportError as error:
        return f"no picture: {error}"
    figure, axes = plt.subplots(1, len(curves), figsize=(6.5 * len(curves), 5), squeeze=False)
    for axis, curve in zip(axes[0], curves, strict=True):
        for peer in collected.columns:
            found = [
                (x, curve.cost(spread.median))
                for x, key in curve.points
                if key in collected.cases and (spread := collected.spread(key, peer.name))
            ]
            if not found:  # a limit, of what is no server
                continue
            axis.plot(
                [x for x, _ in found],
                [y for _, y in found],
                marker="o",
                linestyle="--" if peer.name in LIMITS else "-",
                color=COLORS[peer.name],
                label=peer.label,
            )
        axis.set(title=curve.title, xlabel=curve.x_label, ylabel=curve.y_label, xscale="log")
        axis.set_ylim(bottom=0)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False)
    figure.text(0.01, 0.005, caption, fontsize=7, color="#555555")
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return ""


def write_claims(path: Path, verdicts: list[Verdict], caption: str) -> str:
    """Write a PNG of the gains, right is better: a dot per claim, its two bounds as ticks."""
    try:
        plt = _pyplot()
    except ImportError as error:
        return f"no picture: {error}"
    shown = [
        (verdict, verdict.ours_ratio)
        for verdict in reversed(verdicts)
        if verdict.ours_ratio and not verdict.claim.absolute
    ]
    figure, axis = plt.subplots(figsize=(10, 1.5 + 0.32 * len(shown)))
    for row, (verdict, ours) in enumerate(shown):
        gain = verdict.gain(ours)
        bounds = [verdict.gain(verdict.claim.at_least), verdict.gain(verdict.claim.goal)]
        axis.plot(bounds, [row, row], color="#9aa0a6", lw=1, marker="|", ms=12, zorder=1)
        axis.plot([gain], [row], color=COLORS["uring"], marker="o", zorder=2)
        if verdict.epoll_ratio:
            compared = verdict.gain(verdict.epoll_ratio)
            axis.plot([compared], [row], color=COLORS["epoll"], marker="o", mfc="none", zorder=2)
    axis.axvline(1, color="black", lw=0.8)
    axis.set_yticks(range(len(shown)), [verdict.claim.label for verdict, _ in shown])
    axis.set(xscale="log", xlabel="io_uring: times better than the best other (dot); bounds (bars)")
    ticks = [0.5, 0.7, 1, 1.5, 2, 3, 4, 6]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
    axis.spines[["top", "right"]].set_visible(False)
    axis.set_ylim(-1, len(shown))
    axis.set_title("dot: io_uring to the best other; ring: epoll to uvloop", fontsize=9)
    figure.text(0.01, 0.005, caption, fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return ""


def write_programs(path: Path, collected: Collected, verdicts: list[Verdict], caption: str) -> str:
    """Write a PNG of real programs, right is better: a mark per loop, uvloop is 1; "" or why not.

    Our engines are filled; what a loop lacks could not be measured on it.
    """
    try:
        plt = _pyplot()
    except ImportError as error:
        return f"no picture: {error}"
    shown = [v for v in reversed(verdicts) if collected.spread(v.claim.key, REFERENCE)]
    if not shown:
        return "no picture of real programs: uvloop ran none"
    figure, axis = plt.subplots(figsize=(10, 1.8 + 0.42 * len(shown)))
    for peer in collected.peers:
        ours = peer.name in ("uring", "epoll")
        found = []
        for row, verdict in enumerate(shown):
            key, figure_name = verdict.claim.key, collected.cases[verdict.claim.key].figure
            rounds = collected.rounds(key, peer.name), collected.rounds(key, REFERENCE)
            if compared := ratio(*rounds, figure_name):
                found.append((verdict.gain(compared), row))
        axis.plot(
            [x for x, _ in found],
            [y for _, y in found],
            linestyle="none",
            marker="o" if ours else "d",
            mfc=COLORS[peer.name] if ours else "none",
            color=COLORS[peer.name],
            label=peer.label,
            zorder=3 if ours else 2,
        )
    axis.axvline(1, color="black", lw=0.8)
    axis.set_yticks(range(len(shown)), [verdict.claim.label for verdict in shown])
    axis.set(xlabel="done per second of CPU time, uvloop = 1", ylim=(-1, len(shown)))
    axis.grid(axis="y", color="#dddddd", lw=0.6)
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.4, 1.12), ncols=8, frameon=False, fontsize=8)
    figure.text(0.01, 0.005, caption, fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return ""
