"""run_in_executor, the default executor and its shutdown, getaddrinfo and getnameinfo.

Source: asyncio's documentation, "Executing code in thread or process pools" and "DNS". Whether a
literal address needs a thread is not documented: rloop promises that it does not.
"""

import _socket
import asyncio
import concurrent.futures
import contextvars
import functools
import socket
import subprocess
import sys
import threading
import time

import pytest
from support import DEADLINE, PY313, RLOOP_IDS, differs, loops_only, new_loop, wait_until


async def test_run_in_executor_runs_in_another_thread(loop: asyncio.AbstractEventLoop) -> None:
    here = threading.get_ident()
    there = await loop.run_in_executor(None, threading.get_ident)
    assert here != there
    assert await loop.run_in_executor(None, pow, 2, 10) == 1024
    assert await loop.run_in_executor(None, functools.partial(int, "ff", base=16)) == 255


async def test_an_exception_in_the_executor_comes_back(loop: asyncio.AbstractEventLoop) -> None:
    def fail() -> None:
        raise ValueError("in the thread")

    with pytest.raises(ValueError, match="in the thread"):
        await loop.run_in_executor(None, fail)


async def test_run_in_executor_uses_the_given_executor(loop: asyncio.AbstractEventLoop) -> None:
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        name = await loop.run_in_executor(executor, lambda: threading.current_thread().name)
        assert name.startswith("mine")


async def test_set_default_executor_is_used_and_shut_down(loop: asyncio.AbstractEventLoop) -> None:
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="default")
    loop.set_default_executor(executor)
    name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert name.startswith("default")
    await loop.shutdown_default_executor()
    with pytest.raises(RuntimeError):
        executor.submit(print)


