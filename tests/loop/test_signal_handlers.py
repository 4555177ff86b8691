"""add_signal_handler and remove_signal_handler: callbacks on the loop for the process's signals.

The signal reaches the loop through signal.set_wakeup_fd; the callback runs as a handle, in the
context of its registration. Errors have asyncio's types. Source: asyncio's documentation, "Unix
signals".
"""

import asyncio
import contextvars
import errno
import os
import signal

import pytest
from support import RLOOP_IDS, differs, loops_only, open_descriptors, run_briefly, wait_until

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nowhere")


async def test_a_callback_runs_on_the_loop_with_its_arguments(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[object] = []
    loop.add_signal_handler(signal.SIGUSR1, lambda *args: seen.append(args), 1, "two")
    os.kill(os.getpid(), signal.SIGUSR1)
    await wait_until(lambda: seen)
    assert seen == [(1, "two")]
    assert loop.remove_signal_handler(signal.SIGUSR1)


async def test_a_later_callback_replaces_the_first(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "first")
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "second")
    os.kill(os.getpid(), signal.SIGUSR1)
    await wait_until(lambda: seen)
    assert seen == ["second"]
    loop.remove_signal_handler(signal.SIGUSR1)


async def test_each_signal_has_its_own_callback(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, seen.append, int(number))
    os.kill(os.getpid(), signal.SIGUSR2)
    await wait_until(lambda: len(seen) == 1)
    os.kill(os.getpid(), signal.SIGUSR1)
    await wait_until(lambda: len(seen) == 2)
    assert seen == [signal.SIGUSR2, signal.SIGUSR1]
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        assert loop.remove_signal_handler(number)


async def test_removing_tells_whether_there_was_one(loop: asyncio.AbstractEventLoop) -> None:
    assert not loop.remove_signal_handler(signal.SIGUSR1)
    loop.add_signal_handler(signal.SIGUSR1, print)
    assert loop.remove_signal_handler(signal.SIGUSR1)
    assert not loop.remove_signal_handler(signal.SIGUSR1)
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL


async def test_removing_sigint_restores_the_keyboard_interrupt(
    loop: asyncio.AbstractEventLoop,
) -> None:
    before = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, print)
    assert loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    signal.signal(signal.SIGINT, before)


async def test_the_callback_runs_in_the_context_of_its_registration(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[str] = []
    variable.set("the registration")
    loop.add_signal_handler(signal.SIGUSR1, lambda: seen.append(variable.get()))
    variable.set("later")
    os.kill(os.getpid(), signal.SIGUSR1)
    await wait_until(lambda: seen)
    assert seen == ["the registration"]
    loop.remove_signal_handler(signal.SIGUSR1)


@differs("uvloop", "it handles signals only while it runs")
def test_a_signal_between_two_runs_is_handled_by_the_next(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[int] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    run_briefly(loop)
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_until_complete(wait_until(lambda: seen))
    assert seen == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


@differs("uvloop", "its close() leaves its own handler installed")
def test_closing_the_loop_removes_its_handlers(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, print)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL
    assert signal.set_wakeup_fd(-1) == -1


@differs("uvloop", "its texts are its own")
def test_what_cannot_be_a_signal_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError):
        loop.add_signal_handler("SIGUSR1", print)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="invalid signal number"):
        loop.add_signal_handler(signal.NSIG + 1000, print)
    with pytest.raises(RuntimeError, match="cannot be caught"):
        loop.add_signal_handler(signal.SIGKILL, print)


def test_a_coroutine_function_is_refused(loop: asyncio.AbstractEventLoop) -> None:
    async def handler() -> None:
        """Would never be awaited."""

    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.add_signal_handler(signal.SIGUSR1, handler)


@loops_only(*RLOOP_IDS)
def test_a_run_that_could_not_watch_for_signals_leaves_nothing_behind(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: asyncio.AbstractEventLoop, *arguments: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = open_descriptors()
    with monkeypatch.context() as failing:
        failing.setattr(type(loop), "_add_reader", fail)
        with pytest.raises(OSError, match="No space left"):
            loop.run_until_complete(asyncio.sleep(0))
    assert open_descriptors() == before
    seen: list[str] = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "usr1")
    os.kill(os.getpid(), signal.SIGUSR1)
    loop.run_until_complete(wait_until(lambda: seen))
    loop.remove_signal_handler(signal.SIGUSR1)
