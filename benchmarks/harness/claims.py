"""The claims of this project, and the table that says how each stands in one run.

A claim is a case, a bound to reach ("at least") and one to aim for ("goal"). Its value is the ratio
of our io_uring engine to the best of all other loops in the same run, each by the median of the
ratios taken in each round; close rows are judged in rounds that did not choose the best
(repeats.py). Costs want a small ratio, rates a large one; system calls per message are an absolute
figure. Where another loop is ahead the noise is looked at: within
it the row is "equal", beyond it "BEHIND". Our epoll engine is held against uvloop (not behind) and
the best of the loops on epoll (not behind by more than 3 %).
Beside it stands what Python and the loop cost together: our io_uring's CPU to that of the limit's
ring ("of C"), which decides nothing.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any

from harness.report import Table, number, ratios
from harness.suite import Collected

OTHERS = ("asyncio", "uvloop", "peer", "zuvloop", "rsloop", "blazio")
ON_EPOLL = ("asyncio", "uvloop", "peer", "zuvloop")  # the other two have rings
EPOLL_MARGIN = 0.03  # that our epoll engine may be behind the best of these
# The keys of the real programs begin so; their median has bounds of its own.
REAL = ("web/", "programs/")
REAL_AT_LEAST, REAL_GOAL = 1.1, 1.2  # of their median
BEHIND, EQUAL = "BEHIND", "equal"
LEAST_ROUNDS = 3  # for a verdict that somebody is ahead
NEAR = 0.1  # a median ratio that is no farther from 1


@dataclass(frozen=True)
class Claim:
    """`against` names the one loop that is compared with, instead of the best of all."""

    label: str
    key: str
    at_least: float
    goal: float
    absolute: bool = False
    against: str | None = None


KIB, LARGE = 1024, 100 * 1024
CLAIMS = [
    Claim("call_soon + dispatch", "call_soon/plain", 1.5, 2.0),
    Claim("call_soon with args", "call_soon/args", 1.5, 2.0),
    Claim("call_soon with context", "call_soon/context", 1.3, 1.6),
    Claim("call_soon_threadsafe, own thread", "threadsafe/own", 1.4, 2.0),
    Claim("call_soon_threadsafe, other thread", "threadsafe/other", 1.5, 2.0),
    Claim("call_later + cancel", "timers/arm_cancel-0", 1.8, 3.0),
    Claim("call_later + cancel, 100 000 live", "timers/arm_cancel-100000", 1.8, 3.0),
    Claim("re-arm, 100 000 live", "timers/rearm-100000", 1.3, 2.0),
    Claim("task step, sleep(0), 1 task", "tasks/sleep_1", 1.15, 1.4),
    Claim("task step, sleep(0), 100 tasks", "tasks/sleep_100", 1.1, 1.25),
    Claim("future wake-up", "tasks/future", 1.15, 1.4),
    Claim("create_task, run to its end", "tasks/create", 1.15, 1.4),
    Claim("gather of 100 coroutines", "tasks/gather", 1.15, 1.4),
    Claim("getaddrinfo of a literal", "resolve/ipv4", 1.05, 1.5),
    Claim("child process, spawn and wait", "spawn/plain", 1.0, 1.1),
    Claim("child process, 64 KiB through", "spawn/piped", 1.0, 1.1),
    Claim("TCP 1 KiB protocol x 1", f"echo/tcp-proto-{KIB}-1", 1.0, 0.9),
    Claim("TCP 1 KiB protocol x 100", f"echo/tcp-proto-{KIB}-100", 0.88, 0.78),
    Claim("TCP 1 KiB protocol x 1000", f"echo/tcp-proto-{KIB}-1000", 0.78, 0.65),
    Claim("TCP 1 KiB streams x 100", f"echo/tcp-streams-{KIB}-100", 0.80, 0.65),
    Claim("TCP 1 KiB streams x 1000", f"echo/tcp-streams-{KIB}-1000", 0.78, 0.60),
    Claim("TCP 1 KiB sock_* x 100", f"echo/tcp-raw-{KIB}-100", 0.80, 0.65),
    Claim("TCP 100 KiB protocol x 10", f"echo/tcp-proto-{LARGE}-10", 0.97, 0.85),
    Claim("TCP 100 KiB buffered x 10", f"echo/tcp-buffered-{LARGE}-10", 0.97, 0.85),
    Claim("TCP 100 KiB streams x 10", f"echo/tcp-streams-{LARGE}-10", 0.97, 0.85),
    Claim("TCP 100 KiB sock_* x 10", f"echo/tcp-raw-{LARGE}-10", 0.97, 0.85),
    Claim("bulk to the server, protocol", "bulk/to-proto", 0.97, 0.8),
    Claim("bulk to the server, buffered", "bulk/to-buffered", 0.97, 0.8),
    Claim("bulk to the server, streams", "bulk/to-streams", 0.97, 0.8),
    Claim("bulk to the server, sock_*", "bulk/to-raw", 0.97, 0.8),
    Claim("bulk from the server, protocol", "bulk/from-proto", 0.97, 0.8),
    Claim("bulk from the server, streams", "bulk/from-streams", 0.97, 0.8),
    Claim("bulk from the server, sock_*", "bulk/from-raw", 0.97, 0.8),
    Claim("unix 1 KiB protocol x 100", f"echo/unix-proto-{KIB}-100", 0.78, 0.65),
    Claim("unix 1 KiB protocol x 1000", f"echo/unix-proto-{KIB}-1000", 0.62, 0.45),
    Claim("UDP 512 B, 100 peers", "udp/udp-proto-512-100", 0.85, 0.7),
    Claim("TLS 1 KiB x 100", f"tls/tls-proto-{KIB}-100", 0.80, 0.6),
    Claim("TLS 100 KiB x 10", f"tls/tls-proto-{LARGE}-10", 0.97, 0.85),
    Claim("TLS handshakes", "tls/handshakes", 1.0, 1.1),
    Claim("connection churn", f"churn/tcp-proto-{KIB}-10", 0.9, 0.75),
    Claim("accept and close", "churn/accept-proto", 0.9, 0.75),
    Claim("uvicorn plaintext", "web/uvicorn-13", 1.0, 1.2),
    Claim("uvicorn, body of 10 KiB", f"web/uvicorn-{10 * KIB}", 1.0, 1.2),
    Claim("aiohttp server", "web/aiohttp-13", 1.0, 1.2),
    Claim("aiohttp client", "programs/aiohttp-get", 1.0, 1.2),
    Claim("httpx client", "programs/httpx-get", 1.0, 1.2),
    Claim("websockets echo", "programs/websockets", 1.0, 1.2),
    Claim("gRPC unary", "programs/grpc", 1.0, 1.2),
    Claim("asyncpg SELECT 1", "programs/asyncpg-select", 1.0, 1.2),
    Claim("asyncpg 1000 rows", "programs/asyncpg-rows", 1.0, 1.2),
    Claim("redis GET", "programs/redis-get", 1.0, 1.2),
    Claim("redis pipeline of 100", "programs/redis-pipeline", 1.0, 1.2),
    Claim("asyncssh copy", "programs/asyncssh-copy", 1.0, 1.2),
    Claim("memory per idle connection", "idle/memory-proto", 0.85, 0.6),
    Claim("system calls per message x 100", "echo/syscalls", 0.1, 0.05, absolute=True),
    Claim("latency p50, 1 connection", "echo/latency", 1.0, 0.9),
    Claim("start-up of a loop", "startup/loop", 1.0, 0.8, against="uvloop"),
    Claim("import of the package", "startup/import", 1.0, 0.8, against="uvloop"),
]


@dataclass(frozen=True)
class Verdict:
    """How one claim stands; None is what was not measured, no ratios likewise."""

    claim: Claim
    more_is_better: bool
    best: str | None
    best_median: float | None
    ours_median: float | None
    ours_ratios: list[float]
    epoll_ratios: list[float]  # to uvloop
    best_on_epoll: str | None = None
    best_epoll_ratios: list[float] = field(default_factory=list)
    c_ratio: float | None = None

    def gain(self, value: float) -> float:
        """Turn a ratio into "so many times better"."""
        return value if self.more_is_better else 1 / value

    @property
    def ours_ratio(self) -> float | None:
        return statistics.median(self.ours_ratios) if self.ours_ratios else None

    @property
    def epoll_ratio(self) -> float | None:
        return statistics.median(self.epoll_ratios) if self.epoll_ratios else None

    @property
    def best_epoll_ratio(self) -> float | None:
        return statistics.median(self.best_epoll_ratios) if self.best_epoll_ratios else None

    @property
    def epoll_is_behind_its_kind(self) -> bool:
        stands = standing(self.best_epoll_ratios, self.more_is_better, EPOLL_MARGIN)
        return not self.claim.absolute and stands == BEHIND

    @property
    def reached(self) -> str:
        value = self.ours_median if self.claim.absolute else self.ours_ratio
        if value is None:
            return "-"
        if stands := standing(self.ours_ratios, self.more_is_better):
            return stands
        if self._as_good(value, self.claim.goal):
            return "goal"
        return "yes" if self._as_good(value, self.claim.at_least) else "NO"

    @property
    def is_close(self) -> bool:
        """Whether more rounds may change who is ahead; the same for both sides."""
        if self.claim.absolute:
            return False
        return any(map(is_close, (self.ours_ratios, self.epoll_ratios, self.best_epoll_ratios)))

    @property
    def distance(self) -> float:
        """How far the ratio is from 1."""
        return abs((self.ours_ratio or 0.0) - 1)

    @property
    def epoll_is_worse(self) -> bool:
        return standing(self.epoll_ratios, self.more_is_better) == BEHIND

    def _as_good(self, value: float, bound: float) -> bool:
        """Judge what is shown, two digits: the thousandths of a ratio are noise."""
        value = round(value, 2)
        return value >= bound if self.more_is_better else value <= bound


def standing(ratios: list[float], more_is_better: bool, margin: float = 0.0) -> str:
    """Return BEHIND, EQUAL or "" for a loop whose ratios to another, one of each round, these are.

    It is behind if the median says so, and merely equal if the noise may be why: the quartiles do
    not say so too, or the rounds were too few to know. Two digits are judged, as everywhere.
    """

    def is_behind(ratio: float) -> bool:
        shown = round(ratio, 2)
        return shown < round(1 - margin, 2) if more_is_better else shown > round(1 + margin, 2)

    if not ratios or not is_behind(statistics.median(ratios)):
        return ""
    if len(ratios) < LEAST_ROUNDS:
        return EQUAL
    quartiles = statistics.quantiles(ratios, n=4, method="inclusive")
    return BEHIND if all(map(is_behind, quartiles)) else EQUAL


def is_close(ratios: list[float]) -> bool:
    """Whether the median is near 1, or the quartiles of the rounds lie on both sides of it."""
    if len(ratios) < LEAST_ROUNDS:
        return bool(ratios)
    quartiles = [round(value, 2) for value in statistics.quantiles(ratios, n=4, method="inclusive")]
    return min(quartiles) < 1 < max(quartiles) or abs(statistics.median(ratios) - 1) < NEAR


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
    others = [name for name in OTHERS if name in medians and claim.against in (None, name)]

    split = collected.first_rounds.get(claim.key)

    def compared(name: str, reference: str | None, *, first: bool = False) -> list[float]:
        if reference is None:
            return []
        rounds = [collected.rounds(claim.key, one) for one in (name, reference)]
        if split is not None and (first or min(map(len, rounds)) > split):
            rounds = [all_[:split] if first else all_[split:] for all_ in rounds]
        return ratios(*rounds, case.figure)

    def best_for(name: str, among: list[str]) -> str | None:
        """The one to which `name` compares worst, round by round: others may have fewer rounds."""
        choose = min if case.more_is_better else max
        found = {other: compared(name, other, first=True) for other in among}
        compares = {other: some for other, some in found.items() if some}
        by_median = sorted(among, key=medians.__getitem__, reverse=case.more_is_better)
        if not compares:
            return by_median[0] if by_median else None
        return choose(compares, key=lambda other: statistics.median(compares[other]))

    best = best_for("uring", others)
    best_on_epoll = best_for("epoll", [name for name in others if name in ON_EPOLL])
    of_c = compared("uring", "limit-uring")
    return Verdict(
        claim,
        case.more_is_better,
        best,
        None if best is None else medians[best],
        medians.get("uring"),
        compared("uring", best),
        compared("epoll", "uvloop"),
        best_on_epoll,
        compared("epoll", best_on_epoll),
        statistics.median(of_c) if of_c and case.figure.endswith("cpu_us") else None,
    )


def verdicts_of(collected: Collected) -> list[Verdict]:
    found = (judge(collected, claim) for claim in CLAIMS)
    return [verdict for verdict in found if verdict is not None]


def claim_table(verdicts: list[Verdict]) -> Table:
    headers = ["", "best other", "", "io_uring", "ratio", "at least", "goal", "reached"]
    table = Table(
        "Claims: io_uring to the best of the other loops; epoll to uvloop",
        [*headers, "epoll/uvloop", "/best on epoll", "of C"],
    )
    for verdict in verdicts:
        claim = verdict.claim
        of_best = _two_digits(verdict.best_epoll_ratio)
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
                of_best + (" worse" if verdict.epoll_is_behind_its_kind else ""),
                _two_digits(verdict.c_ratio),
            ]
        )
    return table


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def is_program(verdict: Verdict) -> bool:
    """Whether it is of a program that is measured whole."""
    return verdict.claim.key.startswith(REAL)


def real_programs(verdicts: list[Verdict]) -> str:
    """Return the line on the median of the programs' ratios, which has bounds; "" without any."""
    found = [v.ours_ratio for v in verdicts if is_program(v) and v.ours_ratio]
    if not found:
        return ""
    median = statistics.median(found)
    bounds = ((REAL_GOAL, "goal"), (REAL_AT_LEAST, "yes"), (0.0, "NO"))
    reached = next(word for bound, word in bounds if round(median, 2) >= bound)
    return (
        f"median of the {len(found)} real programs: {median:.2f} "
        f"(at least {REAL_AT_LEAST:g}, goal {REAL_GOAL:g}): {reached}"
    )