@differs("uvloop", "it only warns about executors of another kind")
def test_the_default_executor_must_be_a_thread_pool(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
        loop.set_default_executor(object())  # type: ignore[arg-type]


async def test_run_in_executor_after_the_shutdown_raises(loop: asyncio.AbstractEventLoop) -> None:
    await loop.shutdown_default_executor()
    with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
        await loop.run_in_executor(None, print)


def test_run_in_executor_on_a_closed_loop_raises(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.run_in_executor(None, print)


async def test_the_shutdown_waits_for_running_work(loop: asyncio.AbstractEventLoop) -> None:
    finished: list[str] = []
    release = threading.Event()

    def work() -> None:
        release.wait(10)
        finished.append("finished")

    running = loop.run_in_executor(None, work)
    loop.call_later(0.02, release.set)
    await loop.shutdown_default_executor()
    assert finished == ["finished"]
    await running


@pytest.mark.skipif(not PY313, reason="Python 3.12's own timeout bounds only a join after the wait")
@differs("uvloop", "its timeout bounds only the join after the wait")
async def test_the_shutdown_gives_up_after_its_timeout(loop: asyncio.AbstractEventLoop) -> None:
    release = threading.Event()
    running = loop.run_in_executor(None, release.wait, 10)
    with pytest.warns(RuntimeWarning, match="did not finishing joining"):
        await loop.shutdown_default_executor(timeout=0.05)
    release.set()
    await running


def test_close_does_not_wait_for_the_executor(loop_id: str) -> None:
    loop = new_loop(loop_id)
    release = threading.Event()
    future = None

    async def start() -> None:
        nonlocal future
        future = loop.run_in_executor(None, release.wait, 10)

    loop.run_until_complete(start())
    began = time.monotonic()
    loop.close()
    assert time.monotonic() - began < 5
    release.set()


async def test_asyncio_to_thread_carries_the_context(loop: asyncio.AbstractEventLoop) -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("carried")
    assert await asyncio.to_thread(variable.get) == "carried"


async def test_many_executor_calls_all_come_back(loop: asyncio.AbstractEventLoop) -> None:
    results = await asyncio.gather(*(asyncio.to_thread(pow, n, 2) for n in range(300)))
    assert results == [n * n for n in range(300)]


@pytest.mark.parametrize(
    ("host", "port", "family"),
    [
        ("127.0.0.1", 80, socket.AF_INET),
        ("::1", 80, socket.AF_INET6),
        ("127.0.0.1", "80", socket.AF_INET),
        ("127.0.0.1", None, socket.AF_INET),
        (b"127.0.0.1", 80, socket.AF_INET),
        ("localhost", 80, socket.AF_INET),
        (None, 80, 0),
    ],
)
async def test_getaddrinfo_gives_what_the_socket_module_gives(
    loop: asyncio.AbstractEventLoop, host: str | bytes | None, port: object, family: int
) -> None:
    got = await loop.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    wanted = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)  # type: ignore[arg-type]
    # uvloop leaves the canonical name and the protocol of literals as libuv has them.
    assert [(item[0], item[1], item[4]) for item in got] == [
        (item[0], item[1], item[4]) for item in wanted
    ]


async def test_getaddrinfo_without_a_type_gives_every_type(
    loop: asyncio.AbstractEventLoop,
) -> None:
    got = await loop.getaddrinfo("127.0.0.1", 80)
    assert {item[4] for item in got} == {("127.0.0.1", 80)}


async def test_getaddrinfo_fails_with_gaierror(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(socket.gaierror):
        await loop.getaddrinfo("127.0.0.1.nonsense.invalid", 80, flags=socket.AI_NUMERICHOST)


async def test_getnameinfo_of_literals(loop: asyncio.AbstractEventLoop) -> None:
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await loop.getnameinfo(("127.0.0.1", 80), flags) == ("127.0.0.1", "80")
    assert await loop.getnameinfo(("::1", 80, 0, 0), flags) == ("::1", "80")


@loops_only("asyncio", *RLOOP_IDS)
async def test_a_literal_needs_no_thread_to_connect(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a literal address went to the resolver")

    monkeypatch.setattr(loop, "getaddrinfo", refuse, raising=False)
    monkeypatch.setattr(loop, "run_in_executor", refuse, raising=False)
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    transport, _ = await loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname())
    sock = transport.get_extra_info("socket")
    transport.abort()
    server.close()
    await wait_until(lambda: sock.fileno() == -1)


@loops_only(*RLOOP_IDS)
async def test_getaddrinfo_of_a_literal_starts_no_thread(loop: asyncio.AbstractEventLoop) -> None:
    before = threading.active_count()
    for _ in range(10):
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
        await loop.getaddrinfo("::1", 80, type=socket.SOCK_STREAM)
    assert threading.active_count() <= before  # one of another test may end meanwhile


async def test_the_answer_for_a_literal_is_the_callers(loop: asyncio.AbstractEventLoop) -> None:
    first = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    expected = list(first)
    first.clear()
    assert await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM) == expected


async def test_many_literals_keep_their_answers_apart(loop: asyncio.AbstractEventLoop) -> None:
    # More than are remembered, and many that would have the same place.
    questions = [(f"10.0.{n % 3}.{n % 7}", 1 + 256 * (n % 5) + n % 11) for n in range(400)]
    for _ in range(2):
        for host, port in questions:
            answer = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            assert [item[4] for item in answer] == [(host, port)]
    for family, flags in ((socket.AF_INET, 0), (0, 0), (0, socket.AI_NUMERICHOST)):
        answer = await loop.getaddrinfo("10.0.0.1", 80, family=family, flags=flags)
        assert answer == socket.getaddrinfo("10.0.0.1", 80, family=family, flags=flags)


@differs("uvloop", "it calls getaddrinfo(3) itself")
@pytest.mark.parametrize("host", ["10.9.8.7", "service.invalid"])
async def test_a_replaced_getaddrinfo_is_asked_each_time(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    original = socket.getaddrinfo
    targets = iter(["127.0.0.1", "127.0.0.2"])
    threads: set[int] = set()

    def mapped(host: str, *args: object) -> list[object]:
        threads.add(threading.get_ident())
        target = next(targets, None)
        if target is None:
            raise socket.gaierror(socket.EAI_FAIL, "not allowed now")
        return original(target, *args)  # type: ignore[arg-type,return-value]

    await loop.getaddrinfo("10.9.8.7", 80)  # the genuine answer may be remembered
    monkeypatch.setattr(socket, "getaddrinfo", mapped)
    for expected in ("127.0.0.1", "127.0.0.2"):
        answer = await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
        assert [entry[4] for entry in answer] == [(expected, 80)]
    with pytest.raises(socket.gaierror, match="not allowed now"):
        await loop.getaddrinfo(host, 80, type=socket.SOCK_STREAM)
    assert threading.get_ident() not in threads  # it may block
    monkeypatch.undo()
    answer = await loop.getaddrinfo("10.9.8.7", 80, type=socket.SOCK_STREAM)
    assert [entry[4] for entry in answer] == [("10.9.8.7", 80)]


@differs("uvloop", "it calls getaddrinfo(3) itself")
async def test_a_replaced_function_below_the_socket_module_is_asked_too(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    original = _socket.getaddrinfo

    def counting(*args: object) -> object:
        calls.append(args[0])
        return original(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(_socket, "getaddrinfo", counting)
    for _ in range(2):
        await loop.getaddrinfo("10.9.8.6", 80)
    assert calls == ["10.9.8.6"] * 2


@loops_only(*RLOOP_IDS)
def test_one_that_was_replaced_before_rloop_was_imported(loop_id: str) -> None:
    program = """
import asyncio, socket, sys
calls = []
original = socket.getaddrinfo
socket.getaddrinfo = lambda *arguments: calls.append(arguments[0]) or original(*arguments)
import rloop
loop = rloop.new_event_loop(sys.argv[1])
for _ in range(2):
    loop.run_until_complete(loop.getaddrinfo("10.9.8.7", 80))
loop.close()
print(len(calls))
"""
    backend = {"rloop-epoll": "epoll", "rloop-uring": "io_uring"}[loop_id]
    done = subprocess.run(
        [sys.executable, "-c", program, backend], capture_output=True, text=True, check=True
    )
    assert done.stdout == "2\n"


@differs("uvloop", "it calls getnameinfo(3) itself")
async def test_a_replaced_getnameinfo_is_asked_in_a_thread(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []

    def mine(*args: object) -> tuple[str, str]:
        threads.append(threading.get_ident())
        return "mine", "too"

    monkeypatch.setattr(socket, "getnameinfo", mine)
    flags = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
    assert await loop.getnameinfo(("127.0.0.1", 80), flags) == ("mine", "too")
    assert threads != [threading.get_ident()]


@differs("uvloop", "it calls getaddrinfo(3) itself")
async def test_a_cancelled_lookup_is_cancelled(
    loop: asyncio.AbstractEventLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()

    def wait_for_the_end(*_args: object, **_named: object) -> list[object]:
        answer.wait(DEADLINE)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", wait_for_the_end)
    task = loop.create_task(loop.getaddrinfo("localhost", 80))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    answer.set()
