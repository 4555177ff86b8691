"""Debug mode: slow callbacks, calls from the wrong thread, coroutines as callbacks, tracebacks.

Source: asyncio's documentation, "Debug Mode". Texts are asyncio's.
"""

import asyncio
import logging
import socket
import sys
import threading
import time
from typing import Any

import pytest
from programs import check_script
from support import Noise, differs, run_briefly, serving, tcp_pair, wait_until


@pytest.fixture(autouse=True)
def debug(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_debug(True)


def test_debug_can_be_switched(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.get_debug() is True
    loop.set_debug(False)
    assert loop.get_debug() is False
    assert "debug=False" in repr(loop)


@pytest.mark.parametrize("variable", ["0", "1"])
def test_the_environment_decides_at_first(loop_id: str, variable: str) -> None:
    source = """
    import sys
    from support import new_loop
    loop = new_loop(sys.argv[1])
    print(loop.get_debug())
    loop.close()
    """
    extra = {"PYTHONASYNCIODEBUG": "1"} if variable == "1" else {"PYTHONASYNCIODEBUG": ""}
    assert check_script(source, loop_id, **extra).strip() == str(variable == "1")


def test_a_slow_callback_is_logged(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="asyncio")
    loop.slow_callback_duration = 0.001

    def a_slow_callback() -> None:
        end = time.monotonic() + 0.005
        while time.monotonic() < end:
            pass

    loop.call_soon(a_slow_callback)
    run_briefly(loop)
    messages = [record.getMessage() for record in caplog.records]
    (message,) = [text for text in messages if "a_slow_callback" in text]
    assert message.startswith("Executing <")
    assert " took 0.0" in message
    assert message.endswith(" seconds")


def test_a_slow_task_step_is_logged_with_its_task(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="asyncio")
    loop.slow_callback_duration = 0.001

    async def a_slow_coroutine() -> None:
        end = time.monotonic() + 0.005
        while time.monotonic() < end:
            pass

    loop.run_until_complete(a_slow_coroutine())
    messages = [record.getMessage() for record in caplog.records]
    assert any("a_slow_coroutine" in text and "Executing <Task" in text for text in messages)


def test_quick_callbacks_are_not_logged(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="asyncio")
    loop.slow_callback_duration = 5
    run_briefly(loop)
    assert caplog.records == []


def test_the_default_duration_is_a_tenth_of_a_second(loop: asyncio.AbstractEventLoop) -> None:
    assert loop.slow_callback_duration == 0.1


@pytest.mark.parametrize("method", ["call_soon", "call_later", "call_at"])
def test_a_call_from_another_thread_is_refused(
    loop: asyncio.AbstractEventLoop, method: str
) -> None:
    errors: list[BaseException] = []
    arguments = () if method == "call_soon" else (1,)

    def call() -> None:
        try:
            getattr(loop, method)(*arguments, print)
        except BaseException as error:
            errors.append(error)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=call)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert [str(error) for error in errors] == [
        "Non-thread-safe operation invoked on an event loop other than the current one"
    ]
    assert isinstance(errors[0], RuntimeError)


def test_calls_are_free_while_the_loop_does_not_run(loop: asyncio.AbstractEventLoop) -> None:
    ran: list[str] = []
    thread = threading.Thread(target=loop.call_soon, args=(ran.append, "ran"))
    thread.start()
    thread.join()
    run_briefly(loop)
    assert ran == ["ran"]


@pytest.mark.parametrize("method", ["call_soon", "call_soon_threadsafe", "call_later", "call_at"])
@differs("uvloop", "it looks at the callback of call_soon and call_soon_threadsafe alone")
def test_a_coroutine_is_no_callback(loop: asyncio.AbstractEventLoop, method: str) -> None:
    async def coroutine_function() -> None:
        pass

    arguments = (1,) if method in ("call_later", "call_at") else ()
    call = getattr(loop, method)
    coroutine = coroutine_function()
    for wrong in (coroutine_function, coroutine):
        with pytest.raises(TypeError, match="coroutines cannot be used with call_"):
            call(*arguments, wrong)
    coroutine.close()
    with pytest.raises(TypeError, match="a callable object was expected by call_"):
        call(*arguments, 3)


def test_the_executor_refuses_coroutines(loop: asyncio.AbstractEventLoop) -> None:
    async def coroutine_function() -> None:
        pass

    with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
        loop.run_in_executor(None, coroutine_function)  # type: ignore[arg-type]


def test_a_failing_callback_tells_where_it_was_made(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    loop.set_exception_handler(None)
    loop.call_soon(lambda: 1 / 0)
    run_briefly(loop)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    message = record.getMessage()
    assert "reated at (most recent call last):" in message
    assert "test_a_failing_callback_tells_where_it_was_made" in message


def test_a_failing_callback_gives_the_handler_the_source_traceback(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    loop.call_later(0, lambda: 1 / 0)
    loop.call_later(0.01, loop.stop)
    loop.run_forever()
    context = noise.take_one()
    last = context["source_traceback"][-1]
    assert last.name == "test_a_failing_callback_gives_the_handler_the_source_traceback"
    assert last.filename == __file__


def test_the_repr_of_a_handle_tells_where_it_was_made(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon(print)
    assert f"created at {__file__}:" in repr(handle)
    handle.cancel()


def test_coroutine_origins_are_tracked_only_during_the_run(
    loop: asyncio.AbstractEventLoop,
) -> None:
    seen: list[int] = []
    before = sys.get_coroutine_origin_tracking_depth()
    loop.call_soon(lambda: seen.append(sys.get_coroutine_origin_tracking_depth()))
    run_briefly(loop)
    assert seen[0] > 0
    assert sys.get_coroutine_origin_tracking_depth() == before


async def test_blocking_sockets_are_refused(loop: asyncio.AbstractEventLoop) -> None:
    near, far = socket.socketpair()
    with near, far:
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_recv(near, 1)
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_recv_into(near, bytearray(1))
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_sendall(near, b"x")
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_accept(near)
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_connect(near, ("127.0.0.1", 1))


async def test_transports_work_in_debug_mode(loop: asyncio.AbstractEventLoop) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    writer.write(b"hello\n")
    assert await reader.read() == b"hello\n"
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


@differs("uvloop", "failed factories are reported with debug mode off as well, by other words")
async def test_a_failing_factory_is_reported(loop: asyncio.AbstractEventLoop, noise: Noise) -> None:

    def factory() -> asyncio.Protocol:
        raise ValueError("no protocol today")

    async with serving(factory) as (_, address):
        with socket.create_connection(address):
            await wait_until(lambda: noise.contexts)
    context = noise.take_one()
    assert context["message"] == "Error on transport creation for incoming connection"
    assert str(context["exception"]) == "no protocol today"
    context.clear()
    # asyncio leaves the accepted socket to the garbage collector here.
    noise.forgive_unclosed()


def test_a_reader_from_a_pair_still_works(loop: asyncio.AbstractEventLoop) -> None:
    near, far = tcp_pair()
    far.send(b"x")
    loop.add_reader(near, lambda: (loop.remove_reader(near), loop.stop()))
    loop.run_forever()
    near.close()
    far.close()


def test_a_debug_flag_without_a_truth_value_raises_its_own_error(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Undecided:
        def __bool__(self) -> bool:
            raise ZeroDivisionError("undecided")

    # asyncio keeps what it was given, and asks it when it matters: within a run, at once.
    async def switch() -> None:
        with pytest.raises(ZeroDivisionError, match="undecided"):
            loop.set_debug(Undecided())  # type: ignore[arg-type]
        loop.set_debug(False)

    loop.run_until_complete(switch())
    assert loop.get_debug() is False


@differs("uvloop", "its messages always show the arguments")
@pytest.mark.parametrize("debug", [False, True])
def test_a_failed_callback_is_described_as_asyncio_describes_it(
    loop: asyncio.AbstractEventLoop, noise: Noise, debug: bool
) -> None:
    def fail(argument: str) -> None:
        raise ValueError(argument)

    loop.set_debug(debug)
    handle = loop.call_soon(fail, "text")
    theirs: Any = asyncio.Handle(fail, ("text",), loop)
    described = repr(theirs).removeprefix("<Handle ").removesuffix(">").partition(" created")[0]
    run_briefly(loop)
    assert noise.take_one()["message"] == f"Exception in callback {described}"
    handle.cancel()
