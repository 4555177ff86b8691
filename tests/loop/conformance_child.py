"""One file of CPython's test.test_asyncio on one loop; the process that conformance.py starts.

    python conformance_child.py BACKEND FILE EVENTS_FD < request

Wherever asyncio would make a real loop, a LoopSubstitute makes ours; then the tests run in this
process, one after the other, and each event goes to EVENTS_FD as a line of JSON:
["start", test], ["end", test, outcome, text], ["finished"]. Nothing here limits time and nothing
catches a crash: conformance.py does, and starts another process for the rest. The request is
{"patterns": [[...], ...], "done": [...], "left_out": [[pattern, outcome, reason], ...]}.
Some tests start processes that import this program again by its path: it imports nothing that lies
next to it.
"""

from __future__ import annotations

import asyncio
import asyncio.unix_events
import faulthandler
import fnmatch
import importlib
import json
import os
import signal
import sys
import traceback
import unittest
from collections.abc import Callable, Iterator
from typing import Any

PACKAGE = "test.test_asyncio"
# conformance.py ends a process that hangs; this is for one that it has left behind.
LONGEST_RUN_S = 1200


# -- the loop ---------------------------------------------------------------------------------


class LoopSubstitute:
    """Stands where asyncio has its loop's class: it is called, derived from, and asked isinstance.

    It is no subclass of the loop, so that the tests meet exactly the class that users get.
    `made_count` tells whether a test had a loop of ours at all.
    """

    def __init__(self, loop_class: type, make: Callable[[Any], Any]) -> None:
        self._loop_class = loop_class
        self._make = make
        self.made_count = 0

    def __call__(self, selector: Any = None) -> Any:
        # Counted first: a test whose loop cannot be made is one that needs it.
        self.made_count += 1
        return self._make(selector)

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (self._loop_class,)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._loop_class)

    def __subclasscheck__(self, subclass: type) -> bool:
        return issubclass(subclass, self._loop_class)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop_class, name)


def _substitute(backend: str) -> LoopSubstitute:
    # Private, because asyncio's public names for it change with the version.
    stock: Any = getattr(asyncio.unix_events, "_UnixSelectorEventLoop")  # noqa: B009 - for mypy
    if backend == "asyncio":
        return LoopSubstitute(stock, stock)
    if backend == "uvloop":
        import uvloop

        class Loop(uvloop.Loop):
            _default_executor = None  # the tests' own close_loop reads it

        return LoopSubstitute(Loop, lambda selector: Loop())
    import rloop

    return LoopSubstitute(
        rloop.UringEventLoop, lambda selector: rloop.new_event_loop(backend=backend)
    )


def install(backend: str) -> LoopSubstitute:
    """Let everything that makes a real loop in this process make one of the backend's."""
    substitute = _substitute(backend)
    for module in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):  # EventLoop: since 3.13
            if hasattr(module, name):
                setattr(module, name, substitute)
    # asyncio.DefaultEventLoopPolicy warns from 3.14 on; this name does not.
    policy: Any = getattr(asyncio.unix_events, "_UnixDefaultEventLoopPolicy", None)
    if policy is not None:
        policy._loop_factory = substitute
    asyncio.new_event_loop().close()
    if not substitute.made_count:  # or every test would pass as not applicable
        raise RuntimeError("asyncio makes its loops in a way that this program does not know")
    return substitute


# -- the tests --------------------------------------------------------------------------------


