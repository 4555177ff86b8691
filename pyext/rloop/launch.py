"""``python -m rloop run``: any asyncio program on rloop, and the processes that it starts.

Nothing of the program is run here: this process becomes ``python`` with the program's own command
line (exec), so its arguments, ``__main__``, exit code, tracebacks, signals and standard streams are
Python's own. What makes its loops ours is inherited/sitecustomize.py, by PYTHONPATH.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from .backend import BACKENDS

USAGE = "python -m rloop run [--backend B] [--as-uvloop] [-m module | -c code | script.py] args..."
INHERITED = str(Path(__file__).with_name("inherited"))

#: Options of Python with which it would not look at PYTHONPATH, or not run sitecustomize.
DEAF = "EIS"


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own options, and the command line of Python behind them."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("--"):
        at += 1 if arguments[at] != "--backend" else 2
    return list(arguments[:at]), list(arguments[at:])


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="python -m rloop run",
        usage=USAGE,
        description="Runs a program, and what it starts with the same environment, on rloop.",
        epilog="What follows the options is Python's command line. Only the default loop is "
        "replaced: a program that gives asyncio.SelectorEventLoop a selector, or makes another "
        "library's loop, has its way.",
        allow_abbrev=False,
    )
    found.add_argument("--backend", choices=BACKENDS, help="sets RLOOP_BACKEND")
    found.add_argument(
        "--as-uvloop", action="store_true", help="`import uvloop` gives rloop under uvloop's names"
    )
    return found


def environment(
    before: Mapping[str, str], *, backend: str | None, as_uvloop: bool
) -> dict[str, str]:
    """The environment of the program; `before` may be one of these already."""
    paths = [path for path in before.get("PYTHONPATH", "").split(os.pathsep) if path != INHERITED]
    if paths == [""]:
        paths = []
    changed = {**before, "PYTHONPATH": os.pathsep.join([INHERITED, *paths]), "RLOOP_RUN": "1"}
    if backend is not None:
        changed["RLOOP_BACKEND"] = backend
    if as_uvloop:
        changed["RLOOP_AS_UVLOOP"] = "1"
    return changed


def refusal(command: Sequence[str]) -> str | None:
    """Why this command line of Python cannot be run, if so."""
    if sys.flags.ignore_environment or sys.flags.no_site:
        return "Python runs with -E, -I or -S here, and would not see what makes its loops rloop's"
    for word in command:
        if not word.startswith("-") or word in ("-", "--"):
            break
        option = word[1:2]
        if set(word[1:]) & set(DEAF) and option not in "cmWX-":
            return f"with {word} Python would not see what makes its loops rloop's"
        if option in "cm":
            return None
    if not command:
        return "which program?"
    if not command[0].startswith("-") and not Path(command[0]).exists():
        return f"there is no file {command[0]!r}; a module is named by -m {command[0]}"
    return None


def main(arguments: Sequence[str]) -> NoReturn:
    """Become the program. Exits with 2 where the command line is wrong."""
    ours, command = split(arguments)
    options = parser().parse_args(ours)
    if reason := refusal(command):
        parser().error(reason)
    flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
    environ = environment(os.environ, backend=options.backend, as_uvloop=options.as_uvloop)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, [sys.executable, *flags, *command], environ)
