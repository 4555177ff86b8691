"""Asks a process for its live view, and says in a sentence why there is no answer.

Whoever answers must be the process that was meant: an abstract name is anybody's to take, so the
kernel is asked who listens (SO_PEERCRED).
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import struct
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .answers import PROTOCOL
from .processes import Process, addresses, addresses_of, name_of_user

#: Seconds after which a process has not answered.
TIMEOUT = 3.0


class NoAnswer(Exception):
    """No live view; the text is a sentence for the operator."""


class HasEnded(NoAnswer):
    """There is nobody to ask any more."""


def ask(
    target: int | str,
    parts: Iterable[str] = ("process", "loops"),
    *,
    timeout: float = TIMEOUT,
    **limits: int,
) -> dict[str, Any]:
    """The answer of a process, by its id or by the address that listen() gave.

    `limits`: see answers.py.
    """
    pid = target if isinstance(target, int) else None
    if pid is not None:
        check(pid)
    with _connected(target, timeout) as sock:
        try:
            line = _exchange(sock, {"protocol": PROTOCOL, "parts": list(parts), **limits}, timeout)
        except TimeoutError:
            if pid is not None:
                check(pid)
            raise NoAnswer(
                f"{_named(target)} does not answer within {timeout:g} s: something holds its GIL "
                "(RLOOP_WATCHDOG would name it), it has no descriptor left, or the machine is "
                "overloaded."
            ) from None
        except OSError:
            line = b""
    return _understood(target, line)


def check(pid: int) -> Process:
    """What must be true before anybody is asked; NoAnswer says what is not."""
    process = Process.find(pid)
    if process is None:
        raise HasEnded(f"There is no process {pid}.")
    if process.is_over:
        raise HasEnded(f"Process {pid} has ended; its parent has not waited for it yet.")
    if process.uid != os.geteuid():
        user = name_of_user(process.uid)
        raise NoAnswer(
            f"Process {pid} is user {user}'s and answers nobody else: ask as {user} (sudo -u)."
        )
    if process.is_stopped:
        raise NoAnswer(
            f"Process {pid} is stopped, by a signal or a debugger; it can answer when it goes on "
            f"(kill -CONT {pid})."
        )
    return process


def remove_stale() -> None:
    """Remove the sockets of processes that have ended, as after a kill -9."""
    for pid, names in addresses().items():
        for name in names:
            if Path(name).is_socket() and Process.find(pid) is None:
                with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
                    probe.setblocking(False)
                    try:
                        # A container's process may have a number that is not seen here.
                        probe.connect(name)
                    except ConnectionRefusedError:
                        Path(name).unlink()


# -- one question -------------------------------------------------------------------------------


def _named(target: int | str) -> str:
    return f"Process {target}" if isinstance(target, int) else f"The process at {target}"


def _connected(target: int | str, timeout: float) -> socket.socket:
    """Connected to whoever is meant; NoAnswer when nobody listens."""
    names = addresses_of(target) if isinstance(target, int) else [target]
    problem: OSError | None = None
    for name in names:
        sock = socket.socket(socket.AF_UNIX)
        # A socket with a timeout of Python's does not wait where others wait already.
        limit = struct.pack("ll", int(timeout), int(timeout % 1 * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            sock.connect(b"\0" + os.fsencode(name[1:]) if name.startswith("@") else name)
        except OSError as exc:
            sock.close()
            if problem is None or not isinstance(exc, FileNotFoundError | ConnectionRefusedError):
                problem = exc
            continue
        sock.settimeout(timeout)
        if not isinstance(target, int) or _listens(sock, target):
            return sock
        sock.close()
    raise NoAnswer(_why_nobody_listens(target, problem))


def _listens(sock: socket.socket, pid: int) -> bool:
    """Whether this process, and no other user's, made the socket at the other end."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    listener, uid, _ = struct.unpack("3i", credentials)
    # One that has given up its rights since made it as root.
    return listener == pid and uid in (0, os.geteuid())


def _why_nobody_listens(target: int | str, problem: OSError | None) -> str:
    if isinstance(target, str):
        return f"Nobody answers at {target}: {os.strerror(problem.errno or 0) if problem else ''}."
    if isinstance(problem, TimeoutError | BlockingIOError):
        return f"{_named(target)} does not take connections; too many wait for it already."
    if isinstance(problem, PermissionError):
        return f"{_named(target)} has a live view that this user may not connect to."
    has_rloop = check(target).has_rloop()
    if has_rloop:
        return (
            f"Process {target} runs rloop with its live view off, or at a path of its own, which "
            "is to be named then. Start it with RLOOP_INSPECT=1, or have it call "
            "rloop.inspect.listen()."
        )
    if has_rloop is None:
        return f"Process {target} has no live view: it does not run rloop, or not with one."
    return f"Process {target} does not run rloop."


def _exchange(sock: socket.socket, request: dict[str, Any], timeout: float) -> bytes:
    """The line that answers; TimeoutError when none of it came for so long."""
    with contextlib.suppress(BrokenPipeError):  # refused already, and there is a line to read
        sock.sendall(json.dumps(request).encode() + b"\n")
    received = bytearray()
    deadline = time.monotonic() + timeout
    while not received.endswith(b"\n"):
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        data = sock.recv(1 << 20)
        if not data:
            break
        received += data
        deadline = time.monotonic() + timeout
    return bytes(received)


def _wait_for_end(pid: int) -> None:
    """A process that ends closes its descriptors some time before it is gone."""
    with contextlib.suppress(OSError):
        descriptor = os.pidfd_open(pid)
        try:
            poll = select.poll()
            poll.register(descriptor, select.POLLIN)
            poll.poll(500)
        finally:
            os.close(descriptor)


def _understood(target: int | str, line: bytes) -> dict[str, Any]:
    if not line.endswith(b"\n"):
        # It ends, or closed the live view, between the question and the answer.
        if isinstance(target, int):
            _wait_for_end(target)
            check(target)
        raise NoAnswer(f"{_named(target)} has closed the connection without an answer.")
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise NoAnswer(f"{_named(target)} answers something that is no live view.")
    if found.get("protocol") != PROTOCOL:
        theirs = found.get("protocol")
        raise NoAnswer(
            f"{_named(target)} speaks protocol {theirs!r} and this rloop {PROTOCOL}: use the rloop "
            "of its own environment."
        )
    if "error" in found:
        raise NoAnswer(f"{_named(target)} refuses: {found['error']}.")
    return found