def summary(verdicts: list[Verdict]) -> str:
    """Return how many stand how, those that are behind first and by name."""
    reached = [verdict.reached for verdict in verdicts]
    behind = [v.claim.label for v in verdicts if v.reached == BEHIND]
    worse = [v.claim.label for v in verdicts if v.epoll_is_worse]
    of_its_kind = [v.claim.label for v in verdicts if v.epoll_is_behind_its_kind]
    return (
        f"of {len(verdicts)} claims {_named(behind)} behind the best other; "
        f"{reached.count('goal')} reach their goal, {reached.count('yes')} at least their bound, "
        f"{reached.count('NO')} are ahead by less, {reached.count(EQUAL)} equal within the noise, "
        f"{reached.count('-')} were not measured; epoll: {_named(worse)} behind uvloop, "
        f"{_named(of_its_kind)} behind the best on epoll by more than {EPOLL_MARGIN:.0%}"
    )


def _named(labels: list[str]) -> str:
    verb = "is" if len(labels) == 1 else "are"
    return f"{len(labels)} ({', '.join(labels)}) {verb}" if labels else "none is"


def as_json(verdicts: list[Verdict]) -> list[dict[str, Any]]:
    return [
        asdict(verdict)
        | {
            "ours_ratio": verdict.ours_ratio,
            "epoll_ratio": verdict.epoll_ratio,
            "reached": verdict.reached,
            "epoll_is_worse": verdict.epoll_is_worse,
            "best_epoll_ratio": verdict.best_epoll_ratio,
            "epoll_is_behind_its_kind": verdict.epoll_is_behind_its_kind,
        }
        for verdict in verdicts
    ]
