"""What /proc says of each thread of this process. It imports nothing that a test asks about."""

from __future__ import annotations

import os


def read_of_each(name: str) -> list[str]:
    """The file `name` of each thread; a thread that ends while they are read is left out.

    So are its `children`, which another thread has inherited by then.
    """
    found = []
    for thread in os.listdir("/proc/self/task"):  # noqa: PTH208
        folder = f"/proc/self/task/{thread}"
        try:
            with open(f"{folder}/{name}") as file:  # noqa: PTH123
                found.append(file.read().strip())
        except (FileNotFoundError, ProcessLookupError):
            if os.path.exists(f"{folder}/comm"):  # noqa: PTH110
                raise  # a kernel without such files
    return found


def named(start: str) -> list[str]:
    """The names that begin with `start`, sorted; a new thread has its name a moment later."""
    return sorted(name for name in read_of_each("comm") if name.startswith(start))
