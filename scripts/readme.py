"""A part of the README that a script writes: the text between two markers.

The markers are `<!-- NAME:begin -->` and `<!-- NAME:end -->`, each there once. What lies between
them belongs to the script that is named there; everything else in the README is written by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"


class GeneratedPart:
    """The text between the markers of `name`; SystemExit where the README has them not or twice."""

    def __init__(self, name: str) -> None:
        self._begin, self._end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"

    def read(self) -> str:
        return self._split()[1]

    def replace(self, text: str) -> None:
        before, _, after = self._split()
        README.write_text(f"{before}{self._begin}\n{text}\n{self._end}{after}")

    def _split(self) -> tuple[str, str, str]:
        text = README.read_text()
        if text.count(self._begin) != 1 or text.count(self._end) != 1:
            sys.exit(f"{README} has no single {self._begin} ... {self._end}")
        before, _, rest = text.partition(self._begin)
        between, _, after = rest.partition(self._end)
        return before, between, after
