"""What /proc knows of processes: who has the live view, who is alive, stopped, another user's.

For the one who asks; nothing here talks to the processes. /proc may hide others (hidepid), or be
missing: what is not known is not claimed.
"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path

_ABSTRACT = re.compile(r"@rloop-inspect-\d+-(\d+)")
_PATH = re.compile(r"/.*/rloop-(\d+)\.sock")
#: __SO_ACCEPTCON of the column Flags: a socket that listens.
_LISTENS = 0x10000


@dataclass(frozen=True)
class Process:
    """What /proc/PID/status says."""

    pid: int
    state: str
    uid: int

    @classmethod
    def find(cls, pid: int) -> Process | None:
        """None where there is no such process, or it cannot be seen."""
        try:
            text = Path(f"/proc/{pid}/status").read_text(errors="replace")
        except OSError:
            return None
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        # A thread has a folder in /proc, too, that is not listed.
        if int(fields.get("Tgid", pid)) != pid:
            return None
        return cls(pid, fields["State"].split()[0], int(fields["Uid"].split()[1]))

    @property
    def is_stopped(self) -> bool:
        """By a signal, or by a debugger."""
        return self.state in ("T", "t")

    @property
    def is_over(self) -> bool:
        """It has ended, and its parent has not asked how."""
        return self.state in ("Z", "X")

    def has_rloop(self) -> bool | None:
        """Whether the module is loaded; None where this user may not look."""
        try:
            maps = Path(f"/proc/{self.pid}/maps").read_text(errors="replace")
        except OSError:
            return None
        return "/rloop/_core." in maps


def command_of(pid: int) -> list[str]:
    """The command line; empty where it cannot be read."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return []
    return [os.fsdecode(word) for word in words]


def name_of_user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"with the id {uid}"


# -- where to ask -------------------------------------------------------------------------------


def folders() -> list[str]:
    """Where this user's sockets are; a service and a shell may see different ones."""
    found = (os.environ.get("XDG_RUNTIME_DIR", ""), f"/run/user/{os.geteuid()}")
    return [folder for folder in dict.fromkeys(found) if folder.startswith("/")]


def addresses() -> dict[int, list[str]]:
    """The processes with a live view: by pid, the addresses to try."""
    found: dict[int, list[str]] = {}
    for address in [*_listening(), *_files()]:
        match = _ABSTRACT.fullmatch(address) or _PATH.fullmatch(address)
        if match:
            known = found.setdefault(int(match[1]), [])
            if address not in known:
                known.append(address)
    return dict(sorted(found.items()))


def addresses_of(pid: int) -> list[str]:
    """Those of one process, also where neither /proc/net nor a folder can be listed."""
    usual = [f"{folder}/rloop-{pid}.sock" for folder in folders()]
    usual.append(f"@rloop-inspect-{os.geteuid()}-{pid}")
    return list(dict.fromkeys([*addresses().get(pid, []), *usual]))


def _listening() -> list[str]:
    """Names of the Unix sockets that listen in this network namespace."""
    try:
        lines = Path("/proc/net/unix").read_text(errors="surrogateescape").splitlines()[1:]
    except OSError:
        return []
    rows = [line.split(None, 7) for line in lines]
    return [row[7] for row in rows if len(row) == 8 and int(row[3], 16) & _LISTENS]


def _files() -> list[str]:
    found: list[str] = []
    for folder in folders():
        try:
            found += [str(path) for path in Path(folder).glob("rloop-*.sock")]
        except OSError:
            continue
    return found
