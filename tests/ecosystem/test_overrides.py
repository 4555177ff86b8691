"""Packages that put their own in the place of parts of asyncio's loop: clocks, tracers, test tools.

Virtual time (looptime, async-solipsism, freezegun, time-machine), instrumentation (aiodebug,
sentry-sdk, ddtrace), and the loops of test suites (pytest-asyncio, aiohttp's test utilities). They
patch whole processes, so each program has one of its own.

Where these programs sleep, the sleep is the subject, and no test waits by one for something else:
hours of virtual time, a real timer beside a clock that a package has frozen, a callback that is
slow on purpose, a step of a task that an instrument has to see.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PRELUDE = """
import asyncio, sys

def loop_class():
    if sys.argv[1] == "asyncio":
        return asyncio.SelectorEventLoop
    import rloop
    return rloop.UringEventLoop

def new_loop(kind=None):
    kind = kind or loop_class()
    return kind() if sys.argv[1] == "asyncio" else kind(sys.argv[1])

def run(main, loop=None):
    with asyncio.Runner(loop_factory=lambda: loop or new_loop()) as runner:
        return runner.run(main())
"""


def needs(package: str) -> pytest.MarkDecorator:
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(
        missing, reason=f"{package} is not installed (requirements-ecosystem.txt)"
    )


def run_program(source: str, loop_id: str) -> list[str]:
    program = PRELUDE + textwrap.dedent(source)
    environment = {**os.environ, "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "0"}
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program, loop_id],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


# -- virtual time -------------------------------------------------------------------------------

HOURS = """
    async def main():
        loop = asyncio.get_running_loop()
        began = loop.time()
        async def sleeper(hours):
            await asyncio.sleep(3600 * hours)
            print("slept", hours)
        async with asyncio.timeout(36000), asyncio.TaskGroup() as group:
            for hours in (3, 1, 2):
                group.create_task(sleeper(hours))
        print("elapsed", round(loop.time() - began))
