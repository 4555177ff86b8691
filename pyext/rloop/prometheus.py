"""A collector for prometheus-client: every loop of the process, each time its page is asked for.

    prometheus_client.REGISTRY.register(rloop.prometheus.Collector())

It keeps nothing, and runs in the thread that makes the page. prometheus-client's multiprocess mode
leaves out what custom collectors say, so each process has a page of its own: see docs/observe.md.
"""

from __future__ import annotations

import os

from . import __version__
from .exported import COUNTERS, GAUGES, HISTOGRAMS, in_base_units
from .readings import named_loops

try:
    from prometheus_client import registry as _registry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        InfoMetricFamily,
    )
except ImportError as exc:
    raise ImportError(
        "rloop.prometheus needs prometheus-client: pip install 'rloop-uring[prometheus]'"
    ) from exc

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from .readings import Reading

    Seen = list[tuple[list[str], Reading]]

# The buckets that are shown: of durations below 2^b ns, from a microsecond to a minute, one by one
# where turns and lags differ. A shown bucket's count is exact, the hidden ones are in the next.
_BOUNDS = (10, 12, 14, 16, *range(17, 31), 32, 34, 36)


class Collector(_registry.Collector):
    """What the loops of this process do, under names that begin with "rloop_".

    registry: registers itself there at once. pid: each series says the process's id, too, for pages
    that somebody puts together; the labels of all are `loop` (its name) and `backend`.
    """

    def __init__(
        self, registry: _registry.CollectorRegistry | None = None, *, pid: bool = False
    ) -> None:
        self._labels = ["loop", "backend", *(["pid"] if pid else [])]
        if registry is not None:
            registry.register(self)

    def describe(self) -> Iterator[Metric]:
        """The families without figures: what a registry looks at to find names that it has."""
        return self._families([])

    def collect(self) -> Iterator[Metric]:
        """The families with what there is now, of the loops that are open."""
        pid = [str(os.getpid())] if "pid" in self._labels else []
        seen: Seen = [([name, loop.backend, *pid], loop._observe()) for name, loop in named_loops()]
        return self._families(seen)

    def _families(self, seen: Seen) -> Iterator[Metric]:
        info = InfoMetricFamily("rloop_loop", "Each open loop.", labels=self._labels)
        for labels, _ in seen:
            about = {"version": __version__, "process": str(os.getpid())}
            info.add_metric(labels, about)
        yield info
        for family, rows in ((CounterMetricFamily, COUNTERS), (GaugeMetricFamily, GAUGES)):
            for key, name, *_, text in rows:
                metric = family(f"rloop_{name}", text, labels=self._labels)
                for labels, reading in seen:
                    metric.add_metric(labels, in_base_units(key, reading[key]))
                yield metric
        for key, name, *_, text in HISTOGRAMS:
            histogram = HistogramMetricFamily(f"rloop_{name}", text, labels=self._labels)
            for labels, reading in seen:
                histogram.add_metric(
                    labels, _buckets(reading[f"{key}_ns"]), reading[f"{key}_total_ns"] / 1e9
                )
            yield histogram


def _buckets(counts: tuple[int, ...]) -> list[tuple[str, float]]:
    """Upper bounds in seconds, each with the count of all that lie below."""
    shown = [(repr(2**b / 1e9), float(sum(counts[: b + 1]))) for b in _BOUNDS]
    return [*shown, ("+Inf", float(sum(counts)))]
