"""Compares coverage with its bounds, and lists what no test reaches.

Takes gcovr's JSON report. Prints each file's unreached lines and lines with unreached branches, then
the sums of each area; exits with 1 where a sum is below its bound. tests/coverage/unreached.txt names
what cannot be reached by a test, with the reason; such lines are listed, marked, and count as they
are: unreached.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent

#: Of lines and of branches, in percent.
BOUNDS = {"src/": (97.0, 90.0), "pyext/native/": (95.0, 85.0)}


class Line(NamedTuple):
    """What is known of one line of source, over all functions made from it."""

    count: int
    branches: tuple[int, ...]


def read_report(path: Path) -> dict[str, dict[int, Line]]:
    """The lines of each file. A template's line is reached where one of its instances is."""
    files: dict[str, dict[int, Line]] = {}
    for file in json.loads(path.read_text())["files"]:
        lines: dict[int, Line] = {}
        for line in file["lines"]:
            number = line["line_number"]
            branches = tuple(branch["count"] for branch in line["branches"])
            known = lines.get(number, Line(0, ()))
            if len(branches) == len(known.branches):
                branches = tuple(map(max, branches, known.branches))
            elif len(branches) < len(known.branches):
                branches = known.branches
            lines[number] = Line(max(line["count"], known.count), branches)
        files[file["file"]] = lines
    return files


def read_reasons(path: Path) -> dict[str, str]:
    """Why a line, given as `PATH: SOURCE`, is reached by no test."""
    reasons: dict[str, str] = {}
    reason = ""
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.startswith("# "):
            reason = line[2:]
        elif line.strip():
            reasons[line.strip()] = reason
    return reasons


def main() -> int:
    files = read_report(Path(sys.argv[1]))
    reasons = read_reasons(ROOT / "tests" / "coverage" / "unreached.txt")
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, lines in sorted(files.items()):
        source = (ROOT / name).read_text().splitlines()
        for number, line in sorted(lines.items()):
            unreached = sum(not count for count in line.branches)
            for area in BOUNDS:
                if name.startswith(area):
                    total = sums[area]
                    total[0] += line.count > 0
                    total[1] += 1
                    total[2] += len(line.branches) - unreached
                    total[3] += len(line.branches)
            if line.count and not unreached:
                continue
            text = source[number - 1].strip()
            what = "line" if not line.count else f"{unreached} of {len(line.branches)} branches"
            reason = reasons.get(f"{name}: {text}")
            print(f"{name}:{number}: {what}: {text}" + (f"  [{reason}]" if reason else ""))
    failed = False
    for area, bounds in BOUNDS.items():
        reached, count, taken, branches = sums[area]
        shares = (100 * reached / max(count, 1), 100 * taken / max(branches, 1))
        good = all(share >= bound for share, bound in zip(shares, bounds, strict=True))
        failed = failed or not good
        print(
            f"{area}: {shares[0]:.1f} % of {count} lines (bound {bounds[0]:g}), "
            f"{shares[1]:.1f} % of {branches} branches (bound {bounds[1]:g})"
            + ("" if good else ": too few"),
            file=sys.stderr,
        )
    return failed


if __name__ == "__main__":
    sys.exit(main())
