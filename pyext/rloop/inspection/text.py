"""Numbers, names and addresses as a reader wants them; and an answer as plain text.

Names are the program's, and addresses its peers': nothing of them may steer the terminal, so all of
them go through `printable`.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from .figures import Figures, figures

NOTHING = "-"
#: Where the thread of a loop stands that waits for events.
_ASLEEP = "LifecycleMixin.run_forever"


def printable(text: object) -> str:
    """On one line, with everything that a terminal might obey written out."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape", "surrogatepass").decode()
        for one in str(text)
    )


def duration(ns: float | None) -> str:
    """In six characters, the unit with them."""
    if ns is None:
        return NOTHING
    for scale, unit in ((1.0, "ns"), (1e3, "us"), (1e6, "ms")):
        if ns < 999.5 * scale:
            digits = 1 if scale > 1 and ns < 9.95 * scale else 0
            return f"{ns / scale:.{digits}f} {unit}"
    return f"{ns / 1e9:.{2 if ns < 9.995e9 else 1}f} s" if ns < 99.95e9 else ago(ns / 1e9)


def ago(seconds: float | None) -> str:
    """A longer time, in its largest unit."""
    if seconds is None:
        return NOTHING
    for scale, limit, unit in ((1, 100, "s"), (60, 100, "min"), (3600, 48, "h")):
        if seconds < limit * scale:
            return f"{int(seconds / scale)} {unit}"
    return f"{int(seconds / 86400)} d"


def span(seconds: float | None) -> str:
    """A longer time, in its two largest units."""
    if seconds is None:
        return NOTHING
    left = int(seconds)
    if left < 60:
        return f"{left} s"
    minutes, hours, days = left // 60 % 60, left // 3600 % 24, left // 86400
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {left % 60:02} s"


def number(value: float | None) -> str:
    """A count or a rate, in five characters at most."""
    if value is None:
        return NOTHING
    for limit, scale, unit in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e5, 1e3, "k")):
        if value >= limit:
            return f"{value / scale:.{0 if value / scale >= 100 else 1}f}{unit}"
    return f"{value:.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def size(value: float | None) -> str:
    """A number of bytes."""
    if value is None:
        return NOTHING
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def percent(part: float | None) -> str:
    return NOTHING if part is None else f"{100 * part:.1f} %"


def endpoint(address: object) -> str:
    """The name of a socket as it came through JSON."""
    if isinstance(address, list) and len(address) >= 2:
        host, port = address[:2]
        return printable(f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}")
    return printable(address) if address else NOTHING


def command(words: Sequence[str]) -> str:
    """A command line; the interpreter by its name alone."""
    if not words:
        return NOTHING
    return printable(shlex.join([PurePath(words[0]).name, *words[1:]]))


def place(frame: Mapping[str, Any]) -> str:
    """Of a stack's entry."""
    return printable(f"{frame['function']} ({frame['file']}:{frame['line']})")


def place_of_wait(stack: Sequence[Mapping[str, Any]]) -> str:
    """Where a coroutine waits: the program's own line, and what of asyncio's it called there."""
    own = [frame for frame in stack if "/asyncio/" not in frame["file"]]
    if not own or own[-1] is stack[-1]:
        return place(stack[-1])
    return f"{place(own[-1])} for {printable(stack[stack.index(own[-1]) + 1]['function'])}"


