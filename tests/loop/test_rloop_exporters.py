"""rloop.prometheus: the page as it is scraped; and what all exporters have in common."""

import asyncio
import math
import os
import threading
import time
from typing import Any

import pytest
from observed import BACKENDS, converse
from programs import check_script, run_script
from support import DEADLINE, RLOOP_IDS, loops_only, new_loop, wanted

if not wanted("rloop"):
    pytest.skip("RLOOP_TESTS_LOOPS asks for other loops alone", allow_module_level=True)

import rloop
from rloop import exported, readings

pytestmark = loops_only(*RLOOP_IDS)

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def page(**options: Any) -> Series:
    """What Prometheus would see of this process now, parsed as it is scraped."""
    pytest.importorskip("prometheus_client", reason="prometheus-client (requirements-dev.txt)")
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.parser import text_string_to_metric_families

    import rloop.prometheus

    registry = CollectorRegistry()
    rloop.prometheus.Collector(registry, **options)
    found: Series = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        assert family.documentation
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, f"two series are {key}"
            found[key] = sample.value
    return found


def named(series: Series, name: str, **labels: str) -> list[float]:
    """The values of all series of that name which have these labels."""
    wanted = set(labels.items())
    return [v for (n, have), v in series.items() if n == name and wanted <= set(have)]


# --- Prometheus -----------------------------------------------------------------------------------


def test_every_figure_of_the_page_is_that_of_statistics(loop: Any, loop_id: str) -> None:
    converse(loop)
    loop.name = "told"
    seen, statistics = page(), loop._observe()
    labels = {"loop": "told", "backend": BACKENDS[loop_id]}
    for rows, suffix in ((exported.COUNTERS, "_total"), (exported.GAUGES, "")):
        for key, name, *_ in rows:
            expected = statistics[key] / (1e9 if key.endswith("_ns") else 1)
            assert named(seen, f"rloop_{name}{suffix}", **labels) == [expected], key
    assert named(seen, "rloop_received_messages_total", **labels)[0] >= 40
    assert named(seen, "rloop_busy_seconds_total", **labels)[0] > 0
    about = {"version": rloop.__version__, "process": str(os.getpid())}
    assert named(seen, "rloop_loop_info", **labels, **about) == [1.0]


def test_each_bucket_counts_all_that_lies_below_it(loop: Any) -> None:
    converse(loop)
    loop.name = "told"
    seen, statistics = page(), loop._observe()
    for key, name, *_ in exported.HISTOGRAMS:
        counts = statistics[f"{key}_ns"]
        buckets = {
            dict(labels)["le"]: value
            for (sample, labels), value in seen.items()
            if sample == f"rloop_{name}_bucket" and ("loop", "told") in labels
        }
        assert len(buckets) > 15
        for bound, value in buckets.items():
            power = math.log2(float(bound) * 1e9) if bound != "+Inf" else 63
            assert power == pytest.approx(round(power))
            assert value == sum(counts[: round(power) + 1]), (key, bound)
        assert buckets["+Inf"] == sum(counts) > 0
        assert named(seen, f"rloop_{name}_count", loop="told") == [sum(counts)]
        total = statistics[f"{key}_total_ns"] / 1e9
        assert named(seen, f"rloop_{name}_sum", loop="told") == [total]


def test_a_long_turn_is_in_the_right_bucket(loop: Any) -> None:
    loop.name = "told"
    loop.call_soon(time.sleep, 0.02)
    loop.call_soon(loop.stop)
    loop.run_forever()
    seen = page()
    (below,) = named(seen, "rloop_turn_seconds_bucket", loop="told", le="0.016777216")
    assert below <= named(seen, "rloop_turn_seconds_count", loop="told")[0] - 1
    assert named(seen, "rloop_turn_seconds_sum", loop="told")[0] >= 0.02


def test_loops_of_one_name_are_told_apart_as_long_as_they_live(loop: Any, loop_id: str) -> None:
    others: list[Any] = [new_loop(loop_id) for _ in range(2)]
    try:
        for one in (loop, *others):
            one.name = "twin"
            one.run_until_complete(asyncio.sleep(0))

        def names() -> dict[str, Any]:
            return {name: one for name, one in readings.named_loops() if one.name == "twin"}

        before = names()
        assert set(before) == {"twin", "twin-2", "twin-3"}
        assert len(named(page(), "rloop_turns_total")) >= 3  # page() refuses what is there twice
        # Not the last one's end, nor the number that is free again, changes another one's name.
        (ending,) = {name for name, one in before.items() if one is others[0]}
        before.pop(ending).close()
        assert names() == before
        others.append(new_loop(loop_id))
        others[-1].name = "twin"
        assert names() == {**before, ending: others[-1]}
        others[-1].name = "other"
        assert names() == before
    finally:
        for one in others:
            one.close()


