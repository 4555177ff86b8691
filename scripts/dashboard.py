"""The queries of examples/observe/dashboard.json, asked of a Prometheus as Grafana asks them.

For tests/ecosystem, which look whether each gives figures, and for scripts/dashboard_picture.py.
Grafana is no Debian package; what is known of it here is how it fills in a query's variables.
"""

from __future__ import annotations

import json
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "observe"

#: Seconds that an answer may take.
PATIENCE = 15


class Panel(NamedTuple):
    """What a panel shows: the unit is Grafana's; targets are expressions with their legends."""

    title: str
    unit: str
    targets: list[tuple[str, str]]


class Series(NamedTuple):
    """One curve: its labels, and (time, value) in the order of time."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


def panels() -> list[Panel]:
    """Those of the dashboard, in its order."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    return [
        Panel(
            panel["title"],
            panel["fieldConfig"]["defaults"]["unit"],
            [(target["expr"], target["legendFormat"]) for target in panel["targets"]],
        )
        for panel in dashboard["panels"]
    ]


def variables() -> dict[str, str]:
    """The query of each variable that the dashboard offers for choosing."""
    dashboard = json.loads((FOLDER / "dashboard.json").read_text())
    return {
        variable["name"]: variable["query"]
        for variable in dashboard["templating"]["list"]
        if variable["type"] == "query"
    }


def filled_in(expression: str, interval: str, **chosen: str) -> str:
    """An expression with what Grafana puts in; "All", where nothing is chosen, is everything."""
    expression = expression.replace("$__rate_interval", interval)
    return re.sub(r"\$(\w+)", lambda name: chosen.get(name[1], ".*"), expression)


def legend(text: str, labels: dict[str, str]) -> str:
    """A curve's legend: {{label}} is that label's value."""
    return re.sub(r"\{\{(\w+)\}\}", lambda name: labels.get(name[1], ""), text)


def configuration(targets: list[str], interval: str) -> str:
    """That of the example, with other targets and another interval between scrapes."""
    text = (FOLDER / "prometheus.yml").read_text()
    head, rest = text.split("- targets:\n")
    (indent,) = {line[: line.index("-")] for line in rest.splitlines()}
    lines = [f"{indent}- {target}\n" for target in targets]
    head = re.sub(r"scrape_interval: \w+", f"scrape_interval: {interval}", head)
    return f"{head}- targets:\n{''.join(lines)}"


class Client:
    """Asks a Prometheus on a port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}/api/v1"

    def now(self, expression: str) -> list[Series]:
        """The value of an expression now, for each series."""
        found = self._ask("query", query=expression)["result"]
        return [_series(one["metric"], [one["value"]]) for one in found]

    def between(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """Its curves."""
        found = self._ask("query_range", query=expression, start=start, end=end, step=step)
        return [_series(one["metric"], one["values"]) for one in found["result"]]

    def values_of(self, variable: str) -> list[str]:
        """What Grafana's label_values(selector, label) offers."""
        match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable)
        assert match, variable
        found: list[str] = self._ask(f"label/{match[2]}/values", **{"match[]": match[1]})
        return found

    def healthy_targets(self) -> int:
        """How many of the targets were scraped with success the last time."""
        return sum(one["health"] == "up" for one in self._ask("targets")["activeTargets"])

    def _ask(self, what: str, **arguments: object) -> Any:
        url = f"{self._address}/{what}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return json.load(answer)["data"]


def _series(labels: dict[str, str], points: list[tuple[float, str]]) -> Series:
    return Series(labels, [(time, float(value)) for time, value in points])
