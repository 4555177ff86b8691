"""Runs what is in these rooms by its name: a claim, the server, a load.

    python benchmarks/run.py                    the names
    python benchmarks/run.py timers --rounds 1  a claim, with its options (--help shows them)
    python benchmarks/run.py web_server --help  what the claims run, by hand

The rooms import each other from this folder, so their files are no programs of their own.
"""

import runpy
import sys
from pathlib import Path

ROOMS = ("claims", "traffic", "harness")
HERE = Path(__file__).resolve().parent


def programs(room: str) -> list[str]:
    """Of a room, those that can be run."""
    files = sorted((HERE / room).glob("*.py"))
    return [file.stem for file in files if '__name__ == "__main__"' in file.read_text()]


def main() -> None:
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    for room in ROOMS:
        if name in programs(room):
            sys.argv[:2] = [name]
            runpy.run_module(f"{room}.{name}", run_name="__main__")
            return
    lines = [f"  {room}: {', '.join(programs(room))}" for room in ROOMS if programs(room)]
    print((__doc__ or "").partition("\n\n")[0], *lines, sep="\n", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
