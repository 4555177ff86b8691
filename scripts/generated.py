"""A part of a page that a script writes: the text between two markers.

The markers are `<!-- NAME:begin -->` and `<!-- NAME:end -->`, each there once. What lies between
them belongs to the script that is named there; everything else in the page is written by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


class GeneratedPart:
    """The text between the markers of `name`; SystemExit where the page has them not or twice."""

    def __init__(self, page: str, name: str) -> None:
        self._page = DOCS / page
        self._begin, self._end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"

    def read(self) -> str:
        return self._split()[1]

    def replace(self, text: str) -> None:
        before, _, after = self._split()
        self._page.write_text(f"{before}{self._begin}\n{text}\n{self._end}{after}")

    def _split(self) -> tuple[str, str, str]:
        text = self._page.read_text()
        if text.count(self._begin) != 1 or text.count(self._end) != 1:
            sys.exit(f"{self._page} has no single {self._begin} ... {self._end}")
        before, _, rest = text.partition(self._begin)
        between, _, after = rest.partition(self._end)
        return before, between, after
