"""The claims of this project, and the table that says how each stands in one run.

A claim is a case, a bound to reach ("at least") and one to aim for ("goal"). Its value is the ratio
of our io_uring engine to the best of all other loops in the same run: the best by the median, then
the median of the ratios taken in each round. Costs want a small ratio, rates a large one; system
calls per message are an absolute figure. Our epoll engine is held against uvloop: no worse. Beside
it stands what Python and the loop cost together: our io_uring's CPU to that of the limit's ring
("of C"), which decides nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from harness.report import Table, number, ratio
from harness.suite import Collected

OTHERS = ("asyncio", "uvloop", "peer", "zuvloop", "rsloop", "blazio")


@dataclass(frozen=True)
class Claim:
    label: str
    key: str
    at_least: float
    goal: float
    absolute: bool = False


KIB, LARGE = 1024, 100 * 1024
CLAIMS = [
    Claim("call_soon + dispatch", "call_soon/plain", 2.0, 2.5),
    Claim("call_soon with args", "call_soon/args", 2.0, 2.5),
    Claim("call_soon with context", "call_soon/context", 2.0, 2.5),
    Claim("call_soon_threadsafe, own thread", "threadsafe/own", 1.5, 2.0),
    Claim("call_soon_threadsafe, other thread", "threadsafe/other", 1.5, 2.0),
    Claim("call_later + cancel", "timers/arm_cancel-0", 4.0, 6.0),
    Claim("call_later + cancel, 100 000 live", "timers/arm_cancel-100000", 4.0, 6.0),
    Claim("re-arm, 100 000 live", "timers/rearm-100000", 4.0, 6.0),
    Claim("task step, sleep(0), 1 task", "tasks/sleep_1", 1.6, 2.2),
    Claim("task step, sleep(0), 100 tasks", "tasks/sleep_100", 1.6, 2.2),
    Claim("TCP 1 KiB protocol x 100", f"echo/tcp-proto-{KIB}-100", 0.87, 0.78),
    Claim("TCP 1 KiB protocol x 1000", f"echo/tcp-proto-{KIB}-1000", 0.70, 0.58),
    Claim("TCP 1 KiB streams x 100", f"echo/tcp-streams-{KIB}-100", 0.85, 0.72),
    Claim("TCP 1 KiB streams x 1000", f"echo/tcp-streams-{KIB}-1000", 0.75, 0.60),
    Claim("TCP 1 KiB sock_* x 100", f"echo/tcp-raw-{KIB}-100", 0.80, 0.70),
    Claim("TCP 100 KiB protocol x 10", f"echo/tcp-proto-{LARGE}-10", 1.0, 0.9),
    Claim("TCP 100 KiB buffered x 10", f"echo/tcp-buffered-{LARGE}-10", 1.0, 0.9),
    Claim("TCP 100 KiB streams x 10", f"echo/tcp-streams-{LARGE}-10", 1.0, 0.9),
    Claim("TCP 100 KiB sock_* x 10", f"echo/tcp-raw-{LARGE}-10", 1.0, 0.9),
    Claim("bulk to the server, protocol", "bulk/to-proto", 1.0, 0.9),
    Claim("bulk to the server, buffered", "bulk/to-buffered", 1.0, 0.9),
    Claim("bulk to the server, streams", "bulk/to-streams", 1.0, 0.9),
    Claim("bulk to the server, sock_*", "bulk/to-raw", 1.0, 0.9),
    Claim("bulk from the server, protocol", "bulk/from-proto", 1.0, 0.9),
    Claim("bulk from the server, streams", "bulk/from-streams", 1.0, 0.9),
    Claim("bulk from the server, sock_*", "bulk/from-raw", 1.0, 0.9),
    Claim("unix 1 KiB protocol x 100", f"echo/unix-proto-{KIB}-100", 0.80, 0.68),
    Claim("unix 1 KiB protocol x 1000", f"echo/unix-proto-{KIB}-1000", 0.60, 0.45),
    Claim("UDP 512 B, 100 peers", "udp/udp-proto-512-100", 0.80, 0.68),
    Claim("TLS 1 KiB x 100", f"tls/tls-proto-{KIB}-100", 0.95, 0.80),
    Claim("TLS 100 KiB x 10", f"tls/tls-proto-{LARGE}-10", 0.95, 0.80),
    Claim("connection churn", f"churn/tcp-proto-{KIB}-10", 0.95, 0.80),
    Claim("uvicorn plaintext", "web/uvicorn-13", 1.08, 1.15),
    Claim("uvicorn, body of 10 KiB", f"web/uvicorn-{10 * KIB}", 1.08, 1.15),
    Claim("aiohttp server", "web/aiohttp-13", 1.03, 1.10),
    Claim("memory per idle connection", "idle/memory-proto", 0.8, 0.5),
    Claim("system calls per message x 100", "echo/syscalls", 0.1, 0.05, absolute=True),
    Claim("latency p50, 1 connection", "echo/latency", 1.0, 0.9),
]


@dataclass(frozen=True)
class Verdict:
    """How one claim stands; None is what was not measured."""

    claim: Claim
    more_is_better: bool
    best: str | None
    best_median: float | None
    ours_median: float | None
    ours_ratio: float | None
    epoll_ratio: float | None
    c_ratio: float | None = None

    def gain(self, value: float) -> float:
        """Turn a ratio into "so many times better"."""
        return value if self.more_is_better else 1 / value

    @property
    def reached(self) -> str:
        value = self.ours_median if self.claim.absolute else self.ours_ratio
        if value is None:
            return "-"
        if self._as_good(value, self.claim.goal):
            return "goal"
        return "yes" if self._as_good(value, self.claim.at_least) else "NO"

    @property
    def epoll_is_worse(self) -> bool:
        return self.epoll_ratio is not None and not self._as_good(self.epoll_ratio, 1.0)

    def _as_good(self, value: float, bound: float) -> bool:
        """Judge what is shown, two digits: the thousandths of a ratio are noise."""
        value = round(value, 2)
        return value >= bound if self.more_is_better else value <= bound


def judge(collected: Collected, claim: Claim) -> Verdict | None:
    """Return how the claim stands, or None if its case is not in this run."""
    case = collected.cases.get(claim.key)
    if case is None:
        return None
    medians = {
        peer.name: spread.median
        for peer in collected.peers
        if (spread := collected.spread(claim.key, peer.name)) is not None
    }
    others = [name for name in OTHERS if name in medians]
    choose = max if case.more_is_better else min
    best = choose(others, key=lambda name: medians[name]) if others else None

    def compared(name: str, reference: str | None) -> float | None:
        if reference is None:
            return None
        rounds = collected.rounds(claim.key, name), collected.rounds(claim.key, reference)
        return ratio(*rounds, case.figure)

    return Verdict(
        claim,
        case.more_is_better,
        best,
        None if best is None else medians[best],
        medians.get("uring"),
        compared("uring", best),
        compared("epoll", "uvloop"),
        compared("uring", "limit-uring") if case.figure.endswith("cpu_us") else None,
    )


def verdicts_of(collected: Collected) -> list[Verdict]:
    found = (judge(collected, claim) for claim in CLAIMS)
    return [verdict for verdict in found if verdict is not None]


def claim_table(verdicts: list[Verdict]) -> Table:
    headers = ["", "best other", "", "io_uring", "ratio", "at least", "goal", "reached"]
    table = Table(
        "Claims: io_uring to the best of the other loops; epoll to uvloop",
        [*headers, "epoll/uvloop", "of C"],
    )
    for verdict in verdicts:
        claim = verdict.claim
        of_epoll = "-" if verdict.epoll_ratio is None else f"{verdict.epoll_ratio:.2f}"
        shown = "abs." if claim.absolute else _two_digits(verdict.ours_ratio)
        table.rows.append(
            [
                claim.label,
                verdict.best or "-",
                number(verdict.best_median),
                number(verdict.ours_median),
                shown,
                f"{claim.at_least:g}",
                f"{claim.goal:g}",
                verdict.reached,
                of_epoll + (" worse" if verdict.epoll_is_worse else ""),
                _two_digits(verdict.c_ratio),
            ]
        )
    return table


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def summary(verdicts: list[Verdict]) -> str:
    reached = [verdict.reached for verdict in verdicts]
    worse = sum(verdict.epoll_is_worse for verdict in verdicts)
    return (
        f"of {len(verdicts)} claims {reached.count('goal')} reach their goal, "
        f"{reached.count('yes')} at least their bound, {reached.count('NO')} do not, "
        f"{reached.count('-')} were not measured; epoll is behind uvloop in {worse}"
    )


def as_json(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    return [
        asdict(verdict) | {"reached": verdict.reached, "epoll_is_worse": verdict.epoll_is_worse}
        for verdict in verdicts
    ]
