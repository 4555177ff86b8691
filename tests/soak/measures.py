"""What the server under test measures of itself each second, without the loop's own figures.

Resident memory says what the system sees. malloc first gives back what it keeps for later: the free
pages between what is in use grow for hours under random sizes, with asyncio's loop as with ours.
Opening /proc needs a descriptor: where there is none, OSError.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from pathlib import Path

_FIELDS = ("arena", "ordblks", "smblks", "hblks", "hblkhd")
_MORE_FIELDS = ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")


class _MallocInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS + _MORE_FIELDS]


def measure_process() -> dict[str, float]:
    """Memory in KiB, Python's blocks, threads, descriptors, and the pages of all sockets."""
    _trim_malloc()
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return {
        "resident_kib": int(lines["VmRSS"].split()[0]),
        "anonymous_kib": int(lines["RssAnon"].split()[0]),
        "malloc_kib": _malloc_bytes() / 1024,
        "threads": int(lines["Threads"]),
        "descriptors": len(descriptors()),
        "blocks": sys.getallocatedblocks(),
        **_socket_memory(),
    }


def descriptors() -> dict[int, str]:
    """The open ones of this process, and what each refers to."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one that listed the folder
            found[int(entry.name)] = str(entry.readlink())
    return found


def _trim_malloc() -> None:
    """Gives every free page of malloc's back to the system; nothing where glibc is not there."""
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _malloc_bytes() -> int:
    """What malloc has given out, in all arenas and mappings; 0 where glibc (2.33) is not there."""
    try:
        mallinfo = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    mallinfo.restype = _MallocInfo
    info = mallinfo()
    return int(info.uordblks + info.hblkhd)


def _socket_memory() -> dict[str, int]:
    """Pages of all sockets of this network namespace."""
    memory = {}
    for line in Path("/proc/net/sockstat").read_text().splitlines():
        words = line.split()
        if "mem" in words:
            memory[f"{words[0][:-1].lower()}_pages"] = int(words[words.index("mem") + 1])
    return memory
