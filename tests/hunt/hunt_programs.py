"""Hunts with new programs: python tests/hunt/hunt_programs.py --seconds 60, or --programs 1000.

Program number n of seed s is always the same one; a failure is shrunk and printed as Python that
can be pasted into test_found_programs.py. So is one that ends the process: the hunt is in a child.
"""

from __future__ import annotations

import argparse
import mmap
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import actors
from compare import ENGINES, Loops
from mortal import signal_of
from program import Program, build, pasteable
from shrinking import shrunk


def numbered(seed: int, number: int, kinds: list[str], most_steps: int = 200) -> Program:
    generator = random.Random(f"{seed}/{number}")
    chosen = [kind for kind in actors.ALL if not kinds or kind.name in kinds]
    return build(lambda n: int(generator.random() * n), chosen, most_steps)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, help="how long to hunt")
    parser.add_argument("--programs", type=int, help="how many programs to try")
    parser.add_argument("--seed", type=int, default=None, help="of the programs; new ones without")
    parser.add_argument("--start", type=int, default=0, help="number of the first program")
    parser.add_argument("--kind", action="append", default=[], help="only these kinds of actors")
    parser.add_argument("--engine", action="append", default=[], choices=ENGINES)
    parser.add_argument("--keep-going", action="store_true", help="after a failure, unshrunk")
    options = parser.parse_args()
    if options.seconds is None and options.programs is None:
        options.seconds = 60.0
    seed = options.seed if options.seed is not None else int.from_bytes(os.urandom(4))
    engines = tuple(options.engine) or ENGINES
    under_way = mmap.mmap(-1, 8)  # the child's number, for its parent
    end = signal_of(lambda: hunt(options, seed, engines, under_way))
    if end >= 0:
        return end
    (number,) = struct.unpack("q", under_way)
    print(f"program {number} of seed {seed} ends the process: {signal.Signals(-end).name}")
    if end not in (-signal.SIGTERM, -signal.SIGKILL):
        program = numbered(seed, number, options.kind)
        print(pasteable(shrunk(program, lambda candidate: ends(candidate, engines) == end)))
    return 1


def ends(program: Program, engines: tuple[str, ...]) -> int:
    """How a process ends that runs it. (Not by a hang: that is for the hunt itself.)"""

    def once() -> int:
        Loops(engines).check(program)
        return 0

    return signal_of(once, 60, silent=True)


def hunt(
    options: argparse.Namespace, seed: int, engines: tuple[str, ...], under_way: mmap.mmap
) -> int:
    loops = Loops(engines)
    started = time.monotonic()
    told = started
    tried = failed = 0
    print(f"seed {seed}, engines {', '.join(engines)}", flush=True)
    while options.programs is None or tried < options.programs:
        now = time.monotonic()
        if options.seconds is not None and now - started > options.seconds:
            break
        if now - told > 30:
            told = now
            print(f"{tried} programs in {now - started:.0f} s", flush=True)
        number = options.start + tried
        program = numbered(seed, number, options.kind)
        under_way[:] = struct.pack("q", number)
        found = loops.check(program)
        tried += 1
        if found:
            failed += 1
            print(f"program {number} of seed {seed} differs: {found}", flush=True)
            if not options.keep_going or failed == 1:
                small = shrunk(program, lambda candidate: bool(loops.check(candidate)))
                print(pasteable(small))
                for engine, lines in loops.check(small).items():
                    print(f"{engine}:", *lines, sep="\n  ", flush=True)
            if not options.keep_going:
                break
    loops.close()
    seconds = time.monotonic() - started
    for engine in engines:
        print(f"{engine}: {tried} programs")
    print(
        f"{tried} programs in {seconds:.0f} s ({tried / seconds:.0f} a second), {failed} differ, "
        f"{loops.unsure} differed only in haste"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