"""
HOURS_LATER = ["slept 1", "slept 2", "slept 3", "elapsed 10800"]


@needs("looptime")
def test_looptime_compacts_the_time(loop_id: str) -> None:
    source = """
    import looptime
    {hours}
    class Compact(looptime.LoopTimeEventLoop, loop_class()):
        pass
    run(main, new_loop(Compact))

    async def connections():
        async def answer(reader, writer):
            await asyncio.sleep(3600)
            writer.write(await reader.readline())
            writer.close()
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            address = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"over the real network\\n")
            print((await reader.readline()).decode(), end="")
            writer.close()
        print(await asyncio.to_thread(len, "abc"))
    run(connections, new_loop(Compact))
    """.replace("{hours}", HOURS)
    out = run_program(source, loop_id)
    assert out == [*HOURS_LATER, "over the real network", "3"]


@needs("looptime")
def test_looptime_patches_a_loop_that_is_there(loop_id: str) -> None:
    source = """
    import looptime
    {hours}
    loop = looptime.patch_event_loop(new_loop())
    loop.run_until_complete(main())
    loop.close()
    """.replace("{hours}", HOURS)
    assert run_program(source, loop_id) == HOURS_LATER


@needs("async_solipsism")
def test_async_solipsism_brings_its_own_loop(loop_id: str) -> None:
    source = """
    import async_solipsism
    new_loop().close()  # ours are in the process as well
    {hours}
    run(main, async_solipsism.EventLoop())
    async def plain():
        await asyncio.sleep(0.001)
        print("ours goes on")
    run(plain)
    """.replace("{hours}", HOURS)
    assert run_program(source, loop_id) == [*HOURS_LATER, "ours goes on"]


@needs("freezegun")
def test_freezegun_leaves_the_loop_its_time(loop_id: str) -> None:
    source = """
    import datetime, freezegun
    asyncio.new_event_loop = new_loop  # it patches the class that this makes
    async def main():
        loop = asyncio.get_running_loop()
        with freezegun.freeze_time("2020-01-02", real_asyncio=True):
            before = loop.time()
            await asyncio.sleep(0.01)
            print(datetime.date.today(), 0.01 <= loop.time() - before < 60)
        await asyncio.sleep(0.001)
        print(datetime.date.today().year > 2020)
    run(main)
    """
    assert run_program(source, loop_id) == ["2020-01-02 True", "True"]


@needs("freezegun")
def test_a_frozen_clock_does_not_stop_the_loop(loop_id: str) -> None:
    # A difference that the README names: asyncio reads time.monotonic() by name, so freezegun stops
    # its loop for ever; ours reads the clock itself. On asyncio this program would never end.
    if loop_id == "asyncio":
        pytest.skip("its timers never come while time.monotonic() stands still")
    source = """
    import freezegun
    async def main():
        with freezegun.freeze_time("2020-01-02"):
            await asyncio.sleep(0.001)
            print("woken")
    run(main)
    """
    assert run_program(source, loop_id) == ["woken"]


@needs("time_machine")
def test_time_machine_travels_without_the_loop(loop_id: str) -> None:
    source = """
    import datetime, time_machine
    async def main():
        loop = asyncio.get_running_loop()
        with time_machine.travel(datetime.datetime(2020, 1, 2), tick=False):
            before = loop.time()
            await asyncio.sleep(0.01)
            print(datetime.date.today(), 0.01 <= loop.time() - before < 60)
    run(main)
    """
    assert run_program(source, loop_id) == ["2020-01-02 True"]


# -- instrumentation ----------------------------------------------------------------------------


@needs("aiodebug")
def test_aiodebug_finds_slow_callbacks(loop_id: str) -> None:
    source = """
    import time
    import aiodebug.log_slow_callbacks
    slow = []
    def sleepy():
        time.sleep(0.05)
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_soon(sleepy)
        loop.call_later(0.001, sleepy)
        await asyncio.sleep(0)
        time.sleep(0.05)
        await asyncio.sleep(0.01)
    aiodebug.log_slow_callbacks.enable(0.05, lambda name, seconds: slow.append(name))
    run(main)
    print(sum("sleepy" in name for name in slow), any("main" in name for name in slow))
    """
    # A busy machine may make another step of main slow as well.
    assert run_program(source, loop_id) == ["2 True"]


@needs("aiodebug")
def test_aiodebug_measures_lags(loop_id: str) -> None:
    source = """
    import aiodebug.monitor_loop_lag
    class Statsd:
        def timing(self, name, milliseconds):
            print(name, milliseconds >= 0)
            done.set()
    async def main():
        global done
        done = asyncio.Event()
        aiodebug.monitor_loop_lag.enable(Statsd(), 0.01, asyncio.get_running_loop())
        await done.wait()
    run(main)
    """
    assert run_program(source, loop_id)[0] == "aiodebug.monitor_loop_lag True"


@needs("sentry_sdk")
def test_sentry_follows_tasks(loop_id: str) -> None:
    source = """
    import sentry_sdk
    from sentry_sdk.integrations.asyncio import AsyncioIntegration
    errors, spans = [], []
    class Nowhere(sentry_sdk.transport.Transport):
        def capture_envelope(self, envelope):
            event = envelope.get_event() or envelope.get_transaction_event()
            for value in event.get("exception", {}).get("values", ()):
                errors.append(value["type"])
            spans.extend(span["description"] for span in event.get("spans", ()))
    async def child():
        await asyncio.sleep(0.001)
    async def failing():
        raise LookupError
    async def main():
        sentry_sdk.init(dsn="http://key@127.0.0.1:1/1", integrations=[AsyncioIntegration()],
                        transport=Nowhere, traces_sample_rate=1.0, default_integrations=False)
        with sentry_sdk.start_transaction(name="test"):
            tasks = [asyncio.create_task(child()), asyncio.create_task(failing())]
            await asyncio.gather(*tasks, return_exceptions=True)
    run(main)
    sentry_sdk.flush()
    print(errors, sorted(spans))
    """
    (seen,) = run_program(source, loop_id)
    assert seen.startswith("['LookupError'] ")
    assert "child" in seen


@needs("ddtrace")
def test_ddtrace_follows_contexts(loop_id: str) -> None:
    source = """
    import ddtrace
    from ddtrace.contrib.internal.asyncio import _context_switch
    from ddtrace.internal import core
    ddtrace.patch(asyncio=True)
    _context_switch.context_switches_require_fallback = lambda: True
    _context_switch.install()  # wraps the code of Handle._run and of create_task
    switches = []
    core.on(_context_switch.PYTHON_CONTEXT_SWITCH_EVENT, lambda *_: switches.append(True))
    class Drop(ddtrace.trace.TraceFilter):
        def process_trace(self, trace):
            return None
    tracer = ddtrace.trace.tracer
    tracer.configure(trace_processors=[Drop()])
    async def child():
        await asyncio.sleep(0.001)
        return tracer.current_span().name
    async def main():
        loop = asyncio.get_running_loop()
        with tracer.trace("parent"):
            print(await asyncio.create_task(child()))
        count = len(switches)
        for _ in range(10):
            await asyncio.sleep(0)
        print(len(switches) - count)
    run(main)
    _context_switch.uninstall()
    async def after():
        count = len(switches)
        await asyncio.sleep(0)
        print(len(switches) - count)
    run(after)
    """
    # From CPython 3.14 on ddtrace also has a watcher of contexts, which doubles them on any loop.
    on_asyncio = ["parent", "20", "0"] if sys.version_info < (3, 14) else ["parent", "40", "2"]
    assert run_program(source, loop_id) == on_asyncio


# -- the loops of test suites -------------------------------------------------------------------


@needs("aiohttp")
def test_aiohttps_test_utilities(loop_id: str) -> None:
    source = """
    from aiohttp import web
    from aiohttp.test_utils import TestClient, TestServer, loop_context
    async def hello(request):
        return web.Response(text="hello")
    with loop_context(new_loop) as loop:
        async def main():
            app = web.Application()
            app.router.add_get("/", hello)
            async with TestClient(TestServer(app)) as client:
                print(await (await client.get("/")).text())
            print(type(asyncio.get_running_loop()) is loop_class()
                  or type(asyncio.get_running_loop()).__name__)
        loop.run_until_complete(main())
    """
    out = run_program(source, loop_id)
    assert out == ["hello", "True" if loop_id != "asyncio" else out[1]]


@needs("pytest_asyncio")
def test_pytest_asyncio_runs_a_suite_on_it(loop_id: str, tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(
        textwrap.dedent(f"""
        import sys
        sys.argv[1:] = [{loop_id!r}]
        """)
        + PRELUDE
    )
    (tmp_path / "test_suite.py").write_text(
        textwrap.dedent("""
        import asyncio
        import pytest, pytest_asyncio
        from conftest import loop_class, new_loop

        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self):
                return new_loop()

        @pytest.fixture(scope="session")
        def event_loop_policy():
            return Policy()

        @pytest_asyncio.fixture
        async def served():
            async def answer(reader, writer):
                writer.write(await reader.readline())
                writer.close()
            async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
                yield server.sockets[0].getsockname()

        @pytest.mark.asyncio
        async def test_echo(served):
            assert isinstance(asyncio.get_running_loop(), loop_class())
            reader, writer = await asyncio.open_connection(*served)
            writer.write(b"hello\\n")
            assert await reader.readline() == b"hello\\n"
            writer.close()

        @pytest.mark.asyncio(loop_scope="module")
        async def test_module_scope():
            await asyncio.sleep(0.001)
        """)
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:looptime_plugin",
            "-W",
            "ignore::DeprecationWarning",
            "-c",
            os.devnull,
            "--rootdir",
            ".",
            "test_suite.py",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout
