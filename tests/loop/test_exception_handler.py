"""The exception handler: default text, custom handlers, handlers that raise themselves.

Source: asyncio's documentation, "Error Handling API". The default handler's text is compared to
the letter, because log filters are.
"""

import asyncio
import contextvars
import logging
import sys
from typing import Any

import pytest
from support import Noise, differs, run_briefly, tcp_pair, until_closed, wait_until


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, logger="asyncio")
    return caplog


def test_there_is_no_handler_at_first(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


def test_the_handler_gets_the_loop_and_the_context(loop: asyncio.AbstractEventLoop) -> None:
    got: list[tuple[Any, dict[str, Any]]] = []

    def handler(owner: Any, context: dict[str, Any]) -> None:
        got.append((owner, context))

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    context = {"message": "hello"}
    loop.call_exception_handler(context)
    assert got[0][0] is loop
    assert got[0][1] is context


@pytest.mark.parametrize("handler", [3, "text", object()])
def test_a_handler_must_be_callable(loop: asyncio.AbstractEventLoop, handler: object) -> None:
    with pytest.raises(TypeError, match="A callable object or None is expected"):
        loop.set_exception_handler(handler)  # type: ignore[arg-type]


def test_the_default_handler_logs_message_and_sorted_keys(
    loop: asyncio.AbstractEventLoop, log: pytest.LogCaptureFixture
) -> None:
    loop.set_exception_handler(None)
    loop.call_exception_handler({"message": "first line", "zebra": 1, "ape": "two"})
    (record,) = log.records
    assert record.name == "asyncio"
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "first line\nape: 'two'\nzebra: 1"
    assert not record.exc_info


def test_the_default_handler_logs_the_exception(
    loop: asyncio.AbstractEventLoop, log: pytest.LogCaptureFixture
) -> None:
    loop.set_exception_handler(None)
    error = ValueError("logged")
    loop.default_exception_handler({"exception": error})
    (record,) = log.records
    assert record.getMessage() == "Unhandled exception in event loop"
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_a_failing_callback_is_logged_by_default(
    loop: asyncio.AbstractEventLoop, log: pytest.LogCaptureFixture
) -> None:
    loop.set_exception_handler(None)

    def a_callback_that_fails() -> None:
        raise ValueError("in the callback")

    loop.call_soon(a_callback_that_fails)
    run_briefly(loop)
    (record,) = log.records
    message = record.getMessage()
    assert message.startswith("Exception in callback ")
    assert "a_callback_that_fails" in message.splitlines()[0]
    assert "handle: <" in message
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "in the callback"


def test_a_failing_callback_gives_the_handler_message_exception_and_handle(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    handle = loop.call_soon(lambda: 1 / 0)
    run_briefly(loop)
    context = noise.take_one()
    assert set(context) == {"message", "exception", "handle"}
    assert context["handle"] is handle
    traceback = context["exception"].__traceback__
    names = []
    while traceback is not None:
        names.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert names[-1] == "<lambda>"


def test_a_failing_timer_is_reported_with_its_handle(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    handle = loop.call_later(0.001, lambda: 1 / 0)
    loop.call_later(0.02, loop.stop)
    loop.run_forever()
    assert noise.take_one()["handle"] is handle


def test_a_handler_that_raises_is_reported_by_the_default_one(
    loop: asyncio.AbstractEventLoop, log: pytest.LogCaptureFixture
) -> None:
    def handler(owner: Any, context: dict[str, Any]) -> None:
        raise AttributeError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    run_briefly(loop)
    (record,) = log.records
    assert record.getMessage().startswith("Unhandled error in exception handler\ncontext: {")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], AttributeError)


def test_a_default_handler_that_raises_is_logged(
    loop: asyncio.AbstractEventLoop,
    log: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(context: dict[str, Any]) -> None:
        raise ValueError("in the default handler")

    loop.set_exception_handler(None)
    monkeypatch.setattr(loop, "default_exception_handler", broken)
    loop.call_exception_handler({"message": "anything"})
    (record,) = log.records
    assert record.getMessage() == "Exception in default exception handler"


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_raised_by_a_handler_passes(
    loop: asyncio.AbstractEventLoop, kind: type[BaseException]
) -> None:
    def handler(owner: Any, context: dict[str, Any]) -> None:
        raise kind

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    with pytest.raises(kind):
        loop.run_forever()
    loop.set_exception_handler(None)


def test_the_handler_may_stop_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.set_exception_handler(lambda owner, context: owner.stop())
    loop.call_soon(lambda: 1 / 0)
    loop.run_forever()


@pytest.mark.skipif(not hasattr(asyncio.Handle, "get_context"), reason="new in Python 3.12")
def test_the_handler_runs_in_the_context_of_the_handle(loop: asyncio.AbstractEventLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="outside")
    seen: list[str] = []
    loop.set_exception_handler(lambda owner, context: seen.append(variable.get()))
    context = contextvars.copy_context()
    context.run(variable.set, "inside")
    loop.call_soon(lambda: 1 / 0, context=context)
    run_briefly(loop)
    assert seen == ["inside"]


def test_an_overridden_call_exception_handler_is_called(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "uvloop" in type(loop).__module__:
        pytest.skip("attributes of its compiled class cannot be replaced")
    got: list[dict[str, Any]] = []
    monkeypatch.setattr(loop, "call_exception_handler", got.append)
    loop.call_soon(lambda: 1 / 0)
    run_briefly(loop)
    assert len(got) == 1


class Raising(asyncio.Protocol):
    """Each of its callbacks raises an exception of its own."""

    def data_received(self, data: bytes) -> None:
        raise LookupError

    def pause_writing(self) -> None:
        raise IndexError

    def connection_lost(self, exc: BaseException | None) -> None:
        raise KeyError


class RaisingBuffered(asyncio.BufferedProtocol):
    def get_buffer(self, sizehint: int) -> bytearray:
        raise EOFError


class RaisingDatagrams(asyncio.DatagramProtocol):
    def datagram_received(self, data: bytes, addr: object) -> None:
        raise OverflowError


def divide() -> None:
    raise ZeroDivisionError


@differs("uvloop", "its protocols' exceptions have gone when it tells of them")
async def test_the_exception_is_being_handled_when_the_handler_is_told(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    """So that logging.exception() and sys.exc_info() in a handler of the program's show it."""
    told: list[tuple[object, object]] = []
    loop.set_exception_handler(
        lambda _, context: told.append((context["exception"], sys.exception()))
    )
    loop.call_soon(divide)
    loop.call_later(0, divide)
    near, far = tcp_pair()
    transport, _ = await loop.create_connection(Raising, sock=near)
    transport.set_write_buffer_limits(0)
    transport.write(bytes(10_000_000))
    far.send(b"x")
    other_near, other_far = tcp_pair()
    await loop.create_connection(RaisingBuffered, sock=other_near)
    other_far.send(b"x")
    datagrams, _ = await loop.create_datagram_endpoint(
        RaisingDatagrams, local_addr=("127.0.0.1", 0)
    )
    datagrams.sendto(b"x", datagrams.get_extra_info("sockname"))
    await wait_until(lambda: len(told) >= 7)
    kinds = sorted(type(exception).__name__ for exception, _ in told)
    assert kinds == [
        "EOFError", "IndexError", "KeyError", "LookupError", "OverflowError",
        "ZeroDivisionError", "ZeroDivisionError",
    ]  # fmt: skip
    assert all(exception is handled for exception, handled in told)
    assert sys.exception() is None
    for end in (far, other_far):
        end.close()
    await until_closed(datagrams)
