"""What may come of a single failure, and what is a fault.

Always a fault: a signal, an assertion, a hang of the loop, a leaked descriptor, a wrong byte, a
connection whose end nobody was told, an exception of a type that no caller expects (SystemError), a
C++ exception's text. Else the run must equal the one without a failure, or somebody must have been
told: the program by an exception, the protocol, the exception handler or the log.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from typing import Any

from child import Failure

#: What peers of the failed side see, or who uses a thing whose end it was.
_AFTERMATH = {
    "ConnectionError",
    "IncompleteReadError",
    "SSLError",
    "CancelledError",
    "BackendUnavailable",
    "TimeoutError",
    "ProcessLookupError",
}
_AFTERMATH_TEXTS = (
    "unable to perform operation on",
    "Connection closed while",
    "SSL handshake",
    "is closed",
    "Server",
    "not connected",
    "closing",
    "Event loop stopped before Future completed",
    "asynchronous generator is already running",
    "could not bind on any address",
)
_NEVER_IN_TEXTS = (
    "std::",
    "basic_string",
    "bad_alloc",
    "Assertion",
    "terminate called",
    "RLOOP_ASSERT",
)
_MEMORY = ("memory", "memory_all", "new")


def faults(failure: Failure, result: dict[str, Any]) -> list[str]:
    """Every reason why this run is a fault; empty when it is none."""
    if result["exit"] != 0:
        return [death(result)]
    return [*state_faults(failure, result), *telling_faults(failure, result)]


def death(result: dict[str, Any]) -> str:
    if "Timeout (" in result["output"]:
        return "the loop hangs"
    return f"died with {result['exit']}"


def state_faults(failure: Failure, result: dict[str, Any]) -> Iterator[str]:
    told = bool(result["errors"] or result["cut_short"])
    if result["outcome"] == "":
        yield "no outcome"
    if result["leaked"] and not keeps_a_ring(failure, result):
        yield f"leaked {result['leaked']}"
    if result["wrong_bytes"]:
        yield f"wrong bytes: {result['wrong_bytes']}"
    # A pipe of asyncio's whose descriptor cannot be watched stands still there too, and who waits
    # for a signal that CPython could not write to the wakeup descriptor waits for ever.
    stands_still = any(
        "callback _Unix" in report or "signal wakeup fd" in report for report in result["reports"]
    )
    may_stall = told and (failure.kind in _MEMORY or stands_still)
    if result["outcome"] in ("stalled", "asleep") and not may_stall:
        yield result["outcome"] + (" after a report" if told else ", and nobody was told")
    if result["unended"] and not (told and failure.kind in _MEMORY):
        yield f"unended: {result['unended']}"
    # asyncio's Server.close gives up where a socket's close fails, or Python's memory, and says so;
    # ours never for want of our own memory.
    gave_up = failure.kind != "new" and any(
        at.startswith("base_events.py") and at.endswith(" close")
        for error in result["errors"]
        for at in error["at"]
    )
    if result["unended_servers"] and not gave_up:
        yield "a server waits for connections that have ended"
    if result["outcome"] == "finished" and result["missing_bytes"] and not told:
        yield f"missing bytes, and nobody was told: {result['missing_bytes']}"


def keeps_a_ring(failure: Failure, result: dict[str, Any]) -> bool:
    """Where locked memory is scarce each thread keeps a ring for its next loop (ring_supply)."""
    is_scarce = failure.name.startswith("io_uring_") and failure.errno == errno.ENOMEM
    return is_scarce and result["leaked"] == ["anon_inode:[io_uring]"]


def telling_faults(failure: Failure, result: dict[str, Any]) -> Iterator[str]:
    texts = [*result["reports"], result["output"], *(one["text"] for one in flat(result["errors"]))]
    for text in texts:
        for word in _NEVER_IN_TEXTS:
            if word in text:
                yield f"{word!r} in {text!r:.200}"
    for exc in flat(result["errors"]):
        if not is_expected(failure, exc):
            yield f"unexpected {exc['type']}({exc['text']!r:.150}, errno {exc['errno']})"
    if result["output"].strip():
        yield f"output: {result['output']!r:.300}"


def flat(errors: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for exc in errors:
        if exc["inner"]:
            yield from flat(exc["inner"])
        else:
            yield exc


def is_expected(failure: Failure, exc: dict[str, Any]) -> bool:
    types = set(exc["types"])
    if failure.kind in _MEMORY and "MemoryError" in types:
        return True
    if types & _AFTERMATH:
        return True
    # asyncio's own transports of pipes and children, left half made, as with asyncio's own loop.
    asyncios = bool(exc["at"]) and exc["at"][-1].startswith(
        ("unix_events.py", "base_subprocess.py")
    )
    # Such a transport has scheduled _add_reader of a pipe that its maker closed: raised natively.
    asyncios = asyncios or (not exc["at"] and exc["errno"] == errno.EBADF)
    if failure.kind in _MEMORY and asyncios and exc["type"] != "SystemError":
        return True
    if "OSError" in types and exc["errno"] is not None:
        return is_expected_errno(failure, exc)
    # add_signal_handler, in asyncio's words.
    if exc["type"] == "RuntimeError" and f"[Errno {failure.errno}]" in exc["text"]:
        return True
    return any(text in exc["text"] for text in _AFTERMATH_TEXTS)


def is_expected_errno(failure: Failure, exc: dict[str, Any]) -> bool:
    if exc["errno"] == errno.ENOTCONN:  # a write_eof() of what the failure has ended, as asyncio's
        return True
    return bool(exc["errno"] == (errno.ENOMEM if failure.kind in _MEMORY else failure.errno))
