"""Where io_uring is refused: the other backend takes over, and says why.

The kernel's refusals are made for real, by a seccomp filter of four instructions in a child
process, and by a locked-memory limit for an unprivileged user.
"""

import ctypes
import os
import platform

import pytest
from programs import check_script

import rloop

# The number of io_uring_setup is the same on every architecture but alpha.
FILTER = """
import asyncio, ctypes, errno, platform, struct, sys
import support

NUMBERS = {  # of x86_64 and of the generic table
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "epoll_pwait2": (441, 441), "recvmmsg": (299, 243), "sendmmsg": (307, 269),
    "accept4": (288, 242), "eventfd2": (290, 19), "pidfd_open": (434, 434),
}

def refuse(names, error):
    LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06
    ALLOW, ERRNO = 0x7FFF0000, 0x00050000
    numbers = [NUMBERS[name][platform.machine() != "x86_64"] for name in names]
    program = b"".join(
        struct.pack("HBBI", *instruction)
        for instruction in (
            (LOAD, 0, 0, 0),
            *((JUMP_IF_EQUAL, len(numbers) - i, 0, number) for i, number in enumerate(numbers)),
            (RETURN, 0, 0, ALLOW),
            (RETURN, 0, 0, ERRNO | error),
        )
    )
    memory = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]

    libc = ctypes.CDLL(None, use_errno=True)
    PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    filter_ = Program(len(program) // 8, ctypes.cast(memory, ctypes.c_void_p))
    assert libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filter_)) == 0

def refuse_io_uring(error):
    refuse(["io_uring_setup"], error)

async def echo():
    async with support.connected(support.Recorder, support.Echo) as (client, _):
        client.transport.write(b"hello" * 10000)
        await client.wait_for_bytes(50000)
"""

PR_GET_SECCOMP = 21

pytestmark = [
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "aarch64"),
        reason="the filter knows the system call number of these two architectures",
    ),
    pytest.mark.skipif(
        ctypes.CDLL(None).prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0,
        reason="there are no seccomp filters here, as under qemu-user",
    ),
]


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS", "EACCES"])
def test_a_seccomp_filter_means_epoll(error: str) -> None:
    source = (
        FILTER
        + f"""
refuse_io_uring(errno.{error})
import rloop
loop = rloop.new_event_loop()
assert loop.backend == "epoll", loop.backend
loop.run_until_complete(support.within_deadline(echo()))
loop.close()
info = rloop.backend_info()
reason = info["reason"] if isinstance(info, dict) else info.reason
print(reason)
"""
    )
    reason = check_script(source, may_log=True, RLOOP_LOG="", RLOOP_BACKEND="auto")
    assert "seccomp" in reason or "io_uring_disabled" in reason or "kernel" in reason, reason


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_a_demand_that_cannot_be_met_raises_with_the_reason(error: str) -> None:
    source = (
        FILTER
        + f"""
refuse_io_uring(errno.{error})
import rloop
try:
    rloop.new_event_loop(backend="io_uring")
except rloop.BackendUnavailable as problem:
    assert isinstance(problem, RuntimeError)
    print(problem)
"""
    )
    text = check_script(source)
    assert "io_uring" in text
    if error == "EPERM":
        assert "seccomp" in text or "io_uring_disabled" in text, text


def test_the_environment_can_demand_it_too() -> None:
    source = (
        FILTER
        + """
refuse_io_uring(errno.EPERM)
import rloop
try:
    rloop.new_event_loop()
except RuntimeError as problem:
    print("refused", problem)
"""
    )
    assert check_script(source, RLOOP_BACKEND="io_uring").startswith("refused")


