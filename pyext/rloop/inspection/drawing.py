"""A process as rich draws it: what `top` shows, from 80 columns on.

Only layout: figures.py has the figures, text.py the words. Everything goes through `Text`, so that
no name of the program's is taken for markup.
"""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from .figures import Figures
from .survey import Row, lines
from .text import (
    ago,
    by_name,
    command,
    duration,
    endpoint,
    number,
    percent,
    place,
    printable,
    size,
    span,
    states,
)

#: From this width on two tables stand side by side, each with 80 columns.
WIDE = 164
#: From this width on a table has what can be done without.
ROOMY = 90
BAR_LENGTH = 5
#: How many connections and slow callbacks are shown, where there is room for no more or for all.
FEWEST, MOST = 2, 20


@dataclass(frozen=True)
class View:
    """What one frame shows of a process."""

    answer: Mapping[str, Any]
    lately: Mapping[str, Figures]
    #: Where lags are taken from: the same, or since the loops were made.
    lags: Mapping[str, Figures]
    #: By loop: for how many seconds it has not ended a turn.
    hanging: Mapping[str, float] = field(default_factory=dict)
    cpu: float | None = None
    message: str | None = None


def process(view: View, width: int, height: int | None = None) -> RenderableType:
    """A process in so many columns and, if `height` is given, rows."""
    loops = [loop for loop in by_name(view.answer["loops"]) if loop["id"] in view.lately]
    heading = _heading(view, width)
    wide = width >= WIDE
    if height is not None:
        loops = _fitting(view, loops, heading, height, wide)
    tables = (_loops(view, loops), _traffic(view, loops), _gauges(view, loops), _states(loops))
    roomy = (width // 2 if wide else width) >= ROOMY
    # Rows of the tables, with their heads and those of the lists.
    used = len(heading) + _rows_of_tables(len(loops), wide)
    heavy, slow = _backlogs(loops), _slow_reports(loops)
    first, second = _shares(len(heavy), len(slow), None if height is None else height - used, wide)
    lists = _heaviest(heavy[:first], roomy), _slow(slow[:second])
    below: list[RenderableType] = [*tables, *lists]
    if wide:
        below = [_beside(*pair) for pair in (tables[:2], tables[2:], lists)]
    shown = len(heavy[:first]) + len(slow[:second])
    if height is None or used + shown + len(below) <= height:  # room between them
        below = [one for table in below for one in (Text(""), table)]
    return Group(*heading, *below)


def _rows_of_tables(loops: int, wide: bool) -> int:
    return 4 + 2 * loops if wide else 7 + 4 * loops


def _fitting(
    view: View, loops: list[Mapping[str, Any]], heading: list[Text], height: int, wide: bool
) -> list[Mapping[str, Any]]:
    """The busiest loops that there is room for; what is left out is said in the heading."""
    room = height - len(heading) - FEWEST * (1 if wide else 2)
    if _rows_of_tables(len(loops), wide) <= room:
        return loops
    fitting = max((room - 1 - _rows_of_tables(0, wide)) // (2 if wide else 4), 1)
    if fitting >= len(loops):  # only the lists below have no room
        return loops
    busiest = sorted(
        loops, key=lambda loop: view.lately[loop["id"]].utilization or 0.0, reverse=True
    )
    shown = {loop["id"] for loop in busiest[:fitting]}
    heading.append(
        _flexible(
            f"the {len(shown)} busiest of {len(loops)} loops; all of them: "
            f"python -m rloop inspect {view.answer['process']['pid']}",
            style="yellow",
        )
    )
    return [loop for loop in loops if loop["id"] in shown]


def processes(rows: Sequence[Row], height: int | None = None) -> RenderableType:
    """Several processes, a line each; those for which there is no room are counted."""
    fitting = len(rows) if height is None or len(rows) + 2 <= height else max(height - 3, 1)
    heads, *cells = lines(list(rows[:fitting]))
    table = _table((head, "left" if head == "COMMAND" else "right") for head in heads)
    table.columns[-1].no_wrap = False
    errors = []
    for row in cells:
        if len(row) == 2:
            errors.append(Text(row[1], style="red"))
        else:
            table.add_row(*map(Text, row[:-1]), _flexible(row[-1]))
    title = Text(f"rloop top: {len(rows)} process{'es' * (len(rows) != 1)}", style="bold")
    if fitting < len(rows):
        errors.append(Text(f"and {len(rows) - fitting} more: python -m rloop ps", style="yellow"))
    return Group(title, table, *errors)


# -- the parts, from above ----------------------------------------------------------------------


def _heading(view: View, width: int) -> list[Text]:
    process = view.answer["process"]
    title = _flexible(f"rloop top {process['pid']}", style="bold")
    title.append(f"  {command(process['command'])}", style="not bold")
    facts = (
        f"rloop {process['rloop']}",
        f"Python {process['python']}",
        f"up {span(process['uptime_seconds'])}",
        f"{len(process['threads'])} threads",
        f"CPU {percent(view.cpu)}",
    )
    lines = [title, _flexible("  ".join(facts), style="dim")]
    said = [view.message] if view.message else []
    for loop in view.answer["loops"]:
        if loop["id"] in view.hanging:
            where = f", in {place(loop['stack'][-1])}" if loop.get("stack") else ""
            said.append(
                f"Loop {printable(loop['name'])} has ended no turn for "
                f"{duration(view.hanging[loop['id']] * 1e9)}{where}."
            )
        for name, reason in loop.get("errors", {}).items():
            said.append(printable(f"Loop {loop['id']}: {name} cannot be read: {reason}"))
    if not view.answer["loops"]:
        said.append("No loop is open.")
    for sentence in said:
        # Wrapped here: how many rows are left for the tables has to be known.
        lines += [Text(line, style="bold red") for line in textwrap.wrap(sentence, width)]
    return lines


def _loops(view: View, loops: Iterable[Mapping[str, Any]]) -> Table:
    heads = ("BUSY", "TURNS/s", "TIMER LAG\np50 / p99", "READY LAG\np50 / p99")
    table = _table([("LOOP", "left"), ("BACKEND", "left"), *((head, "right") for head in heads)])
    for loop in loops:
        found, lags = view.lately[loop["id"]], view.lags[loop["id"]]
        table.add_row(
            _name(loop),
            Text(printable(loop["backend"])),
            _bar(found.utilization),
            Text(number(found.rate("turns"))),
            _pair(lags.quantiles("timer_lag_ns")),
            _pair(lags.quantiles("ready_lag_ns")),
        )
    return table


def _traffic(view: View, loops: Iterable[Mapping[str, Any]]) -> Table:
    heads = ["MSG/s\nin", "MSG/s\nout", "BYTES/s\nin", "BYTES/s\nout", "CALLS\n/MSG"]
    heads += ["\nBACKLOG", "\nSLOW", "\nSTALLS"]
    table = _table([("\nLOOP", "left"), *((head, "right") for head in heads)])
    for loop in loops:
        found = view.lately[loop["id"]]
        calls = found.calls_per_message
        cells = (
            number(found.rate("messages_in")),
            number(found.rate("messages_out")),
            size(found.rate("bytes_in")),
            size(found.rate("bytes_out")),
            "-" if calls is None else f"{calls:.2f}",
            size(found.now.get("backlog_bytes")),
            number(found.now.get("slow_callbacks")),
            number(found.now.get("stalls")),
        )
        table.add_row(_name(loop), *map(Text, cells))
    return table


#: Heads of the gauges' table, and what is below them.
_GAUGES = {
    "READY": "ready",
    "TIMERS": "timers",
    "FDS": "watched_descriptors",
    "STREAMS": "streams",
    "DGRAMS": "datagram_endpoints",
    "LISTEN": "listeners",
    "CHILD": "children",
    "FLIGHT": "operations_in_flight",
    "BUFS": "buffers_held",
}


def _gauges(view: View, loops: Iterable[Mapping[str, Any]]) -> Table:
    table = _table([("LOOP", "left"), *((head, "right") for head in _GAUGES)])
    for loop in loops:
        now = view.lately[loop["id"]].now
        table.add_row(_name(loop), *(Text(number(now.get(key))) for key in _GAUGES.values()))
    return table


def _states(loops: Sequence[Mapping[str, Any]]) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for loop in loops:
        text = _flexible("CONNECTIONS  ", style="bold cyan")
        if len(loops) > 1:
            text.append_text(_name(loop)).append("  ")
        grid.add_row(text.append(states(loop.get("connections")), style="default not bold"))
    return grid


def _backlogs(loops: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Connections that wait for their peers, of all loops, the heaviest first."""
    found = [
        one
        for loop in loops
        for one in (loop.get("connections") or {}).get("heaviest", ())
        if (one.get("statistics") or {}).get("backlog")
    ]
    return sorted(found, key=lambda one: one["statistics"]["backlog"], reverse=True)


def _heaviest(found: Sequence[Mapping[str, Any]], roomy: bool) -> RenderableType:
    heads = ("STATE", "FD", "BACKLOG", "AT MOST", "PAUSED", "IDLE", *(["SENT"] if roomy else []))
    table = _table(
        [("PEER", "left"), *((head, "left" if head == "STATE" else "right") for head in heads)]
    )
    for one in found:
        counted = one["statistics"]
        cells = (
            printable(one.get("state")).replace("_", " "),
            str(one.get("fd")),
            size(counted.get("backlog")),
            size(counted.get("backlog_max")),
            number(counted.get("times_paused")),
            ago(counted.get("idle")),
            size(counted.get("bytes_out")),
        )
        table.add_row(_flexible(endpoint(one.get("peername"))), *map(Text, cells[: len(heads)]))
    return table if found else Text("no connection has a backlog", style="dim")


def _slow_reports(loops: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The latest callbacks that took too long, of all loops, the newest first."""
    found = [report for loop in loops for report in loop.get("slow_callbacks") or ()]
    return sorted(found, key=lambda report: report.get("at", 0.0), reverse=True)


def _slow(found: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = _table([("SLOW CALLBACK", "left"), ("TOOK", "right"), ("AGO", "right")])
    now = time.time()
    for report in found:
        text = _flexible(printable(report.get("callback")))
        if report.get("file"):
            # The folder is told by `inspect`; the end of a long line would be lost here.
            file = printable(PurePath(str(report["file"])).name)
            text.append(f" {file}:{report.get('line')}", style="cyan")
        if report.get("task"):
            text.append(f" task {printable(report['task'])}", style="dim")
        when = ago(max(now - report.get("at", now), 0.0))
        table.add_row(text, Text(duration(report["duration"] * 1e9)), Text(when))
    return table if found else Text("no callback was slow", style="dim")


# -- pieces -------------------------------------------------------------------------------------


def _table(columns: Iterable[tuple[str, JustifyMethod]]) -> Table:
    """Its first column gives way where there is no room; figures are never cut."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold cyan", pad_edge=False)
    for head, justify in columns:
        table.add_column(head, justify=justify, no_wrap=bool(table.columns))
    return table


def _flexible(text: str, style: str = "") -> Text:
    """What is cut where the line ends."""
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _beside(left: RenderableType, right: RenderableType) -> Table:
    grid = Table.grid(expand=True, padding=(0, 2, 0, 0))
    grid.add_column(ratio=1)
    grid.add_column(ratio=1)
    grid.add_row(left, right)
    return grid


def _name(loop: Mapping[str, Any]) -> Text:
    name = _flexible(printable(loop["name"]), style="bold" if loop["running"] else "dim")
    name.truncate(30, overflow="ellipsis")
    return name


def _pair(values: tuple[float | None, float | None]) -> Text:
    median, late = values
    return Text("-" if median is None else f"{duration(median)} / {duration(late)}")


def _bar(part: float | None) -> Text:
    style = "green" if (part or 0) < 0.7 else "yellow" if (part or 0) < 0.9 else "red"
    full = round(BAR_LENGTH * min(part or 0.0, 1.0))
    text = Text("\u2588" * full, style=style)
    text.append("\u2591" * (BAR_LENGTH - full), style="dim")
    return text.append(f" {percent(part):>7}", style=style)


def _shares(first: int, second: int, rows: int | None, beside: bool) -> tuple[int, int]:
    """How many of two lists' entries are shown in so many rows, one list below the other."""
    if rows is None:
        return MOST, MOST
    if beside:
        return max(rows, FEWEST), max(rows, FEWEST)
    half = rows // 2
    of_second = min(second, max(half, rows - first))
    return max(rows - of_second, FEWEST), max(of_second, FEWEST)
