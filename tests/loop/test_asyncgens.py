"""Asynchronous generators: the loop closes those that are still open, and those that die.

Source: asyncio's documentation, `loop.shutdown_asyncgens`.
"""

import asyncio
from collections.abc import AsyncIterator

import pytest
from support import Noise, collect, turns, wait_until


async def test_shutdown_asyncgens_closes_open_generators(loop: asyncio.AbstractEventLoop) -> None:
    closed: list[int] = []

    async def numbers(name: int) -> AsyncIterator[int]:
        try:
            while True:
                yield name
        finally:
            await asyncio.sleep(0)
            closed.append(name)

    open_ones = [numbers(name) for name in range(3)]
    for generator in open_ones:
        await anext(generator)
    await loop.shutdown_asyncgens()
    assert sorted(closed) == [0, 1, 2]


async def test_a_forgotten_generator_is_closed_by_the_loop(
    loop: asyncio.AbstractEventLoop,
) -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async for _ in numbers():
        break
    collect()
    await wait_until(lambda: closed)
    assert closed == ["closed"]


async def test_an_error_while_closing_goes_to_the_handler(
    loop: asyncio.AbstractEventLoop, noise: Noise
) -> None:
    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("while closing")

    generator = numbers()
    await anext(generator)
    await loop.shutdown_asyncgens()
    context = noise.take_one()
    assert context["message"].startswith(
        "an error occurred during closing of asynchronous generator"
    )
    assert context["asyncgen"] is generator
    assert str(context["exception"]) == "while closing"


async def test_a_generator_started_after_the_shutdown_warns(
    loop: asyncio.AbstractEventLoop,
) -> None:
    async def numbers() -> AsyncIterator[int]:
        yield 1

    await loop.shutdown_asyncgens()
    generator = numbers()
    with pytest.warns(ResourceWarning, match="was scheduled after"):
        await anext(generator)
    await generator.aclose()
    await turns()


async def test_shutdown_without_generators_is_quick(loop: asyncio.AbstractEventLoop) -> None:
    await loop.shutdown_asyncgens()
    await loop.shutdown_asyncgens()
