"""nest_asyncio, which makes asyncio's own loops reentrant: refused at apply(), in words.

It accepts every BaseEventLoop and reaches into the queues of asyncio's; ours has none, and would
fail in the middle of a run. It patches the whole of asyncio, so each program has a process.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

pytest.importorskip(
    "nest_asyncio", reason="nest_asyncio is not installed (requirements-ecosystem.txt)"
)

NEW_LOOP = """
import asyncio, sys

def new_loop():
    if sys.argv[1] == "asyncio":
        return asyncio.SelectorEventLoop()
    import rloop
    return rloop.new_event_loop(backend=sys.argv[1])
"""
REFUSAL = "ValueError Can't patch loop of type <class 'rloop.event_loop.UringEventLoop'>: "


def run_program(source: str, loop_id: str) -> str:
    program = NEW_LOOP + textwrap.dedent(source)
    done = subprocess.run(
        [sys.executable, "-c", program, loop_id], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def expected(loop_id: str, *, asyncios: str) -> str:
    return asyncios if loop_id == "asyncio" else REFUSAL


@pytest.mark.parametrize("running", [False, True])
def test_apply_refuses_the_loop_and_it_goes_on(loop_id: str, running: bool) -> None:
    source = f"""
    import nest_asyncio

    loop = new_loop()

    def apply():
        try:
            nest_asyncio.apply(loop)
            print("accepted")
        except ValueError as exc:
            print(type(exc).__name__, exc)

    async def main():
        if {running}:
            apply()
        await asyncio.sleep(0)
        return "ran"

    if not {running}:
        apply()
    print(loop.run_until_complete(main()))
    loop.close()
    """
    first, second = run_program(source, loop_id).splitlines()
    assert first.startswith(expected(loop_id, asyncios="accepted"))
    assert second == "ran"


def test_others_find_no_such_attribute(loop_id: str) -> None:
    source = """
    import inspect
    from unittest import mock

    loop = new_loop()
    print(hasattr(loop, "_nest_patched"))
    print("_nest_patched" in dict(inspect.getmembers(loop)))
    mock.Mock(spec=loop)
    loop.close()
    """
    assert run_program(source, loop_id).split() == ["False", "False"]
