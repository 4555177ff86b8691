"""The live view's end in the process: a thread that tells what the loops do, even while they hang.

``RLOOP_INSPECT=1`` in the environment, or ``rloop.inspect.listen()``. ``python -m rloop ps``,
``top`` and ``inspect`` ask. Off by default, and not imported then.

The thread has a Unix socket: ``$XDG_RUNTIME_DIR/rloop-PID.sock``, or the abstract name
``@rloop-inspect-UID-PID`` where there is no such folder. Only processes of the same effective user
are answered. It needs the GIL to answer and nothing of the loops, which it only reads (see
inspection/answers.py). One line asks, one line answers, and the connection is closed.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import selectors
import signal
import socket
import struct
import threading
import time
from pathlib import Path

from . import lifecycle
from .inspection import answers

#: Clients at a time; the one that has been silent longest goes when another one comes.
MAX_CLIENTS = 32
#: Seconds in which a client has to send its line, or to take some of the answer.
PATIENCE = 5.0
MAX_REQUEST_BYTES = 64 << 10

logger = logging.getLogger("rloop.inspect")


class _Owned:
    """A socket of ours, as long as its descriptor is: daemons close all that they find open, and
    open others by these numbers.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._inode = os.fstat(sock.fileno()).st_ino

    def is_ours(self) -> bool:
        try:
            if os.fstat(self.sock.fileno()).st_ino == self._inode:
                return True
        except OSError:
            pass
        self.sock.detach()
        return False

    def close(self) -> None:
        if self.is_ours():
            self.sock.close()


class _Client(_Owned):
    """Somebody who has been accepted: sends a line, gets the answer, never makes others wait."""

    def __init__(self, sock: socket.socket, refusal: bytes | None) -> None:
        super().__init__(sock)
        sock.setblocking(False)
        self.number = sock.fileno()
        self.request = bytearray()
        self.answer = memoryview(refusal or b"")
        self.deadline = time.monotonic() + PATIENCE

    def step(self) -> bool:
        """Read or write what is possible; False when there is nothing left to do."""
        if not self.is_ours():
            return False
        try:
            if not self.answer and not self._read():
                return False
            if self.answer:
                sent = self.sock.send(self.answer, socket.MSG_NOSIGNAL)
                self.answer = self.answer[sent:]
                self.deadline = time.monotonic() + PATIENCE
                return bool(self.answer)
        except BlockingIOError:
            pass
        except OSError:  # it went away
            return False
        return True

    def _read(self) -> bool:
        data = self.sock.recv(MAX_REQUEST_BYTES)
        self.request += data
        line, newline, _ = self.request.partition(b"\n")
        if len(line) > MAX_REQUEST_BYTES:
            self.answer = memoryview(answers.refusal("the request is too long"))
        elif newline or (line and not data):
            self.answer = memoryview(answers.answer(bytes(line)))
        return bool(data or self.answer)


