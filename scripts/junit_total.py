"""Adds up JUnit XML reports: prints `passed failed skipped` of the files given as arguments.

Part of scripts/test.sh, which gets one report from each pytest and one from `meson test`. An error
while setting a test up or tearing it down counts as a failure; a report that is missing or cut off
counts as nothing, and the step that should have written it has failed by its exit code.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def count(report: Path) -> tuple[int, int, int]:
    """Passed, failed and skipped tests of one report."""
    passed = failed = skipped = 0
    for case in ElementTree.parse(report).iter("testcase"):
        tags = {child.tag for child in case}
        if tags & {"failure", "error"}:
            failed += 1
        elif "skipped" in tags or case.get("status") == "notrun":
            skipped += 1
        else:
            passed += 1
    return passed, failed, skipped


def main() -> None:
    totals = [0, 0, 0]
    for name in sys.argv[1:]:
        try:
            counts = count(Path(name))
        except (OSError, ElementTree.ParseError):
            continue
        totals = [total + number for total, number in zip(totals, counts, strict=True)]
    print(*totals)


if __name__ == "__main__":
    main()
