"""Signals: how one ends the wait of a loop, and add_signal_handler.

Python's C handler only notes a signal; its Python handler runs between two bytecodes, and a loop
that waits in the kernel runs none. So while a loop runs in the main thread,
``signal.set_wakeup_fd`` points to a pipe that the loop reads; a wakeup descriptor that the
program has set itself is respected, unless it calls add_signal_handler, which asyncio defines as
taking it over. The semantics and texts of add_signal_handler are asyncio's (unix_events).
"""

from __future__ import annotations

import contextlib
import contextvars
import errno
import os
import signal
from asyncio import coroutines
from asyncio.log import logger
from collections.abc import Callable, Iterable

from ._stdlib import iscoroutinefunction

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

    _Registration = tuple[Callable[..., object], tuple[Any, ...], contextvars.Context]


class SignalWakeup:
    """The pipe of one loop, and the callbacks of its signals."""

    def __init__(self, loop: Any) -> None:
        self.handlers: dict[int, _Registration] = {}
        self._loop = loop
        self._installed = False
        self._kept: list[int] = []  # signals that came while no wakeup descriptor was set
        self._open()

    def _open(self) -> None:
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # Not in the context of whoever runs the loop first, whose values it would keep.
            empty = contextvars.Context()
            empty.run(self._loop._add_reader, reader, self._on_signals)
        except BaseException:
            os.close(reader)
            os.close(writer)
            raise
        self._reader, self._writer = reader, writer

    def start_over(self) -> None:
        """In the child of a fork: the pipe is the parent's; another one is made when needed.

        Until then signals that have a handler are kept by the Python handler.
        """
        self._close_pipe()
        self._installed = False
        self._kept.clear()
        for number in self.handlers:
            if signal.getsignal(number) is _do_nothing:
                self._set_python_handler(number, self._keep)

    def _keep(self, number: int, _frame: Any) -> None:
        self._kept.append(number)

    def _set_python_handler(self, number: int, handler: Any) -> None:
        with contextlib.suppress(ValueError):  # not the main thread
            signal.signal(number, handler)
            signal.siginterrupt(number, False)

    def _open_again(self) -> None:
        if self._reader == -1:
            self._open()

    def _deliver_kept(self) -> None:
        # The wakeup descriptor is set again, and what came meanwhile is not lost.
        for number in self.handlers:
            if signal.getsignal(number) == self._keep:
                self._set_python_handler(number, _do_nothing)
        kept, self._kept = self._kept, []
        self._schedule(kept)

    def install(self) -> None:
        """Point the process's wakeup descriptor here, unless the program uses it."""
        if self._installed:
            return
        self._open_again()
        try:
            before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except ValueError:  # not the main interpreter
            return
        if before != -1:
            signal.set_wakeup_fd(before)
            return
        self._installed = True
        self._deliver_kept()

    def is_installed(self) -> bool:
        """True while the process's wakeup descriptor points here."""
        return self._installed

    def take_over(self) -> None:
        """As install, whoever had it; RuntimeError outside the main thread."""
        self._open_again()
        try:
            signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        except (ValueError, OSError) as exc:
            raise RuntimeError(str(exc)) from None
        self._installed = True
        self._deliver_kept()

    def uninstall(self) -> None:
        """Take it back when nothing is left to wake for, unless the program has set its own."""
        if not self._installed or self.handlers:
            return
        self._installed = False
        try:
            current = signal.set_wakeup_fd(-1)
            if current not in (-1, self._writer):
                signal.set_wakeup_fd(current)
        except (ValueError, OSError) as exc:
            logger.info("set_wakeup_fd(-1) failed: %s", exc)

    def close(self) -> None:
        """Close both ends; the loop is about to be closed."""
        self.uninstall()
        self._close_pipe()

    def _close_pipe(self) -> None:
        if self._reader == -1:
            return
        reader, self._reader = self._reader, -1
        writer, self._writer = self._writer, -1
        self._loop._remove_reader(reader)
        os.close(reader)
        os.close(writer)

    def _on_signals(self) -> None:
        while True:
            try:
                numbers = os.read(self._reader, 4096)
            except (BlockingIOError, InterruptedError):
                return
            if not numbers:  # the program has closed the writer's descriptor
                return
            self._schedule(numbers)

    def _schedule(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            if number in self.handlers:
                callback, args, context = self.handlers[number]
                self._loop.call_soon(callback, *args, context=context)


def _do_nothing(_number: int, _frame: Any) -> None:
    # In place so that the signal is written to the wakeup descriptor instead of ending us.
    pass


def _check_signal(sig: Any) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


class SignalMixin:
    """add_signal_handler and remove_signal_handler of UringEventLoop."""

    __slots__ = ()

    def add_signal_handler(
        self: Any, sig: int, callback: Callable[..., object], *args: Any
    ) -> None:
        """Call callback(*args) on the loop when the process gets the signal.

        Only in the main thread. Raises ValueError or RuntimeError as asyncio does when the signal
        does not exist or cannot be caught.
        """
        if coroutines.iscoroutine(callback) or iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        if self._signal_wakeup is None:
            self._signal_wakeup = SignalWakeup(self)
        wakeup: SignalWakeup = self._signal_wakeup
        wakeup.take_over()
        wakeup.handlers[sig] = (callback, args, contextvars.copy_context())
        try:
            signal.signal(sig, _do_nothing)
            # System calls of other code are restarted, as if the signal had been ignored.
            signal.siginterrupt(sig, False)
        except OSError as exc:
            del wakeup.handlers[sig]
            if not self.is_running():
                wakeup.uninstall()
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise

    def remove_signal_handler(self: Any, sig: int) -> bool:
        """Restore the signal's default; True if there was a handler."""
        _check_signal(sig)
        wakeup: SignalWakeup | None = self._signal_wakeup
        if wakeup is None or wakeup.handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as exc:
            if exc.errno == errno.EINVAL:
                raise RuntimeError(f"sig {sig} cannot be caught") from None
            raise
        if not self.is_running():
            wakeup.uninstall()
        return True

    def _remove_all_signal_handlers(self: Any) -> None:
        wakeup: SignalWakeup | None = self._signal_wakeup
        if wakeup is None:
            return
        for sig in list(wakeup.handlers):
            self.remove_signal_handler(sig)
        wakeup.close()
        self._signal_wakeup = None
