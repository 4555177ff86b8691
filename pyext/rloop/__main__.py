"""``python -m rloop``: which backend this machine gets, why, and which limits bind.

For the operator of a container that is slower than expected: the reason names the sysctl, limit,
profile or kernel to change. ``--json`` says it for machines; ``run`` runs a program on rloop;
``ps``, ``top`` and ``inspect`` show what running programs do. Exits with 2 when RLOOP_BACKEND is
wrong; nothing is changed.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import __version__, backend_info
from .launch import main as run_program

LIMITS = {"open files": resource.RLIMIT_NOFILE, "locked memory, bytes": resource.RLIMIT_MEMLOCK}
SYSCTLS = ("kernel.io_uring_disabled", "kernel.io_uring_group", "net.core.somaxconn")


def _limit(name: int) -> list[int | None]:
    """Soft and hard; None is unlimited."""
    return [None if v == resource.RLIM_INFINITY else v for v in resource.getrlimit(name)]


def _sysctl(name: str) -> str | None:
    path = Path("/proc/sys") / name.replace(".", "/")
    try:
        return path.read_text().strip()
    except OSError:
        return None


def report() -> dict[str, Any]:
    """backend_info() and what else decides: versions, limits (soft, hard; None: unlimited), sysctls
    (None: not there). Raises ValueError where RLOOP_BACKEND is wrong."""
    return {
        "rloop": __version__,
        "python": platform.python_version(),
        **backend_info(),
        "limits": {name: _limit(number) for name, number in LIMITS.items()},
        "sysctls": {name: _sysctl(name) for name in SYSCTLS},
    }


def _print(found: dict[str, Any]) -> None:
    print(f"rloop {found['rloop']} on Python {found['python']}, Linux {found['kernel']}")
    print(f"backend: {found['backend']}")
    print(f"reason: {found['reason']}")
    if found["override"]:
        print(f"RLOOP_BACKEND: {found['override']}")
    print("capabilities of io_uring here:" + ("" if found["capabilities"] else " not looked at"))
    for name, present in found["capabilities"].items():
        print(f"  {name:20} {'yes' if present else 'no'}")
    print("limits (soft / hard):")
    for name, pair in found["limits"].items():
        print(f"  {name:20} {' / '.join('unlimited' if v is None else str(v) for v in pair)}")
    print("sysctls:")
    for name, value in found["sysctls"].items():
        print(f"  {name:25} {'not there' if value is None else value}")


def main(arguments: list[str]) -> int:
    """The report, or the program that is to be run; returns the exit code."""
    if arguments[:1] == ["run"]:
        run_program(arguments[1:])
    with _output():
        return _tell(arguments)


@contextlib.contextmanager
def _output() -> Iterator[None]:
    """Standard output may be closed (`>&-`) or full, or its reader have seen enough (`| head`)."""
    if sys.stdout is None:
        sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115 - as long as the process
    try:
        yield
        sys.stdout.flush()
    except OSError as exc:
        if not isinstance(exc, BrokenPipeError):
            print(f"python -m rloop: {exc}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _tell(arguments: list[str]) -> int:
    if arguments[:1] in (["ps"], ["top"], ["inspect"]):
        from .inspection.commands import main as show_running_programs

        return show_running_programs(arguments)
    parser = argparse.ArgumentParser(
        prog="python -m rloop",
        description=__doc__,
        epilog="python -m rloop run: run a program on rloop. python -m rloop ps, top [PID], "
        "inspect PID: what programs with RLOOP_INSPECT=1 do. Each has its own --help.",
    )
    parser.add_argument("--json", action="store_true", help="the same for machines")
    options = parser.parse_args(arguments)
    try:
        found = report()
    except ValueError as exc:  # RLOOP_BACKEND
        print(exc, file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        _print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