def test_a_filter_set_after_the_first_loop_does_not_break_the_second() -> None:
    # The probe's answer was yes; making the next ring is refused all the same.
    source = (
        FILTER
        + """
import rloop
first = rloop.new_event_loop()
first.run_until_complete(asyncio.sleep(0.001))
refuse_io_uring(errno.EPERM)
second = rloop.new_event_loop()
second.run_until_complete(support.within_deadline(echo()))
print(first.backend, second.backend)
second.close()
first.run_until_complete(support.within_deadline(echo()))
first.close()
"""
    )
    assert (
        check_script(source, may_log=True, RLOOP_LOG="", RLOOP_BACKEND="auto").split()[1] == "epoll"
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


def test_a_demanded_ring_that_is_refused_in_a_run_names_the_call() -> None:
    source = (
        FILTER
        + """
import rloop
if not rloop._core.probe()["available"]:
    print("io_uring_enter")
    raise SystemExit
loop = rloop.new_event_loop("io_uring")
async def main():
    refuse(["io_uring_enter"], errno.EPERM)
    await asyncio.sleep(1)
try:
    loop.run_until_complete(main())
except rloop.BackendUnavailable as problem:
    print(problem)
loop.close()
"""
    )
    assert "io_uring_enter" in check_script(source, may_log=True, RLOOP_LOG="")


@pytest.mark.parametrize("backend", ["auto", "epoll"])
@pytest.mark.parametrize(
    "refused", ["recvmmsg sendmmsg", "accept4", "eventfd2", "epoll_pwait2", "pidfd_open"]
)
@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
def test_a_sandbox_that_refuses_a_newer_call_is_worked_around(
    error: str, refused: str, backend: str
) -> None:
    source = (
        FILTER
        + f"""
import rloop, threading
refuse({refused.split()}, errno.{error})
loop = rloop.new_event_loop({backend!r})

async def datagrams():
    class Answer(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport
        def datagram_received(self, data, address):
            self.transport.sendto(data, address)
    class Ask(Answer):
        def datagram_received(self, data, address):
            got.append(data)
            if len(got) == 3:
                done.set_result(None)
    got, done = [], loop.create_future()
    server, _ = await loop.create_datagram_endpoint(Answer, ("127.0.0.1", 0))
    address = server.get_extra_info("sockname")
    client, _ = await loop.create_datagram_endpoint(Ask, remote_addr=address)
    for data in (b"a", b"bb", b"ccc"):
        client.sendto(data)
    await done
    assert got == [b"a", b"bb", b"ccc"]
    client.close(), server.close()

async def main():
    await echo()
    await datagrams()
    process = await asyncio.create_subprocess_exec("true")
    assert await process.wait() == 0
    woken = asyncio.Event()
    for _ in range(20):
        woken.clear()
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(woken.set,))
        thread.start()
        await woken.wait()
        thread.join()
    await asyncio.sleep(0.001)

loop.run_until_complete(support.within_deadline(main()))
loop.close()
print("done")
"""
    )
    assert "done" in check_script(source, may_log=True, RLOOP_LOG="", RLOOP_BACKEND="auto")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an unprivileged user")
@pytest.mark.parametrize("kib", [0, 64, 256])
def test_a_small_locked_memory_limit_is_survived(kib: int) -> None:
    source = (
        FILTER
        + f"""
import os, resource, rloop
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({kib} * 1024, {kib} * 1024))
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
loop = rloop.new_event_loop()
loop.run_until_complete(support.within_deadline(echo()))
print(loop.backend)
loop.close()
"""
    )
    backend = check_script(source, may_log=True, RLOOP_LOG="", RLOOP_BACKEND="auto").strip()
    assert backend in ("io_uring", "epoll")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become an unprivileged user")
@pytest.mark.parametrize("kib", [1024, 8192])
def test_loops_one_after_the_other_keep_their_engine_with_little_locked_memory(kib: int) -> None:
    # The kernel gives the memory of a closed ring back late. A user of its own: it counts by user.
    source = f"""
import asyncio, os, resource, rloop, threading
if not rloop._core.probe()["available"]:
    print("{{'io_uring'}} {{'io_uring'}} {{'io_uring'}}")
    raise SystemExit
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({kib} * 1024, {kib} * 1024))
os.setgroups([])
os.setgid(65534)
os.setuid(200_000 + os.getpid())

def run_one(backend, seen):
    loop = rloop.new_event_loop(backend)
    loop.run_until_complete(asyncio.sleep(0))
    seen.add(loop.backend)
    loop.close()

chosen, demanded, in_threads = set(), set(), set()
for _ in range(200):
    run_one("auto", chosen)
    run_one("io_uring", demanded)
for _ in range(100):
    thread = threading.Thread(target=run_one, args=("io_uring", in_threads))
    thread.start()
    thread.join()
print(chosen, demanded, in_threads)
"""
    answer = check_script(source, RLOOP_LOG="", RLOOP_BACKEND="auto").strip()
    assert answer == "{'io_uring'} {'io_uring'} {'io_uring'}"


def test_no_descriptor_left_is_the_users_error() -> None:
    source = """
import os, resource, rloop
loop = rloop.new_event_loop()
loop.close()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (20, hard))
taken = []
try:
    while True:
        taken.append(os.dup(0))
except OSError:
    pass
try:
    loop = rloop.new_event_loop()
    loop.call_soon(loop.stop)
    loop.run_forever()
except OSError as error:
    print(error.errno)
for descriptor in taken:
    os.close(descriptor)
"""
    assert check_script(source, may_log=True, RLOOP_LOG="").strip() == "24"


def test_a_lack_of_descriptors_that_passes_is_forgotten() -> None:
    source = """
        import os, resource, rloop
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        held = [os.open("/dev/null", os.O_RDONLY)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (held[0] + 1, before[1]))
        while True:
            try:
                held.append(os.dup(0))
            except OSError:
                break
        try:
            rloop.new_event_loop("io_uring").close()
            print("made")
        except (OSError, RuntimeError) as exc:
            print("refused")
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in held:
            os.close(fd)
        loop = rloop.new_event_loop("auto")
        print(loop.backend)
        loop.close()
    """
    before, after = check_script(source, may_log=True, RLOOP_BACKEND="").split()
    assert before == "refused"
    assert after == rloop.backend_info()["backend"]


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="ASan needs address space")
def test_little_address_space_costs_the_buffers_and_not_the_loop() -> None:
    source = """
        import asyncio, resource, rloop
        import support
        async def main():
            async with support.connected(support.Recorder, support.Echo) as (client, _):
                client.transport.write(b"x" * 1000)
                await client.wait_for_bytes(1000)
            print("echoed")
        pages = int(open("/proc/self/statm").read().split()[0])
        loop = rloop.new_event_loop()
        limit = pages * resource.getpagesize() + 3 * 1024 * 1024
        resource.setrlimit(resource.RLIMIT_AS, (limit, -1))
        loop.run_until_complete(main())
        loop.close()
    """
    assert check_script(source, may_log=True).strip() == "echoed"


