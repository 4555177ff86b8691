"""Three programs in a row, as a shell would write `seq 100000 | grep 7 | sort -r`.

    python examples/pipeline.py

The bytes between them go through the kernel's pipes and never through Python, which reads what the
last one says, line by line, while all of them work.
"""

import asyncio
import os
from asyncio.subprocess import PIPE, Process

import rloop


async def chain(*commands: list[str]) -> list[Process]:
    """Start the commands, each reading what the one before it writes."""
    processes: list[Process] = []
    source = None  # what the next one reads; the first one reads what we do
    for number, command in enumerate(commands):
        last = number == len(commands) - 1
        reading, writing = (None, PIPE) if last else os.pipe()
        process = await asyncio.create_subprocess_exec(*command, stdin=source, stdout=writing)
        processes.append(process)
        # They are the children's now. Were they left open here, nobody would see an end.
        if source is not None:
            os.close(source)
        if not last:
            os.close(writing)
        source = reading
    return processes


async def main() -> None:
    processes = await chain(["seq", "100000"], ["grep", "7"], ["sort", "-r"])
    output = processes[-1].stdout
    assert output is not None
    count = 0
    async for line in output:
        if count < 3:
            print(line.decode().strip())
        count += 1
    print(count, "lines")
    print("exit codes:", *[await process.wait() for process in processes])


if __name__ == "__main__":
    rloop.run(main())
