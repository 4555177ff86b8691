"""Compares coverage with its bounds, and lists what no test reaches.

Takes a build folder in which programs have counted (`-Db_coverage=true`), and asks gcov. Prints
each file's unreached lines and lines with unreached branches, and on stderr the sums of each area;
exits with 1 where a sum is below its bound. tests/coverage/unreached.txt names what cannot be
reached by a test, with the reason; such lines are marked, and count as what they are: unreached.

gcov's own reports are asked, not gcovr's, which adds up the branches of an inline function over all
the files that include it: each copy would have to be reached.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent

#: Of lines and of branches, in percent.
BOUNDS = {"src/": (97.0, 90.0), "pyext/native/": (95.0, 85.0)}


class Line(NamedTuple):
    """What is known of one line of source, over all functions made from it."""

    hits: int
    branches: tuple[int, ...]

    def merged(self, other: Line) -> Line:
        """With another copy of the same function: what one of them reaches is reached."""
        longer, shorter = sorted((self.branches, other.branches), key=len, reverse=True)
        if len(longer) == len(shorter):
            longer = tuple(map(max, longer, shorter))
        return Line(max(self.hits, other.hits), longer)


def gcov_reports(build: Path) -> Iterator[tuple[bool, dict[str, Any]]]:
    """One for each file that was compiled, and whether it is a test's."""
    for counts in build.rglob("*.gcda"):
        command = [
            os.environ.get("GCOV", "gcov"),
            "--json-format",
            "--stdout",
            "--branch-probabilities",
        ]
        done = subprocess.run(
            [*command, str(counts)], cwd=build, stdout=subprocess.PIPE, check=True
        )
        for report in done.stdout.splitlines():
            yield "tests" in counts.relative_to(build).parts, json.loads(report)


def read_counts(build: Path) -> dict[str, dict[int, Line]]:
    """The lines of each of our files. A template's line is reached where one instance's is."""
    files: dict[str, dict[int, Line]] = defaultdict(dict)
    for of_test, report in gcov_reports(build):
        for file in report["files"]:
            path = os.path.relpath(build / file["file"], ROOT)
            if not path.startswith(tuple(BOUNDS)):
                continue
            lines = files[path]
            for line in file["lines"]:
                # What is thrown out of a function that throws nothing is the compiler's branch.
                branches = (b["count"] for b in line["branches"] if not b["throw"])
                # In a test GoogleTest's own branches stand at the lines that its macros call.
                found = Line(line["count"], () if of_test else tuple(branches))
                known = lines.get(line["line_number"], Line(0, ()))
                lines[line["line_number"]] = found.merged(known)
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
    files = read_counts(Path(sys.argv[1]).resolve())
    reasons = read_reasons(ROOT / "tests" / "coverage" / "unreached.txt")
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    for name, lines in sorted(files.items()):
        source = (ROOT / name).read_text().splitlines()
        for number, line in sorted(lines.items()):
            text = source[number - 1].strip()
            if "_ASSERT(" in text:  # whose other side ends the process
                line = Line(line.hits, ())
            unreached = sum(not count for count in line.branches)
            for area in BOUNDS:
                if name.startswith(area):
                    total = sums[area]
                    total[0] += line.hits > 0
                    total[1] += 1
                    total[2] += len(line.branches) - unreached
                    total[3] += len(line.branches)
            if line.hits and not unreached:
                continue
            what = "line" if not line.hits else f"{unreached} of {len(line.branches)} branches"
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
