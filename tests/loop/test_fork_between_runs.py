"""A loop that was made before the program forks goes on in the child, if it did not run then.

Programs that go into the background, and servers that load the application before they start their
workers. The child lets go of what it shares with the parent's loop, whose own is not touched.
"""

import textwrap

import pytest
from programs import check_script
from support import RLOOP_IDS, differs, loops_only

PREAMBLE = """
import asyncio, os, signal, socket, sys, warnings
from forked import *
from support import *
warnings.simplefilter("ignore")
loop = new_loop(sys.argv[1])
asyncio.set_event_loop(loop)

async def exchange():
    async with connected(Recorder, Echo) as (client, _):
        client.transport.write(b"message")
        assert await client.wait_for_bytes(7) == b"message"
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    await asyncio.sleep(0.001)

def use():
    loop.run_until_complete(within_deadline(exchange()))

def readable_pair():
    near, far = socket.socketpair()
    near.setblocking(False)
    return near, far

async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)

def run_until(condition):
    loop.run_until_complete(within_deadline(until(condition)))
"""


def program(source: str) -> str:
    return PREAMBLE + textwrap.dedent(source)


@pytest.mark.parametrize("forks", [1, 2])
@pytest.mark.parametrize("before", ["", "loop.run_until_complete(asyncio.sleep(0))", "use()"])
def test_the_child_runs_the_loop(loop_id: str, before: str, forks: int) -> None:
    source = f"""
    {before}
    def work():
        if {forks} == 1:
            use()
        else:
            check(in_a_child(use))
    check(in_a_child(work))
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


@differs("asyncio", "both processes share one epoll set")
@differs("uvloop", "both processes share one epoll set")
def test_parent_and_child_both_run_it_and_neither_disturbs_the_other(loop_id: str) -> None:
    source = """
    near, far = readable_pair()
    got = []
    loop.add_reader(near, lambda: got.append(near.recv(10)))
    loop.run_until_complete(asyncio.sleep(0))
    def work():
        use()
        loop.remove_reader(near)
        use()
        loop.close()
    pid = in_a_child(work)
    use()
    check(pid)
    far.send(b"x")
    run_until(lambda: got)
    assert got == [b"x"]
    use()
    loop.close()
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


@differs("uvloop", "both processes share one epoll set")
def test_readers_timers_and_scheduled_callbacks_go_along(loop_id: str) -> None:
    source = """
    loop.run_until_complete(asyncio.sleep(0))
    near, far = readable_pair()
    said = []
    loop.add_reader(near, lambda: said.append(near.recv(10).decode()))
    loop.call_later(0.001, said.append, "timer")
    loop.call_soon(said.append, "soon")
    def work():
        far.send(b"reader")
        run_until(lambda: len(said) >= 3)
        assert sorted(said) == ["reader", "soon", "timer"], said
        assert loop.remove_reader(near)
    check(in_a_child(work))
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


@differs("uvloop", "both processes share one epoll set")
def test_a_reader_may_be_added_and_removed_before_the_child_runs(loop_id: str) -> None:
    source = """
    near, far = readable_pair()
    other, other_far = readable_pair()
    loop.add_reader(near, print)
    loop.run_until_complete(asyncio.sleep(0))
    def work():
        got = []
        assert loop.remove_reader(near)
        assert not loop.remove_reader(near)
        loop.add_reader(other, lambda: got.append(other.recv(10)))
        far.send(b"nobody reads this")
        other_far.send(b"x")
        run_until(lambda: got)
        assert got == [b"x"]
    check(in_a_child(work))
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


