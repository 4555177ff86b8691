"""asyncssh: a server and a client on one loop, commands, forwarded ports, files by SFTP."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from peers import blocks

pytest.importorskip("asyncssh", reason="asyncssh is not installed (requirements-ecosystem.txt)")

import asyncssh


async def run_command(process: Any) -> None:
    """Give a client's command to a shell, as sshd does."""
    local = await asyncio.create_subprocess_shell(
        process.command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    # One end for both outputs: the first of two would cut the other one off.
    await process.redirect(local.stdin, local.stdout, local.stderr, send_eof=False)
    status = await local.wait()
    await process.stdout.drain()
    await process.stderr.drain()
    process.exit(status)


class Server(asyncssh.SSHServer):
    def connection_requested(self, *_addresses: Any) -> bool:
        return True  # ports are forwarded


@contextlib.asynccontextmanager
async def connected(folder: Path) -> AsyncIterator[Any]:
    """A connection of a client that knows the server's key to a server that knows the client's."""
    host, user = (asyncssh.generate_private_key("ssh-ed25519") for _ in range(2))
    authorized = folder / "authorized"
    authorized.write_bytes(user.export_public_key())
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_factory=Server, server_host_keys=[host], encoding=None,
        authorized_client_keys=str(authorized), process_factory=run_command, sftp_factory=True,
    )  # fmt: skip
    async with server:
        known = asyncssh.import_known_hosts(f"* {host.export_public_key().decode()}")
        async with asyncssh.connect(
            "127.0.0.1", server.get_port(), username="tester", client_keys=[user],
            known_hosts=known, config=None, agent_path=None,
        ) as connection:  # fmt: skip
            yield connection


# asyncssh's own, on asyncio too: it collects a coroutine that it never awaits.
@pytest.mark.filterwarnings("ignore:coroutine 'Queue.join' was never awaited:RuntimeWarning")
async def test_commands(tmp_path: Path) -> None:
    async with connected(tmp_path) as connection:
        done = await connection.run("echo out; echo err >&2; exit 3")
        assert (done.stdout, done.stderr, done.exit_status) == ("out\n", "err\n", 3)
        data = b"".join(blocks(16))
        done = await connection.run("sha256sum", input=data, encoding=None, check=True)
        assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()
        several = await asyncio.gather(*(connection.run(f"echo {n}") for n in range(8)))
        assert [done.stdout for done in several] == [f"{n}\n" for n in range(8)]


async def test_a_file_by_sftp(tmp_path: Path) -> None:
    data = b"".join(blocks(64))
    (tmp_path / "here").write_bytes(data)
    async with connected(tmp_path) as connection:
        async with connection.start_sftp_client() as sftp:
            await sftp.put(str(tmp_path / "here"), str(tmp_path / "there"))
            assert (tmp_path / "there").read_bytes() == data
            await sftp.get(str(tmp_path / "there"), str(tmp_path / "back"))
            assert (tmp_path / "back").read_bytes() == data
            async with sftp.open(str(tmp_path / "there"), "rb") as file:
                await file.seek(1000)
                assert await file.read(5000) == data[1000:6000]
            assert {"here", "there", "back"} <= set(await sftp.listdir(str(tmp_path)))
            with pytest.raises(asyncssh.SFTPNoSuchFile):
                await sftp.stat(str(tmp_path / "nowhere"))


async def test_a_forwarded_port(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with connected(tmp_path) as connection:
            listener = await connection.forward_local_port("127.0.0.1", 0, "127.0.0.1", port)
            reader, writer = await asyncio.open_connection("127.0.0.1", listener.get_port())
            for block in blocks(8):
                writer.write(block)
                assert await reader.readexactly(len(block)) == block
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            listener.close()
            await listener.wait_closed()
