"""Write buffer limits, pause_writing and resume_writing.

Source: asyncio's documentation, "Write-only Transports" and "Flow Control Callbacks".
"""

import asyncio

import pytest
from support import Recorder, differs, recv_exactly, turns, wait_until, wired

LARGE = b"x" * (16 << 20)


@differs("uvloop", "its default low mark is 16 bytes")
async def test_the_default_limits_are_16_and_64_kib(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, _far):
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


@pytest.mark.parametrize(
    ("arguments", "limits"),
    [
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 1000, "low": 10}, (10, 1000)),
        ({"high": 0}, (0, 0)),
        ({"high": 0, "low": 0}, (0, 0)),
        ({"high": 7, "low": 7}, (7, 7)),
    ],
)
async def test_limits_are_as_asked_for(
    loop: asyncio.AbstractEventLoop, arguments: dict[str, int], limits: tuple[int, int]
) -> None:
    async with wired() as (transport, _, _far):
        transport.set_write_buffer_limits(**arguments)
        assert transport.get_write_buffer_limits() == limits


async def test_limits_without_arguments_are_the_default(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, _far):
        transport.set_write_buffer_limits(high=1)
        transport.set_write_buffer_limits()
        assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


@pytest.mark.parametrize("arguments", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}])
async def test_impossible_limits_are_value_errors(
    loop: asyncio.AbstractEventLoop, arguments: dict[str, int]
) -> None:
    async with wired() as (transport, _, _far):
        before = transport.get_write_buffer_limits()
        with pytest.raises(ValueError, match=r"high .* must be >= low .* must be >= 0"):
            transport.set_write_buffer_limits(**arguments)
        assert transport.get_write_buffer_limits() == before


async def test_a_full_buffer_pauses_the_protocol_within_the_write(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        transport.write(LARGE)
        assert protocol.events == ["connection_made", "pause_writing"]
        assert transport.get_write_buffer_size() > 64 * 1024
        reading = loop.create_task(recv_exactly(far, len(LARGE)))
        await wait_until(lambda: protocol.events[-1] == "resume_writing")
        assert transport.get_write_buffer_size() <= 16 * 1024
        assert len(await reading) == len(LARGE)
        assert protocol.events == ["connection_made", "pause_writing", "resume_writing"]


async def test_the_protocol_is_paused_once_however_much_is_written(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, _far):
        for _ in range(5):
            transport.write(LARGE)
            await turns(2)
        assert protocol.events.count("pause_writing") == 1
        transport.abort()
        await protocol.lost


async def test_small_writes_do_not_pause(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        for _ in range(200):
            transport.write(b"x" * 100)
            await turns(1)
        assert len(await recv_exactly(far, 20_000)) == 20_000
        assert protocol.events == ["connection_made"]


async def test_a_writelines_may_pause_as_well(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, far):
        transport.writelines([LARGE[: 1 << 20]] * 16)
        transport.write(b"x")
        assert "pause_writing" in protocol.events
        assert len(await recv_exactly(far, len(LARGE) + 1)) == len(LARGE) + 1
        await wait_until(lambda: "resume_writing" in protocol.events)


async def test_lower_limits_pause_at_once(loop: asyncio.AbstractEventLoop) -> None:
    async with wired(receive_buffer=4096) as (transport, protocol, _far):
        transport.set_write_buffer_limits(high=32 << 20)
        transport.write(LARGE)
        assert "pause_writing" not in protocol.events
        transport.set_write_buffer_limits(high=1000)
        assert "pause_writing" in protocol.events


async def test_a_limit_of_zero_pauses_whenever_something_waits(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async with wired() as (transport, protocol, far):
        transport.set_write_buffer_limits(high=0)
        for round_ in range(1, 4):
            transport.write(LARGE)
            assert protocol.events.count("pause_writing") == round_
            await recv_exactly(far, len(LARGE))
            await wait_until(lambda n=round_: protocol.events.count("resume_writing") == n)
            assert transport.get_write_buffer_size() == 0


async def test_the_buffer_size_falls_as_the_peer_reads(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, _, far):
        assert transport.get_write_buffer_size() == 0
        transport.write(LARGE)
        sizes = [transport.get_write_buffer_size()]
        assert 0 < sizes[0] <= len(LARGE)
        for _ in range(4):
            await recv_exactly(far, len(LARGE) // 4)
            await turns(3)
            sizes.append(transport.get_write_buffer_size())
        assert sizes == sorted(sizes, reverse=True)
        await wait_until(lambda: transport.get_write_buffer_size() == 0)


async def test_a_protocol_may_write_in_resume_writing(loop: asyncio.AbstractEventLoop) -> None:
    class Pump(Recorder):
        rounds = 0

        def resume_writing(self) -> None:
            super().resume_writing()
            if self.rounds < 5:
                self.rounds += 1
                self.transport.write(LARGE[: 1 << 20])

    async with wired(Pump, receive_buffer=65536) as (transport, protocol, far):
        transport.write(LARGE[: 1 << 20])
        assert len(await recv_exactly(far, 6 * (1 << 20))) == 6 * (1 << 20)
        await wait_until(lambda: protocol.events.count("resume_writing") == 6)
        assert protocol.events.count("pause_writing") == 6


async def test_a_protocol_may_close_in_pause_writing(loop: asyncio.AbstractEventLoop) -> None:
    class Quitting(Recorder):
        def pause_writing(self) -> None:
            super().pause_writing()
            self.transport.abort()

    async with wired(Quitting) as (transport, protocol, _far):
        transport.write(LARGE)
        assert await protocol.lost is None
        assert protocol.events == ["connection_made", "pause_writing", "connection_lost"]


async def test_no_resume_after_an_abort(loop: asyncio.AbstractEventLoop) -> None:
    async with wired() as (transport, protocol, _far):
        transport.write(LARGE)
        transport.abort()
        await protocol.lost
        await turns(5)
        assert protocol.events == ["connection_made", "pause_writing", "connection_lost"]


async def test_memory_of_a_paused_sender_stays_bounded(loop: asyncio.AbstractEventLoop) -> None:
    class Polite(Recorder):
        """Writes until it is told to pause, as the documentation asks for."""

        paused = False
        most = 0

        def pause_writing(self) -> None:
            self.paused = True

        def resume_writing(self) -> None:
            self.paused = False

    async with wired(Polite) as (transport, protocol, far):
        sent = 0
        reading = loop.create_task(recv_exactly(far, 20 << 20))
        while sent < 20 << 20:
            if protocol.paused:
                await wait_until(lambda: not protocol.paused)
            transport.write(b"x" * 8192)
            sent += 8192
            protocol.most = max(protocol.most, transport.get_write_buffer_size())
        assert len(await reading) == 20 << 20
        assert protocol.most <= 64 * 1024 + 8192
