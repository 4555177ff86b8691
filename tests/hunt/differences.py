"""What may differ between the loops; everything else is a fault. Each entry says why.

`differing` compares two outcomes after each of them went through the normalisers below. Programs
do not do at all:

- resume_reading() after eof_received of a transport that stays open: asyncio reads again, calls
  eof_received a second time, which its documentation excludes, and may find a reset.
- write() after close() while data is left, or in the resume_writing of the last: asyncio sends it,
  or fails in its own callbacks; documented is that no data is taken any more.
- writelines() after close(): a TypeError of asyncio's own up to 3.13.0.
- sending an empty datagram before Python 3.13: asyncio drops it, ours sends it as later ones do.
- dropping a paused transport: asyncio collects it with a ResourceWarning, ours is held by its loop.
- close() in a write pipe's connection_made: asyncio's transport then watches a descriptor that it
  closes, to the harm of the next one with that number. (Ours does not; tests/loop/test_pipes.py.)
- timers of the same time: asyncio documents their order as undefined.
- close() of a TLS transport with data that nobody has read, a peer's end under unread data of a
  BufferedProtocol, a second close(), a peer that sends while ours still flushes: asyncio (up to the
  newest, 3.15) cuts off what was written, drops what was not read, or never ends; what ours does is
  said in tests/loop/test_tls_ends.py. An end of stream of a TLS peer: not looked at yet.
- drain() or a read that begins in the resume_writing of the last flush, see turns_of_tasks.
- close(), abort() or resume_reading() under a loop.sendfile: asyncio's waits for ever and ends its
  future twice; write_eof() there: the kernel wakes who waits for room at once, or later. Cancelled
  while it waits for the backlog, asyncio's leaves reading paused and refuses to write ever after.
- closing a socket under its sock_accept: asyncio leaves a closed descriptor in its selector.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Trace = list[tuple[Any, ...]]
Outcome = dict[str, Any]


def steps_without_events(trace: Trace) -> Trace:
    """No difference at all: an empty step needs no line."""
    kept: Trace = []
    for entry in trace:
        if entry[0] == "step" and kept and kept[-1][0] == "step":
            kept.pop()
        kept.append(entry)
    if kept and kept[-1][0] == "step":
        kept.pop()
    return kept


def short_pauses(trace: Trace) -> Trace:
    """pause_writing that resume_writing follows at once.

    asyncio promises pause_writing when the *buffer* passes the high-water mark, and says nothing
    about what is in the buffer: its own transports try to send first, io_uring's sends are under
    way until their completion. A pause that ends within the step is how the difference looks.
    """
    kept: Trace = []
    for entry in trace:
        if entry[0] == "resume_writing" and kept and kept[-1][0] == "pause_writing":
            kept.pop()
        else:
            kept.append(entry)
    return kept


def bytes_of_a_cut_stream(trace: Trace) -> Trace:
    """How much a peer got of a stream that was cut, or reset under it.

    abort() gives up what is buffered, and a peer that closes gives up what it has not read; how
    much the kernel had by then is its own affair. That the bytes are the right ones is checked
    while the program runs.
    """
    reset = ("peer's receive raised", "ConnectionResetError")
    return [("peer", "cut") if e[0] == "peer" and (e[1] or reset in e[3]) else e for e in trace]


def errors_of_a_lost_file(trace: Trace) -> Trace:
    """How loop.sendfile says that the connection is lost: by whichever part of it notices.

    Where it still waits for the backlog asyncio's also fails in a callback of its own, as the
    future that the loss has ended is ended again (see is_own_error).
    """

    names = ("ConnectionError", "ConnectionResetError", "BrokenPipeError")

    def lost(error: Any) -> bool:
        return isinstance(error, tuple) and error[0] in names

    return [(*e[:2], "lost") if e[0] == "sendfile" and lost(e[2]) else e for e in trace]


def turns_of_tasks(trace: Trace) -> Trace:
    """When, within a step, a task that waited for a stream or a sendfile goes on.

    A transport that was closed resumes its protocol when the last of its backlog is out, and then
    ends. asyncio's selector transport calls connection_lost from the same callback, ours in a later
    turn. The order of the callbacks is promised, the turn in which a waiting task goes on is not.
    """

    def number(entry: tuple[Any, ...]) -> tuple[str, int]:
        return entry[0], entry[2] if entry[0] == "stream task" else entry[1]

    kept: Trace = []
    tasks: Trace = []
    for entry in trace:
        if entry[0] in ("stream task", "sendfile"):
            tasks.append(entry)
            continue
        if entry[0] == "step":
            kept += sorted(tasks, key=number)
            tasks = []
        kept.append(entry)
    return kept + sorted(tasks, key=number)


def order_of_pipes(trace: Trace) -> Trace:
    """Output and end of a child within a step: they come by different descriptors."""
    kept: Trace = []
    for entry in trace:
        at = len(kept)
        while (
            entry[0] == "pipe" and at and kept[at - 1][0] == "pipe" and kept[at - 1][1] > entry[1]
        ):
            at -= 1
        kept.insert(at, entry)
    return kept


def order_of_clients(trace: Trace) -> Trace:
    """Clients of a server that end together: asyncio's Server keeps them in a WeakSet."""
    kept: Trace = []
    for entry in trace:
        at = len(kept)
        while entry[0] == "lost client" and at and kept[at - 1][0] == "lost client":
            if kept[at - 1][1] < entry[1]:
                break
            at -= 1
        kept.insert(at, entry)
    return kept


