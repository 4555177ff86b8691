"""All processes of this user that have a live view, at a glance; for ``ps`` and ``top``.

They are asked in threads, several at a time: one that hangs takes the whole timeout, and the others
shall not wait for it. One that does not answer is a row with the reason.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from . import client, processes
from .figures import Figures, figures
from .text import command, number, percent

#: Asked at a time: one that hangs takes the whole timeout.
AT_A_TIME = 16


@dataclass(frozen=True)
class Row:
    """One process: its answer, or why there is none."""

    pid: int
    command: list[str]
    answer: Mapping[str, Any] | None = None
    error: str | None = None
    #: By loop, since the last look, and since the loops were made.
    lately: Mapping[str, Figures] = field(default_factory=dict)
    always: Mapping[str, Figures] = field(default_factory=dict)

    @property
    def loops(self) -> list[Mapping[str, Any]]:
        return list(self.answer["loops"]) if self.answer else []

    @property
    def backends(self) -> list[str]:
        return sorted({str(loop["backend"]) for loop in self.loops})

    @property
    def connections(self) -> int:
        return sum(
            one.now.get("streams", 0) + one.now.get("datagram_endpoints", 0)
            for one in self.always.values()
        )

    def for_machines(self) -> dict[str, Any]:
        loops = [
            {
                "name": loop.get("name"),
                "backend": loop.get("backend"),
                "running": loop.get("running"),
                "utilization": self.always[loop["id"]].utilization,
                "utilization_now": self.lately[loop["id"]].utilization,
            }
            for loop in self.loops
            if loop["id"] in self.always
        ]
        return {
            "pid": self.pid,
            "command": self.command,
            "loops": loops,
            "connections": self.connections,
            "error": self.error,
        }


class Survey:
    """Remembers each process's last answer: what it does now is the difference."""

    def __init__(self) -> None:
        self._before: dict[int, Mapping[str, Any]] = {}

    def look(self, only: Collection[int] | None = None) -> list[Row]:
        """A row for each process, by pid; `only` these. Those that have ended have none."""
        client.remove_stale()
        pids = [pid for pid in processes.addresses() if only is None or pid in only]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            rows = list(pool.map(self._row, pids))
        return [row for row in rows if row is not None]

    def _row(self, pid: int) -> Row | None:
        command = processes.command_of(pid)
        try:
            answer = client.ask(pid)
        except client.HasEnded:
            return None
        except client.NoAnswer as exc:
            return Row(pid, command, error=str(exc))
        before = self._before.get(pid)
        self._before[pid] = answer
        return Row(pid, command, answer, None, figures(before, answer), figures(None, answer))


def busiest(found: Mapping[str, Figures]) -> float | None:
    """Utilization of the loop that has least time left, whatever the others have."""
    known = [one.utilization for one in found.values() if one.utilization is not None]
    return max(known, default=None)


def lines(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    """The cells of a table of processes, the heads first; one that did not answer has two."""
    yield "PID", "LOOPS", "BACKEND", "BUSY NOW", "BUSY EVER", "CONNECTIONS", "COMMAND"
    for row in rows:
        if row.error is not None:
            yield str(row.pid), row.error
            continue
        yield (
            str(row.pid),
            str(len(row.loops)),
            ",".join(row.backends) or "-",
            percent(busiest(row.lately)),
            percent(busiest(row.always)),
            number(row.connections),
            command(row.command),
        )
