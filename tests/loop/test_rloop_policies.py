"""Event loop policies: there where asyncio has them, and nobody's business where it has none.

Python 3.14 deprecates them and 3.16 takes them away. A program that does not ask for them meets
neither; one that does is told what to use instead. 3.16 is played by taking the names away.
"""

from __future__ import annotations

import sys

import pytest
from programs import check_script, run_script
from support import RLOOP_IDS, loops_only

HAS_POLICIES = sys.version_info < (3, 16)
WARNS = (3, 14) <= sys.version_info < (3, 16)
needs_policies = pytest.mark.skipif(not HAS_POLICIES, reason="this asyncio has no policies")

WITHOUT_POLICIES = """
import asyncio, asyncio.events, asyncio.unix_events, sys

def take_away(module):
    for name in list(vars(module)):
        if "policy" in name.lower():
            delattr(module, name)
    if "__getattr__" in vars(module):  # makes the deprecated names when they are asked for
        del module.__getattr__

for module in (asyncio, asyncio.events, asyncio.unix_events):
    take_away(module)
assert not hasattr(asyncio, "DefaultEventLoopPolicy")
assert not hasattr(asyncio.events, "_get_event_loop_policy")
"""

LIFE = """
import sys
from support import *
import rloop

async def answer(reader, writer):
    writer.write(await reader.readline())
    writer.close()
    await writer.wait_closed()

async def main():
    loop = asyncio.get_running_loop()
    assert isinstance(loop, rloop.UringEventLoop)
    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"hello\\n")
        assert await reader.readline() == b"hello\\n"
        writer.close()
        await writer.wait_closed()
    child = await asyncio.create_subprocess_exec("echo", "child", stdout=asyncio.subprocess.PIPE)
    out, _ = await child.communicate()
    assert out == b"child\\n"
    assert await loop.run_in_executor(None, sum, (1, 2)) == 3
    loop.add_signal_handler(10, int)
    assert loop.remove_signal_handler(10)
    return "lived"

async def nothing():
    return "ran"
"""

USE = """
with asyncio.Runner(loop_factory=lambda: new_loop(sys.argv[1])) as runner:
    print(runner.run(main()))
print(rloop.run(nothing()))
for make in (rloop.new_event_loop, rloop.new_uring_event_loop):
    loop = make()
    print(loop.run_until_complete(nothing()))
    loop.close()
from rloop import *
"""


@loops_only(*RLOOP_IDS)
def test_a_program_lives_without_policies(loop_id: str) -> None:
    out = check_script(WITHOUT_POLICIES + LIFE + USE, loop_id)
    assert out.split() == ["lived", "ran", "ran", "ran"]


@loops_only(*RLOOP_IDS)
def test_nothing_warns_before_install(loop_id: str) -> None:
    prelude = """
import warnings
warnings.simplefilter("error")
"""
    out = check_script(prelude + LIFE + USE, loop_id)
    assert out.split() == ["lived", "ran", "ran", "ran"]


def test_where_there_are_none_words_say_what_to_use() -> None:
    source = (
        WITHOUT_POLICIES
        + """
import rloop
assert not hasattr(rloop, "EventLoopPolicy")
assert "EventLoopPolicy" not in rloop.__all__
for ask in (rloop.install, lambda: rloop.EventLoopPolicy):
    try:
        ask()
    except (RuntimeError, AttributeError) as exc:
        print(type(exc).__name__, exc)
"""
    )
    first, second = check_script(source).splitlines()
    assert first.startswith("RuntimeError rloop.install() needs event loop policies")
    assert second.startswith("AttributeError rloop.EventLoopPolicy is an event loop policy")
    for line in (first, second):
        assert "asyncio.Runner(loop_factory=rloop.new_event_loop)" in line
        assert "rloop.run(main())" in line


@needs_policies
def test_the_policy_makes_loops() -> None:
    source = """
    import warnings
    warnings.simplefilter("error")
    import rloop
    from rloop import *
    loop = EventLoopPolicy().new_event_loop()
    print(isinstance(loop, rloop.UringEventLoop))
    loop.close()
    """
    assert check_script(source).strip() == "True"


@needs_policies
def test_install_gives_asyncios_own_warning_at_most() -> None:
    source = """
    import asyncio, warnings
    import rloop
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        rloop.install()
    async def main():
        assert isinstance(asyncio.get_running_loop(), rloop.UringEventLoop)
    asyncio.run(main())
    for warning in caught:
        print(warning.category.__name__, warning.message)
    """
    done = run_script(source)
    assert done.returncode == 0, done.stderr
    warned = done.stdout.splitlines()
    assert len(warned) == (1 if WARNS else 0), warned
    assert all(
        line.startswith("DeprecationWarning 'asyncio.set_event_loop_policy' is deprecated")
        for line in warned
    )
