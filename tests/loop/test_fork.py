"""os.fork with a loop: the child may not harm the parent, and can make a loop of its own.

Each test is a program, because a forked test runner is a bad place to be. The child of an rloop
parent gets a RuntimeError that says "fork" when it touches the inherited loop.
"""

import textwrap

from programs import check_script
from support import RLOOP_IDS, loops_only

PREAMBLE = """
import asyncio, os, sys, warnings
from support import *
warnings.simplefilter("ignore")
loop = new_loop(sys.argv[1])

def in_a_child(work):
    # Runs `work` in a forked child; its exit code is 0 when nothing was raised.
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

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
    in_a_child(use_a_new_loop)
    print(loop.run_until_complete(asyncio.sleep(0.001, "parent goes on")))
    loop.close()
    """
    assert "parent goes on" in check_script(joined(source), loop_id)


def test_a_child_of_a_running_loop_can_make_its_own(loop_id: str) -> None:
    source = """
    async def main():
        in_a_child(use_a_new_loop)
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
                in_a_child(use_a_new_loop)
                client.transport.write(b"after%d " % number)
                await client.wait_for_bytes(14 + 7 * number)
            print(client.data.decode())
    loop.run_until_complete(within_deadline(main()))
    loop.close()
    """
    assert "before after0 after1 after2" in check_script(joined(source), loop_id)


@loops_only(*RLOOP_IDS)
def test_the_parents_loop_is_dead_in_the_child(loop_id: str) -> None:
    source = """
    async def open_one():
        near, far = tcp_pair()
        transport, protocol = await loop.create_connection(Recorder, sock=near)
        await turns(3)
        return transport, protocol, far
    transport, protocol, far = loop.run_until_complete(open_one())

    def touch():
        try:
            loop.run_forever()
        except RuntimeError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError("the child ran the loop of its parent")
        coroutine = asyncio.sleep(0)
        try:
            loop.run_until_complete(coroutine)
        except RuntimeError as error:
            assert "fork" in str(error), error
        coroutine.close()
        loop.close()
        use_a_new_loop()

    in_a_child(touch)
    far.send(b"still there")
    print(loop.run_until_complete(protocol.wait_for_bytes(11)).decode())
    loop.run_until_complete(until_closed(transport))
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
