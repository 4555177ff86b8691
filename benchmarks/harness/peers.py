"""The loops that are compared, the environment each lives in, and whether it works here.

`uring` and `epoll` are this project's two engines, in the environment that runs the comparison;
`asyncio` and `uvloop` live there too. Every other package has an environment of its own, which
scripts/compare_loops.sh makes; one of them, `peer`, is the older package that is imported as
`rloop` as well. A loop that cannot be had is left out by name and with the reason, never silently,
and never replaced: if io_uring is refused on this machine, `uring` is left out rather than measured
on epoll. The limits are servers in C++ (benchmarks/limit): shown beside the loops where they have a
server of the kind, and compared with by nobody but the claims' column "of C".
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BENCHMARKS = Path(__file__).resolve().parents[1]
REFERENCE = "uvloop"
# The name here -> the name on the command lines of server.py and call_soon.py.
LOOPS = {
    "asyncio": "asyncio",
    "uvloop": "uvloop",
    "peer": "rloop",
    "zuvloop": "zuvloop",
    "rsloop": "rsloop",
    "blazio": "blazio",
    "uring": "uring",
    "epoll": "epoll",
}
# Likewise of the limits, which are no loops.
LIMITS = {"limit-uring": "uring", "limit-epoll": "epoll"}
LABELS = {
    "peer": "rloop (peer)",
    "uring": "ours io_uring",
    "epoll": "ours epoll",
    "limit-uring": "limit uring",
    "limit-epoll": "limit epoll",
}
# Those with environments of their own, and the distribution that each holds.
PACKAGES = {"peer": "rloop", "zuvloop": "zuvloop", "rsloop": "rsloop", "blazio": "blazio"}
PROBE_SECONDS = 20.0


@dataclass(frozen=True)
class Peer:
    """One loop that works here, or a limit: then `python` is the program itself."""

    name: str
    python: str
    class_name: str
    version: str

    @property
    def label(self) -> str:
        return LABELS.get(self.name, self.name)

    @property
    def loop_option(self) -> str:
        return (LOOPS | LIMITS)[self.name]

    def command(self, program: str) -> list[str]:
        """Return the command line that starts a server."""
        return [self.python] if self.name in LIMITS else command_of(self.python, program)


def environment_of(name: str) -> Path:
    """The Python of a package's own environment, which must be of the running version."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    return BENCHMARKS.parent / "build" / f"peers-{version}" / PACKAGES[name] / "bin" / "python"


def find_peers(names: list[str], pythons: dict[str, str]) -> tuple[list[Peer], dict[str, str]]:
    """Return the loops that work, in the order of `names`, and the reasons why others do not.

    `pythons` names environments other than those that scripts/compare_loops.sh makes.
    """
    peers: list[Peer] = []
    left_out: dict[str, str] = {}
    for name in names:
        python = sys.executable
        if name in PACKAGES:
            python = pythons.get(name) or str(environment_of(name))
            if not Path(python).exists():
                left_out[name] = f"{PACKAGES[name]} is not installed in an environment here"
                continue
        answer = _probe(python, LOOPS[name])
        if reason := _objection(name, answer):
            left_out[name] = reason
        else:
            peers.append(Peer(name, python, answer["class"], answer["version"]))
    return peers, left_out


def find_limits(names: list[str], program: Path) -> tuple[list[Peer], dict[str, str]]:
    """Return the limits among the names that work, and the reasons why others do not."""
    limits: list[Peer] = []
    left_out: dict[str, str] = {}
    for name in (name for name in LIMITS if name in names):
        command = [str(program), "--loop", LIMITS[name], "--check"]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
            )
        except OSError as error:
            left_out[name] = str(error)
            continue
        if done.returncode == 0:
            limits.append(Peer(name, str(program), "none", done.stdout.strip()))
        else:
            left_out[name] = done.stderr.strip()
    return limits, left_out


def command_of(python: str, program: str) -> list[str]:
    """Return the command line of `server.py`, or of a program that run.py finds in the rooms."""
    if program == "server.py":
        return [python, str(BENCHMARKS / program)]
    return [python, str(BENCHMARKS / "run.py"), program]


def _probe(python: str, loop_option: str) -> dict[str, Any]:
    command = [*command_of(python, "loops"), loop_option]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
        answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return {"error": f"making it and running it once took over {PROBE_SECONDS:.0f} s"}
    except OSError as error:
        return {"error": str(error)}
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return {"error": f"its process ended with status {done.returncode}: {last}"}
    return answer


def _objection(name: str, answer: dict[str, Any]) -> str:
    if error := answer.get("error"):
        return str(error)
    backend = answer["backend"]
    if name == "uring" and backend != "io_uring":
        return f"io_uring is not in use, the loop runs on {backend} ({answer['reason']})"
    if name == "epoll" and backend != "epoll":
        return f"the loop runs on {backend}, not on epoll"
    if name == "peer" and backend is not None:
        return "the rloop in its environment is this project's, not the peer's"
    return ""