NORMALISERS: tuple[Callable[[Trace], Trace], ...] = (
    short_pauses,
    bytes_of_a_cut_stream,
    errors_of_a_lost_file,
    turns_of_tasks,
    order_of_clients,
    order_of_pipes,
    steps_without_events,
)


def normal(trace: Trace) -> Trace:
    for normaliser in NORMALISERS:
        trace = normaliser(trace)
    return trace


def is_error_of_none(error: Any) -> bool:
    """AttributeErrors of None, on asyncio's side, which ours need not raise.

    A transport of asyncio's that flushed its buffer after close() does not know that it is lost:
    write() and abort() then fail in attributes that it has cleared, as an abort() in the
    resume_writing of the last flush does, and as writes after abort() and close() over TLS. Ours
    ignore the call.
    """
    return error is not None and error[0] == "AttributeError" and "'NoneType'" in error[1][0]


def is_own_error(context: tuple[Any, ...]) -> bool:
    """What only asyncio tells the exception handler: errors of None, a future ended twice."""
    error = context[3]
    return is_error_of_none(error) or error == ("InvalidStateError", ("invalid state",))


def differing(reference: Outcome, other: Outcome) -> list[str]:
    """What differs, a line each, the reference first; nothing when the outcomes agree."""
    found = []
    spared: list[Any] = []
    for number, pair in enumerate(zip(reference["traces"], other["traces"], strict=True)):
        # Pipes are asyncio's own transports on our loops, and raise the same.
        own = [e for e in pair[0] if e[0] == "raised" and is_error_of_none(e[2])]
        spared += own
        ours, theirs = (normal([e for e in trace if e not in own]) for trace in pair)
        cut = any(e == ("peer", "cut") for e in (*ours, *theirs))
        if cut:
            ours, theirs = ([e for e in trace if e[0] != "peer"] for trace in (ours, theirs))
        if ours != theirs:
            at = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b),
                min(len(ours), len(theirs)),
            )
            start = max(0, at - 4)
            found.append(f"actor {number}, asyncio: ... {ours[start : at + 4]}")
            found.append(f"actor {number}, rloop:   ... {theirs[start : at + 4]}")
    noises = [reference["noise"], other["noise"]]
    if any(e[0] == "context" and is_own_error(e) for e in noises[0]):
        noises = [
            [e for e in noise if e[0] != "context" or not is_own_error(e)] for noise in noises
        ]
    if spared:
        # Where asyncio's call raised, the call of ours counted as a write to a lost connection.
        noises = [[e for e in noise if e[0] != "log"] for noise in noises]
    if noises[0] != noises[1]:
        found += [f"noise, asyncio: {noises[0]}", f"noise, rloop:   {noises[1]}"]
    for key in ("warnings", "left open", "not collected"):
        if reference[key] != other[key]:
            found.append(f"{key}, asyncio: {reference[key]}")
            found.append(f"{key}, rloop:   {other[key]}")
    # asyncio before 3.15 runs data_received in the context that called resume_reading last, and
    # connection_lost in the one that called close; ours stay in the one that made the transport.
    if other["wrong contexts"]:
        found.append(f"in a wrong context: {other['wrong contexts']}")
    return found
