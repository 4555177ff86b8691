"""Those who ask this process: garbage, silence, many at a time; and the life of its socket."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import support
from inspected import ask, everything, listening, raw
from support import RLOOP_IDS, loops_only, turns

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")
inspect = __import__("rloop.inspect", fromlist=["inspect"])
client = __import__("rloop.inspection.client", fromlist=["client"])

pytestmark = loops_only(*RLOOP_IDS)


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with listening(tmp_path) as path:
        yield path


# -- faults of those who ask --------------------------------------------------------------------

GARBAGE = {
    "no JSON": (b"\xff\x00garbage\n", "not a request"),
    "no object": (b"[]\n", "no JSON object"),
    "nothing": (b"\n", "not a request"),
    "other protocol": (b'{"protocol": 2}\n', "speaks 1"),
    "unknown part": (b'{"protocol": 1, "parts": ["secrets"]}\n', "parts may be"),
    "parts that cannot be": (b'{"protocol": 1, "parts": [[]]}\n', "parts may be"),
    "a limit that is none": (b'{"protocol": 1, "limit": -1}\n', "limit is a number"),
    "depth": (b'{"protocol":' + b"[" * 60000 + b"\n", "not a request"),
    "length": (b"x" * (64 * 1024 + 1), "too long"),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_is_refused_in_words(loop: Any, address: str, kind: str) -> None:
    sent, words = GARBAGE[kind]
    with raw(address) as sock:
        sock.sendall(sent)
        answer = json.loads(everything(sock))
    assert answer["protocol"] == 1
    assert words in answer["error"]
    assert ask(address)["process"]["pid"] == os.getpid()


def test_a_line_may_come_in_pieces_or_without_its_end(loop: Any, address: str) -> None:
    with raw(address) as sock:
        for piece in (b'{"proto', b'col": 1', b"}"):
            sock.sendall(piece)
        sock.shutdown(socket.SHUT_WR)
        assert json.loads(everything(sock))["process"]["pid"] == os.getpid()


def test_who_goes_away_hurts_nobody(loop: Any, address: str) -> None:
    for sent in (b"", b'{"proto', b'{"protocol": 1}\n'):
        with raw(address) as sock:
            sock.sendall(sent)
    assert ask(address)["process"]["pid"] == os.getpid()


def test_who_is_silent_keeps_nobody_waiting(
    loop: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(raw(address)) for _ in range(3 * inspect.MAX_CLIENTS)]
        assert ask(address)["process"]["pid"] == os.getpid()
        assert everything(silent[0]) == b"", "the eldest had to go"
        assert len(inspect._listener.clients) <= inspect.MAX_CLIENTS
    monkeypatch.setattr(inspect, "PATIENCE", 0.05)
    with raw(address) as sock:
        sock.sendall(b'{"protocol"')
        assert everything(sock) == b"", "and nobody may stay for ever"


def test_who_does_not_read_keeps_nobody_waiting(loop: Any, address: str) -> None:
    async def main() -> None:
        tasks = [loop.create_task(asyncio.sleep(1000), name="x" * 400) for _ in range(2000)]
        await turns()
        # A megabyte, more than a socket takes.
        await loop.run_in_executor(None, look)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def look() -> None:
        with raw(address) as sock:
            sock.sendall(b'{"protocol": 1, "parts": ["tasks"]}\n')
            assert len(ask(address)["tasks"][0]["tasks"]) >= 2000
            assert json.loads(everything(sock))["tasks"]

    loop.run_until_complete(main())


def test_tasks_beyond_the_limit_are_counted(loop: Any, address: str) -> None:
    async def main() -> Any:
        tasks = [loop.create_task(asyncio.sleep(1000)) for _ in range(9)]
        await turns()
        with raw(address) as sock:
            sock.sendall(b'{"protocol": 1, "parts": ["tasks"], "limit": 4}\n')
            answer = json.loads(everything(sock))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return answer["tasks"]

    found = [
        entry for entry in loop.run_until_complete(main()) if entry["loop"] == str(loop._serial)
    ]
    assert (len(found[0]["tasks"]), found[0]["omitted"]) == (4, 6)


# -- its life -----------------------------------------------------------------------------------


def test_listen_and_close_may_be_repeated(loop: Any, address: str, tmp_path: Path) -> None:
    assert inspect.listen() == inspect.listen(address) == address
    with pytest.raises(RuntimeError, match="already listening at"):
        inspect.listen(tmp_path / "other")
    assert stat.S_IMODE(Path(address).stat().st_mode) == 0o600
    before = support.open_descriptors()
    inspect.close()
    inspect.close()
    assert not Path(address).exists()
    assert len(support.open_descriptors()) < len(before)
    assert "rloop-inspect" not in [thread.name for thread in threading.enumerate()]
    with pytest.raises(client.NoAnswer, match="Nobody answers at"):
        ask(address)
    assert inspect.listen(address) == address
    assert ask(address)["process"]["pid"] == os.getpid()


def test_what_is_in_the_way_is_not_removed(loop: Any, tmp_path: Path) -> None:
    path = tmp_path / "live.sock"
    path.write_text("precious")
    try:
        with pytest.raises(OSError, match="in use"):
            inspect.listen(path)
        assert path.read_text() == "precious"
        path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(path))
            other.listen()
            with pytest.raises(OSError, match="in use"):
                inspect.listen(path)
        # What nobody listens at any more makes way.
        assert inspect.listen(path) == str(path)
    finally:
        inspect.close()


def test_a_program_that_closes_every_descriptor_keeps_what_it_opens_then(
    loop: Any, address: str
) -> None:
    number = inspect._listener.sock.fileno()
    with socket.create_server(("127.0.0.1", 0)) as other:
        os.dup2(other.fileno(), number)  # closes the live view's
        try:
            with socket.create_connection(other.getsockname()):
                with pytest.raises(client.NoAnswer):
                    ask(address)
                accepted, _ = other.accept()  # nobody has taken it away
                accepted.close()
            assert inspect.listen(address) == address
            assert os.fstat(number).st_ino == os.fstat(other.fileno()).st_ino
            assert ask(address)["process"]["pid"] == os.getpid()
        finally:
            os.close(number)


def test_without_descriptors_it_waits(
    loop: Any, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with raw(address) as sock:
        sock.sendall(b'{"protocol": 1}\n')
        json.loads(everything(sock))
        with socket.socket(socket.AF_UNIX) as late:
            highest = max(support.open_descriptors()) + 1
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))
            spare: list[int] = []
            try:
                with contextlib.suppress(OSError):
                    while True:
                        spare.append(os.dup(0))
                late.connect(address)
                before = time.thread_time(), time.process_time()
                time.sleep(0.2)
                # It does not try again and again.
                assert time.process_time() - before[1] < 0.1
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                for one in spare:
                    os.close(one)
            late.settimeout(support.DEADLINE)
            late.sendall(b'{"protocol": 1}\n')
            assert json.loads(everything(late))["process"]["pid"] == os.getpid()
