#!/usr/bin/env python3
"""The table of claims and its pictures, from a run of `scripts/compare_loops.sh --full`.

    scripts/claims_table.py             print the table
    scripts/claims_table.py --write     into docs/performance.md, pictures into docs/pictures/
    scripts/claims_table.py --run FILE  of this run

Reads compare_loops-full.json, where that command leaves every sample: in build/benchmarks/, or in
build/in-debian/benchmarks/ if it ran in the tree of Debian; that of the newer CPython is taken.
Figures and verdicts are what benchmarks/harness/claims.py made of them; nothing is measured here.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

from generated import DOCS, GeneratedPart

ROOT = Path(__file__).resolve().parent.parent
MEASURED = [ROOT / "build" / "benchmarks", ROOT / "build" / "in-debian" / "benchmarks"]
RUN = "compare_loops-full.json"
PICTURES = DOCS / "pictures"
#: as compare_loops.sh names them -> as the documentation shows them
PICTURE_NAMES = {
    "compare_loops-full.png": "claims.png",
    "scaling.png": "scaling.png",
    "programs.png": "programs.png",
}
OURS = ("uring", "epoll")
NAMES = {"peer": "Rust rloop", None: "-"}  # those that have another name in the table
BOLD = {"NO": "**no**", "BEHIND": "**BEHIND**"}
HEADS = (
    *("", "best other", "", "io_uring", "ratio", "at least", "goal", "reached"),
    *("epoll / uvloop", "epoll / best on epoll", "of C"),
)


def figure(value: float | None) -> str:
    """Return three significant digits; millions and thousands as M and k."""
    if value is None:
        return "-"
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return f"{value:.3g}"


def two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def row(verdict: dict[str, Any]) -> list[str]:
    claim = verdict["claim"]
    epoll = two_digits(verdict["epoll_ratio"])
    of_its_kind = two_digits(verdict.get("best_epoll_ratio"))
    return [
        claim["label"],
        NAMES.get(verdict["best"], verdict["best"]),
        figure(verdict["best_median"]),
        figure(verdict["ours_median"]),
        "absolute" if claim["absolute"] else two_digits(verdict["ours_ratio"]),
        f"{claim['at_least']:g}",
        f"{claim['goal']:g}",
        BOLD.get(verdict["reached"], verdict["reached"]),
        f"**{epoll}**" if verdict["epoll_is_worse"] else epoll,
        f"**{of_its_kind}**" if verdict.get("epoll_is_behind_its_kind") else of_its_kind,
        two_digits(verdict.get("c_ratio")),
    ]


def behind(run: dict[str, Any]) -> str:
    """Return the sentence that comes first: the rows in which another loop is ahead."""
    ours = [v["claim"]["label"] for v in run["claims"] if v["reached"] == "BEHIND"]
    epoll = [v["claim"]["label"] for v in run["claims"] if v["epoll_is_worse"]]
    of_its_kind = [v["claim"]["label"] for v in run["claims"] if v.get("epoll_is_behind_its_kind")]
    parts = [
        f"{who} is behind {whom} in {len(labels)} rows" + (f" ({', '.join(labels)})" * bool(labels))
        for who, whom, labels in (
            ("io_uring", "the best other", ours),
            ("epoll", "uvloop", epoll),
            ("epoll", "the best loop on epoll, by more than 3 %,", of_its_kind),
        )
    ]
    return "; ".join(parts) + "."


def missing(run: dict[str, Any]) -> list[str]:
    """Return lines that name the loops, and the rows of loops, that have no figures."""
    left_out = [f"{NAMES.get(name, name)}: {why}" for name, why in run["left_out"].items()]
    lines = []
    for what, of_what in (
        ("Left out", left_out),
        ("Not supported", run["unsupported"]),
        ("Failed", run["failures"]),
    ):
        if of_what:
            lines += [f"{what}: {'; '.join(of_what)}.", ""]
    return lines


def table(run: dict[str, Any]) -> str:
    """Return the whole text between the markers."""
    about, loops, settings = run["environment"], run["loops"], run["settings"]
    reached = [verdict["reached"] for verdict in run["claims"]]
    versions = [
        "the Rust " * (name == "peer") + loop["version"]
        for name, loop in loops.items()
        if name not in ("asyncio", *OURS)
    ]
    lines = [
        f"{about['date'][:10]}, {about['cpu']}, {about['kernel']}, {about['python']}, "
        f"{', '.join(versions)}; medians of "
        f"{settings['rounds']} interleaved rounds (fewer for what takes long), "
        f"{about['measuring took']} in all.",
        "",
        f"**{behind(run)}** Of {len(reached)} rows {reached.count('goal')} reach the goal, "
        f"{reached.count('yes')} more what is asked at least, {reached.count('NO')} are ahead by "
        f"less, {reached.count('equal')} equal within the noise, {reached.count('-')} were not "
        "measured.",
        "",
        *missing(run),
        "| " + " | ".join(HEADS) + " |",
        "|---" * len(HEADS) + "|",
    ]
    lines += ["| " + " | ".join(row(verdict)) + " |" for verdict in run["claims"]]
    return "\n".join(lines)


def python_of(run: dict[str, Any]) -> list[int]:
    """Return the version of "CPython 3.14.1" as numbers."""
    return [int(digits) for digits in re.findall(r"\d+", run["environment"]["python"])]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="into docs/performance.md")
    parser.add_argument("--run", type=Path, metavar="FILE", help=f"instead of {RUN} in build/")
    options = parser.parse_args()
    files = [options.run] if options.run else [folder / RUN for folder in MEASURED]
    runs = {file: json.loads(file.read_text()) for file in files if file.is_file()}
    if not runs:
        print(f"no {RUN} is there: run scripts/compare_loops.sh --full first", file=sys.stderr)
        return 1
    source = max(runs, key=lambda file: python_of(runs[file]))
    run = runs[source]
    print(f"from {source}: {run['environment']['python']}", file=sys.stderr)
    if absent := {"asyncio", "uvloop", "peer", *OURS} - run["loops"].keys():
        print(f"{source} has no figures of {', '.join(sorted(absent))}", file=sys.stderr)
        return 1
    text = table(run)
    if not options.write:
        print(text)
        return 0
    GeneratedPart("performance.md", "claims").replace(text)
    PICTURES.mkdir(exist_ok=True)
    for measured, shown in PICTURE_NAMES.items():
        shutil.copyfile(source.with_name(measured), PICTURES / shown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
