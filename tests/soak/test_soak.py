"""The soak itself: a few seconds of it, and whether it would see what it looks for."""

from __future__ import annotations

import json
import math
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .flatness import Allowance, Verdict, judge
from .sessions import ECHOES, SENDERS, Plan
from .wire import PERIOD, Checker, WrongByte, pattern

ALLOWANCE = Allowance(part=0.03, amount=1024)
SECONDS = 1200


def verdict_on(shape: Callable[[float], float], noise: float = 300.0) -> Verdict:
    """What is said of a level of 40 000 with `shape` and noise that lasts for some seconds."""
    dice = random.Random(1)
    times = [float(t) for t in range(SECONDS)]
    drift = 0.0
    values = []
    for t in times:
        drift = 0.9 * drift + dice.gauss(0, noise)
        values.append(40_000 + shape(t) + drift)
    return judge(times, values, ALLOWANCE).verdict


def test_a_leak_is_found() -> None:
    assert verdict_on(lambda t: 5 * t) is Verdict.GROWS


def test_noise_alone_is_flat() -> None:
    assert verdict_on(lambda t: 0) is Verdict.FLAT


def test_what_fills_during_the_warm_up_is_flat() -> None:
    assert verdict_on(lambda t: 10_000 * (1 - math.exp(-t / 40))) is Verdict.FLAT


def test_a_single_late_peak_is_no_leak() -> None:
    assert verdict_on(lambda t: 8000 if t > SECONDS - 20 else 0) is not Verdict.GROWS


def test_a_wild_value_is_not_called_flat() -> None:
    assert verdict_on(lambda t: 0, noise=8000) is Verdict.NOISY


def test_few_samples_allow_no_verdict() -> None:
    assert judge([0, 1, 2], [1, 2, 3], ALLOWANCE).verdict is Verdict.TOO_SHORT


def test_every_plan_of_a_seed_is_the_same() -> None:
    for kind in ECHOES + SENDERS:
        assert str(Plan(kind, 5)) == str(Plan(kind, 5))


def test_right_bytes_are_right_in_any_pieces() -> None:
    checker = Checker(7, "test")
    for size in (1, 17, 65_536, 200_000, PERIOD):
        checker.check(pattern(7, checker.position, size))
    long = b"".join(pattern(7, checker.position + i * PERIOD, PERIOD) for i in range(3))
    checker.check(long)


@pytest.mark.parametrize(
    ("wrong", "explanation"),
    [
        pytest.param(pattern(7, 0, 99) + b"?" + pattern(7, 100, 50), "byte 99 ", id="changed"),
        pytest.param(pattern(7, 0, 100) + pattern(7, 50, 100), "belong -50 ", id="doubled"),
        pytest.param(pattern(7, 0, 100) + pattern(7, 130, 100), "belong 30 ", id="lost"),
        pytest.param(pattern(8, 0, 100), "byte 0 ", id="of another connection"),
    ],
)
def test_a_wrong_byte_is_explained(wrong: bytes, explanation: str) -> None:
    with pytest.raises(WrongByte) as caught:
        Checker(7, "test").check(wrong)
    assert explanation in str(caught.value)


@pytest.mark.timeout(180)
def test_a_few_seconds_on_both_engines_pass(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "soak", "0.1", "--seed", "1", "--out", str(tmp_path)]
    command += ["--clients", "2", "--connections", "8"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    for engine in ("epoll", "io_uring"):
        report = json.loads((tmp_path / f"soak-{engine}-1.json").read_text())
        assert report["counts"]["messages"] > 0
        assert (tmp_path / f"soak-{engine}-1.png").stat().st_size > 10_000
