"""The figures and words of the live view: quantiles, rates, units, trees."""

from __future__ import annotations

from typing import Any

import pytest
import support
from support import loops_only

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")
figures = __import__("rloop.inspection.figures", fromlist=["figures"])
text = __import__("rloop.inspection.text", fromlist=["text"])

pytestmark = loops_only(*support.RLOOP_IDS)


def histogram(**counts: int) -> list[int]:
    return [counts.get(f"b{bucket}", 0) for bucket in range(64)]


@pytest.mark.parametrize(
    ("counts", "part", "expected"),
    [
        (histogram(), 0.5, None),
        (histogram(b0=5), 0.99, 0),
        (histogram(b11=1), 1.0, 2048),
        (histogram(b11=100), 0.5, 1536),
        (histogram(b1=50, b21=50), 0.5, 2),
        (histogram(b1=50, b21=50), 0.51, 1048576 + 1048576 / 50),
        (histogram(b1=99, b63=1), 0.99, 2),
        (histogram(b1=98, b63=2), 1.0, 1 << 63),
    ],
)
def test_quantiles_lie_within_their_bucket(counts: list[int], part: float, expected: Any) -> None:
    assert figures.quantile(counts, part) == pytest.approx(expected)


def statistics(**values: Any) -> dict[str, Any]:
    zero: dict[str, Any] = dict.fromkeys(figures.COUNTERS, 0)
    return {**zero, **dict.fromkeys(figures.HISTOGRAMS, histogram()), **values}


def test_rates_are_differences_over_the_time_between() -> None:
    before = statistics(turns=100, syscalls=50, messages_in=7, busy_ns=5 * 10**9, idle_ns=10**9)
    now = statistics(
        turns=300,
        syscalls=80,
        messages_in=17,
        messages_out=10,
        busy_ns=6 * 10**9,
        idle_ns=4 * 10**9,
    )
    found = figures.Figures.between(before, now, 2.0)
    assert found.rate("turns") == 100
    assert found.rate("messages_in", "messages_out") == 10
    assert found.utilization == 0.25
    assert found.calls_per_message == 1.5
    assert not found.hangs
    of_all = figures.Figures.between(None, now, 0.0)
    assert of_all.seconds == 10
    assert of_all.utilization == 0.6


def test_a_loop_that_did_nothing_has_no_figures() -> None:
    found = figures.Figures.between(statistics(), statistics(), 1.0)
    assert (found.utilization, found.calls_per_message, found.rate("turns")) == (None, None, 0)
    assert found.quantiles("timer_lag_ns") == (None, None)
    assert figures.Figures.between(None, statistics(), 0.0).rate("turns") == 0


def test_only_a_loop_that_was_busy_and_ended_no_turn_hangs() -> None:
    second = 10**9
    for turns, busy, hangs in ((0, second, True), (1, second, False), (0, 0, False)):
        now = statistics(turns=turns, busy_ns=busy, idle_ns=second - busy)
        assert figures.Figures.between(statistics(), now, 1.0).hangs is hangs


def test_a_loop_that_is_new_or_unreadable() -> None:
    old = {"at": 10.0, "loops": [{"id": "0x1", "statistics": statistics(turns=5)}]}
    new = {
        "at": 12.0,
        "loops": [
            {"id": "0x1", "statistics": statistics(turns=7)},
            {"id": "0x2", "statistics": statistics(turns=3, busy_ns=10**9)},
            {"id": "0x3", "statistics": None},
        ],
    }
    found = figures.figures(old, new)
    assert {name: one.rate("turns") for name, one in found.items()} == {"0x1": 1.0, "0x2": 3.0}


WORDS = [
    (
        text.duration,
        [(None, "-"), (0, "0 ns"), (999, "999 ns"), (1500, "1.5 us"), (2.5e6, "2.5 ms")],
    ),
    (text.duration, [(999.6e6, "1.00 s"), (12.5e9, "12.5 s"), (125e9, "2 min")]),
    (text.ago, [(None, "-"), (99, "99 s"), (100, "1 min"), (6000, "1 h"), (200000, "2 d")]),
    (text.span, [(None, "-"), (59.9, "59 s"), (3661, "1 h 01 min"), (90000, "1 d 1 h")]),
    (text.number, [(None, "-"), (0, "0"), (0.25, "0.2"), (9999, "9999"), (12345, "12345")]),
    (text.number, [(123456, "123k"), (999999, "1000k"), (1.2e6, "1.2M"), (3e12, "3000G")]),
    (
        text.size,
        [(None, "-"), (0, "0 B"), (999, "999 B"), (2048, "2.0 KiB"), (500 << 20, "500 MiB")],
    ),
    (text.percent, [(None, "-"), (0.1234, "12.3 %"), (1, "100.0 %")]),
    (text.endpoint, [(None, "-"), (["::1", 5, 0, 0], "[::1]:5"), (["1.2.3.4", 5], "1.2.3.4:5")]),
    (text.endpoint, [("/a/\x1bb", "/a/\\x1bb"), ("", "-")]),
    (text.command, [([], "-"), (["/usr/bin/python3", "-c", "a\nb"], "python3 -c 'a\\nb'")]),
    (text.printable, [("\udcff\x00é\u202e", "\\udcff\\x00é\\u202e")]),
]


@pytest.mark.parametrize(
    ("word", "value", "expected"),
    [(word, value, expected) for word, pairs in WORDS for value, expected in pairs],
)
def test_words(word: Any, value: Any, expected: str) -> None:
    assert word(value) == expected


def test_a_task_waits_at_the_line_of_the_program() -> None:
    own, deeper, last = (
        {"function": name, "file": file, "line": 7}
        for name, file in (("f", "/app/a.py"), ("g", "/lib/asyncio/a.py"), ("h", "/lib/asyncio/b"))
    )
    assert text.place_of_wait([own]) == "f (/app/a.py:7)"
    assert text.place_of_wait([own, deeper, last]) == "f (/app/a.py:7) for g"
    assert text.place_of_wait([deeper, own]) == "f (/app/a.py:7)"
    assert text.place_of_wait([deeper, last]) == "h (/lib/asyncio/b:7)"


def drawn(**awaited_by: list[str]) -> list[str]:
    tasks = [{"id": name, "awaited_by": awaiters} for name, awaiters in awaited_by.items()]
    return [
        "." * depth + task["id"] + ("!" if task.get("again") else "")
        for depth, task in text.tree(tasks)
    ]


def test_a_tree_shows_each_task_below_those_that_wait_for_it() -> None:
    assert drawn(a=[], b=["a"], c=["b"], d=["a"], e=[]) == ["a", ".b", "..c", ".d", "e"]
    assert drawn(a=[], b=[], c=["a", "b"], d=["c"]) == ["a", ".c", "..d", "b", ".c!"]
    assert drawn(a=["b"], b=["a"], c=["b"]) == ["a", ".b", "..a!", "..c"]
    assert drawn(a=["unknown"], b=["a"]) == ["a", ".b"]
