"""The command: `scripts/soak.sh [MINUTES]`, or `python -m soak` with tests/ on the path."""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import random
import subprocess
import sys
from pathlib import Path

from .flatness import Verdict
from .picture import draw
from .run import Options, Result, Run

ENGINES = ("epoll", "io_uring")


def main() -> int:
    arguments = _parse()
    engines = ENGINES if arguments.engine == "both" else (arguments.engine,)
    arguments.out.mkdir(parents=True, exist_ok=True)
    print(
        f"soak: seed {arguments.seed}, commit {_commit()}, Linux {platform.release()}, "
        f"CPython {platform.python_version()}, engines {' and '.join(engines)}",
        flush=True,
    )
    results = asyncio.run(_run_all(arguments, engines))
    failed = False
    for result in results:
        failed |= _summarize(result)
    print("soak: FAILED" if failed else "soak: passed", flush=True)
    if failed:
        print(
            f"soak: to repeat it: scripts/soak.sh {arguments.minutes or ''} "
            f"--engine {arguments.engine} --seed {arguments.seed} "
            f"--clients {arguments.clients} --connections {arguments.connections}"
        )
    return int(failed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/soak.sh",
        description="All transports at once under random load and chaos, each byte checked. "
        "Exit code 1 when something failed or grew.",
    )
    parser.add_argument(
        "minutes", type=float, nargs="?", help="how long (10, or without limit with --messages)"
    )
    parser.add_argument(
        "--engine",
        choices=(*ENGINES, "both"),
        default="both",
        help="both run side by side, each with clients and chaos of its own, for MINUTES",
    )
    parser.add_argument(
        "--messages", type=float, help="end when so many are checked on each engine, e.g. 1e8"
    )
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--clients", type=int, default=3, help="processes for each engine")
    parser.add_argument("--connections", type=int, default=16, help="of each client at a time")
    parser.add_argument("--out", type=Path, default=Path("build/soak"))
    arguments = parser.parse_args()
    if arguments.minutes is None and arguments.messages is None:
        arguments.minutes = 10.0
    return arguments


async def _run_all(arguments: argparse.Namespace, engines: tuple[str, ...]) -> list[Result]:
    runs = []
    for engine in engines:
        options = Options(
            engine=engine,
            seconds=None if arguments.minutes is None else arguments.minutes * 60,
            messages=arguments.messages,
            seed=arguments.seed,
            clients=arguments.clients,
            connections=arguments.connections,
            out=arguments.out,
        )
        runs.append(Run(options, lambda line: print(line, flush=True)))
    return await asyncio.gather(*(run.run() for run in runs))


def _summarize(result: Result) -> bool:
    """Print what a run was, write picture and JSON; True when it failed."""
    options = result.options
    counts = result.counts
    failures = result.all_failures()
    print(f"\n=== {options.engine}: {result.seconds / 60:.1f} minutes, seed {options.seed}")
    print("    " + ", ".join(f"{name} {counts[name]:,}" for name in sorted(counts)))
    trends = result.trends()
    for name, trend in trends.items():
        if trend.verdict is Verdict.TOO_SHORT:
            print(f"    {name:15} {trend.level:12,.0f}  too short a run for a trend")
            continue
        print(
            f"    {name:15} {trend.level:12,.0f}  {trend.growth:+10,.1f} +- {trend.margin:,.1f} "
            f"in {trend.seconds / 60:.0f} min, allowed {trend.allowed:,.1f}: {trend.verdict.value}"
        )
    for failure in failures:
        print(f"    FAILED: {failure}")
    if not failures:
        print("    every byte was right, nothing unexpected, nothing grows")
    stem = options.out / f"soak-{options.engine}-{options.seed}"
    stem.with_suffix(".json").write_text(
        json.dumps({"counts": counts, "samples": result.samples, "failures": failures})
    )
    if len(result.samples) > 1:
        title = (
            f"rloop soak, {options.engine}, {result.seconds / 60:.0f} minutes, "
            f"{counts['messages']:,} messages, seed {options.seed}"
        )
        draw(stem.with_suffix(".png"), title, result.samples, trends, result.rates)
        print(f"    picture: {stem.with_suffix('.png')}")
    return bool(failures)


def _commit() -> str:
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return found.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