def by_name(loops: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Loops in an order that stays."""
    return sorted(loops, key=lambda loop: (str(loop.get("name")), loop["id"]))


def states(connections: Mapping[str, Any] | None) -> str:
    """How many connections are in which state; those that are in none are left out."""
    found = (connections or {}).get("states", {})
    words = [f"{number(count)} {name.replace('_', ' ')}" for name, count in found.items() if count]
    return ", ".join(words) or "none"


def slow_callback(report: Mapping[str, Any]) -> str:
    """What ran for too long: the callback, its task, its place."""
    where = f" ({report['file']}:{report['line']})" if report.get("file") else ""
    task = f", task {report['task']}" if report.get("task") else ""
    return printable(f"{report.get('callback')}{task}{where}")


# -- the whole answer ---------------------------------------------------------------------------


def describe(answer: Mapping[str, Any]) -> Iterator[str]:
    """A process with its loops and tasks, line by line."""
    process = answer["process"]
    yield f"process {process['pid']}: {command(process['command'])}"
    yield (
        f"  rloop {process['rloop']}, Python {process['python']}, up "
        f"{span(process['uptime_seconds'])}, {process['cpu_seconds']:.1f} s of CPU time"
    )
    names = ", ".join(printable(thread["name"]) for thread in process["threads"])
    yield f"  threads: {names}"
    found = figures(None, answer)
    tasks = {entry["loop"]: entry for entry in answer.get("tasks", ())}
    for loop in by_name(answer["loops"]):
        yield ""
        yield from _loop(loop, found.get(loop["id"]))
        if loop["id"] in tasks:
            yield from _tasks(tasks[loop["id"]])
    if not answer["loops"]:
        yield "no loop is open"


def _loop(loop: Mapping[str, Any], found: Figures | None) -> Iterator[str]:
    thread = loop.get("thread")
    where = f"runs in thread {printable(thread['name'])}" if thread else "does not run"
    yield f"loop {printable(loop.get('name'))}: {loop.get('backend')}, {where}"
    yield f"  reason: {printable(loop.get('reason'))}"
    if found is not None:
        yield (
            f"  busy {percent(found.utilization)} of its time; {number(found.gained['turns'])} "
            f"turns; {found.gained['slow_callbacks']} slow callbacks, "
            f"{found.gained['stalls']} stalls"
        )
        for name in found.histograms:
            median, late = found.quantiles(name)
            title = name.removesuffix("_ns").replace("_", " ")
            yield f"  {title}: p50 {duration(median)}, p99 {duration(late)}"
        yield "  statistics:"
        for name, value in found.now.items():
            if isinstance(value, int | float):
                yield f"    {name:22} {value}"
    stack = loop.get("stack") or ()
    if stack and stack[-1]["function"] != _ASLEEP:
        yield "  its thread stands in (the innermost frame comes last):"
        yield from (f"    {place(frame)}" for frame in stack)
    yield f"  connections: {states(loop.get('connections'))}"
    for one in (loop.get("connections") or {}).get("heaviest", ()):
        yield f"    {_connection(one)}"
    for report in loop.get("slow_callbacks") or ():
        yield f"  slow: {duration(report['duration'] * 1e9)} {slow_callback(report)}"
    for name, reason in loop.get("errors", {}).items():
        yield f"  {name} cannot be read: {printable(reason)}"


def _connection(one: Mapping[str, Any]) -> str:
    counted = one.get("statistics") or {}
    return (
        f"fd {one.get('fd')} {one.get('kind')} {str(one.get('state')).replace('_', ' ')}, peer "
        f"{endpoint(one.get('peername'))}, backlog {size(counted.get('backlog'))} (at most "
        f"{size(counted.get('backlog_max'))}), in {size(counted.get('bytes_in'))}, out "
        f"{size(counted.get('bytes_out'))}, age {span(counted.get('age'))}"
    )


def _tasks(entry: Mapping[str, Any]) -> Iterator[str]:
    if entry.get("error"):
        yield f"  tasks cannot be read: {printable(entry['error'])}"
        return
    omitted = f", and {entry['omitted']} more" if entry.get("omitted") else ""
    yield f"  tasks: {len(entry['tasks'])}{omitted}"
    for depth, task in tree(entry["tasks"]):
        yield f"    {'  ' * depth}{_task(task)}"


def _task(task: Mapping[str, Any]) -> str:
    if "error" in task:
        return f"{task['id']} cannot be read: {printable(task['error'])}"
    where = f" in {place_of_wait(task['stack'])}" if task["stack"] else ""
    again = " (see above)" if task.get("again") else ""
    return (
        f"{printable(task['name'])}: {printable(task['coroutine'])}, {task['state']}{where}{again}"
    )


def tree(tasks: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each task with its depth, below each that waits for it: one that is waited for by nobody
    stands at the left. Repeated with `again` and without what is below it; tasks that wait for each
    other in a circle begin with the first.
    """
    known = {task["id"]: task for task in tasks}
    below: dict[str, list[str]] = {}
    for task in tasks:
        for awaiter in task.get("awaited_by") or ():
            below.setdefault(awaiter, []).append(task["id"])
    roots = [t["id"] for t in tasks if not any(a in known for a in t.get("awaited_by") or ())]
    shown: set[str] = set()
    for root in [*roots, *known]:
        if root in shown:
            continue
        left = [(0, root)]
        while left:
            depth, name = left.pop()
            if name in shown:
                yield depth, {**known[name], "again": True}
                continue
            shown.add(name)
            yield depth, known[name]
            left += [(depth + 1, one) for one in reversed(below.get(name, ()))]