class _Listener(_Owned):
    """The listening socket and its thread, of one process."""

    def __init__(self, address: str) -> None:
        super().__init__(_bound(address))
        self.address = address
        self._file = _file_at(address)
        self.clients: set[_Client] = set()
        self._closing = threading.Event()
        try:
            self._thread = threading.Thread(target=self._serve, name="rloop-inspect", daemon=True)
            self._thread.start()
        except BaseException:
            self._remove()
            raise

    def is_alive(self) -> bool:
        """Not when the program has closed its descriptors."""
        return self.is_ours() and self._thread.is_alive()

    def end(self) -> None:
        """End the thread, which takes the descriptors along; called by another thread."""
        self._closing.set()
        with contextlib.suppress(OSError):
            if self.is_ours():
                self.sock.shutdown(socket.SHUT_RDWR)  # wakes it
        self._thread.join(1.0)
        self._remove()

    def abandon(self) -> None:
        """In the child of a fork: the thread and the name are the parent's."""
        for client in self.clients:
            client.close()
        self.close()

    def _remove(self) -> None:
        self.close()
        # The name may be another's by now; or the user may be one who cannot remove it any more.
        with contextlib.suppress(OSError):
            if self._file is not None and _file_at(self.address) == self._file:
                Path(self.address).unlink()

    # -- the thread -----------------------------------------------------------------------------

    def _serve(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with selectors.PollSelector() as selector:
                selector.register(self.sock, selectors.EVENT_READ)
                while not self._closing.is_set() and self.is_ours():
                    self._turn(selector)
        except Exception:
            if not self._closing.is_set():
                logger.exception("The live view of this process ends")
        finally:
            for client in self.clients:
                client.close()

    def _turn(self, selector: selectors.PollSelector) -> None:
        waiting = min((client.deadline for client in self.clients), default=None)
        timeout = None if waiting is None else max(waiting - time.monotonic(), 0.0)
        for key, _ in selector.select(timeout):
            client = key.data
            if client is None:
                self._accept(selector)
            elif client in self.clients:
                going_on = client.step()
                if not going_on:
                    self._drop(selector, client)
                elif client.answer:
                    selector.modify(client.number, selectors.EVENT_WRITE, client)
        now = time.monotonic()
        for client in [one for one in self.clients if one.deadline <= now]:
            self._drop(selector, client)

    def _accept(self, selector: selectors.PollSelector) -> None:
        if self._closing.is_set() or not self.is_ours():
            return
        try:
            sock, _ = self.sock.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError:  # no descriptor is left: the program needs the next ones more
            self._closing.wait(1.0)
            return
        if len(self.clients) >= MAX_CLIENTS:
            self._drop(selector, min(self.clients, key=lambda client: client.deadline))
        client = _Client(sock, _refusal(sock))
        self.clients.add(client)
        event = selectors.EVENT_WRITE if client.answer else selectors.EVENT_READ
        selector.register(client.number, event, client)

    def _drop(self, selector: selectors.PollSelector, client: _Client) -> None:
        self.clients.discard(client)
        selector.unregister(client.number)
        client.close()


def _refusal(sock: socket.socket) -> bytes | None:
    """What somebody else is told; the user may have changed since the socket was made."""
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    if uid == os.geteuid():
        return None
    return answers.refusal(f"only user {os.geteuid()} may ask this process, not user {uid}")


# -- the address --------------------------------------------------------------------------------


def _own_address() -> str:
    """In $XDG_RUNTIME_DIR, if that is ours alone; else an abstract name."""
    folder = os.environ.get("XDG_RUNTIME_DIR", "")
    path = f"{folder}/rloop-{os.getpid()}.sock"
    # sun_path holds 108 bytes with the zero at the end.
    if not folder.startswith("/") or len(os.fsencode(path)) >= 108:
        return _abstract_address()
    with contextlib.suppress(OSError):
        found = Path(folder).stat()
        is_ours_alone = found.st_uid == os.geteuid() and not found.st_mode & 0o022
        if is_ours_alone and os.access(folder, os.W_OK | os.X_OK):
            return path
    return _abstract_address()


def _abstract_address() -> str:
    return f"@rloop-inspect-{os.geteuid()}-{os.getpid()}"


def _bound(address: str) -> socket.socket:
    """A listening socket of this address; what is left of a process that has ended makes way."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        if address.startswith("@"):
            sock.bind(b"\0" + os.fsencode(address[1:]))
        else:
            _remove_stale(address)
            sock.bind(address)
            Path(address).chmod(0o600)  # nobody connects before listen()
        sock.listen(16)
    except BaseException:
        sock.close()
        raise
    return sock


def _file_at(address: str) -> tuple[int, int] | None:
    """Which file it is; None for an abstract name, and where there is none."""
    if address.startswith("@"):
        return None
    try:
        found = os.lstat(address)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _remove_stale(path: str) -> None:
    if not Path(path).is_socket():  # a file refuses connections, too
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
        except OSError:
            pass  # bind() says what is wrong


# -- the process --------------------------------------------------------------------------------

_lock = threading.Lock()
_listener: _Listener | None = None
_at_exit = False
_is_over = False  # the interpreter ends


def listen(path: str | os.PathLike[str] | None = None) -> str:
    """Begin to answer; the address, where an abstract name begins with "@".

    `path`: where the socket shall be ("@name" is abstract); by default where ``python -m rloop
    ps`` looks. A second call changes nothing and gives the address again; RuntimeError when it
    names another path. OSError when the socket cannot be made.
    """
    global _listener, _at_exit
    wanted = None if path is None else os.fspath(path)
    if wanted and not wanted.startswith("@"):
        wanted = os.path.abspath(wanted)  # noqa: PTH100 # the program may go to another folder
    with _lock:
        if _listener is not None and _listener.is_alive():
            if wanted not in (None, _listener.address):
                raise RuntimeError(f"already listening at {_listener.address}; close() it first")
            return _listener.address
        try:
            _listener = _Listener(wanted or _own_address())
        except OSError:
            # The folder may be read-only, or have no room; a path that was asked for is not moved.
            if wanted is not None:
                raise
            _listener = _Listener(_abstract_address())
        if not _at_exit:
            # Before the interpreter ends: a daemon thread is ended rather roughly.
            atexit.register(_close_for_good)
            _at_exit = True
        return _listener.address


def close() -> None:
    """Stop answering and remove the socket. Does nothing where nobody listens."""
    global _listener
    with _lock:
        listener, _listener = _listener, None
    if listener is not None:
        listener.end()


def _close_for_good() -> None:
    global _is_over
    _is_over = True
    close()


def listen_with_loops() -> None:
    """What RLOOP_INSPECT asks for: listen from the first loop on, in this process and in each fork
    of it. Not before: a server that forks its workers has no thread then, and no loop either.
    """
    if _listen_quietly not in lifecycle.when_loops_are_made:
        lifecycle.when_loops_are_made.append(_listen_quietly)


def _listen_quietly() -> None:
    if not _is_over and (_listener is None or not _listener.is_alive()):
        try:
            listen()
        except (OSError, RuntimeError) as exc:
            logger.warning("RLOOP_INSPECT is set, but the live view cannot listen: %s", exc)


def _after_fork_in_child() -> None:
    global _listener, _lock
    _lock = threading.Lock()  # a thread that is not here may have held it
    listener, _listener = _listener, None
    if listener is not None:
        listener.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
