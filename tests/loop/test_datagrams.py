"""Datagram endpoints: order, empty and largest datagrams, errors, flow control, the end.

asyncio's documentation, "Datagram Transports" and "Datagram Protocols"; where its selector loop
sends nothing for an empty datagram (3.11, 3.12) or stops at an error, ours goes on.
"""

import asyncio
import ctypes
import errno
import socket
import struct
from pathlib import Path
from typing import Any

import pytest
from support import (
    PY313,
    RLOOP_IDS,
    Datagrams,
    Noise,
    bound,
    differs,
    loops_only,
    needs_ipv6,
    run_briefly,
    turns,
    wait_until,
)


def address(protocol: Datagrams) -> tuple[str, int]:
    name: tuple[str, int] = protocol.transport.get_extra_info("sockname")[:2]
    return name


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
async def test_an_answer_goes_to_the_sender(loop: asyncio.AbstractEventLoop, host: str) -> None:
    async with (
        bound((host, 0), answer=bytes.upper) as server,
        bound((host, 0)) as one,
        bound((host, 0)) as other,
    ):
        one.transport.sendto(b"one", address(server))
        other.transport.sendto(b"other", address(server))
        assert await one.wait_for(1) == [b"ONE"]
        assert await other.wait_for(1) == [b"OTHER"]
        assert {addr[:2] for _, addr in server.received} == {address(one), address(other)}
        full = server.transport.get_extra_info("sockname")
        assert one.received[0][1] == full
        assert server.transport.get_extra_info("peername") is None


async def test_a_connected_endpoint_needs_no_address(loop: asyncio.AbstractEventLoop) -> None:
    async with (
        bound(answer=bytes.upper) as server,
        bound(None, remote_addr=address(server)) as client,
    ):
        assert client.transport.get_extra_info("peername") == address(server)
        client.transport.sendto(b"a")
        client.transport.sendto(b"b", None)
        client.transport.sendto(data=bytearray(b"c"), addr=address(server))
        client.transport.sendto(memoryview(b"d"))
        assert await client.wait_for(4) == [b"A", b"B", b"C", b"D"]
        with pytest.raises(ValueError, match="Invalid address: must be None or"):
            client.transport.sendto(b"x", ("127.0.0.1", 1))


@pytest.mark.parametrize("count", [1, 70, 150])
async def test_many_datagrams_in_a_turn_keep_their_order(
    loop: asyncio.AbstractEventLoop, count: int
) -> None:
    async with bound(answer=bytes) as server, bound(None, remote_addr=address(server)) as client:
        expected = [b"%d" % number for number in range(count)]
        for data in expected:
            client.transport.sendto(data)
        assert await client.wait_for(count) == expected
        assert server.data == expected


@loops_only(*RLOOP_IDS)
async def test_a_turn_of_datagrams_costs_few_system_calls(
    loop: asyncio.AbstractEventLoop, loop_id: str
) -> None:
    async with bound(answer=bytes) as server, bound(None, remote_addr=address(server)) as client:
        before = loop.statistics()
        for number in range(128):
            client.transport.sendto(b"%d" % number)
        await client.wait_for(128)
        after = loop.statistics()
        assert after["messages_in"] - before["messages_in"] == 256
        assert after["messages_out"] - before["messages_out"] == 256
        assert after["syscalls"] - before["syscalls"] < 100


@differs("asyncio", "before 3.13 it sends nothing", when=not PY313)
@differs("uvloop", "it sends nothing")
async def test_empty_datagrams_are_datagrams(loop: asyncio.AbstractEventLoop) -> None:
    async with bound(answer=bytes) as server, bound(None, remote_addr=address(server)) as client:
        for data in (b"", b"a", b"", b"", b"b"):
            client.transport.sendto(data)
        assert await client.wait_for(5) == [b"", b"a", b"", b"", b"b"]
        assert server.errors == []


