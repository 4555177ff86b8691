"""``python -m rloop top``: the live view in a terminal, drawn with rich.

A thread asks, so that the keyboard is heard while a process takes its time. The first answer must
come; afterwards a process that is silent, or stopped, is waited for with a word about it, and only
its end ends the view.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import select
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from . import client, drawing
from .figures import Figures, figures
from .survey import Row, Survey

Target = int | str
#: Seconds between the two looks of `--once`.
MOMENT = 0.5


class Watched:
    """A process that is asked again and again; draws its latest state."""

    def __init__(self, target: Target) -> None:
        self.target = target
        #: Whether a process that is silent is waited for.
        self.patient = False
        self._lock = threading.Lock()
        self._before: Mapping[str, Any] | None = None
        self._answer: Mapping[str, Any] | None = None
        self._silence: str | None = None
        self._turned: dict[str, tuple[int, float]] = {}

    def look(self) -> None:
        """Ask; HasEnded, and NoAnswer where nobody is patient, are for the caller."""
        try:
            answer = client.ask(self.target, heaviest=drawing.MOST)
        except client.NoAnswer as exc:
            if not self.patient:
                raise
            if isinstance(exc, client.HasEnded):
                raise client.HasEnded(f"Process {self.target} has ended.") from exc
            self._silence = str(exc)
            return
        with self._lock:
            self._before, self._answer, self._silence = self._answer, answer, None
            for loop in answer["loops"]:
                turns = (loop.get("statistics") or {}).get("turns", 0)
                if self._turned.get(loop["id"], (-1, 0.0))[0] != turns:
                    self._turned[loop["id"]] = turns, answer["at"]

    def draw(self, width: int, height: int | None, *, lags_of_all: bool = False) -> RenderableType:
        """For a terminal of this size; lags since the last look, or since the loops were made."""
        with self._lock:
            return self._draw(width, height, lags_of_all)

    def _draw(self, width: int, height: int | None, lags_of_all: bool) -> RenderableType:
        assert self._answer is not None, "look() comes first"
        lately = figures(self._before, self._answer)
        return drawing.process(
            drawing.View(
                self._answer,
                lately,
                figures(None, self._answer) if lags_of_all else lately,
                self._hanging(lately),
                self._cpu(),
                self._silence,
            ),
            width,
            height,
        )

    def _hanging(self, lately: Mapping[str, Figures]) -> dict[str, float]:
        if self._answer is None or self._before is None:
            return {}
        at = self._answer["at"]
        return {name: at - self._turned[name][1] for name, one in lately.items() if one.hangs}

    def _cpu(self) -> float | None:
        if self._answer is None or self._before is None:
            return None
        spent, seconds = (
            self._answer["process"]["cpu_seconds"] - self._before["process"]["cpu_seconds"],
            self._answer["at"] - self._before["at"],
        )
        return spent / seconds if seconds > 0 else None


class WatchedAll:
    """All processes, a line each."""

    patient = True

    def __init__(self) -> None:
        self._survey = Survey()
        self._rows: list[Row] = []

    def look(self) -> None:
        self._rows = self._survey.look()
        if not self._rows:
            raise client.HasEnded("The last process with a live view has ended.")

    def draw(self, width: int, height: int | None, *, lags_of_all: bool = False) -> RenderableType:
        return drawing.processes(self._rows, height)


def once(target: Target | None, svg: str | None = None) -> int:
    """Print one frame: rates over a moment, lags since the loops were made."""
    watched = WatchedAll() if target is None else Watched(target)
    watched.look()
    time.sleep(MOMENT)
    watched.look()
    if svg is None:
        console = Console(highlight=False)
        console.print(watched.draw(console.width, None, lags_of_all=True))
    else:
        Path(svg).write_text(_picture(watched))
    return 0


def _picture(watched: Watched | WatchedAll) -> str:
    """A frame of 100 columns that loads nothing from other hosts."""
    console = Console(highlight=False, record=True, file=io.StringIO(), width=100)
    console.print(watched.draw(console.width, None, lags_of_all=True))
    picture = console.export_svg(title="python -m rloop top", unique_id="rloop-top")
    return re.sub(r"@font-face \{.*?\}\s*", "", picture, flags=re.S)


def watch(target: Target | None, interval: float) -> int:
    """Draw until q or ctrl-c, or until there is nothing left to watch."""
    watched = WatchedAll() if target is None else Watched(target)
    watched.look()
    console = Console(highlight=False)
    if not console.is_terminal or console.is_dumb_terminal:
        raise client.NoAnswer("top redraws a terminal, and this is none; --once prints it once.")
    watched.patient = True
    with _asking(watched.look, interval) as asker, contextlib.suppress(KeyboardInterrupt):
        # Until ctrl-z, which gives the terminal back for a while.
        while _draw_on(console, watched, asker):
            asker.stop()
    if asker.error is not None:
        raise asker.error
    return 0


def _draw_on(console: Console, watched: Watched | WatchedAll, asker: _Asker) -> bool:
    """Draw until the end, or until the process is to be stopped: true."""
    with (
        _keyboard() as keyboard,
        Live(console=console, screen=True, auto_refresh=False) as live,
    ):
        while asker.error is None:
            width, height = console.size
            live.update(watched.draw(width, height), refresh=True)
            if _key(keyboard, asker.news) in ("q", "Q"):
                return False
            if asker.takes_stop():
                return True
    return False


def _leave(number: int, _frame: object) -> None:
    raise SystemExit(128 + number)  # through whatever puts the terminal back


# -- who asks, and what wakes the drawing -------------------------------------------------------


class _Asker:
    """Calls `look` every `interval` seconds in a thread; writes a byte to a pipe after each."""

    def __init__(self, look: Callable[[], None], interval: float) -> None:
        self.error: BaseException | None = None
        self.news, self._tell = os.pipe()
        os.set_blocking(self.news, False)
        os.set_blocking(self._tell, False)
        self._look, self._interval = look, interval
        self._ending = threading.Event()
        self._stop_wanted = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def begin(self) -> None:
        # A terminal of another size is drawn anew at once: signals write to the pipe as well.
        signal.signal(signal.SIGWINCH, lambda *_: None)
        signal.set_wakeup_fd(self._tell, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, _leave)
        if signal.getsignal(signal.SIGTSTP) == signal.SIG_DFL:
            signal.signal(signal.SIGTSTP, self._want_stop)
        self._thread.start()

    def stop(self) -> None:
        """As ctrl-z does by itself: not where nobody could let us go on."""
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._want_stop)

    def _want_stop(self, _number: int, _frame: object) -> None:
        self._stop_wanted = True

    def takes_stop(self) -> bool:
        """Whether ctrl-z was pressed since the last time."""
        wanted, self._stop_wanted = self._stop_wanted, False
        return wanted

    def end(self) -> None:
        # The thread may wait for an answer, and has the pipe until the process ends.
        signal.set_wakeup_fd(-1)
        self._ending.set()

    def _run(self) -> None:
        while not self._ending.wait(self._interval):
            try:
                self._look()
            except BaseException as exc:
                self.error = exc
            with contextlib.suppress(BlockingIOError):
                os.write(self._tell, b".")
            if self.error is not None:
                return


@contextlib.contextmanager
def _asking(look: Callable[[], None], interval: float) -> Iterator[_Asker]:
    asker = _Asker(look, interval)
    asker.begin()
    try:
        yield asker
    finally:
        asker.end()


@contextlib.contextmanager
def _keyboard() -> Iterator[int | None]:
    """Standard input, key by key and without an echo; None when it is no terminal."""
    if not sys.stdin or not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def _key(keyboard: int | None, news: int) -> str:
    """Wait for a key or for news; the key, if it was one. A terminal that hung up is a "q"."""
    descriptors = [news] if keyboard is None else [news, keyboard]
    readable, _, _ = select.select(descriptors, [], [])
    if news in readable:
        os.read(news, 4096)
    if keyboard is not None and keyboard in readable:
        return os.read(keyboard, 1).decode("ascii", "replace") or "q"
    return ""
