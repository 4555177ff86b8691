"""``python -m rloop``: which backend this machine gets, why, and which limits bind.

For the operator of a container that is slower than expected: the reason names the sysctl, limit,
profile or kernel to change. Exits with 2 when RLOOP_BACKEND is wrong; nothing is changed.
"""

import argparse
import platform
import resource
import sys
from pathlib import Path

from . import __version__, backend_info


def _limit(name: int) -> str:
    soft, hard = resource.getrlimit(name)
    return " / ".join("unlimited" if v == resource.RLIM_INFINITY else str(v) for v in (soft, hard))


def _sysctl(name: str) -> str:
    path = Path("/proc/sys") / name.replace(".", "/")
    try:
        return path.read_text().strip()
    except OSError:
        return "not there"


def main() -> int:
    """Print the report; returns the exit code."""
    argparse.ArgumentParser(prog="python -m rloop", description=__doc__).parse_args()
    try:
        info = backend_info()
    except ValueError as exc:  # RLOOP_BACKEND
        print(exc)
        return 2
    print(f"rloop {__version__} on Python {platform.python_version()}, Linux {info['kernel']}")
    print(f"backend: {info['backend']}")
    print(f"reason: {info['reason']}")
    if info["override"]:
        print(f"RLOOP_BACKEND: {info['override']}")
    print("capabilities of io_uring here:")
    for name, present in info["capabilities"].items():
        print(f"  {name:20} {'yes' if present else 'no'}")
    print("limits (soft / hard):")
    print(f"  open files           {_limit(resource.RLIMIT_NOFILE)}")
    print(f"  locked memory, bytes {_limit(resource.RLIMIT_MEMLOCK)}")
    print("sysctls:")
    for name in ("kernel.io_uring_disabled", "kernel.io_uring_group", "net.core.somaxconn"):
        print(f"  {name:25} {_sysctl(name)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
