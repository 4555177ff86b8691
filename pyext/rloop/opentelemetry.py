"""Observable instruments for OpenTelemetry: `rloop.opentelemetry.instrument()`.

They are asked by whoever collects, in its thread. The semantic conventions have no names for loops
of asyncio; ours follow those for Node.js's, with utilization and quantiles as gauges over the time
since the last collection by anybody (there are no observable histograms).
"""

from __future__ import annotations

import weakref

from . import __version__
from .figures import instruments
from .readings import named_loops

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
    from .figures import Attributes, Look
    from .readings import Reading

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
        if self in self._instruments.asked_by:
            self._instruments.asked_by.remove(self)


class _Instruments:
    """All instruments of a meter. A collection asks them one by one; they speak of one moment."""

    def __init__(self, meter: metrics.Meter) -> None:
        self.asked_by: list[Instrumentation] = []
        self._last: weakref.WeakKeyDictionary[UringEventLoop, Reading] = weakref.WeakKeyDictionary()
        self._seen: list[tuple[Attributes, Reading, Reading]] = []
        self._answered: set[str] = set()
        for kind, name, unit, text, looks in instruments():
            make = getattr(meter, f"create_observable_{kind}")
            make(name, callbacks=[self._callback(name, looks)], unit=unit, description=text)

    def _callback(self, name: str, looks: list[tuple[Attributes, Look]]) -> Any:
        def observe(_options: metrics.CallbackOptions) -> list[metrics.Observation]:
            if not self._answered or name in self._answered:  # a new collection
                self._look()
            self._answered.add(name)
            return [
                metrics.Observation(value, {**about, **attributes})
                for about, before, now in self._seen
                for attributes, look in looks
                if (value := look(before, now)) is not None
            ]

        return observe

    def _look(self) -> None:
        self._answered, self._seen = set(), []
        for name, loop in named_loops():
            if any(one.covers(loop) for one in self.asked_by):
                about = {"rloop.eventloop.name": name, "rloop.eventloop.backend": loop.backend}
                now = loop._observe()
                self._seen.append((about, self._last.get(loop, {}), now))
                self._last[loop] = now
