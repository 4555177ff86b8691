"""The child of a fork between runs: descriptor numbers that mean something else by then.

The child lets go of the parent's epoll set, ring and eventfd before it has its own, and may close
what it inherited: the loop that it takes over must not trust a number that it remembers.
"""

import textwrap

import pytest
from programs import check_script
from support import differs

PREAMBLE = """
import asyncio, os, signal, socket, sys, time, warnings
from forked import *
from support import *
warnings.simplefilter("ignore")
loop = new_loop(sys.argv[1])
asyncio.set_event_loop(loop)

def nonblocking_pair():
    near, far = socket.socketpair()
    near.setblocking(False)
    return near, far

def run_or_ebadf(coroutine):
    # A closed descriptor that is watched may be told as OSError(EBADF).
    try:
        loop.run_until_complete(coroutine)
    except OSError:
        pass
"""


def checked(source: str, loop_id: str) -> None:
    check_script(PREAMBLE + textwrap.dedent(source), loop_id)


@differs("uvloop", "both processes share one epoll set")
def test_another_thread_wakes_the_childs_loop(loop_id: str) -> None:
    source = """
    loop.run_until_complete(asyncio.sleep(0))
    def work():
        loop.run_until_complete(loop.run_in_executor(None, time.sleep, 0.05))
    check_in_a_child(work)
    """
    checked(source, loop_id)


@differs("uvloop", "both processes share one epoll set")
def test_a_paused_transport_whose_socket_the_child_closed_is_resumed(loop_id: str) -> None:
    source = """
    near, far = nonblocking_pair()
    async def start():
        transport, _ = await loop.create_connection(Recorder, sock=near)
        await turns(3)
        transport.pause_reading()
        far.send(b"x")
        await turns(3)
        return transport
    transport = loop.run_until_complete(start())
    def work():
        near.close()
        try:
            transport.resume_reading()
        except OSError:
            return  # so asyncio
        run_or_ebadf(turns(5))
    check_in_a_child(work)
    loop.run_until_complete(turns(2))
    """
    checked(source, loop_id)


@pytest.mark.parametrize("watched", [1, 3])
@differs("uvloop", "both processes share one epoll set")
@differs("asyncio", "its selector keeps closed descriptors and spins")
def test_what_waited_for_descriptors_that_the_child_closed(loop_id: str, watched: int) -> None:
    source = f"""
    pairs = [nonblocking_pair() for _ in range(2 * {watched})]
    waiting = []
    async def start():
        for near, _ in pairs[:{watched}]:
            waiting.append(asyncio.ensure_future(loop.sock_recv(near, 10)))
        for near, _ in pairs[{watched}:]:
            loop.add_reader(near, print)
        await turns(3)
    loop.run_until_complete(start())
    def work():
        for near, _ in pairs:
            os.close(near.fileno())
        run_or_ebadf(turns(5))
    check_in_a_child(work)
    for task in waiting:
        task.cancel()
    loop.run_until_complete(turns(3))
    """
    checked(source, loop_id)
