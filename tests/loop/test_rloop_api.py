"""What rloop offers besides asyncio: factories, run, install, policy, backends, reports, logs."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import support
from programs import check_script, run_script, script_environment
from support import finish, first_waits, loops_only, new_loop

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")

pytestmark = loops_only(*support.RLOOP_IDS)

NAMES = {"rloop-epoll": "epoll", "rloop-uring": "io_uring"}


def test_the_loop_names_its_backend(loop: asyncio.AbstractEventLoop, loop_id: str) -> None:
    assert loop.backend == NAMES[loop_id]


def test_every_factory_gives_a_loop() -> None:
    for factory in (
        rloop.new_event_loop,
        rloop.new_uring_event_loop,
        rloop.new_tokio_event_loop,
    ):
        loop = factory()
        try:
            assert isinstance(loop, asyncio.AbstractEventLoop)
            assert loop.backend in NAMES.values()
            assert loop.run_until_complete(asyncio.sleep(0, "ran")) == "ran"
        finally:
            finish(loop)


def test_an_unknown_backend_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nonsense"):
        rloop.new_event_loop(backend="nonsense")


@pytest.mark.parametrize("value", ["epoll", "io_uring", "auto"])
def test_the_environment_chooses_for_auto(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RLOOP_BACKEND", value)
    loop = rloop.new_event_loop()
    try:
        assert loop.backend == value or (value == "auto" and loop.backend in NAMES.values())
    finally:
        loop.close()


def test_a_wrong_value_in_the_environment_is_a_value_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RLOOP_BACKEND", "kqueue")
    with pytest.raises(ValueError, match="RLOOP_BACKEND"):
        rloop.new_event_loop()


def test_an_argument_is_stronger_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLOOP_BACKEND", "epoll")
    loop = rloop.new_event_loop(backend="io_uring")
    assert loop.backend == "io_uring"
    loop.close()


def test_backend_info_explains_the_choice() -> None:
    info = rloop.backend_info()
    facts = info if isinstance(info, dict) else {name: getattr(info, name) for name in dir(info)}
    assert {"backend", "reason", "kernel", "capabilities"} <= set(facts)
    assert facts["backend"] in NAMES.values()
    assert facts["reason"]


def test_statistics_count_what_happened(loop: asyncio.AbstractEventLoop) -> None:
    async def talk() -> None:
        async with support.connected(support.Recorder, support.Echo) as (client, _):
            for number in range(1, 11):
                client.transport.write(b"12345")
                await client.wait_for_bytes(5 * number)

    before = loop.statistics()
    assert set(before) >= {
        "turns",
        "syscalls",
        "submitted",
        "completions",
        "messages_in",
        "messages_out",
        "bytes_in",
        "bytes_out",
        "buffers_short",
        "buffers_lent",
        "buffers_returned",
        "ring_rebuilds",
    }
    loop.run_until_complete(talk())
    after = loop.statistics()
    assert after["bytes_in"] - before["bytes_in"] == 100
    assert after["bytes_out"] - before["bytes_out"] == 100
    assert after["messages_in"] - before["messages_in"] == 20
    assert after["messages_out"] - before["messages_out"] == 20
    assert after["turns"] > before["turns"]
    assert after["syscalls"] > before["syscalls"]
    assert (after["buffers_lent"] > 0) == (loop.backend == "io_uring")
    assert after["buffers_returned"] == after["buffers_lent"]


def test_a_change_of_thread_rebuilds_the_ring(
    loop: asyncio.AbstractEventLoop, loop_id: str
) -> None:
    loop.run_until_complete(first_waits())
    for _ in range(2):
        thread = threading.Thread(target=loop.run_until_complete, args=(first_waits(),))
        thread.start()
        thread.join()
    rebuilds = loop.statistics()["ring_rebuilds"]
    assert rebuilds >= 2 if loop_id == "rloop-uring" else rebuilds == 0
    loop.run_until_complete(first_waits())


def test_run_runs_a_coroutine() -> None:
    async def main() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert rloop.run(main()).startswith("rloop")

    async def debugging() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert rloop.run(debugging(), debug=True) is True
    with pytest.raises((TypeError, ValueError)) as wanted:
        asyncio.run(3)  # type: ignore[arg-type]
    with pytest.raises(wanted.type, match=str(wanted.value)):
        rloop.run(3)
    with pytest.raises(ZeroDivisionError):

        async def failing() -> None:
            raise ZeroDivisionError

        rloop.run(failing())


def test_install_makes_it_the_default() -> None:
    source = """
    import asyncio, warnings
    warnings.simplefilter("ignore")
    import rloop
    rloop.install()
    async def main():
        print(asyncio.get_running_loop().backend in ("io_uring", "epoll"))
    asyncio.run(main())
    """
    assert check_script(source).strip() == "True"


def test_the_module_reports_on_the_machine() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "rloop"],
        capture_output=True,
        text=True,
        env=script_environment(),
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report = done.stdout.lower()
    assert "backend" in report
    assert "reason" in report
    assert "kernel" in report
    assert "io_uring" in report


def test_debug_logs_tell_of_transports(loop_id: str) -> None:
    source = """
    import sys
    from support import *
    loop = new_loop(sys.argv[1])
    async def main():
        async with connected() as (client, server_side):
            client.transport.write(b"x")
            await server_side.wait_for_bytes(1)
        async with bound() as end:
            end.transport.close()
            await end.lost
    loop.run_until_complete(main())
    loop.close()
    """
    done = run_script(source, loop_id, RLOOP_LOG="debug")
    assert done.returncode == 0, done.stderr
    assert "rloop" in done.stderr
    assert "opened" in done.stderr
    assert "datagram transport opened" in done.stderr
    assert "closed" in done.stderr
    quiet = run_script(source, loop_id, RLOOP_LOG="")
    assert quiet.stderr == ""


def test_the_class_of_the_loop_is_public(loop_id: str) -> None:
    loop = new_loop(loop_id)
    assert isinstance(loop, rloop.UringEventLoop)
    assert isinstance(rloop.__version__, str)
    loop.close()


def test_no_module_of_the_package_hides_a_function() -> None:
    """Importing a module sets its name in the package."""
    for path in Path(rloop.__file__).parent.glob("*.py"):
        assert path.stem not in rloop.__all__
