"""Objects that die: loops with cycles, loops nobody closed, loops at the end of the interpreter.

What ends the interpreter runs as a program; the exit code must be right and nothing may crash.
"""

import asyncio
import gc
import sys
import warnings
import weakref

import pytest
from programs import check_script, run_script
from support import Recorder, collect, differs, finish, new_loop, run_briefly, tcp_pair


def cyclic_loop(loop_id: str, state: str) -> weakref.ref[asyncio.AbstractEventLoop]:
    """A closed loop that only cycles through its own handles still refer to."""
    loop = new_loop(loop_id)
    handle = loop.call_soon(lambda: loop)
    timer = loop.call_later(3600, lambda: (loop, timer))
    loop.set_exception_handler(lambda owner, context: loop.stop())
    if state != "never run":
        run_briefly(loop)
    if state == "pending":
        loop.call_soon(lambda: (loop, handle))
    loop.close()
    return weakref.ref(loop)


@pytest.mark.parametrize("state", ["never run", "ran", "pending"])
def test_a_closed_loop_with_cycles_is_collected(loop_id: str, state: str) -> None:
    alive = cyclic_loop(loop_id, state)
    collect()
    assert alive() is None


def test_handles_that_refer_to_each_other_are_collected(
    loop: asyncio.AbstractEventLoop,
) -> None:
    class Node:
        pass

    node = Node()
    node.handle = loop.call_soon(lambda node: None, node)  # type: ignore[attr-defined]
    alive = weakref.ref(node)
    node.handle.cancel()  # type: ignore[attr-defined]
    run_briefly(loop)
    del node
    collect()
    assert alive() is None


class Holder:
    """Holds the handle of its own callback, as an object with a timeout does."""

    def fail(self) -> None:
        raise SystemExit


def test_a_pending_handle_held_by_its_own_callback_dies_with_the_loop(loop_id: str) -> None:
    loop = new_loop(loop_id)
    soon, later = Holder(), Holder()
    soon.handle = loop.call_soon(soon.fail)  # type: ignore[attr-defined]
    later.handle = loop.call_later(3600, later.fail)  # type: ignore[attr-defined]
    alive = [weakref.ref(soon), weakref.ref(later)]
    del soon, later
    loop.close()
    collect()
    assert [holder() for holder in alive] == [None, None]


@differs("uvloop", "its handles keep it for ever")
def test_a_loop_that_holds_its_own_queued_handle_is_collected(loop_id: str) -> None:
    class Owner:
        """Neither runs nor closes its loop."""

        def __init__(self) -> None:
            self.loop = new_loop(loop_id)
            self.handle = self.loop.call_soon(self.__init__)  # type: ignore[misc]

    owners = [Owner() for _ in range(3)]
    alive = [weakref.ref(owner.loop) for owner in owners]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        collect()  # now the collector knows the handles
        assert all(loop() for loop in alive)
        del owners
        collect()
        assert [loop() for loop in alive] == [None] * 3


def test_a_queued_handle_that_somebody_holds_keeps_its_loop(loop_id: str) -> None:
    loop = new_loop(loop_id)
    ran: list[int] = []
    handle = loop.call_soon(ran.append, 1)
    alive = weakref.ref(loop)
    for _ in range(3):
        collect()
    assert alive() is loop
    run_briefly(loop)
    assert ran == [1]
    assert not handle.cancelled()
    loop.close()


@pytest.mark.parametrize("delay", [None, 0])
def test_a_handle_held_by_its_own_callback_that_exited_is_collected(
    loop: asyncio.AbstractEventLoop, delay: float | None
) -> None:
    def exit_once() -> weakref.ref[Holder]:
        holder = Holder()
        if delay is None:
            holder.handle = loop.call_soon(holder.fail)  # type: ignore[attr-defined]
        else:
            holder.handle = loop.call_later(delay, holder.fail)  # type: ignore[attr-defined]
        with pytest.raises(SystemExit):
            loop.run_forever()
        return weakref.ref(holder)

    alive = [exit_once() for _ in range(5)]
    run_briefly(loop)
    collect()
    assert [holder() for holder in alive] == [None] * 5


