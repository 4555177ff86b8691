"""Observable instruments for OpenTelemetry: `rloop.opentelemetry.instrument()`.

Asked by whoever collects, in its thread. Names follow the semantic conventions for Node.js's loop;
utilization and quantiles are of the time since the last collection.
"""

from __future__ import annotations

import threading
import weakref

from . import __version__
from .exported import COUNTERS, instruments
from .readings import Series, named_loops

try:
    from opentelemetry import metrics
except ImportError as exc:
    raise ImportError(
        "rloop.opentelemetry needs opentelemetry-api: pip install 'rloop-uring[opentelemetry]'"
    ) from exc

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

    from .event_loop import UringEventLoop
    from .exported import Attributes

# By provider, for an SDK asks the first instrument of a name alone. The module stands for the
# global provider, which may be set later.
_instruments: weakref.WeakKeyDictionary[object, _Instruments] = weakref.WeakKeyDictionary()


def instrument(
    loop: UringEventLoop | None = None, meter_provider: metrics.MeterProvider | None = None
) -> Instrumentation:
    """Let a meter provider (None: the global one) observe a loop (None: all, later ones too).

    What is returned ends it. A loop that is closed is left out from then on.
    """
    is_global = meter_provider is None or meter_provider is metrics.get_meter_provider()
    provider: Any = metrics if is_global else meter_provider
    if provider not in _instruments:
        _instruments[provider] = _Instruments(provider.get_meter("rloop", __version__))
    return Instrumentation(_instruments[provider], loop)


class Instrumentation:
    """One call of instrument(), until uninstrument()."""

    def __init__(self, instruments: _Instruments, loop: UringEventLoop | None) -> None:
        self._instruments = instruments
        self._loop = None if loop is None else weakref.ref(loop)
        instruments.asked_by.append(self)

    def covers(self, loop: UringEventLoop) -> bool:
        return self._loop is None or self._loop() is loop

    def uninstrument(self) -> None:
        """Nothing is observed on behalf of this call any more; a second time it does nothing."""
        self._instruments.asked_by = [one for one in self._instruments.asked_by if one is not self]


class _Instruments:
    """All instruments of a meter. A collection asks them one by one; they speak of one moment."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.asked_by: list[Instrumentation] = []
        self._lock = threading.Lock()  # readers collect in threads of their own
        self._series: dict[tuple[str, str], Series] = {}
        self._seen: list[tuple[Attributes, Series]] = []
        self._answered: set[str] = set()
        for kind, name, unit, text, looks in instruments():
            make = getattr(meter, f"create_observable_{kind}")
            make(name, [self._callback(name, looks, kind == "counter")], unit, text)

    def _callback(self, name: str, looks: list[tuple[Attributes, Any]], is_counter: bool) -> Any:
        def observe(_options: metrics.CallbackOptions) -> list[metrics.Observation]:
            with self._lock:
                if not self._answered or name in self._answered:  # a new collection
                    self._look()
                self._answered.add(name)
                return [
                    metrics.Observation(value, {**about, **attributes})
                    for about, series in self._seen
                    for attributes, look in looks
                    if (value := series.value(look, is_counter)) is not None
                ]

        return observe

    def _look(self) -> None:
        self._answered, self._seen = set(), []
        for name, loop in named_loops():
            if any(one.covers(loop) for one in self.asked_by):
                about = {"rloop.eventloop.name": name, "rloop.eventloop.backend": loop.backend}
                series = self._series.setdefault((name, loop.backend), Series(COUNTERS))
                series.read(loop)
                self._seen.append((about, series))
