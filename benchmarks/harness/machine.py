"""The machine that the benchmarks run on: what it is, and which of its CPUs do what.

The server under test and the load get a CPU each, so that neither steals the other's time; CPUs
that share a physical core are avoided while there is a choice. With a single CPU both share it, and
the report says so: throughput then measures server and load together, CPU per message still the
server alone.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cpus:
    """The CPU of the servers and the CPU of the load."""

    server: int
    load: int

    @property
    def shared(self) -> bool:
        return self.server == self.load

    def describe(self) -> str:
        if self.shared:
            return f"server and load share CPU {self.server}: this machine offers only one"
        return f"server on CPU {self.server}, load on CPU {self.load}"


def choose_cpus() -> Cpus:
    """Take the first CPU that this process may use, and one that shares no core with it."""
    usable = sorted(os.sched_getaffinity(0))
    server, others = usable[0], usable[1:]
    siblings = _siblings(server)
    apart = [cpu for cpu in others if cpu not in siblings]
    return Cpus(server, next(iter(apart or others), server))


def _siblings(cpu: int) -> set[int]:
    path = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    found: set[int] = set()
    with contextlib.suppress(OSError, ValueError):
        for part in path.read_text().strip().split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    return found


@contextlib.contextmanager
def pinned_to(cpu: int) -> Iterator[None]:
    """Start the processes of this block on one CPU: they inherit it from the calling thread."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe() -> dict[str, str]:
    """Return what a reader needs to judge the figures."""
    load = ", ".join(f"{value:.2f}" for value in os.getloadavg())
    return {
        "cpu": f"{_cpu_model()}, {os.cpu_count()} CPUs",
        "memory": _memory(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python compiler": platform.python_compiler(),
        "libc": " ".join(platform.libc_ver()) or "unknown",
        "load average before": load,
        "date": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "command": " ".join(sys.argv),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model", "cpu model")):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown CPU"


def _memory() -> str:
    pages, page_size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return f"{pages * page_size / 2**30:.1f} GiB"