@differs("uvloop", "both processes share one epoll set")
@pytest.mark.parametrize("paused", [False, True])
def test_open_connections_go_along(loop_id: str, paused: bool) -> None:
    source = f"""
    async def open_one():
        near, far = tcp_pair()
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        far.send(b"before ")
        await protocol.wait_for_bytes(7)
        if {paused}:
            transport.pause_reading()
            await turns(3)
        return transport, protocol, far
    transport, protocol, far = loop.run_until_complete(open_one())
    async def converse():
        if {paused}:
            transport.resume_reading()
        far.send(b"after")
        assert await protocol.wait_for_bytes(12) == b"before after"
        transport.write(b"answer")
        assert await recv_exactly(far, 6) == b"answer"
        far.shutdown(socket.SHUT_WR)  # the parent holds it too
        await protocol.lost
    def work():
        loop.run_until_complete(within_deadline(converse()))
    check(in_a_child(work))
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


def test_servers_and_datagram_sockets_go_along(loop_id: str) -> None:
    source = """
    class Answer(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport
        def datagram_received(self, data, address):
            self.transport.sendto(data.upper(), address)
    async def serve():
        server = await loop.create_server(Echo, "127.0.0.1", 0)
        datagrams, _ = await loop.create_datagram_endpoint(Answer, ("127.0.0.1", 0))
        return server, datagrams
    server, datagrams = loop.run_until_complete(serve())
    async def ask():
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"question")
        assert await reader.readexactly(8) == b"question"
        writer.close()
        with socket.socket(type=socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.connect(datagrams.get_extra_info("sockname"))
            sock.send(b"question")
            assert await loop.sock_recv(sock, 100) == b"QUESTION"
    def work():
        loop.run_until_complete(within_deadline(ask()))
        server.close()
        datagrams.close()
        loop.run_until_complete(asyncio.sleep(0))
    check(in_a_child(work))
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


@differs("asyncio", "both processes share the socket of the signals")
@differs("uvloop", "both processes share the socket of the signals")
@pytest.mark.parametrize("when", ["before the run", "while it runs"])
def test_signal_handlers_go_along(loop_id: str, when: str) -> None:
    source = f"""
    got = []
    loop.add_signal_handler(signal.SIGUSR1, got.append, 1)
    loop.run_until_complete(asyncio.sleep(0))
    def work():
        if {when!r} == "before the run":
            os.kill(os.getpid(), signal.SIGUSR1)
        else:
            loop.call_soon(os.kill, os.getpid(), signal.SIGUSR1)
        run_until(lambda: got)
        os.kill(os.getpid(), signal.SIGUSR1)
        run_until(lambda: len(got) == 2)
        assert loop.remove_signal_handler(signal.SIGUSR1)
    check(in_a_child(work))
    loop.run_until_complete(asyncio.sleep(0.001))
    assert got == []
    os.kill(os.getpid(), signal.SIGUSR1)
    run_until(lambda: got)
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


@loops_only(*RLOOP_IDS)
def test_threads_of_the_executor_and_children_stay_with_the_parent(loop_id: str) -> None:
    # asyncio's child waits for a thread that it does not have.
    source = """
    class Exits(asyncio.SubprocessProtocol):
        def process_exited(self):
            exited.append(os.getpid())
    exited = []
    async def start():
        await loop.run_in_executor(None, int)
        return await loop.subprocess_exec(Exits, "cat", stdout=None)
    transport, _ = loop.run_until_complete(start())
    def work():
        assert loop.run_until_complete(within_deadline(loop.run_in_executor(None, int))) == 0
        use()
        assert exited == []
    check(in_a_child(work))
    transport.get_pipe_transport(0).close()
    run_until(lambda: exited)
    assert exited == [os.getpid()]
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


def test_a_daemon_that_closed_every_descriptor_gets_an_answer_or_an_exception(loop_id: str) -> None:
    source = """
    loop.run_until_complete(asyncio.sleep(0))
    def work():
        os.closerange(3, 64)
        try:
            use()
        except OSError:
            pass
    pid = in_a_child(work)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status
    print("done")
    """
    assert "done" in check_script(program(source), loop_id, may_log=True)


@loops_only(*RLOOP_IDS)
def test_a_watched_descriptor_that_the_child_closed_is_told_to_whoever_runs_it(
    loop_id: str,
) -> None:
    # Not a wait for ever; and the loop runs when nobody watches it any more.
    source = """
    near, far = readable_pair()
    loop.add_reader(near, print)
    loop.run_until_complete(asyncio.sleep(0))
    def work():
        os.close(near.fileno())
        for _ in range(2):
            try:
                loop.run_forever()
            except OSError as error:
                assert error.errno == 9, error
            else:
                raise AssertionError("nobody was told")
        assert loop.remove_reader(near.fileno())
        use()
    check(in_a_child(work))
    print("done")
    """
    assert "done" in check_script(program(source), loop_id, may_log=True)


@loops_only(*RLOOP_IDS)
def test_a_loop_that_ran_in_another_thread_is_dead_in_the_child(loop_id: str) -> None:
    source = """
    import threading
    started = threading.Event()
    loop.call_soon(started.set)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    started.wait()
    def work():
        try:
            use()
        except RuntimeError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("the child ran a loop that runs in its parent")
        loop.close()
    check(in_a_child(work))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    use()
    print("done")
    """
    assert "done" in check_script(program(source), loop_id, may_log=True)


def test_multiprocessing_with_fork_may_run_it(loop_id: str) -> None:
    source = """
    import multiprocessing
    loop.run_until_complete(asyncio.sleep(0))
    process = multiprocessing.get_context("fork").Process(target=use)
    process.start()
    process.join()
    assert process.exitcode == 0, process.exitcode
    print("done")
    """
    assert "done" in check_script(program(source), loop_id)


# -- a new loop in the child, and what is left of the old one --------------------------------------


@differs("asyncio", "the child's copy changes the epoll set, whatever has its number")
@differs("uvloop", "the child's copy changes the epoll set, whatever has its number")
@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(
    "touch",
    [
        "old.remove_reader(pipe)",
        "old.add_reader(pipe, print)",
        "transport.write(b'x'); transport.abort()",
        "transport.close()",
        "server.close()",
        "old.close()",
        "old = transport = server = None; gc.collect()",
    ],
)
def test_what_happens_to_the_old_loop_does_not_reach_the_new_one(
    loop_id: str, touch: str, running: bool
) -> None:
    # The new loop's descriptors have the numbers that the old one's had.
    source = f"""
    import gc
    old = loop
    pipe, far = os.pipe()
    os.set_blocking(pipe, False)
    old.add_reader(pipe, print)
    async def prepare():
        near, far = tcp_pair()
        transport, _ = await old.create_connection(Recorder, sock=near)
        server = await old.create_server(Recorder, "127.0.0.1", 0)
        await turns(3)
        return transport, server
    transport, server = old.run_until_complete(prepare())
    def work():
        global old, loop, transport, server
        loop = new = new_loop(sys.argv[1])
        asyncio._set_running_loop(None)
        asyncio.set_event_loop(new)
        got = []
        new.add_reader(pipe, lambda: got.append(os.read(pipe, 10)))
        try:
            {touch}
        except (OSError, RuntimeError):
            pass
        os.write(far, b"x")
        run_until(lambda: got)
        assert got == [b"x"]
        use()
    async def main():
        return in_a_child(work)
    if {running}:
        check(old.run_until_complete(main()))
    else:
        check(in_a_child(work))
    print("done")
    """
    assert "done" in check_script(program(source), loop_id, may_log=True)


def sends_under_way_at_the_fork(end: str) -> str:
    # Enough connections for their answers to go through the ring; what is written meanwhile waits
    # for the end of the send, which the loop does not see before it stops.
    return program(f"""
    async def open_all():
        pairs = [tcp_pair() for _ in range(40)]
        opened = [await loop.create_connection(Recorder, sock=near) for near, _ in pairs]
        return [transport for transport, _ in opened], [far for _, far in pairs]
    transports, far_ends = loop.run_until_complete(open_all())
    def write_and_stop():
        for piece in (b"first ", b"second ", b"third"):
            for transport in transports:
                transport.write(piece)
        loop.stop()
    loop.call_soon(write_and_stop)
    loop.run_forever()
    def work():
        {end}
    check(in_a_child(work))
    use()
    for transport in transports:
        transport.close()
    loop.run_until_complete(turns(20))
    for far in far_ends:
        far.setblocking(True)
        with far.makefile("rb") as file:
            assert (got := file.read()) == b"first second third", got
    print("done")
    """)


def test_a_child_that_aborts_sends_nothing_of_the_parents(loop_id: str) -> None:
    source = sends_under_way_at_the_fork("[t.abort() for t in transports]; use()")
    assert "done" in check_script(source, loop_id)


@differs("asyncio", "both processes share one epoll set")
def test_a_child_that_closes_the_loop_sends_nothing_of_the_parents(loop_id: str) -> None:
    assert "done" in check_script(sends_under_way_at_the_fork("loop.close()"), loop_id)
