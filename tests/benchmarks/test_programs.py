"""benchmarks/claims/programs.py: its loads and clients count what was done, and check it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from harness import claims  # noqa: E402  (needs the path above)
from harness.asked import AskedClient  # noqa: E402
from harness.machine import choose_cpus  # noqa: E402
from harness.measure import MeasurementError, Rig, UnsupportedError  # noqa: E402
from harness.peers import Peer  # noqa: E402
from harness.plots import write_programs  # noqa: E402
from harness.services import HttpAnswers, Service  # noqa: E402
from harness.suite import Case, Collected  # noqa: E402
from traffic.clients import window  # noqa: E402
from traffic.http_answers import answers_to  # noqa: E402
from traffic.websocket_load import frame  # noqa: E402


@pytest.fixture
def rig() -> Rig:
    return Rig(Path("no-load-generator"), choose_cpus(), {})


def test_a_window_counts_what_all_tasks_did() -> None:
    calls = 0

    async def request() -> int:
        nonlocal calls
        await asyncio.sleep(0)
        calls += 1
        return 2

    assert asyncio.run(window([request] * 5, 0.05)) == 2 * calls > 10


@pytest.mark.parametrize(
    ("received", "ended"),
    [(b"GET", (0, b"GET")), (b"a\r\n\r\n", (1, b"")), (b"a\r\n\r\nb\r\n\r\nc\r\n", (2, b"c\r\n"))],
)
def test_each_end_of_a_head_is_one_request(received: bytes, ended: tuple[int, bytes]) -> None:
    assert answers_to(received) == ended


def test_frames_are_those_of_the_rfc() -> None:
    # RFC 6455, 5.7: a masked "Hello", but binary and with our mask.
    assert frame(b"Hello", masked=False) == b"\x82\x05Hello"
    masked = frame(b"Hello", masked=True)
    assert masked[:6] == b"\x82\x85\x5a\xa5\x3c\xc3"
    assert (
        bytes(a ^ b for a, b in zip(masked[6:], b"\x5a\xa5\x3c\xc3\x5a", strict=True)) == b"Hello"
    )
    assert frame(bytes(1024), masked=False)[:4] == b"\x82\x7e\x04\x00"


def asyncio_peer() -> Peer:
    return Peer("asyncio", sys.executable, "Loop", "1")


def test_a_client_answers_what_it_is_asked(rig: Rig) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed (requirements-benchmarks.txt)")
    service = HttpAnswers()
    for _ in range(2):  # started again, it has another port
        with service.used(rig) as port, AskedClient(rig, asyncio_peer(), "aiohttp", port) as client:
            client.wait_until_ready()
            for _ in range(2):
                sample = client.measure("get", 0.01, 0.1)
                assert sample["messages"] > 10
                assert 0 < sample["server_cpu_seconds"] <= sample["seconds"] * 1.1
                assert sample["messages_per_cpu_second"] > 0
        assert service.process is None


def test_a_client_says_why_it_ended(rig: Rig) -> None:
    pytest.importorskip("aiohttp", reason="aiohttp is not installed (requirements-benchmarks.txt)")
    with AskedClient(rig, asyncio_peer(), "aiohttp", 1) as client:  # nobody listens there
        client.wait_until_ready()
        with pytest.raises(MeasurementError, match="Cannot connect"):
            client.measure("get", 0.01, 0.1)


class Missing(Service):
    checked = 0

    def check(self) -> None:
        self.checked += 1
        raise UnsupportedError("it is not installed")


def test_a_service_that_is_missing_is_looked_for_once(rig: Rig) -> None:
    service = Missing()
    for _ in range(3):
        with pytest.raises(UnsupportedError), service.used(rig):
            pass
    assert service.checked == 1


class Counted(HttpAnswers):
    started = 0

    def command(self) -> list[str]:
        self.started += 1
        return super().command()


def test_a_service_lives_as_long_as_anybody_uses_it(rig: Rig) -> None:
    service = Counted()
    with service.used(rig) as port, service.used(rig) as same:
        assert port == same != 0
        assert service.process
        assert service.process.poll() is None
    assert service.started == 1
    assert service.process is None


def verdicts(*ratios: float) -> Iterator[claims.Verdict]:
    for ratio in ratios:
        claim = claims.Claim("a program", "programs/any", 1.0, 1.2)
        yield claims.Verdict(claim, True, "uvloop", 1.0, ratio, [ratio] * 3, [])


@pytest.mark.parametrize(
    ("ratios", "ending"),
    [
        (
            (1.0, 1.3, 1.25),
            "3 real programs: 1.25 (at least 1.1, goal 1.2): goal",
        ),
        ((1.0, 1.2, 1.101), "1.10 (at least 1.1, goal 1.2): yes"),
        ((1.09, 1.0, 5.0), "1.09 (at least 1.1, goal 1.2): NO"),
        ((), ""),
    ],
)
def test_the_median_of_the_programs_has_bounds(ratios: tuple[float, ...], ending: str) -> None:
    assert claims.real_programs([*verdicts(*ratios)]).endswith(ending)


def test_a_picture_of_the_programs_that_uvloop_ran(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed (requirements-dev.txt)")
    case = Case("programs/grpc", "gRPC unary", "messages_per_cpu_second")
    found = Collected([Peer(name, "python", "Loop", "1") for name in ("uvloop", "uring")])
    for peer in found.peers:
        found.add(case, peer, {case.figure: 100.0})
    rows = claims.verdicts_of(found)
    assert write_programs(tmp_path / "it.png", found, rows, "caption") == ""
    assert (tmp_path / "it.png").read_bytes().startswith(b"\x89PNG")
    found.samples[case.key].pop("uvloop")
    assert "uvloop ran none" in write_programs(tmp_path / "none.png", found, rows, "caption")