@differs("uvloop", "a running timer keeps its loop alive there; no warning is given")
def test_a_loop_nobody_closed_warns_and_closes_itself(loop_id: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop = new_loop(loop_id)
        run_briefly(loop)
        del loop
        collect()
    messages = [str(item.message) for item in caught if item.category is ResourceWarning]
    assert any(text.startswith("unclosed event loop <") for text in messages), messages


@differs("uvloop", "closing a loop with open transports hangs")
def test_a_loop_may_be_closed_with_open_transports(loop_id: str) -> None:
    loop = new_loop(loop_id)
    pairs = [tcp_pair() for _ in range(5)]
    for near, _ in pairs:
        loop.run_until_complete(loop.create_connection(Recorder, sock=near))
    server = loop.run_until_complete(loop.create_server(Recorder, "127.0.0.1", 0))
    with warnings.catch_warnings():
        # The transports were not closed, and may say so.
        warnings.simplefilter("ignore")
        loop.close()
        assert loop.is_closed()
        for near, far in pairs:
            near.close()
            far.close()
        server.close()
        del loop, server, pairs
        collect()


def test_a_loop_may_be_closed_with_tasks_and_readers(loop_id: str) -> None:
    loop = new_loop(loop_id)
    near, far = tcp_pair()
    loop.add_reader(near, print)
    loop.add_writer(far, bool)
    receiving = loop.create_task(loop.sock_recv(far, 1))
    run_briefly(loop)
    receiving.cancel()
    run_briefly(loop)
    loop.close()
    near.close()
    far.close()


@differs("uvloop", "closing a loop with open transports hangs")
def test_closing_an_open_transport_after_its_loop_does_not_crash(loop_id: str) -> None:
    loop = new_loop(loop_id)
    near, far = tcp_pair()
    transport, protocol = loop.run_until_complete(loop.create_connection(Recorder, sock=near))
    loop.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for method in (transport.close, transport.abort):
            try:
                method()
            except RuntimeError as error:
                assert "closed" in str(error)
        far.close()
        near.close()
        del transport, protocol, method, loop
        collect()


def test_a_hundred_loops_leave_no_memory_behind(loop_id: str) -> None:
    alive = []
    for _ in range(100):
        loop = new_loop(loop_id)
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        alive.append(weakref.ref(loop))
    del loop
    collect()
    assert [loop() for loop in alive] == [None] * 100


def test_a_thousand_connections_leave_no_objects(loop: asyncio.AbstractEventLoop) -> None:
    kinds: set[type] = set()

    async def connect(count: int) -> None:
        for _ in range(count):
            near, far = tcp_pair()
            transport, protocol = await loop.create_connection(Recorder, sock=near)
            kinds.add(type(transport))
            far.send(b"x")
            await protocol.wait_for_bytes(1)
            transport.close()
            await protocol.lost
            far.close()

    loop.run_until_complete(connect(100))
    finish(loop)
    collect()
    left = [thing for thing in gc.get_objects() if type(thing) in kinds]
    assert left == []


PROGRAMS = {
    "an unclosed loop": """
        loop.run_until_complete(asyncio.sleep(0.001))
    """,
    "an unclosed loop that never ran": """
        loop.call_soon(print, loop)
        loop.call_later(10, print, loop)
    """,
    "open transports": """
        near, far = tcp_pair()
        async def main():
            await loop.create_server(Echo, "127.0.0.1", 0)
            return await loop.create_connection(Recorder, sock=near)
        kept = loop.run_until_complete(main())
        far.send(b"x")
    """,
    "open transports of a closed loop": """
        near, far = tcp_pair()
        kept = loop.run_until_complete(loop.create_connection(Recorder, sock=near))
        loop.close()
    """,
    "a global cycle": """
        class Holder: pass
        holder = Holder()
        holder.handle = loop.call_later(10, lambda: holder)
        sys.holder = holder
        sys.loop = loop
    """,
    "a loop running in a daemon thread": """
        import threading, time
        started = threading.Event()
        loop.call_soon(started.set)
        threading.Thread(target=loop.run_forever, daemon=True).start()
        started.wait(10)
    """,
    "a busy loop in a daemon thread": """
        import threading, time
        started = threading.Event()
        def again():
            started.set()
            loop.call_soon(again)
        loop.call_soon(again)
        threading.Thread(target=loop.run_forever, daemon=True).start()
        started.wait(10)
    """,
    "daemon threads that drop objects with finalizers": """
        import threading, time
        class Dropped:
            def __del__(self):
                for _ in range(50):
                    pass
        started = threading.Barrier(5)
        def run():
            own = new_loop(sys.argv[1])
            def again():
                own.call_soon(again)
                own.call_soon(print, Dropped()).cancel()
                own.call_soon(lambda dropped: None, Dropped())
                own.call_later(0, lambda dropped: None, Dropped()).cancel()
            own.call_soon(again)
            own.call_later(0.01, started.wait)
            own.run_forever()
        for _ in range(4):
            threading.Thread(target=run, daemon=True).start()
        started.wait(10)
    """,
    "finalizers that write while the loop closes": """
        transports = []
        class Broadcasting(asyncio.Protocol):
            def connection_made(self, transport):
                transports.append(transport)
            def __del__(self):
                for transport in transports:
                    try:
                        transport.write(b"x")
                    except RuntimeError as error:
                        assert "closed" in str(error), error
        kept = [tcp_pair() for _ in range(3)]
        for near, _ in kept:
            loop.run_until_complete(loop.create_connection(Broadcasting, sock=near))
        import gc
        loop.close()
        transports.clear()
        del loop
        gc.collect()
    """,
    "a pending executor call": """
        import time
        loop.run_in_executor(None, time.sleep, 0.05)
        loop.run_until_complete(asyncio.sleep(0))
    """,
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_interpreter_ends_cleanly_with(loop_id: str, program: str) -> None:
    preamble = """
        import asyncio, sys
        from support import *
        loop = new_loop(sys.argv[1])
    """
    done = run_script(preamble + PROGRAMS[program].rstrip() + "\n        print('end')\n", loop_id)
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("end\n")
    for word in ("Fatal", "Segmentation", "Aborted", "Assertion", "terminate", "ignored in"):
        assert word not in done.stderr, done.stderr


def test_sys_exit_in_a_callback_is_the_exit_code(loop_id: str) -> None:
    source = """
    import sys
    from support import new_loop
    loop = new_loop(sys.argv[1])
    loop.call_soon(sys.exit, 7)
    loop.run_forever()
    """
    done = run_script(source, loop_id)
    assert (done.returncode, done.stdout) == (7, "")
    assert "Fatal" not in done.stderr


def test_subclasses_and_attributes_are_possible(loop_id: str) -> None:
    base = type(new_closed_loop(loop_id))

    class MyLoop(base):  # type: ignore[valid-type, misc]
        def call_soon(self, callback, *args, context=None):  # type: ignore[no-untyped-def]
            self.counted = getattr(self, "counted", 0) + 1
            return super().call_soon(callback, *args, context=context)

    loop = MyLoop()
    assert loop.run_until_complete(asyncio.sleep(0, "ran")) == "ran"
    assert loop.counted >= 1
    loop.close()


def new_closed_loop(loop_id: str) -> asyncio.AbstractEventLoop:
    loop = new_loop(loop_id)
    loop.close()
    return loop


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio.run takes a factory since 3.12")
def test_asyncio_run_many_times(loop_id: str) -> None:
    source = """
    import asyncio, sys
    from support import *
    async def main():
        async with connected(Recorder, Echo) as (client, _):
            client.transport.write(b"x")
            await client.wait_for_bytes(1)
    for _ in range(20):
        asyncio.run(main(), loop_factory=lambda: new_loop(sys.argv[1]))
    print(len(open_descriptors()) < 15)
    """
    assert check_script(source, loop_id).strip() == "True"
