"""call_soon, call_soon_threadsafe and the handles they give.

Order, arguments, cancelling, what a handle is and says, and that another thread's call wakes a
loop that sleeps. Source: asyncio's documentation, "Scheduling callbacks" and "Callback Handles".
"""

import asyncio
import contextvars
import pickle
import threading
import time
import weakref

import pytest
from support import RLOOP_IDS, Noise, collect, differs, loops_only, run_briefly


def test_callbacks_run_in_the_order_of_call_soon(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    for number in range(100):
        loop.call_soon(ran.append, number)
    run_briefly(loop)
    assert ran == list(range(100))


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 9, 40])
def test_every_positional_argument_arrives(loop: asyncio.AbstractEventLoop, count: int) -> None:
    got: list[tuple[object, ...]] = []
    arguments = tuple(object() for _ in range(count))
    loop.call_soon(lambda *args: got.append(args), *arguments)
    run_briefly(loop)
    assert got == [arguments]


@differs("uvloop", "a stopping loop runs what the last turn's callbacks scheduled")
def test_a_callback_made_by_a_callback_runs_in_the_next_turn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[str] = []

    def first() -> None:
        ran.append("first")
        loop.call_soon(ran.append, "made by first")

    loop.call_soon(first)
    loop.call_soon(ran.append, "second")
    run_briefly(loop)
    assert ran == ["first", "second"]
    run_briefly(loop)
    assert ran == ["first", "second", "made by first"]


def test_an_exception_in_a_callback_does_not_stop_the_others(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    ran: list[str] = []
    loop.call_soon(lambda: 1 / 0)
    loop.call_soon(ran.append, "after")
    run_briefly(loop)
    assert ran == ["after"]
    context = noise.take_one()
    assert isinstance(context["exception"], ZeroDivisionError)
    assert context["message"].startswith("Exception in callback ")
    assert "handle" in context


@differs("uvloop", "its handles are a class of their own, not asyncio.Handle")
def test_call_soon_gives_an_asyncio_handle(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon(print)
    assert isinstance(handle, asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)
    handle.cancel()


def test_a_cancelled_handle_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    handle = loop.call_soon(ran.append, "cancelled")
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    run_briefly(loop)
    assert ran == []


def test_a_callback_may_cancel_a_later_one_of_the_same_turn(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[str] = []
    loop.call_soon(lambda: victim.cancel())
    victim = loop.call_soon(ran.append, "victim")
    run_briefly(loop)
    assert ran == []


def test_a_callback_may_cancel_its_own_handle(loop: asyncio.AbstractEventLoop) -> None:
    got: list[tuple[int, ...]] = []

    def callback(*args: int) -> None:
        handle.cancel()
        got.append(args)

    handle = loop.call_soon(callback, 1, 2, 3)
    run_briefly(loop)
    assert got == [(1, 2, 3)]
    assert handle.cancelled()


def test_cancelling_after_the_run_has_no_effect(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[int] = []
    handle = loop.call_soon(ran.append, 1)
    run_briefly(loop)
    handle.cancel()
    run_briefly(loop)
    assert ran == [1]


def test_a_cancelled_handle_lets_go_of_callback_and_arguments(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Argument:
        pass

    argument = Argument()
    alive = weakref.ref(argument)
    handle = loop.call_soon(print, argument)
    handle.cancel()
    del argument
    collect()
    assert alive() is None


def test_a_handle_that_ran_lets_go_of_its_arguments_when_dropped(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Argument:
        pass

    argument = Argument()
    alive = weakref.ref(argument)
    loop.call_soon(lambda _: None, argument)
    del argument
    run_briefly(loop)
    collect()
    assert alive() is None


def test_the_repr_of_a_handle_names_its_callback(loop: asyncio.AbstractEventLoop) -> None:
    def a_well_named_callback() -> None:
        pass

    handle = loop.call_soon(a_well_named_callback)
    assert "a_well_named_callback" in repr(handle)
    assert "Handle" in repr(handle)
    handle.cancel()
    assert "cancelled" in repr(handle)


def test_handles_can_be_weakly_referenced(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon(print)
    alive = weakref.ref(handle)
    assert alive() is handle
    handle.cancel()
    run_briefly(loop)
    del handle
    collect()
    assert alive() is None


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@loops_only(*RLOOP_IDS)
def test_a_handle_cannot_be_pickled(loop: asyncio.AbstractEventLoop, protocol: int) -> None:
    handle = loop.call_soon(print)
    with pytest.raises(TypeError):
        pickle.dumps(handle, protocol)
    handle.cancel()


@differs("uvloop", "its handles have no get_context")
@pytest.mark.skipif(not hasattr(asyncio.Handle, "get_context"), reason="new in Python 3.12")
def test_a_handle_knows_its_context(loop: asyncio.AbstractEventLoop) -> None:
    context = contextvars.copy_context()
    handle = loop.call_soon(print, context=context)
    assert handle.get_context() is context
    handle.cancel()


def test_call_soon_on_a_closed_loop_raises(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon(print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon_threadsafe(print)


def test_call_soon_without_a_callback_is_a_type_error(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError):
        loop.call_soon()  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        loop.call_soon(print, nonsense=1)  # type: ignore[call-arg]


def test_call_soon_threadsafe_keeps_the_order_of_one_thread(
    loop: asyncio.AbstractEventLoop,
) -> None:
    ran: list[int] = []
    for number in range(50):
        loop.call_soon_threadsafe(ran.append, number)
    run_briefly(loop)
    assert ran == list(range(50))


def test_call_soon_threadsafe_wakes_a_sleeping_loop(loop: asyncio.AbstractEventLoop) -> None:
    # The timer far away keeps the loop asleep: only the other thread can end it in time.
    far = loop.call_later(3600, print)
    thread = threading.Timer(0.05, loop.call_soon_threadsafe, (loop.stop,))
    thread.start()
    loop.run_forever()
    thread.join()
    far.cancel()


def test_no_call_of_many_threads_is_lost(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[tuple[int, int]] = []
    done = threading.Barrier(5)

    def work(name: int) -> None:
        for number in range(2000):
            loop.call_soon_threadsafe(ran.append, (name, number))
        done.wait()

    threads = [threading.Thread(target=work, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    closer = threading.Thread(target=lambda: (done.wait(), loop.call_soon_threadsafe(loop.stop)))
    closer.start()
    loop.run_forever()
    for thread in [*threads, closer]:
        thread.join()
    for name in range(4):
        assert [number for who, number in ran if who == name] == list(range(2000))


def test_a_ping_pong_between_threads_never_misses_a_wake_up(
    loop: asyncio.AbstractEventLoop,
) -> None:
    # Each round the loop is about to sleep while the other thread calls: the classic lost wake-up.
    rounds = 300
    seen = 0
    ready = threading.Semaphore(0)

    def pong() -> None:
        nonlocal seen
        seen += 1
        ready.release()
        if seen == rounds:
            loop.stop()

    def ping() -> None:
        for _ in range(rounds):
            loop.call_soon_threadsafe(pong)
            assert ready.acquire(timeout=10)

    thread = threading.Thread(target=ping)
    thread.start()
    began = time.monotonic()
    loop.run_forever()
    thread.join()
    assert seen == rounds
    assert time.monotonic() - began < 10
