"""Everything fails once: each call, completion and allocation of ten programs, one at a time.

    python tests/hunt/fail_once/run.py                                  everything (about an hour)
    python tests/hunt/fail_once/run.py --program udp --engine epoll --kind native
    python tests/hunt/fail_once/run.py --program udp --engine epoll --kind native --call recvmmsg \\
        --n 2 --errno 4                                                 replay one failure, in full

Prints how many single failures were tried, and each fault with the line that replays it. The exit
code is 1 if there was one. README.md says how it works.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
PRELOADED = "RLOOP_FAIL_ONCE"
ENGINES = ("epoll", "io_uring")
DEFAULT_KINDS = ("native", "outer", "submission", "memory", "new")


def library_path() -> Path:
    """The library that meson built for this interpreter; RLOOP_FAIL_ONCE_LIBRARY names another."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    default = ROOT / "build" / version / "tests/hunt/fail_once/libfail_once.so"
    return Path(os.environ.get("RLOOP_FAIL_ONCE_LIBRARY", default))


def preload() -> None:
    """Start again with the library in front of libc; children of the programs do without."""
    if PRELOADED in os.environ:
        os.environ.pop("LD_PRELOAD", None)
        return
    path = library_path()
    if not path.exists():
        sys.exit(f"{path} is missing: run scripts/bootstrap.sh, or set RLOOP_FAIL_ONCE_LIBRARY")
    before = os.environ.get("LD_PRELOAD")
    environment = {
        **os.environ,
        PRELOADED: str(path),
        "LD_PRELOAD": f"{before}:{path}" if before else str(path),
        "PYTHONHASHSEED": "0",
    }
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


@dataclasses.dataclass
class Tally:
    tried: int = 0
    struck: int = 0
    told: int = 0
    faults: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Hunt:
    """Tries failures one by one; the library is loaded once, each try is a fork."""

    def __init__(self, report: Path | None) -> None:
        import child

        self._child = child
        self.library = child.Library(os.environ[PRELOADED])
        self.tallies: dict[str, Tally] = collections.defaultdict(Tally)
        self._report = report

    def warm_up(self, programs: list[str]) -> None:
        """Import what the programs import later: with asyncio's loop, so that ours stays cold."""
        import logging

        from record import Run

        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        for program in programs:
            self._child.run_program(Run("asyncio"), self._child.PROGRAMS[program])
        logging.getLogger("asyncio").setLevel(logging.NOTSET)

    def perform(self, engine: str, program: str, failure: Any) -> dict[str, Any]:
        return self._child.perform(self.library, engine, program, failure)

    def clean_run(self, engine: str, program: str, kind: str) -> list[str]:
        """The names of all events of a run in which nothing fails, which must be a good one."""
        from oracle import faults

        failure = self._child.Failure(kind)
        result = self.perform(engine, program, failure)
        wrong = faults(failure, result)
        if wrong or result["outcome"] != "finished" or result["missing_bytes"]:
            sys.exit(f"{program} on {engine} is wrong without a failure: {wrong} {result}")
        return result["names"]

    def failures(self, engine: str, program: str, kind: str, stride: int) -> Iterator[Any]:
        from errnos import errnos_of

        seen: collections.Counter[str] = collections.Counter()
        step = 0
        for name in self.clean_run(engine, program, kind):
            seen[name] += 1
            for error in errnos_of(kind, name):
                step += 1
                if step % stride == 0:
                    yield self._child.Failure(kind, name, seen[name], error)

    def try_one(self, engine: str, program: str, failure: Any) -> dict[str, Any]:
        """One failure, judged; a stall counts when it comes again, for the machine may be busy."""
        from oracle import faults

        result = self.perform(engine, program, failure)
        result["faults"] = faults(failure, result)
        if result["faults"] and result["exit"] == 0:
            again = self.perform(engine, program, failure)
            again["faults"] = faults(failure, again)
            if again.get("struck"):
                result = again
        return result

    def hunt(self, engine: str, program: str, kind: str, stride: int = 1) -> Tally:
        tally = self.tallies[f"{program} {engine} {kind}"]
        for failure in self.failures(engine, program, kind, stride):
            result = self.try_one(engine, program, failure)
            tally.tried += 1
            tally.struck += bool(result.get("struck", True))
            tally.told += bool(result.get("errors"))
            if result["faults"]:
                self._tell(engine, program, failure, result)
                tally.faults.append({"failure": str(failure), "faults": result["faults"]})
        return tally

    def _tell(self, engine: str, program: str, failure: Any, result: dict[str, Any]) -> None:
        print(f"FAULT {result['faults']}\n    --program {program} --engine {engine} {failure}")
        print(f"    at {' < '.join(self.where(result.get('frames', []))[:3])}", flush=True)
        if self._report:
            with self._report.open("a") as file:
                line = {"program": program, "engine": engine, "failure": str(failure), **result}
                file.write(json.dumps(line) + "\n")

    def where(self, frames: list[int]) -> list[str]:
        """The module's functions at these offsets, by its symbol table."""
        if not frames:
            return []
        names = subprocess.run(
            ["nm", "-C", "--defined-only", "--numeric-sort", self.library.module_path],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.splitlines()
        table = [(int(line.split()[0], 16), line.split(maxsplit=2)[2]) for line in names]
        return [
            max((entry for entry in table if entry[0] <= frame), default=(0, "?"))[1].split("(")[0]
            for frame in frames
        ]


def replay(hunt: Hunt, options: argparse.Namespace) -> int:
    """One failure, with everything that is known of the run."""
    from child import Failure

    failure = Failure(options.kind[0], options.call, options.n, options.errno)
    result = hunt.try_one(options.engine[0], options.program[0], failure)
    result["frames"] = hunt.where(result.get("frames", []))
    result.pop("names", None)
    output = result.pop("output")
    print(json.dumps(result, indent=1))
    print(output)
    return 1 if result["faults"] else 0


def main() -> int:
    from programs import PROGRAMS

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", nargs="*", choices=PROGRAMS, default=list(PROGRAMS))
    parser.add_argument("--engine", nargs="*", default=list(ENGINES))
    parser.add_argument("--kind", nargs="*", default=list(DEFAULT_KINDS))
    parser.add_argument("--call", default="", help="with --n: the name of the call")
    parser.add_argument("--n", type=int, default=0, help="replay this one, from 1")
    parser.add_argument("--errno", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1, help="try only every so-many-th failure")
    parser.add_argument("--log", action="store_true", help="with debug log lines of rloop")
    parser.add_argument("--report", type=Path, help="append each fault as a line of JSON")
    options = parser.parse_args()
    if options.log:
        logging.getLogger("rloop").setLevel(logging.DEBUG)
    hunt = Hunt(options.report)
    hunt.warm_up(options.program)
    if options.n:
        return replay(hunt, options)
    for program in options.program:
        for engine in options.engine:
            for kind in options.kind:
                tally = hunt.hunt(engine, program, kind, options.stride)
                print(
                    f"{program} {engine} {kind}: {tally.tried} failures tried, {tally.struck} met, "
                    f"{tally.told} told, {len(tally.faults)} faults",
                    flush=True,
                )
    tried = sum(tally.tried for tally in hunt.tallies.values())
    faults = sum(len(tally.faults) for tally in hunt.tallies.values())
    print(f"fail_once: {tried} single failures, {faults} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    preload()
    sys.exit(main())
