"""Where io_uring is refused: the other backend takes over, and says why.

The kernel's refusals are made for real, by a seccomp filter of four instructions in a child
process, and by a locked-memory limit for an unprivileged user.
"""

import os

import pytest
from programs import check_script
from seccomp_filters import FILTER, needs_filters

import rloop

pytestmark = needs_filters


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
first.run_until_complete(support.first_waits())
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
