"""What the kernel counts for a server's process beside its CPU time, as in `loadgen/window.cpp`.

Page faults that needed no disk, context switches of all its threads, and the TCP segments of the
whole machine. For loads in Python, which read them at both ends of their window.
"""

from __future__ import annotations

import re
from pathlib import Path

# Of the fields of /proc/PID/stat behind the program's name, which may hold spaces.
MINOR_FAULTS = 7


def read_counters(pid: int) -> dict[str, int]:
    folder = Path(f"/proc/{pid}")
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    threads = [path.read_text() for path in folder.glob("task/*/status")]
    return {
        "minor_faults": int(fields[MINOR_FAULTS]),
        "voluntary_switches": _sum_of("voluntary_ctxt_switches", threads),
        "involuntary_switches": _sum_of("nonvoluntary_ctxt_switches", threads),
        "tcp_segments": _tcp_segments(),
    }


def counted(start: dict[str, int], end: dict[str, int]) -> dict[str, int]:
    return {name: end[name] - count for name, count in start.items()}


def _sum_of(name: str, texts: list[str]) -> int:
    found = (re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE) for text in texts)
    return sum(int(match[1]) for match in found if match)


def _tcp_segments() -> int:
    lines = Path("/proc/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    columns = dict(zip(names, values, strict=True))
    return int(columns["InSegs"]) + int(columns["OutSegs"])
