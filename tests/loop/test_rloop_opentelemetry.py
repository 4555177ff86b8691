"""rloop.opentelemetry: the instruments as the SDK's reader in memory sees them."""

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from observed import BACKENDS, converse
from programs import check_script
from support import RLOOP_IDS, loops_only, new_loop, wanted

if not wanted("rloop"):
    pytest.skip("RLOOP_TESTS_LOOPS asks for other loops alone", allow_module_level=True)
pytest.importorskip("opentelemetry.sdk.metrics", reason="opentelemetry-sdk (requirements-dev.txt)")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from rloop import exported
from rloop.opentelemetry import instrument

pytestmark = loops_only(*RLOOP_IDS)

Points = dict[str, list[tuple[dict[str, Any], float]]]


class Told:
    """A provider, and what it collects."""

    def __init__(self) -> None:
        self._readers = [InMemoryMetricReader(), InMemoryMetricReader()]
        self.provider = MeterProvider(metric_readers=self._readers, shutdown_on_exit=False)

    def collect(self, reader: int = 0) -> Points:
        """By instrument: attributes and value of each point."""
        data = self._readers[reader].get_metrics_data()
        return {
            metric.name: [(dict(one.attributes), one.value) for one in metric.data.data_points]
            for resource in (data.resource_metrics if data else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def told() -> Iterator[Told]:
    found = Told()
    yield found
    found.provider.shutdown()


def names(points: Points) -> list[str]:
    """The loops that turns were told of."""
    turns = points.get("rloop.eventloop.turns", [])
    return sorted(attributes["rloop.eventloop.name"] for attributes, _ in turns)


def run_briefly(loop: Any) -> None:
    loop.run_until_complete(asyncio.sleep(0))


def test_every_figure_is_that_of_statistics(loop: Any, loop_id: str, told: Told) -> None:
    converse(loop)
    loop.name = "told"
    instrument(loop, told.provider)
    points, statistics = told.collect(), loop._observe()
    about = {"rloop.eventloop.name": "told", "rloop.eventloop.backend": BACKENDS[loop_id]}
    for key, _, name, attributes, *_ in (*exported.COUNTERS, *exported.GAUGES):
        expected = statistics[key] / (1e9 if key.endswith("_ns") else 1)
        assert ({**about, **attributes}, expected) in points[f"rloop.{name}"]
    received = {**about, "network.io.direction": "receive"}
    assert dict(points["rloop.network.io"][0][0]) == received
    assert points["rloop.network.io"][0][1] >= 200


def test_gauges_are_of_the_time_since_the_last_collection(loop: Any, told: Told) -> None:
    instrument(loop, told.provider)
    run_briefly(loop)
    told.collect()

    def work(blocking: float, waiting: float) -> Points:
        async def main() -> None:
            time.sleep(blocking)  # noqa: ASYNC251
            await asyncio.sleep(waiting)

        loop.run_until_complete(main())
        return told.collect()

    blocked, quiet = work(0.4, 0.01), work(0.0, 0.2)
    busy = [points["rloop.eventloop.utilization"][0][1] for points in (blocked, quiet)]
    assert 0 < busy[1] < busy[0] <= 1
    slowest = [points["rloop.eventloop.turn.duration.p99"][0][1] for points in (blocked, quiet)]
    assert slowest[0] > 0.268  # the bucket of 0.4 s begins there
    assert slowest[1] < slowest[0]
    middle = blocked["rloop.eventloop.turn.duration.p50"][0][1]
    assert 0 < middle <= slowest[0]
    queues = {attributes["rloop.eventloop.queue"] for attributes, _ in blocked[DELAY]}
    assert queues == {"ready", "timers"}
    # It did not run since: there is no part of nothing, and no quantile.
    idle = told.collect()
    assert "rloop.eventloop.utilization" not in idle
    assert DELAY not in idle
    assert names(idle) == names(blocked)


DELAY = "rloop.eventloop.delay.p99"


def test_every_reader_gets_every_instrument(loop: Any, told: Told) -> None:
    converse(loop)
    instrument(loop, told.provider)
    first = told.collect(0)
    converse(loop)
    assert set(told.collect(1)) == set(first)


def test_all_loops_are_told_of_and_one_that_ended_no_more(loop_id: str, told: Told) -> None:
    instrument(meter_provider=told.provider)
    loops: list[Any] = [new_loop(loop_id) for _ in range(2)]
    for number, one in enumerate(loops):
        one.name = f"number {number}"
        run_briefly(one)
    ours = {"number 0", "number 1"}
    assert ours <= set(names(told.collect()))
    loops[0].close()
    assert ours & set(names(told.collect())) == {"number 1"}
    loops[1].close()
    assert not ours & set(names(told.collect()))


def test_each_call_can_be_taken_back(loop: Any, loop_id: str, told: Told) -> None:
    other: Any = new_loop(loop_id)
    try:
        for one, name in ((loop, "one"), (other, "other")):
            one.name = name
            run_briefly(one)
        first = instrument(loop, told.provider)
        again = instrument(loop, told.provider)
        second = instrument(other, told.provider)
        assert names(told.collect()) == ["one", "other"]
        first.uninstrument()
        assert names(told.collect()) == ["one", "other"]
        again.uninstrument()
        again.uninstrument()
        assert names(told.collect()) == ["other"]
        second.uninstrument()
        assert names(told.collect()) == []
        instrument(loop, told.provider)
        assert names(told.collect()) == ["one"]
    finally:
        other.close()


def test_the_global_provider_may_be_set_later(loop_id: str) -> None:
    source = """
        import asyncio, sys, rloop, rloop.opentelemetry
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        loop = rloop.new_event_loop(sys.argv[1])
        loop.run_until_complete(asyncio.sleep(0))
        first = rloop.opentelemetry.instrument(loop)
        reader = InMemoryMetricReader()
        provider = MeterProvider(metric_readers=[reader])
        metrics.set_meter_provider(provider)
        again = rloop.opentelemetry.instrument(loop, provider)

        def told():
            data = reader.get_metrics_data()
            return sum(len(s.metrics) for r in data.resource_metrics for s in r.scope_metrics)

        print(told() > 20)
        first.uninstrument()
        print(told() > 20)
        loop.close()
    """
    assert check_script(source, BACKENDS[loop_id]).split() == ["True", "True"]


def test_a_loop_that_takes_a_name_goes_on_counting_where_the_last_one_stood(
    loop: Any, loop_id: str, told: Told
) -> None:
    def turns() -> float:
        ((_, value),) = told.collect()["rloop.eventloop.turns"]
        return value

    instrumentation = instrument(meter_provider=told.provider)
    loop.name = "worker"
    loop.run_until_complete(asyncio.sleep(0.001))
    first = turns()
    assert first > 0
    loop.close()
    another: Any = new_loop(loop_id)
    another.name = "worker"
    run_briefly(another)
    second = turns()
    assert second > first
    another.close()
    instrumentation.uninstrument()