def test_a_loop_that_ended_is_not_on_the_page(loop_id: str) -> None:
    ended = new_loop(loop_id)
    ended.name = "ended"
    ended.run_until_complete(asyncio.sleep(0))
    assert len(named(page(), "rloop_turns_total", loop="ended")) == 1
    ended.close()
    assert named(page(), "rloop_turns_total", loop="ended") == []


def test_a_page_is_made_while_the_loop_hangs(loop: Any) -> None:
    loop.name = "hangs"
    hangs, seen = threading.Event(), threading.Event()
    pages: list[Series] = []

    def scrape() -> None:
        assert hangs.wait(DEADLINE)
        pages.append(page())
        seen.set()

    def hang() -> None:
        hangs.set()
        assert seen.wait(DEADLINE)

    thread = threading.Thread(target=scrape)
    thread.start()
    loop.call_soon(hang)
    loop.call_soon(loop.stop)
    loop.run_forever()
    thread.join()
    assert len(named(pages[0], "rloop_busy_seconds_total", loop="hangs")) == 1


def test_loops_come_and_go_while_pages_are_made(loop_id: str) -> None:
    over = threading.Event()

    def live() -> None:
        while not over.is_set():
            one: Any = new_loop(loop_id)
            one.run_until_complete(asyncio.sleep(0))
            one.close()

    threads = [threading.Thread(target=live) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(100):
            page()
    finally:
        over.set()
        for thread in threads:
            thread.join()


def test_counters_never_fall_while_the_loop_works(loop: Any) -> None:
    # Prometheus takes a counter that fell for one that began anew, and adds it whole.
    loop.name = "told"
    fallen: list[str] = []
    over = threading.Event()

    def watch() -> None:
        before: dict[str, Any] = {}
        while not over.is_set():
            now = loop._observe()
            keys = [row[0] for row in exported.COUNTERS]
            fallen.extend(key for key in keys if readings.gained(before, now, key) < 0)
            before = now

    thread = threading.Thread(target=watch)
    thread.start()

    async def work() -> None:
        for number in range(1000):
            await asyncio.sleep(0.0001 if number % 2 else 0)

    loop.run_until_complete(work())
    for _ in range(10):
        converse(loop)  # what a connection has counted outlives it
    over.set()
    thread.join()
    assert fallen == []


def test_the_page_may_name_the_process(loop: Any) -> None:
    loop.name = "told"
    pid = str(os.getpid())
    assert len(named(page(pid=True), "rloop_turns_total", loop="told", pid=pid)) == 1
    assert named(page(), "rloop_turns_total", pid=pid) == []


def test_a_second_collector_in_a_registry_is_refused() -> None:
    pytest.importorskip("prometheus_client")
    from prometheus_client import CollectorRegistry

    import rloop.prometheus

    registry = CollectorRegistry(auto_describe=True)
    rloop.prometheus.Collector(registry)
    with pytest.raises(ValueError, match="rloop_busy_seconds"):
        registry.register(rloop.prometheus.Collector())


@pytest.mark.parametrize(
    ("module", "package"),
    [("prometheus", "prometheus_client"), ("opentelemetry", "opentelemetry")],
)
def test_without_its_package_an_exporter_says_what_to_install(module: str, package: str) -> None:
    source = f"""
        import sys
        sys.modules[{package!r}] = None
        import rloop.{module}
    """
    done = run_script(source)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"ImportError: rloop.{module} needs {package.replace('_', '-')}")
    assert f"pip install 'rloop-uring[{module}]'" in last


def test_nothing_of_this_is_imported_with_rloop() -> None:
    source = """
        import sys, rloop
        for name in ("prometheus", "opentelemetry", "interval_report", "readings", "exported"):
            assert f"rloop.{name}" not in sys.modules, name
        assert "prometheus_client" not in sys.modules
    """
    check_script(source)


# --- quantiles ------------------------------------------------------------------------------------


def histogram(**buckets: int) -> tuple[int, ...]:
    return tuple(buckets.get(f"b{bucket}", 0) for bucket in range(64))


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        (histogram(), 0.5, None),
        (histogram(b0=4), 0.99, 0.0),
        (histogram(b20=4), 1.0, 2**20 / 1e9),
        (histogram(b20=4), 0.5, 2**19 * 1.5 / 1e9),
        (histogram(b10=99, b30=1), 0.99, 2**10 / 1e9),
        (histogram(b10=98, b30=2), 0.99, 2**29 * 1.5 / 1e9),
    ],
)
def test_a_quantile_is_linear_in_its_bucket(
    counts: tuple[int, ...], part: float, expected: float | None
) -> None:
    assert readings.quantile(counts, part) == (expected and pytest.approx(expected))
