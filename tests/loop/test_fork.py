"""os.fork with a loop: the child may not harm the parent, and can make a loop of its own.

Each test is a program, because a forked test runner is a bad place to be. The child of an rloop
parent gets a RuntimeError that says "fork" when it touches an inherited loop that ran. Loops that
did not are in test_fork_between_runs.py.
"""

import sys
import textwrap

import pytest
from programs import check_script
from support import RLOOP_IDS, differs, loops_only

PREAMBLE = """
import asyncio, os, sys, warnings
from forked import *
from support import *
warnings.simplefilter("ignore")
loop = new_loop(sys.argv[1])

def use_a_new_loop():
    child = new_loop(sys.argv[1])
    async def main():
        async with connected(Recorder, Echo) as (client, _):
            client.transport.write(b"in the child")
            await client.wait_for_bytes(12)
    child.run_until_complete(within_deadline(main()))
    child.close()
"""


def joined(source: str) -> str:
    return PREAMBLE + textwrap.dedent(source)


def test_a_child_can_make_its_own_loop_between_runs(loop_id: str) -> None:
    source = """
    loop.run_until_complete(asyncio.sleep(0.001))
    check_in_a_child(use_a_new_loop)
    print(loop.run_until_complete(asyncio.sleep(0.001, "parent goes on")))
    loop.close()
    """
    assert "parent goes on" in check_script(joined(source), loop_id)


def test_a_child_of_a_running_loop_can_make_its_own(loop_id: str) -> None:
    source = """
    async def main():
        check_in_a_child(use_a_new_loop)
        return await asyncio.sleep(0.001, "parent goes on")
    print(loop.run_until_complete(main()))
    loop.close()
    """
    assert "parent goes on" in check_script(joined(source), loop_id)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="before, the child took the task along")
def test_no_task_runs_in_a_child(loop_id: str) -> None:
    source = """
    def look():
        assert asyncio.current_task(loop) is None
        assert asyncio.all_tasks(loop) == set()
        use_a_new_loop()

    async def main():
        check_in_a_child(look)
        assert asyncio.current_task() in asyncio.all_tasks()
        return await asyncio.sleep(0.001, "parent goes on")
    print(loop.run_until_complete(main()))
    loop.close()
    """
    assert "parent goes on" in check_script(joined(source), loop_id)


def test_the_parents_connections_go_on(loop_id: str) -> None:
    source = """
    async def main():
        async with connected(Recorder, Echo) as (client, server_side):
            client.transport.write(b"before ")
            await client.wait_for_bytes(7)
            for number in range(3):
                check_in_a_child(use_a_new_loop)
                client.transport.write(b"after%d " % number)
                await client.wait_for_bytes(14 + 7 * number)
            print(client.data.decode())
    loop.run_until_complete(within_deadline(main()))
    loop.close()
    """
    assert "before after0 after1 after2" in check_script(joined(source), loop_id)


@loops_only(*RLOOP_IDS)
def test_a_loop_that_runs_is_dead_in_the_child(loop_id: str) -> None:
    source = """
    async def open_one():
        near, far = tcp_pair()
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        await turns(3)
        return transport, protocol, far

    def refused(call):
        try:
            call()
        except RuntimeError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("the child used the loop of its parent")

    def touch():
        refused(loop.run_forever)
        coroutine = asyncio.sleep(0)
        refused(lambda: loop.run_until_complete(coroutine))
        coroutine.close()
        refused(lambda: loop.add_reader(0, print))
        loop.remove_reader(0)
        transport.write(b"never sent")
        transport.close()
        loop.close()
        use_a_new_loop()

    async def main():
        check_in_a_child(touch)
        return 1
    transport, protocol, far = loop.run_until_complete(open_one())
    loop.run_until_complete(main())
    far.send(b"still there")
    print(loop.run_until_complete(protocol.wait_for_bytes(11)).decode())
    loop.run_until_complete(until_closed(transport))
    assert far.recv(10) == b""
    far.close()
    loop.close()
    """
    assert "still there" in check_script(joined(source), loop_id)


def test_a_child_that_exits_normally_leaves_the_parent_alone(loop_id: str) -> None:
    # sys.exit instead of os._exit: finalizers of the inherited loop run in the child.
    source = """
    async def open_one():
        near, far = tcp_pair()
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        await turns(3)
        return transport, protocol, far
    transport, protocol, far = loop.run_until_complete(open_one())
    pid = os.fork()
    if pid == 0:
        sys.exit(0)
    _, status = os.waitpid(pid, 0)
    assert status == 0, status
    far.send(b"still there")
    print(loop.run_until_complete(protocol.wait_for_bytes(11)).decode())
    loop.run_until_complete(until_closed(transport))
    far.close()
    loop.close()
    """
    assert "still there" in check_script(joined(source), loop_id)


# -- forking where the loop is in the middle of something ------------------------------------------

