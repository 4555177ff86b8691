"""Where io_uring is refused after it worked: in a run, between two, in another thread."""

import pytest
from programs import check_script
from seccomp_filters import FILTER, needs_filters

import rloop

pytestmark = needs_filters
needs_ring = pytest.mark.skipif(
    not rloop._core.probe()["available"], reason="io_uring is refused here from the start"
)

EVERYTHING = ["io_uring_setup", "io_uring_enter", "io_uring_register"]
LATE = """
import rloop, socket, threading

async def open_several():
    connections = []
    for _ in range(8):
        near, far = socket.socketpair()
        far.setblocking(False)
        connections.append((*await asyncio.open_connection(sock=near), far))
    for reader, _, far in connections:
        far.send(b"one ")
        assert await reader.readexactly(4) == b"one "
    return connections

async def go_on(connections):
    for reader, writer, far in connections:
        writer.write(b"y" * 10)
        far.send(b"three")
    for reader, _, far in connections:
        assert await reader.readexactly(9) == b"two three"
        assert await support.recv_exactly(far, 20) == b"x" * 10 + b"y" * 10
    for _, writer, far in connections:
        writer.close()
        await writer.wait_closed()
        assert await support.recv_all(far) == b""
    await echo()
"""


@pytest.mark.parametrize("where", ["in a run", "between runs", "in another thread"])
@pytest.mark.parametrize("refused", [EVERYTHING, ["io_uring_enter"]])
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_a_filter_that_comes_late_loses_no_connection(
    error: str, refused: list[str], where: str
) -> None:
    # The ring worked until then; bytes are on the way in both directions.
    source = (
        FILTER
        + LATE
        + f"""
loop = rloop.new_event_loop("auto")

async def prepare():
    connections = await open_several()
    for _, writer, far in connections:
        far.send(b"two ")
        writer.write(b"x" * 10)
    return connections

async def in_one_run():
    connections = await prepare()
    refuse({refused}, errno.{error})
    await go_on(connections)

def the_rest(connections):
    refuse({refused}, errno.{error})
    loop.run_until_complete(support.within_deadline(go_on(connections)))

if {where!r} == "in a run":
    loop.run_until_complete(support.within_deadline(in_one_run()))
else:
    connections = loop.run_until_complete(prepare())
    if {where!r} == "between runs":
        the_rest(connections)
    else:
        thread = threading.Thread(target=the_rest, args=(connections,))
        thread.start()
        thread.join()
print(loop.backend, loop.backend_reason)
loop.close()
"""
    )
    answer = check_script(source, may_log=True, RLOOP_LOG="", RLOOP_BACKEND="auto")
    assert answer.startswith("epoll "), answer


@needs_ring
def test_a_demanded_ring_that_is_refused_in_a_run_names_the_call() -> None:
    source = (
        FILTER
        + """
import rloop
loop = rloop.new_event_loop("io_uring")
async def main():
    refuse(["io_uring_enter"], errno.EPERM)
    await asyncio.sleep(1)  # a wait, which is refused
try:
    loop.run_until_complete(main())
except rloop.BackendUnavailable as problem:
    print(problem)
loop.close()
"""
    )
    assert "io_uring_enter" in check_script(source, may_log=True, RLOOP_LOG="")


# The line that the ring gets no buffers is logged when the ring is made: by a wait.
TOLD = (
    FILTER
    + """
import asyncio, logging, rloop, socket, threading, time
loop = rloop.new_event_loop("io_uring")

def when_told(schedule):
    handler = logging.Handler()
    handler.emit = lambda record: schedule()
    logging.getLogger("rloop").addHandler(handler)

async def connect():
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    far.send(b"x")
    await reader.read(1)
    return writer, far

def refused_in_a_thread(run):
    def go_on():
        refuse(["io_uring_register"], errno.EPERM)
        run()
    thread = threading.Thread(target=go_on)
    thread.start()
    thread.join()
"""
)


@needs_ring
def test_what_the_handler_of_our_log_line_schedules_is_run_before_the_wait() -> None:
    source = (
        TOLD
        + """
ran_at = []
when_told(lambda: loop.call_soon_threadsafe(lambda: ran_at.append(time.monotonic())))

async def receive():
    writer, far = await connect()
    writer.close()
    await writer.wait_closed()

def run():
    began = time.monotonic()
    loop.run_until_complete(asyncio.sleep(2))  # nothing else ends the wait
    print(ran_at[0] - began)

loop.run_until_complete(receive())
refused_in_a_thread(run)
loop.close()
"""
    )
    assert float(check_script(source, may_log=True, RLOOP_LOG="")) < 1


@needs_ring
def test_a_handler_of_our_log_line_may_stop_a_loop_that_waits_for_nothing_else() -> None:
    source = (
        TOLD
        + """
when_told(lambda: loop.call_soon(loop.stop))
writer, far = loop.run_until_complete(connect())
refused_in_a_thread(loop.run_forever)
writer.transport.abort()
loop.call_soon(loop.stop)
loop.run_forever()
loop.close()
print("over")
"""
    )
    assert check_script(source, may_log=True, RLOOP_LOG="") == "over\n"
