"""The trials of what a loop does without transports: callbacks, tasks, signals, plain sockets.

Each is a row of the table of parity, in this order; see parity.probe for what a trial is. They
run on the loopback, on any CPython >= 3.11, and know no loop by name.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator
from typing import Any

from parity.probe import (
    Differs,
    Loop,
    expect,
    report_missing,
    row,
    socket_pair,
    until,
)

THEIRS = asyncio.SelectorEventLoop


def public_methods() -> list[str]:
    return [name for name in dir(THEIRS) if name[0] != "_" and callable(getattr(THEIRS, name))]


# -- the surface ----------------------------------------------------------------------------------


@row("every public method of asyncio's loop exists")
async def every_method(loop: Loop) -> None:
    def has(name: str) -> bool:
        method = getattr(type(loop), name, None)
        return method is not None and method is not getattr(asyncio.AbstractEventLoop, name)

    names = public_methods()
    report_missing("missing", [name for name in names if not has(name)], len(names))


@row("... with asyncio's signature, and is a coroutine function where asyncio's is")
async def signatures(loop: Loop) -> None:
    def shape(function: Any) -> Any:
        found = inspect.signature(function).parameters.values()
        parameters = [(one.name, one.kind, one.default) for one in found]
        return inspect.iscoroutinefunction(function), parameters

    reference = THEIRS()
    different = []
    for name in public_methods():
        try:
            if shape(getattr(loop, name)) != shape(getattr(reference, name)):
                different.append(name)
        except (AttributeError, ValueError):  # not there, or nothing to inspect
            different.append(name)
    reference.close()
    report_missing("other signatures", different, len(public_methods()))


# -- running --------------------------------------------------------------------------------------


@row("`run_forever`, `run_until_complete`, `stop`, again and again; `close`")
def running(loop: Loop) -> None:
    async def stop_and_wait() -> None:
        loop.stop()
        await asyncio.sleep(3600)

    loop.call_soon(loop.stop)
    loop.run_forever()
    task = loop.create_task(stop_and_wait())
    try:
        loop.run_until_complete(task)
    except RuntimeError as exc:
        expect("stopped before" in str(exc), repr(exc))
    else:
        raise Differs("run_until_complete returned though its future is not done")
    task.cancel()
    loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
    loop.close()
    loop.close()
    expect(loop.is_closed() and not loop.is_running(), "is_closed or is_running is wrong")
    try:
        loop.call_soon(print)
    except RuntimeError as exc:
        expect(str(exc) == "Event loop is closed", repr(exc))
    else:
        raise Differs("a closed loop takes callbacks")


@row("runs in another thread than the one that made it")
def other_thread(loop: Loop) -> None:
    async def work() -> str:
        await asyncio.sleep(0.001)
        return "done"

    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        expect(pool.submit(loop.run_until_complete, work()).result() == "done", "no result")
    expect(loop.run_until_complete(work()) == "done", "no result back in the first thread")


@row("Ctrl-C cancels the main task of `asyncio.Runner`")
def interrupt(loop: Loop) -> None:
    outcomes = []

    async def main() -> None:
        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            outcomes.append("cancelled")
            raise

    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())
    except KeyboardInterrupt:
        outcomes.append("interrupted")
    expect(outcomes == ["cancelled", "interrupted"], f"it was {outcomes}")


@row("`add_signal_handler`, `remove_signal_handler`")
async def signals(loop: Loop) -> None:
    got: asyncio.Future[str] = loop.create_future()
    loop.add_signal_handler(signal.SIGUSR1, got.set_result, "got it")
    os.kill(os.getpid(), signal.SIGUSR1)
    expect(await got == "got it", "the arguments are lost")
    expect(loop.remove_signal_handler(signal.SIGUSR1) is True, "remove is not True")
    expect(loop.remove_signal_handler(signal.SIGUSR1) is False, "remove twice is not False")


# -- callbacks ------------------------------------------------------------------------------------


@row("`call_soon`, `call_soon_threadsafe`, with `context=`")
async def callbacks(loop: Loop) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    context = contextvars.copy_context()
    context.run(variable.set, 2)
    order: list[int] = []
    loop.call_soon(order.append, 1)
    loop.call_soon(lambda: order.append(variable.get()), context=context)
    arguments = (lambda: order.append(variable.get() + 1),)
    keywords = {"context": context}
    threading.Thread(target=loop.call_soon_threadsafe, args=arguments, kwargs=keywords).start()
    await until(lambda: len(order) == 3)
    expect(order == [1, 2, 3], f"order or context are wrong: {order}")


@row("`call_later`, `call_at`: in order, never early")
async def timers(loop: Loop) -> None:
    early: list[float] = []
    order: list[int] = []

    def ran(i: int, due: float) -> None:
        order.append(i)
        if time.monotonic() < due:
            early.append(due - time.monotonic())

    for i in range(100):
        due = time.monotonic() + 0.0003 * i
        loop.call_later(0.0003 * i, ran, i, due)
    await until(lambda: len(order) == 100)
    expect(order == sorted(order), "not in the order of their times")
    expect(not early, f"{len(early)} of 100 ran early, by up to {max(early, default=0)} s")
    order.clear()
    for i in (3, 1, 2):
        loop.call_at(loop.time() + 0.01 * i, order.append, i)
    await until(lambda: len(order) == 3)
    expect(order == [1, 2, 3], f"call_at ran {order}")


@row("`asyncio.Handle`, `asyncio.TimerHandle`: the classes, every method")
async def handles(loop: Loop) -> None:
    handle, timer = loop.call_soon(bool), loop.call_at(loop.time() + 3600, bool)
    wanted = [name for name in dir(asyncio.TimerHandle) if name[0] != "_"]
    missing = [name for name in wanted if not hasattr(timer, name)]
    report_missing("missing", missing, len(wanted))
    for one in (handle, timer):
        expect(not one.cancelled(), "cancelled from the start")
        one.cancel()
        expect(one.cancelled(), "not cancelled")
    expect(3590 < timer.when() - loop.time() <= 3600, f"when() is {timer.when()}")
    expect(isinstance(handle, asyncio.Handle), "call_soon's is no asyncio.Handle")
    expect(isinstance(timer, asyncio.TimerHandle), "call_later's is no asyncio.TimerHandle")


@row("exception handler: set, get, default, call")
async def exception_handler(loop: Loop) -> None:
    contexts: list[dict[str, Any]] = []

    def handler(_: Any, context: dict[str, Any]) -> None:
        contexts.append(context)

    loop.set_exception_handler(handler)
    expect(loop.get_exception_handler() is handler, "get gives another one")
    loop.call_soon(divmod, 1, 0)
    await until(lambda: contexts)
    expect(isinstance(contexts[0]["exception"], ZeroDivisionError), repr(contexts))
    expect(contexts[0]["message"].startswith("Exception in callback"), repr(contexts))
    loop.call_exception_handler({"message": "called"})
    expect(contexts[1] == {"message": "called"}, repr(contexts))
    logging.disable()
    loop.default_exception_handler({"message": "default"})


@row("debug mode: wrong thread, coroutine as callback, slow callback")
async def debug_mode(loop: Loop) -> None:
    records: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    logging.getLogger("asyncio").addHandler(Keep())
    loop.set_debug(True)
    expect(loop.get_debug(), "get_debug is False")
    try:
        await asyncio.to_thread(loop.call_soon, bool)
    except RuntimeError:
        pass
    else:
        raise Differs("call_soon from another thread is no error")
    try:
        loop.call_soon(debug_mode)
    except TypeError:
        pass
    else:
        raise Differs("a coroutine function as callback is no error")
    loop.slow_callback_duration = 0.0
    loop.call_soon(sum, range(100_000))
    await until(lambda: any("Executing" in text for text in records))


# -- tasks, executors, names -----------------------------------------------------------------------


@row("`create_task` with `name=` and `context=`, task factories")
async def tasks(loop: Loop) -> None:
    async def work() -> str:
        return "done"

    context = contextvars.copy_context()
    task = loop.create_task(work(), name="its name", context=context)
    expect(task.get_name() == "its name" and await task == "done", "name or result are lost")
    made = []

    def factory(loop: Any, coro: Any, **options: Any) -> Any:
        made.append(coro)
        return asyncio.Task(coro, loop=loop, **options)

    loop.set_task_factory(factory)
    expect(loop.get_task_factory() is factory, "get gives another factory")
    await loop.create_task(work(), name="another name")
    expect(len(made) == 1, "the factory was not called")


@row("`asyncio.eager_task_factory` (Python 3.12)")
async def eager_tasks(loop: Loop) -> None:
    async def work() -> str:
        return "done"

    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
        expect(loop.create_task(work()).done(), "an eager task did not run at once")


@row("`run_in_executor`, `set_default_executor`, `shutdown_default_executor`")
async def executors(loop: Loop) -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1, "its_name")
    loop.set_default_executor(pool)
    name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
    expect(name.startswith("its_name"), "another executor has run it")
    keywords = {"timeout": 5} if sys.version_info >= (3, 12) else {}
    await loop.shutdown_default_executor(**keywords)
    try:
        await loop.run_in_executor(None, bool)
    except RuntimeError:
        return
    raise Differs("the executor was not shut down")


@row("`shutdown_asyncgens`")
def asyncgens(loop: Loop) -> None:
    closed = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            closed.append(True)

    async def begin() -> AsyncGenerator[int, None]:
        generator = numbers()
        await anext(generator)
        return generator

    generator = loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_asyncgens())
    expect(closed, f"{generator} was not closed")


@row("`getaddrinfo`, `getnameinfo`")
async def names(loop: Loop) -> None:
    found = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    expect(found == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM), repr(found))
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    expect(await loop.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80"), "wrong name")


# -- plain sockets --------------------------------------------------------------------------------


@row("`add_reader`, `add_writer`, `remove_reader`, `remove_writer`")
async def readers(loop: Loop) -> None:
    near, far = socket_pair()
    ready: list[str] = []
    with near, far:
        loop.add_reader(near, ready.append, "reader")
        loop.add_writer(near.fileno(), ready.append, "writer")
        far.send(b"x")
        await until(lambda: ready.count("reader") > 1 and ready.count("writer") > 1)
        told = [loop.remove_reader(near), loop.remove_writer(near)]
        told_again = [loop.remove_reader(near), loop.remove_writer(near)]
    expect(told == [True, True], f"remove gives {told}")
    expect(told_again == [False, False], f"remove gives {told_again} the second time")


@row("`sock_recv`, `_recv_into`, `_sendall`, `_connect`, `_accept`")
async def sock_streams(loop: Loop) -> None:
    with socket.socket() as listener, socket.socket() as near:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)
        near.setblocking(False)
        accepting = asyncio.ensure_future(loop.sock_accept(listener))
        await loop.sock_connect(near, listener.getsockname())
        far, address = await accepting
        with far:
            expect(address == near.getsockname(), f"the address is {address}")
            data = bytes(4_000_000)
            sending = asyncio.ensure_future(loop.sock_sendall(near, data))
            buffer = bytearray(1000)
            received = await loop.sock_recv_into(far, buffer)
            while received < len(data):
                received += len(await loop.sock_recv(far, 1_000_000))
            await sending


@row("`sock_sendto`, `sock_recvfrom`, `sock_recvfrom_into`")
async def sock_datagrams(loop: Loop) -> None:
    near, far = socket_pair(socket.SOCK_DGRAM)
    with near, far:
        receiving = asyncio.ensure_future(loop.sock_recvfrom(far, 100))
        await asyncio.sleep(0)
        expect(await loop.sock_sendto(near, b"one", far.getsockname()) == 3, "sendto is not 3")
        expect(await receiving == (b"one", near.getsockname()), "wrong data or address")
        await loop.sock_sendto(near, b"four", far.getsockname())
        buffer = bytearray(10)
        answer = await loop.sock_recvfrom_into(far, buffer)
        expect(answer == (4, near.getsockname()), f"recvfrom_into gave {answer}")