BUSY = """
import signal
child = False

def fork():
    # As os.fork; the child remembers that it is one, and does not live for ever.
    global child
    pid = os.fork()
    if pid == 0:
        child = True
        signal.alarm(30)
    return pid

def check_child(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

async def open_one(factory=Recorder):
    near, far = tcp_pair()
    transport, protocol = await loop.create_connection(factory, sock=near)
    await turns(3)
    return transport, protocol, far

def go_on(transport, protocol, far):
    # The parent's connection works in both directions, and ends in order.
    async def exchange():
        before = len(protocol.data)
        far.send(b"still there")
        assert (await protocol.wait_for_bytes(before + 11))[before:] == b"still there"
        transport.write(b"answer")
        transport.close()
        assert await recv_all(far) == b"answer"
        await protocol.lost
        far.close()
    loop.run_until_complete(within_deadline(exchange()))
    loop.close()
    print("parent goes on")
"""


def busy(source: str) -> str:
    return PREAMBLE + BUSY + textwrap.dedent(source)


@differs("uvloop", "closing a loop with open transports hangs")
def test_a_child_may_close_a_loop_with_a_write_under_way(loop_id: str) -> None:
    # What was written before the fork arrives once, not from both processes.
    source = """
    async def main():
        transport, protocol, far = await open_one()
        pid = loop.create_future()
        def part():  # not in the task, which is not the child's to leave from 3.14 on
            transport.write(b"x")
            number = fork()
            if child:
                raise SystemExit(0)
            pid.set_result(number)
        loop.call_soon(part)
        return await pid, transport, protocol, far
    try:
        pid, *connection = loop.run_until_complete(main())
    except SystemExit:
        assert child
        loop.close()
        raise
    check_child(pid)
    async def received():
        return await recv_exactly(connection[2], 1)
    assert loop.run_until_complete(within_deadline(received())) == b"x"
    go_on(*connection)
    """
    assert "parent goes on" in check_script(busy(source), loop_id, may_log=True)


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("method", ["close", "abort"])
def test_a_child_may_close_the_parents_transport(loop_id: str, method: str, keep: bool) -> None:
    # asyncio's child takes the descriptor out of the epoll instance that both share.
    source = f"""
    connection = loop.run_until_complete(open_one())
    pid = fork()
    if child:
        connection[0].{method}()
        if not {keep}:
            del connection
        loop.close()
        sys.exit(0)
    check_child(pid)
    go_on(*connection)
    """
    assert "parent goes on" in check_script(busy(source), loop_id, may_log=True)


@differs("uvloop", "the exception does not leave the run, which then never ends")
def test_a_child_forked_in_data_received_may_exit(loop_id: str) -> None:
    source = """
    import gc
    class Forking(Recorder):
        pid = None
        def data_received(self, data):
            super().data_received(data)
            if self.pid is None:
                self.pid = fork()
                if child:
                    raise SystemExit(0)
    connection = loop.run_until_complete(open_one(Forking))
    connection[2].send(b"x")
    try:
        loop.run_until_complete(within_deadline(connection[1].wait_for_bytes(1)))
        assert not child, "the child went on with the loop of its parent"
    except SystemExit:
        assert child
    except RuntimeError as error:
        assert child and "fork" in str(error), error
    if child:
        loop.close()
        del loop, connection
        gc.collect()
        sys.exit(0)
    check_child(connection[1].pid)
    go_on(*connection)
    """
    assert "parent goes on" in check_script(busy(source), loop_id, may_log=True)


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("position", [1, 2, 4])
def test_a_child_forked_among_the_completions_of_a_turn_stops_there(
    loop_id: str, position: int
) -> None:
    # asyncio's child would go on, and take the data that its parent waits for.
    source = f"""
    count = 0
    class Forking(Recorder):
        def data_received(self, data):
            global count
            super().data_received(data)
            count += 1
            if count == {position} and not child:
                pid = fork()
                if not child:
                    check_child(pid)
    async def main():
        connections = [await open_one(Forking) for _ in range(4)]
        for _, _, far in connections:
            far.send(b"x")
        for _, protocol, _ in connections:
            await protocol.wait_for_bytes(1)
        await turns(3)
        return connections
    try:
        connections = loop.run_until_complete(within_deadline(main()))
    except RuntimeError as error:
        assert child and "fork" in str(error), error
    if child:
        loop.close()
        sys.exit(0)
    assert [bytes(protocol.data) for _, protocol, _ in connections] == [b"x"] * 4
    for transport, _, far in connections[1:]:
        loop.run_until_complete(until_closed(transport))
        far.close()
    go_on(*connections[0])
    """
    assert "parent goes on" in check_script(busy(source), loop_id, may_log=True)


@loops_only(*RLOOP_IDS)
def test_a_child_forked_by_the_end_of_one_connection_among_the_data_of_others(
    loop_id: str,
) -> None:
    source = """
    class Forking(Recorder):
        def eof_received(self):
            pid = fork()
            if not child:
                check_child(pid)
            return super().eof_received()
    async def main():
        connections = [await open_one(Forking) for _ in range(3)]
        connections[0][2].send(b"x")
        connections[1][2].close()
        connections[2][2].send(b"x")
        await within_deadline(connections[1][1].lost)
        await connections[2][1].wait_for_bytes(1)
        return connections
    try:
        connections = loop.run_until_complete(within_deadline(main()))
    except RuntimeError as error:
        assert child and "fork" in str(error), error
    if child:
        loop.close()
        sys.exit(0)
    for transport, _, far in connections[2:]:
        loop.run_until_complete(until_closed(transport))
        far.close()
    go_on(*connections[0])
    """
    assert "parent goes on" in check_script(busy(source), loop_id, may_log=True)
