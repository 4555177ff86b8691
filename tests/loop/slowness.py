"""What tests of slow callbacks share: being slow, and hearing of it."""

import asyncio
import time
from typing import Any

SLOW = 0.02


def burn(seconds: float = 1.5 * SLOW) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def line_of(function: Any) -> int:
    line: int = function.__code__.co_firstlineno
    return line


def reports_of(loop: Any) -> list[dict[str, Any]]:
    """What the handler of the loop gets; callbacks are timed, as a turn was slow."""
    found: list[dict[str, Any]] = []
    loop.slow_callback_duration = SLOW
    loop.set_debug(False)

    async def be_slow() -> None:
        await asyncio.sleep(0.001)
        burn()
        await asyncio.sleep(0.001)

    loop.run_until_complete(be_slow())
    loop.set_slow_callback_handler(lambda _, report: found.append(report))
    return found


def of(reports: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [report for report in reports if name in report["callback"]]