class EventResult(unittest.TestResult):
    """Tells each test's start and outcome as it happens."""

    def __init__(self, send: Callable[..., None], substitute: LoopSubstitute) -> None:
        super().__init__()
        self._send = send
        self._substitute = substitute
        self._running: unittest.TestCase | None = None
        self._outcome = ""
        self._text = ""

    def startTest(self, test: unittest.TestCase) -> None:
        super().startTest(test)
        self._running, self._outcome, self._text = test, "passed", ""
        self._substitute.made_count = 0
        self._send("start", short_id(test))

    def stopTest(self, test: unittest.TestCase) -> None:
        super().stopTest(test)
        if self._outcome == "passed" and not self._substitute.made_count:
            self._outcome = "not applicable"
        self._send("end", short_id(test), self._outcome, self._text)
        self._running = None

    def addError(self, test: Any, err: Any) -> None:
        self._failed(test, "".join(traceback.format_exception(err[1])))

    def addFailure(self, test: Any, err: Any) -> None:
        self._failed(test, "".join(traceback.format_exception(err[1])))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        if err is not None:
            self._failed(test, f"{subtest}\n" + "".join(traceback.format_exception(err[1])))

    def addUnexpectedSuccess(self, test: Any) -> None:
        self._failed(test, "an expected failure did not happen")

    def addSkip(self, test: Any, reason: str) -> None:
        if self._running is None:  # a whole class, by its setUpClass
            self._send("end", short_id(test), "skipped", reason)
        elif test is self._running and self._outcome == "passed":  # and not one subtest of many
            self._outcome, self._text = "skipped", reason

    def _failed(self, test: Any, text: str) -> None:
        if self._running is None:  # setUpClass, tearDownClass and the like
            self._send("end", short_id(test), "failed", text)
            return
        self._outcome = "failed"
        self._text += text


def short_id(test: Any) -> str:
    """`test_events.TestServer.test_get_loop`: without the package."""
    return str(test.id()).removeprefix(PACKAGE + ".")


def cases(suite: Any) -> Iterator[unittest.TestCase]:
    """The single tests of nested suites, in order."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from cases(item)
        else:
            yield item


def selected(test: str, patterns: list[list[str]]) -> bool:
    """Whether of each list a pattern matches a test's name."""
    return all(any(fnmatch.fnmatchcase(test, one) for one in choice) for choice in patterns)


def left_out(test: str, rules: list[tuple[str, str, str]]) -> tuple[str, str] | None:
    """(outcome, reason) of the first rule whose pattern matches the whole name."""
    for pattern, outcome, reason in rules:
        if fnmatch.fnmatchcase(test, pattern):
            return outcome, reason
    return None


def main() -> None:
    """Run the request that stands on standard input."""
    faulthandler.enable()
    faulthandler.dump_traceback_later(LONGEST_RUN_S, exit=True)
    # A shell ignores it for what it runs in the background; the tests of interruptions send it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    backend, file, events_fd = sys.argv[1], sys.argv[2], int(sys.argv[3])
    request = json.load(sys.stdin)
    os.set_inheritable(events_fd, False)
    events = os.fdopen(events_fd, "w", buffering=1)
    this_process = os.getpid()

    def send(*event: Any) -> None:
        if os.getpid() == this_process:  # a test's forked child has inherited us
            events.write(json.dumps(event) + "\n")

    # The folder of this program has modules of its own that the tests must not find.
    sys.path.pop(0)
    substitute = install(backend)
    try:
        module = importlib.import_module(f"{PACKAGE}.{file}")
    except unittest.SkipTest as exc:
        if not request["patterns"]:
            send("end", file, "skipped", str(exc))
        send("finished")
        return
    suite = unittest.TestSuite()
    done = set(request["done"])
    for case in cases(unittest.defaultTestLoader.loadTestsFromModule(module)):
        name = short_id(case)
        if name in done or not selected(name, request["patterns"]):
            continue
        if rule := left_out(name, request["left_out"]):
            send("end", name, *rule)
        else:
            suite.addTest(case)
    # As after any test that ran before: 3.12's test_create_subprocess_with_pidfd, run first, fails
    # on asyncio too, because get_event_loop would still make a loop.
    asyncio.set_event_loop(None)
    suite.run(EventResult(send, substitute))
    send("finished")


if __name__ == "__main__":
    main()
