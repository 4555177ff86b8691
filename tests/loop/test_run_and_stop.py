"""run_forever, run_until_complete, stop, close, and what a loop says about its state.

Source: asyncio's documentation, "Running and stopping the loop"; the texts of the errors are
asyncio's own, because users match them.
"""

import asyncio
import sys
import threading

import pytest
from support import PY313, Noise, another_loop, differs, new_loop, run_briefly, tcp_pair, turns


def test_a_new_loop_is_neither_running_nor_closed(loop: asyncio.AbstractEventLoop) -> None:
    assert not loop.is_running()
    assert not loop.is_closed()
    assert isinstance(loop, asyncio.AbstractEventLoop)


def test_run_forever_runs_until_stop_and_can_run_again(loop: asyncio.AbstractEventLoop) -> None:
    running: list[bool] = []
    for _ in range(3):
        loop.call_soon(lambda: running.append(loop.is_running()))
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert not loop.is_running()
    assert running == [True, True, True]


def test_stop_before_the_run_ends_it_after_one_turn(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    loop.call_soon(ran.append, "ready")
    loop.call_later(3600, ran.append, "far").cancel()
    loop.stop()
    loop.run_forever()
    assert ran == ["ready"]


@differs("uvloop", "a stopping loop runs what the last turn's callbacks scheduled")
def test_stop_lets_the_turn_end_but_not_the_next_begin(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []

    def first() -> None:
        loop.stop()
        loop.call_soon(ran.append, "next turn")

    loop.call_soon(first)
    loop.call_soon(ran.append, "same turn")
    loop.run_forever()
    assert ran == ["same turn"]
    run_briefly(loop)
    assert ran == ["same turn", "next turn"]


def test_the_running_loop_is_set_while_it_runs(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[object] = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    run_briefly(loop)
    assert seen == [loop]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_run_until_complete_gives_the_result(loop: asyncio.AbstractEventLoop) -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 42

    assert loop.run_until_complete(work()) == 42
    assert loop.run_until_complete(loop.create_task(work())) == 42
    future = loop.create_future()
    loop.call_soon(future.set_result, "done")
    assert loop.run_until_complete(future) == "done"
    assert loop.run_until_complete(future) == "done"


def test_run_until_complete_raises_what_the_work_raised(loop: asyncio.AbstractEventLoop) -> None:
    async def fail() -> None:
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned"):
        loop.run_until_complete(fail())

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(cancelled())


def test_run_until_complete_wants_a_future_or_coroutine(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError):
        loop.run_until_complete("neither")  # type: ignore[arg-type]
    with another_loop("asyncio") as other:
        foreign = other.create_future()
        with pytest.raises(ValueError, match="loop"):
            loop.run_until_complete(foreign)


def test_a_loop_stopped_before_its_future_is_done_says_so(
    loop: asyncio.AbstractEventLoop,
) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(future)
    assert future.remove_done_callback(print) == 0
    future.cancel()
    run_briefly(loop)


def test_a_failed_run_until_complete_leaves_no_callback_on_the_future(
    loop: asyncio.AbstractEventLoop,
) -> None:
    future = loop.create_future()
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError):
        loop.run_until_complete(future)
    ran: list[str] = []
    future.set_result(None)
    loop.call_later(0.01, lambda: (ran.append("later"), loop.stop()))
    loop.run_forever()
    assert ran == ["later"], "the finished future of an earlier run stopped this one"


@differs("asyncio", "3.13 forgets that it runs when it refuses", when=PY313)
@differs("uvloop", "the text begins with a small letter")
async def test_run_forever_cannot_be_nested(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(RuntimeError, match="This event loop is already running"):
        loop.run_forever()
    assert loop.is_running()
    assert asyncio.get_running_loop() is loop
    await turns()


@differs("uvloop", "the text begins with a small letter")
async def test_run_until_complete_cannot_be_nested(loop: asyncio.AbstractEventLoop) -> None:
    future = loop.create_future()
    with pytest.raises(RuntimeError, match="This event loop is already running"):
        loop.run_until_complete(future)
    future.cancel()


async def test_no_loop_runs_inside_another(loop: asyncio.AbstractEventLoop, loop_id: str) -> None:
    inner = new_loop(loop_id)
    try:
        with pytest.raises(
            RuntimeError, match="Cannot run the event loop while another loop is running"
        ):
            inner.run_forever()
    finally:
        inner.close()


async def test_a_running_loop_cannot_be_closed(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        loop.close()
    assert not loop.is_closed()


def test_close_can_be_repeated(loop: asyncio.AbstractEventLoop) -> None:
    run_briefly(loop)
    loop.close()
    loop.close()
    assert loop.is_closed()
    assert not loop.is_running()


def test_a_loop_that_never_ran_can_be_closed(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    assert loop.is_closed()


def test_a_closed_loop_refuses_work(loop: asyncio.AbstractEventLoop) -> None:
    async def work() -> None:
        pass

    future = loop.create_future()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_forever()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_until_complete(future)
    coroutine = work()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.create_task(coroutine)
    coroutine.close()
    future.cancel()


@differs("uvloop", "there stop() raises as call_soon does")
def test_stop_on_a_closed_loop_is_harmless(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    loop.stop()


def test_close_forgets_what_was_scheduled(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    loop.call_soon(ran.append, "soon")
    timer = loop.call_later(0, ran.append, "later")
    loop.close()
    timer.cancel()
    assert ran == []


def test_the_repr_tells_the_state(loop: asyncio.AbstractEventLoop) -> None:
    assert "running=False" in repr(loop)
    assert "closed=False" in repr(loop)
    loop.close()
    assert "closed=True" in repr(loop)


@pytest.mark.parametrize("first", ["reader", "timer"])
def test_the_loop_runs_again_with_what_it_had(loop: asyncio.AbstractEventLoop, first: str) -> None:
    # What was registered in one run is still there in the next one.
    near, far = tcp_pair()
    seen: list[bytes] = []
    if first == "reader":
        loop.add_reader(near, lambda: (seen.append(near.recv(10)), loop.stop()))
    run_briefly(loop)
    if first == "timer":
        loop.call_later(0.005, lambda: (seen.append(b"x"), loop.stop()))
    far.send(b"x")
    loop.run_forever()
    assert seen == [b"x"]
    loop.remove_reader(near)
    near.close()
    far.close()


def test_several_loops_run_one_after_the_other(
    loop: asyncio.AbstractEventLoop, loop_id: str
) -> None:
    with another_loop(loop_id) as second:
        for current in (loop, second, loop, second):
            assert current.run_until_complete(asyncio.sleep(0, "slept")) == "slept"


def test_loops_run_at_the_same_time_in_several_threads(
    loop: asyncio.AbstractEventLoop, loop_id: str
) -> None:
    results: list[str] = []

    def work() -> None:
        with another_loop(loop_id) as mine:
            results.append(mine.run_until_complete(asyncio.sleep(0.01, "slept")))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    loop.run_until_complete(asyncio.sleep(0.01))
    for thread in threads:
        thread.join()
    assert results == ["slept"] * 4


def test_asyncgen_hooks_are_restored_after_the_run(loop: asyncio.AbstractEventLoop) -> None:
    before = sys.get_asyncgen_hooks()
    seen: list[object] = []
    loop.call_soon(lambda: seen.append(sys.get_asyncgen_hooks()))
    run_briefly(loop)
    assert sys.get_asyncgen_hooks() == before
    assert seen != [before]


def test_a_runner_takes_the_loop_from_its_factory(loop_id: str, noise: Noise) -> None:
    async def main() -> str:
        await turns(3)
        return type(asyncio.get_running_loop()).__name__

    with asyncio.Runner(loop_factory=lambda: new_loop(loop_id)) as runner:
        expected = type(runner.get_loop()).__name__
        assert runner.run(main()) == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run takes a factory since 3.12")
def test_asyncio_run_takes_the_loop_from_its_factory(loop_id: str, noise: Noise) -> None:
    async def main() -> str:
        return await asyncio.sleep(0, "ran")

    assert asyncio.run(main(), loop_factory=lambda: new_loop(loop_id)) == "ran"
