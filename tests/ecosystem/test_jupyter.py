"""A Jupyter kernel on rloop, by examples/jupyter/kernel.json, and a client on the tested loop."""

# ruff: noqa: E402 - a package that may be missing is imported behind importorskip

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from deployments import PATIENCE
from started import EXAMPLES, environment

reason = "ipykernel is not installed (requirements-ecosystem.txt)"
pytest.importorskip("ipykernel", reason=reason)
pytest.importorskip("jupyter_client", reason=reason)

import zmq.asyncio
from jupyter_client.kernelspec import KernelSpecManager
from jupyter_client.manager import AsyncKernelManager


@contextlib.asynccontextmanager
async def kernel(loop_id: str, folder: Path) -> AsyncIterator[tuple[Any, Any]]:
    """A running kernel, as Jupyter starts it from its folder of kernels; its manager and client."""
    name = "rloop"
    if loop_id == "asyncio":
        name = "python3"  # Jupyter's own
    else:
        shutil.copytree(EXAMPLES / "jupyter", folder / "kernels" / name)
    specs = KernelSpecManager(kernel_dirs=[str(folder / "kernels")])
    with zmq.asyncio.Context() as context:
        manager = AsyncKernelManager(
            kernel_name=name, kernel_spec_manager=specs, context=context,
            connection_file=str(folder / "connection.json"),
        )  # fmt: skip
        await manager.start_kernel(env=environment(loop_id, folder), cwd=str(folder))
        client = manager.client()
        try:
            client.start_channels()
            await client.wait_for_ready(timeout=PATIENCE)
            yield manager, client
        finally:
            client.stop_channels()
            await manager.shutdown_kernel(now=True)


async def outputs(client: Any, code: str) -> str:
    """Run a cell; what it printed, and its last value."""
    said: list[str] = []

    def note(message: dict[str, Any]) -> None:
        content = message["content"]
        said.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

    reply = await client.execute_interactive(code, output_hook=note, timeout=PATIENCE)
    assert reply["content"]["status"] == "ok", reply["content"]
    return "".join(said)


async def answer_to(asked: str, get: Callable[..., Any], kind: str) -> Any:
    """Wait for a message of that kind about that cell."""
    while True:
        message = await get(timeout=PATIENCE)
        if message["parent_header"].get("msg_id") == asked and message["msg_type"] == kind:
            return message


@pytest.mark.deadline(PATIENCE)  # a kernel imports IPython
async def test_cells_run_on_rloop(loop_id: str, tmp_path: Path) -> None:
    async with kernel(loop_id, tmp_path) as (_manager, client):
        found = await outputs(client, "import asyncio; type(asyncio.get_running_loop())")
        if loop_id != "asyncio":
            assert found == "rloop.event_loop.UringEventLoop"
            assert await outputs(client, "asyncio.get_running_loop().backend") == f"{loop_id!r}"
        # A cell that awaits, one whose task goes on behind it, and a connection within.
        cell = "await asyncio.sleep(0.01); task = asyncio.create_task(asyncio.sleep(0.01, 'done'))"
        assert await outputs(client, cell) == ""
        assert await outputs(client, "await task") == "'done'"
        cell = """
        async def echo(reader, writer):
            writer.write((await reader.readline()).upper())
            writer.close()
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello\\n")
            print(await reader.read())
            writer.close()
        """
        assert await outputs(client, cell) == "b'HELLO\\n'\n"
        assert await outputs(client, "!echo from a shell") == "from a shell\r\n"


@pytest.mark.deadline(PATIENCE)
async def test_a_cell_is_interrupted_and_the_kernel_goes_on(loop_id: str, tmp_path: Path) -> None:
    async with kernel(loop_id, tmp_path) as (manager, client):
        # One that awaits is another matter: ipykernel asks the loop with call_soon from a signal
        # handler, which wakes no loop, asyncio's neither.
        cell = "import time; print('in'); time.sleep(60)"
        asked = client.execute(cell, stop_on_error=False)  # else what comes soon is aborted
        await answer_to(asked, client.get_iopub_msg, "stream")
        await manager.interrupt_kernel()
        reply = await answer_to(asked, client.get_shell_msg, "execute_reply")
        assert reply["content"]["ename"] == "KeyboardInterrupt"
        assert await outputs(client, "6 * 7") == "42"
        pid = int(await outputs(client, "import os; os.getpid()"))
        assert pid != os.getpid()
