"""How slow callbacks are described: of every kind, over TLS, and what cannot be described."""

import asyncio
import contextlib
import socket
import ssl
from typing import Any

import pytest
import trustme
from slowness import burn, line_of, of, reports_of
from support import RLOOP_IDS, Echo, Recorder, loops_only, wait_until, wired

from rloop import slow_callbacks

pytestmark = loops_only(*RLOOP_IDS)


@pytest.fixture
def reports(loop: Any) -> list[dict[str, Any]]:
    return reports_of(loop)


def test_callbacks_of_every_kind_can_be_described() -> None:
    class Callable:
        def __call__(self) -> None:
            pass

        def method(self) -> None:
            pass

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise AttributeError(name)

        def __call__(self) -> None:
            pass

    @contextlib.contextmanager
    def generator() -> Any:
        yield

    class Misleading(Callable):
        __code__ = "no code"

    for callback in (
        *(Callable(), Callable().method, Broken(), print, len, generator, Callable),
        Misleading(),
    ):
        handle = asyncio.Handle(callback, (), asyncio.new_event_loop(), None)
        handle._loop.close()  # type: ignore[attr-defined]
        report = slow_callbacks.of_handle(handle)
        assert report["callback"]
        assert (report["file"] is None) == (report["line"] is None)


class Unspeakable(asyncio.Task):  # type: ignore[type-arg]
    """A task that cannot be described."""

    def get_coro(self) -> Any:
        raise RuntimeError("not for you")


@pytest.mark.parametrize("debug", [False, True])
def test_a_task_that_cannot_be_described_ends_nothing(
    loop: Any, reports: list[dict[str, Any]], debug: bool
) -> None:
    async def compute() -> str:
        burn()
        return "done"

    loop.set_debug(debug)
    loop.set_exception_handler(lambda _, context: None)
    task = Unspeakable(compute(), loop=loop)
    assert loop.run_until_complete(task) == "done"
    assert [report["callback"] for report in reports if report["file"] is None]


def test_tasks_in_python_are_tasks(loop: Any, reports: list[dict[str, Any]]) -> None:
    async def compute() -> None:
        burn()

    async def main() -> None:
        await asyncio.tasks._PyTask(compute(), loop=loop, name="slow one")  # type: ignore[attr-defined]

    loop.run_until_complete(main())
    (report,) = of(reports, "compute")
    assert report["task"] == "slow one"


def test_over_tls_the_programs_protocol_is_named(loop: Any, reports: list[dict[str, Any]]) -> None:
    class Sluggish(Echo):
        def data_received(self, data: bytes) -> None:
            burn()
            super().data_received(data)

    authority = trustme.CA()
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)

    async def main() -> None:
        server = await loop.create_server(Sluggish, "127.0.0.1", 0, ssl=server_context)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(
            Recorder, *address, ssl=client_context, server_hostname="localhost"
        )
        transport.write(b"x")
        await client.wait_for_bytes(1)
        transport.abort()
        server.close()

    loop.run_until_complete(main())
    (report,) = of(reports, "Sluggish.data_received")
    assert (report["file"], report["line"]) == (__file__, line_of(Sluggish.data_received))


def test_flow_control_and_buffers_are_timed_once(loop: Any, reports: list[dict[str, Any]]) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.memory = bytearray(100)
            self.got = 0

        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def get_buffer(self, sizehint: int) -> bytearray:
            burn()
            return self.memory

        def buffer_updated(self, nbytes: int) -> None:
            self.got += nbytes

    class Paused(Recorder):
        def pause_writing(self) -> None:
            burn()

        def resume_writing(self) -> None:
            burn()

    async def main() -> None:
        near, far = socket.socketpair()
        transport, buffered = await loop.create_connection(Buffered, sock=near)
        far.send(b"x")
        await wait_until(lambda: buffered.got == 1)
        transport.abort()
        far.close()
        async with wired(Paused) as (transport, _, far):
            far.setblocking(False)
            loop.call_soon(transport.write, bytes(8 << 20))

            def all_came() -> bool:
                with contextlib.suppress(BlockingIOError):
                    while far.recv(1 << 20):
                        pass
                return bool(of(reports, "resume_writing"))

            await wait_until(all_came)
            transport.abort()

    loop.run_until_complete(main())
    assert of(reports, "Buffered.get_buffer")
    assert of(reports, "Paused.resume_writing")
    # The handle that has called it is slow, and told of; it is not told twice.
    assert not of(reports, "pause_writing")
    assert of(reports, "write")
    assert loop.statistics()["slow_callbacks"] == len(reports)


def test_where_all_are_slow_few_are_described(loop: Any, reports: list[dict[str, Any]]) -> None:
    before = loop.statistics()
    loop.slow_callback_duration = 0
    for _ in range(1000):
        loop.call_soon(lambda: None)
    loop.run_until_complete(asyncio.sleep(0))
    after = loop.statistics()
    assert after["slow_callbacks"] - before["slow_callbacks"] >= 1000
    assert 0 < len(reports) < 1000
    assert after["slow_turns"] > before["slow_turns"]