@pytest.mark.skipif(os.environ.get("RLOOP_BACKEND") == "epoll", reason="no ring is made there")
def test_what_the_handler_of_our_log_line_schedules_is_run_before_the_wait() -> None:
    """The line that the ring gets no buffers is logged when the ring is made: by a wait."""
    source = (
        FILTER
        + """
import asyncio, logging, rloop, socket, threading, time
if not rloop._core.probe()["available"]:
    print("0.0")
    raise SystemExit
loop = rloop.new_event_loop("io_uring")
ran_at = []

class Scheduling(logging.Handler):
    def emit(self, record):
        loop.call_soon_threadsafe(lambda: ran_at.append(time.monotonic()))

logging.getLogger("rloop").addHandler(Scheduling())

async def receive():
    near, far = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=near)
    far.send(b"x")
    await reader.read(1)
    writer.close()
    await writer.wait_closed()

def go_on():
    refuse(["io_uring_register"], errno.EPERM)
    began = time.monotonic()
    loop.run_until_complete(asyncio.sleep(2))
    print(ran_at[0] - began)

loop.run_until_complete(receive())
thread = threading.Thread(target=go_on)
thread.start()
thread.join()
loop.close()
"""
    )
    assert float(check_script(source, may_log=True, RLOOP_LOG="")) < 1
