"""``python -m rloop ps``, ``top`` and ``inspect``: the command line.

Exit codes: 0; 1 when there is no answer, with a sentence on standard error that says why; 2 when
the command line is wrong.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence

from . import client
from .survey import Survey, lines
from .text import describe, printable

#: Seconds over which `ps` measures what processes do now.
MOMENT = 0.3
#: Seconds in which a busy process describes ten thousands of tasks.
LONG = 30.0
NONE_FOUND = (
    "No process of this user has a live view. Start one with RLOOP_INSPECT=1, or have it call "
    "rloop.inspect.listen()."
)


def main(arguments: Sequence[str]) -> int:
    """Run one of the commands; the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except client.NoAnswer as exc:
        print(printable(exc), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m rloop",
        description="Shows what running programs of the same user do, that have RLOOP_INSPECT=1 in "
        "their environment or called rloop.inspect.listen().",
    )
    commands = found.add_subparsers(required=True)
    ps = commands.add_parser("ps", help="lists the processes")
    ps.add_argument("--json", action="store_true", help="the same for machines")
    ps.set_defaults(command=_ps)
    top = commands.add_parser("top", help="shows a process, again and again; q ends it")
    top.add_argument("target", metavar="PID", type=_target, nargs="?", help="or its socket's path")
    top.add_argument("--interval", metavar="SECONDS", type=_seconds, default=1.0, help="1 s")
    top.add_argument("--once", action="store_true", help="print it once and end")
    top.add_argument("--svg", metavar="FILE", help=argparse.SUPPRESS)  # for the documentation
    top.set_defaults(command=_top)
    inspect = commands.add_parser("inspect", help="prints everything once, and the tree of tasks")
    inspect.add_argument("target", metavar="PID", type=_target, help="or its socket's path")
    inspect.add_argument("--json", action="store_true", help="the same for machines")
    inspect.set_defaults(command=_inspect)
    return found


def _target(word: str) -> int | str:
    """A pid, or an address as listen() gives it."""
    if word.isascii() and word.isdecimal() and 0 < int(word) < 1 << 31:
        return int(word)
    if "/" in word or word.startswith("@"):
        return word
    raise argparse.ArgumentTypeError(f"{word!r} is neither the id of a process nor a socket's path")


def _seconds(word: str) -> float:
    try:
        seconds = float(word)
    except ValueError:
        seconds = 0.0
    if not 0.1 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{word!r}; it should be 0.1 to 3600 seconds")
    return seconds


# -- the commands -------------------------------------------------------------------------------


def _ps(options: argparse.Namespace) -> int:
    survey = Survey()
    first = survey.look()
    time.sleep(MOMENT)
    answered = {row.pid for row in first if row.answer}
    again = {row.pid: row for row in survey.look(answered)} if answered else {}
    rows = [again.get(row.pid, row) for row in first if row.error or row.pid in again]
    if options.json:
        print(json.dumps([row.for_machines() for row in rows], indent=2))
    elif rows:
        _print_table(list(lines(rows)))
    else:
        print(NONE_FOUND, file=sys.stderr)
    return 0


def _print_table(rows: list[tuple[str, ...]]) -> None:
    """In columns; a terminal's width is not exceeded, the last column gives way."""
    whole = [row for row in rows if len(row) > 2]
    widths = [max(map(len, column)) for column in zip(*whole, strict=True)]
    widths[0] = max(len(row[0]) for row in rows)
    limit = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for pid, *cells in rows:
        columns = [pid.rjust(widths[0])]
        if len(cells) == 1:
            columns += cells
            print("  ".join(columns))  # the sentence is worth a second line
        else:
            columns += [cell.ljust(w) for cell, w in zip(cells[:-1], widths[1:], strict=False)]
            print("  ".join([*columns, cells[-1]])[:limit])


def _inspect(options: argparse.Namespace) -> int:
    client.ask(options.target, ("process",))  # soon, or not at all
    answer = client.ask(options.target, ("process", "loops", "tasks"), timeout=LONG)
    if options.json:
        print(json.dumps(answer, indent=2))
    else:
        for line in describe(answer):
            print(line)
    return 0


def _top(options: argparse.Namespace) -> int:
    try:
        from . import top
    except ImportError as exc:
        if (exc.name or "").partition(".")[0] != "rich":
            raise
        print(
            "top draws with rich, which is not installed here: pip install rich. Without it: "
            "python -m rloop ps, python -m rloop inspect PID.",
            file=sys.stderr,
        )
        return 1
    target = options.target
    if target is None:
        rows = Survey().look()
        if not rows:
            raise client.NoAnswer(NONE_FOUND)
        target = rows[0].pid if len(rows) == 1 else None
    if options.once or options.svg:
        return top.once(target, options.svg)
    return top.watch(target, options.interval)