async def test_the_largest_datagram_arrives_whole(loop: asyncio.AbstractEventLoop) -> None:
    async with bound(answer=bytes) as server, bound(None, remote_addr=address(server)) as client:
        largest = bytes(range(256)) * 255 + b"x" * 227
        assert len(largest) == 65507
        client.transport.sendto(largest)
        assert await client.wait_for(1) == [largest]


@differs("uvloop", "it raises out of sendto")
async def test_one_that_is_too_long_takes_no_other_with_it(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with bound() as server, bound(None, remote_addr=address(server)) as client:
        for data in (b"before", b"x" * 70_000, b"after"):
            client.transport.sendto(data)
        assert await server.wait_for(2) == [b"before", b"after"]
        await wait_until(lambda: client.errors)
        assert [exc.errno for exc in client.errors] == [errno.EMSGSIZE]
        assert client.transport.get_write_buffer_size() == 0


async def test_nobody_at_the_other_end_is_an_error_of_the_protocol(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with bound() as server:
        nowhere = address(server)
    async with bound(None, remote_addr=nowhere) as client:
        client.transport.sendto(b"x")
        await wait_until(lambda: client.errors)
        assert isinstance(client.errors[0], ConnectionRefusedError)
        assert not client.transport.is_closing()
        # The endpoint goes on: somebody binds the port, and is reached.
        async with bound(nowhere) as late:
            client.transport.sendto(b"y")
            client.transport.sendto(b"z")
            await wait_until(lambda: b"z" in late.data)


@differs("uvloop", "it wants literal addresses")
async def test_a_name_is_resolved(loop: asyncio.AbstractEventLoop) -> None:
    async with bound(answer=bytes.upper) as server, bound(("127.0.0.1", 0)) as client:
        client.transport.sendto(b"x", ("localhost", address(server)[1]))
        assert await client.wait_for(1) == [b"X"]


@differs("uvloop", "it raises out of sendto")
async def test_an_unknown_name_is_an_error_of_the_protocol(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as client:
        client.transport.sendto(b"x", ("no-such-host.invalid", 1))
        await wait_until(lambda: client.errors)
        assert isinstance(client.errors[0], socket.gaierror)


@pytest.mark.parametrize(
    ("target", "kind"),
    [("127.0.0.1", TypeError), (("127.0.0.1", 70_000), OverflowError), (("127.0.0.1", "x"), None)],
)
@differs("uvloop", "it raises out of sendto")
async def test_what_is_no_address_loses_the_connection(
    loop: asyncio.AbstractEventLoop, noise: Noise, target: object, kind: type[Exception] | None
) -> None:
    async with bound() as client:
        client.transport.sendto(b"x", target)
        lost = await client.lost
        assert isinstance(lost, kind or TypeError)
        context = noise.take_one()
        assert context["message"] == "Fatal write error on datagram transport"
        assert context["exception"] is lost


@differs("uvloop", "its text is another")
async def test_data_must_be_bytes_like(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as client:
        with pytest.raises(TypeError, match="data argument must be a bytes-like object, not 'str'"):
            client.transport.sendto("text", address(client))


async def test_broadcast_must_be_allowed(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as client:
        client.transport.sendto(b"x", ("255.255.255.255", 9))
        await wait_until(lambda: client.errors)
        assert isinstance(client.errors[0], PermissionError)
    async with bound(allow_broadcast=True) as client:
        sock = client.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)


@differs("uvloop", "it reports with texts of its own")
async def test_an_exception_of_the_protocol_is_reported_and_the_endpoint_goes_on(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    def fail_once(data: bytes) -> bytes:
        if data == b"bad":
            raise ValueError("no good")
        return data

    async with (
        bound(answer=fail_once) as server,
        bound(None, remote_addr=address(server)) as client,
    ):
        client.transport.sendto(b"bad")
        client.transport.sendto(b"good")
        assert await client.wait_for(1) == [b"good"]
        context = noise.take_one()
        assert isinstance(context["exception"], ValueError)
        assert context["message"].startswith("Exception in callback")


async def test_no_datagram_after_a_close_from_inside(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as server, bound(None, remote_addr=address(server)) as client:
        server.answer = lambda data: server.transport.close() or data
        for number in range(10):
            client.transport.sendto(b"%d" % number)
        assert await server.lost is None
        assert server.data == [b"0"]


async def test_close_delivers_what_was_sent(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as server:
        async with bound(None, remote_addr=address(server)) as client:
            for number in range(20):
                client.transport.sendto(b"%d" % number)
            client.transport.close()
            assert client.transport.is_closing()
            assert "connection_lost" not in client.events
            assert await client.lost is None
        assert await server.wait_for(20) == [b"%d" % number for number in range(20)]
        assert client.events == ["connection_made", "connection_lost"]


async def test_abort_loses_only_what_the_kernel_refused(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as server:
        async with bound(None, remote_addr=address(server)) as client:
            client.transport.sendto(b"x")
            client.transport.abort()
            assert await client.lost is None
        assert await server.wait_for(1) == [b"x"]


@pytest.mark.parametrize("end", ["close", "abort"])
@differs("uvloop", "it drops it")
async def test_a_last_word_after_the_close_goes_out(
    loop: asyncio.AbstractEventLoop, end: str
) -> None:
    # An endpoint without a fixed destination, as QUIC's: its socket is open until connection_lost.
    async with bound() as server, bound() as client:
        getattr(client.transport, end)()
        client.transport.sendto(b"goodbye", address(server))
        assert await client.lost is None
        assert await server.wait_for(1) == [b"goodbye"]


@differs("uvloop", "it drops it")
async def test_the_error_of_a_last_word_is_told(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as server, bound() as client:
        client.transport.close()
        client.transport.sendto(b"x" * 70_000, address(server))
        assert await client.lost is None
        assert [error.errno for error in client.errors] == [errno.EMSGSIZE]


@differs("uvloop", "it raises out of sendto")
async def test_datagrams_after_the_end_are_dropped(loop: asyncio.AbstractEventLoop) -> None:
    async with bound() as server, bound(None, remote_addr=address(server)) as client:
        client.transport.close()
        await client.lost
        client.transport.sendto(b"late")
        await turns()
        assert server.received == []


def test_datagrams_between_two_runs_leave_at_once(loop: asyncio.AbstractEventLoop) -> None:
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(10)
        transport, protocol = loop.run_until_complete(
            loop.create_datagram_endpoint(Datagrams, remote_addr=receiver.getsockname())
        )
        transport.sendto(b"now")
        assert receiver.recv(10) == b"now"
        transport.abort()
        run_briefly(loop)
        loop.run_until_complete(protocol.lost)


# --- Unix datagram sockets -----------------------------------------------------------------------


@differs("uvloop", "it knows no Unix datagram sockets")
async def test_unix_datagrams(loop: asyncio.AbstractEventLoop, tmp_path: Path) -> None:
    server_path, client_path = str(tmp_path / "server"), str(tmp_path / "client")
    async with (
        bound(server_path, family=socket.AF_UNIX, answer=bytes.upper) as server,
        bound(client_path, family=socket.AF_UNIX, remote_addr=server_path) as client,
    ):
        large = b"l" * 100_000
        for data in (b"a", large, b"c"):
            client.transport.sendto(data)
        assert await client.wait_for(3) == [b"A", large.upper(), b"C"]
        assert server.received[0][1] == client_path
        assert client.transport.get_extra_info("peername") == server_path


@loops_only("asyncio", *RLOOP_IDS)
async def test_an_unnamed_sender_has_no_address(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = str(tmp_path / "server")
    async with bound(path, family=socket.AF_UNIX) as server:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"x", path)
        await server.wait_for(1)
        assert server.received == [(b"x", None)]


@differs("uvloop", "it knows no Unix datagram sockets")
@differs("asyncio", "its count of waiting bytes does not return to 0")
async def test_flow_control_of_a_slow_receiver(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = str(tmp_path / "slow")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
        slow.setblocking(False)
        slow.bind(path)
        async with bound(None, family=socket.AF_UNIX, remote_addr=path) as client:
            client.transport.set_write_buffer_limits(high=10_000)
            sent = 0
            while "pause_writing" not in client.events:
                client.transport.sendto(b"%06d" % sent * 100)
                sent += 1
                assert sent < 10_000
            assert client.transport.get_write_buffer_size() > 10_000
            received = []
            while len(received) < sent:
                try:
                    received.append(slow.recv(1000))
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            assert received == [b"%06d" % number * 100 for number in range(sent)]
            await wait_until(lambda: client.events[-1] == "resume_writing")
            assert client.transport.get_write_buffer_size() == 0
            client.transport.close()
            assert await client.lost is None


@differs("uvloop", "it knows no Unix datagram sockets")
async def test_close_waits_for_a_slow_receiver_and_abort_does_not(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    path = str(tmp_path / "slow")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as slow:
        slow.setblocking(False)
        slow.bind(path)
        async with bound(None, family=socket.AF_UNIX, remote_addr=path) as client:
            while client.transport.get_write_buffer_size() == 0:
                client.transport.sendto(b"x" * 1000)
            client.transport.close()
            await turns()
            assert not client.lost.done()
            client.transport.abort()
            assert await client.lost is None


@loops_only("asyncio", *RLOOP_IDS)
def test_an_exit_between_two_datagrams_loses_none(loop: asyncio.AbstractEventLoop) -> None:
    class Exiting(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            raise KeyboardInterrupt(data.decode())

    async def open_endpoint() -> Any:
        return await loop.create_datagram_endpoint(Exiting, local_addr=("127.0.0.1", 0))

    transport, _ = loop.run_until_complete(open_endpoint())
    run_briefly(loop)
    exits: list[str] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(5):
            sender.sendto(str(number).encode(), transport.get_extra_info("sockname"))
        while len(exits) < 5:
            try:
                loop.run_until_complete(asyncio.sleep(1))
                pytest.fail(f"{exits} came out, and no more")
            except KeyboardInterrupt as exc:
                exits.append(str(exc))
                for task in asyncio.all_tasks(loop):
                    task.cancel()
    assert exits == ["0", "1", "2", "3", "4"]
    transport.abort()
    run_briefly(loop)


@differs("uvloop", "it knows no Unix paths here (uvloop issue 196)")
async def test_a_sender_whose_path_fills_the_address(
    loop: asyncio.AbstractEventLoop, tmp_path: Path
) -> None:
    # 108 bytes without a NUL: more than the socket module binds, so the system call is made here.
    folder = str(tmp_path)
    name = (folder + "/" + "p" * 108)[:108].encode()
    if len(folder) > 100:
        pytest.skip("the folder's own path is too long for a socket in it")
    path = str(tmp_path / "endpoint")
    transport, protocol = await loop.create_datagram_endpoint(
        Datagrams, local_addr=path, family=socket.AF_UNIX
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        address = struct.pack("H", socket.AF_UNIX) + name
        assert ctypes.CDLL(None).bind(sender.fileno(), address, len(address)) == 0
        sender.sendto(b"x", path)
        await protocol.wait_for(1)
    assert protocol.received == [(b"x", name.decode())]
    transport.abort()
    await wait_until(protocol.lost.done)


@loops_only("asyncio", *RLOOP_IDS)
async def test_other_families_are_datagrams_too(loop: asyncio.AbstractEventLoop) -> None:
    near = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, socket.NETLINK_ROUTE)
    near.bind((0, 0))
    near.setblocking(False)
    transport, protocol = await loop.create_datagram_endpoint(Datagrams, sock=near)
    # RTM_GETLINK, asking for all: the kernel answers.
    transport.sendto(struct.pack("IHHIIB15x", 32, 18, 0x301, 1, 0, 0), (0, 0))
    await protocol.wait_for(1)
    assert protocol.received[0][1] == (0, 0)
    assert transport.get_extra_info("sockname")[0] != 0
    transport.abort()
    await wait_until(protocol.lost.done)
