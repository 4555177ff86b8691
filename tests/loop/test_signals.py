"""Signals without add_signal_handler: Ctrl-C, and `signal.signal` handlers under a sleeping loop.

A handler set by signal.signal runs in the main thread although the loop sleeps in the kernel;
an exception it raises leaves run_forever; the loop goes on after a harmless one.
"""

import asyncio
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType

import pytest
from programs import check_script, start_script
from support import DEADLINE, differs, run_briefly, tcp_pair


def signal_soon(number: signal.Signals) -> threading.Timer:
    """Signal this process from another thread, when the loop sleeps."""
    timer = threading.Timer(0.05, os.kill, (os.getpid(), number))
    timer.start()
    return timer


@pytest.fixture
def usr1() -> Iterator[list[int]]:
    """SIGUSR1 is noted here instead of ending the process."""
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)

    before = signal.signal(signal.SIGUSR1, note)
    yield noted
    signal.signal(signal.SIGUSR1, before)


@pytest.fixture
def own_interrupt() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_signal_handler_runs_while_the_loop_sleeps(
    loop: asyncio.AbstractEventLoop, usr1: list[int]
) -> None:
    woken: list[float] = []

    def note(number: int, frame: FrameType | None) -> None:
        woken.append(time.monotonic())
        loop.stop()

    signal.signal(signal.SIGUSR1, note)
    timer = signal_soon(signal.SIGUSR1)
    # asyncio retries its wait after the signal, so there the loop goes on to sleep until here.
    next_timer = loop.call_later(0.5, loop.stop)
    loop.run_forever()
    timer.join()
    assert len(woken) == 1
    assert woken[0] < next_timer.when(), "the handler waited for the loop's next timer"
    next_timer.cancel()


def test_a_harmless_signal_does_not_stop_the_loop(
    loop: asyncio.AbstractEventLoop, usr1: list[int]
) -> None:
    ran: list[str] = []
    timer = signal_soon(signal.SIGUSR1)
    loop.call_later(0.15, lambda: (ran.append("timer"), loop.stop()))
    loop.run_forever()
    timer.join()
    assert ran == ["timer"]
    assert usr1 == [signal.SIGUSR1]


def test_many_signals_lose_no_data(loop: asyncio.AbstractEventLoop, usr1: list[int]) -> None:
    near, far = tcp_pair()
    received = bytearray()
    total = 50

    def read() -> None:
        received.extend(near.recv(100))
        if len(received) == total:
            loop.stop()

    def bother() -> None:
        for _ in range(total):
            os.kill(os.getpid(), signal.SIGUSR1)
            far.send(b"x")
            time.sleep(0.0005)

    loop.add_reader(near, read)
    thread = threading.Thread(target=bother)
    thread.start()
    loop.run_forever()
    thread.join()
    loop.remove_reader(near)
    near.close()
    far.close()
    assert len(received) == total
    assert usr1


@differs("uvloop", "the exception is reported to the handler of the loop while it sleeps")
def test_an_exception_of_a_signal_handler_leaves_the_run(
    loop: asyncio.AbstractEventLoop, usr1: list[int]
) -> None:
    class Alarm(BaseException):
        pass

    def fail(number: int, frame: FrameType | None) -> None:
        raise Alarm

    signal.signal(signal.SIGUSR1, fail)
    timer = signal_soon(signal.SIGUSR1)
    loop.call_later(5, loop.stop)
    with pytest.raises(Alarm):
        loop.run_forever()
    timer.join()
    run_briefly(loop)


def test_interrupt_leaves_a_sleeping_loop(
    loop: asyncio.AbstractEventLoop, own_interrupt: None
) -> None:
    timer = signal_soon(signal.SIGINT)
    loop.call_later(5, loop.stop)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    assert loop.run_until_complete(asyncio.sleep(0.001, "usable")) == "usable"


def test_interrupt_leaves_a_busy_loop(loop: asyncio.AbstractEventLoop, own_interrupt: None) -> None:
    def again() -> None:
        nonlocal handle
        handle = loop.call_soon(again)

    handle = loop.call_soon(again)
    timer = signal_soon(signal.SIGINT)
    stopper = loop.call_later(5, loop.stop)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    timer.join()
    handle.cancel()
    stopper.cancel()


def test_the_wakeup_descriptor_of_the_user_is_restored(loop: asyncio.AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    before = signal.set_wakeup_fd(near.fileno(), warn_on_full_buffer=False)
    try:
        run_briefly(loop)
        assert signal.set_wakeup_fd(before) == near.fileno()
    finally:
        signal.set_wakeup_fd(before)
        near.close()
        far.close()


@differs("uvloop", "during the run it needs the wakeup descriptor for itself")
def test_a_wakeup_descriptor_set_before_the_run_hears_the_signals(
    loop: asyncio.AbstractEventLoop, usr1: list[int]
) -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    far.setblocking(False)
    before = signal.set_wakeup_fd(near.fileno(), warn_on_full_buffer=False)
    try:
        heard: list[bytes] = []
        loop.add_reader(far, lambda: (heard.append(far.recv(10)), loop.stop()))
        timer = signal_soon(signal.SIGUSR1)
        stopper = loop.call_later(5, loop.stop)
        loop.run_forever()
        timer.join()
        stopper.cancel()
        loop.remove_reader(far)
        assert heard == [bytes([signal.SIGUSR1])]
    finally:
        signal.set_wakeup_fd(before)
        near.close()
        far.close()


@pytest.mark.parametrize("state", ["sleeping", "serving"])
def test_ctrl_c_ends_a_program_cleanly(loop_id: str, state: str) -> None:
    source = """
    import asyncio, sys
    from support import new_loop

    async def main():
        try:
            server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
            print("ready", flush=True)
            if sys.argv[2] == "serving":
                async with server:
                    await server.serve_forever()
            await asyncio.sleep(3600)
        finally:
            print("cleaned up", flush=True)
            server.close()

    try:
        with asyncio.Runner(loop_factory=lambda: new_loop(sys.argv[1])) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    """
    with start_script(source, loop_id, state) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert out == "cleaned up\ninterrupted\n"
    assert err == ""
    assert process.returncode == 0


def test_ctrl_c_without_a_runner_is_a_keyboard_interrupt(loop_id: str) -> None:
    source = """
    import sys
    from support import new_loop, run_briefly
    loop = new_loop(sys.argv[1])
    loop.call_soon(lambda: print("ready", flush=True))
    try:
        loop.run_forever()
    except KeyboardInterrupt:
        run_briefly(loop)
        print("interrupted", flush=True)
    loop.close()
    """
    with start_script(source, loop_id) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE)
    assert (out, err, process.returncode) == ("interrupted\n", "", 0)


def test_a_loop_in_a_thread_leaves_signals_alone(loop_id: str) -> None:
    source = """
    import asyncio, signal, sys, threading
    from support import new_loop
    def work():
        loop = new_loop(sys.argv[1])
        print(loop.run_until_complete(asyncio.sleep(0.01, "slept")))
        loop.close()
    before = signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    print(signal.getsignal(signal.SIGINT) is before, signal.set_wakeup_fd(-1))
    """
    assert check_script(source, loop_id).split() == ["slept", "True", "-1"]
