"""Which engine a loop works on, and why.

``auto`` takes io_uring where it works and epoll elsewhere; ``RLOOP_BACKEND`` overrides ``auto``.
A backend that is demanded and impossible raises BackendUnavailable with the reason.
"""

from __future__ import annotations

import os

from . import _core

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

BACKENDS = ("auto", "io_uring", "epoll")


def choose_backend(wanted: str) -> str:
    """The backend to ask the native half for; ValueError for an unknown name."""
    if wanted not in BACKENDS:
        raise ValueError(f"backend is {wanted!r}; it must be one of {', '.join(BACKENDS)}")
    if wanted != "auto":
        return wanted
    override = os.environ.get("RLOOP_BACKEND", "auto") or "auto"
    if override not in BACKENDS:
        raise ValueError(f"RLOOP_BACKEND is {override!r}; it must be one of {', '.join(BACKENDS)}")
    return override


def backend_info() -> dict[str, Any]:
    """What a new loop would work on here.

    Keys: backend ('io_uring' or 'epoll'), reason (a sentence), kernel (release), capabilities
    (name -> bool, as probed in this process; empty where RLOOP_BACKEND asks for epoll, for then
    io_uring is not even looked at), override (RLOOP_BACKEND or None). Raises ValueError where
    RLOOP_BACKEND is wrong.
    """
    if choose_backend("auto") == "epoll":
        backend, reason, capabilities = "epoll", "RLOOP_BACKEND asks for epoll", {}
    else:
        probe = _core.probe()
        backend = "io_uring" if probe["available"] else "epoll"
        reason, capabilities = probe["reason"], probe["capabilities"]
    return {
        "backend": backend,
        "reason": reason,
        "kernel": os.uname().release,
        "capabilities": capabilities,
        "override": os.environ.get("RLOOP_BACKEND") or None,
    }
