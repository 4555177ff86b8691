"""Calls of a loop and its transports for which Python has no memory: MemoryError, never a crash.

In a process of its own the n-th allocation fails, and all after it until the call returns, for
n = 0, 1, ... until the call gets through. Each call is made on a fresh loop, which has to serve a
connection afterwards.
"""

import importlib.util

import pytest
from programs import check_script
from support import RLOOP_IDS, loops_only

pytestmark = [
    loops_only(*RLOOP_IDS),
    pytest.mark.skipif(
        importlib.util.find_spec("_testcapi") is None,
        reason="this Python has no _testcapi, which makes allocations fail",
    ),
]

PROGRAM = """
import asyncio, logging, socket, sys, warnings
import _testcapi
from support import *

warnings.simplefilter("ignore")
logging.disable(logging.CRITICAL)
sys.unraisablehook = lambda unraisable: None
loop_id, name = sys.argv[1:]
MOST = 200

class Silent(Recorder):
    def connection_lost(self, exc):
        if not self.lost.done():
            self.lost.set_result(exc)

def nothing():
    pass

async def stream(act):
    near, far = socket.socketpair()
    transport, protocol = await asyncio.get_running_loop().create_connection(Silent, sock=near)
    del near
    yield lambda: act(transport)
    transport.abort()
    await protocol.lost
    far.close()

async def datagram(act):
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        Datagrams, local_addr=("127.0.0.1", 0))
    yield lambda: act(transport)
    transport.abort()
    await protocol.lost

async def server(act):
    made = await asyncio.get_running_loop().create_server(Silent, "127.0.0.1", 0)
    yield lambda: act(made)
    made.close()

async def loop_itself(act):
    loop = asyncio.get_running_loop()
    yield lambda: act(loop)

async def watched(act):
    near, far = socket.socketpair()
    loop = asyncio.get_running_loop()
    yield lambda: act(loop, near)
    loop.remove_reader(near)
    near.close(), far.close()

CALLS = {
    "write": (stream, lambda t: t.write(b"x" * 100)),
    "writelines": (stream, lambda t: t.writelines([b"x" * 100, b"y" * 100])),
    "close": (stream, lambda t: t.close()),
    "abort": (stream, lambda t: t.abort()),
    "get_extra_info": (stream, lambda t: t.get_extra_info("socket")),
    "sendto": (datagram, lambda t: t.sendto(b"x", ("127.0.0.1", 9))),
    "close datagrams": (datagram, lambda t: t.close()),
    "close server": (server, lambda s: s.close()),
    "call_soon": (loop_itself, lambda loop: loop.call_soon(nothing)),
    "call_later": (loop_itself, lambda loop: loop.call_later(0, nothing).cancel()),
    "add_reader": (watched, lambda loop, sock: loop.add_reader(sock, nothing)),
}

async def without_memory(allowed):
    # True once the call got through.
    around, act = CALLS[name]
    kept = around(act)
    call = await anext(kept)
    got_through = False
    _testcapi.set_nomemory(allowed)
    try:
        call()
        got_through = True
    except MemoryError:
        pass
    finally:
        _testcapi.remove_mem_hooks()
    await turns(3)
    async for _ in kept:
        pass
    return got_through

async def is_alive():
    async with connected(Recorder, Echo) as (client, _):
        client.transport.write(b"alive")
        assert await client.wait_for_bytes(5) == b"alive"

for allowed in range(MOST):
    loop = new_loop(loop_id)
    loop.set_exception_handler(lambda loop, context: None)
    got_through = loop.run_until_complete(within_deadline(without_memory(allowed)))
    loop.run_until_complete(within_deadline(is_alive()))
    loop.close()
    if got_through:
        break
else:
    raise AssertionError("the call never got through")
print("failed", allowed, "times")
"""

CALLS = [
    "write",
    "writelines",
    "close",
    "abort",
    "get_extra_info",
    "sendto",
    "close datagrams",
    "close server",
    "call_soon",
    "call_later",
    "add_reader",
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_without_memory_is_a_memory_error_or_done(loop_id: str, call: str) -> None:
    assert "failed" in check_script(PROGRAM, loop_id, call)
