"""One process for each core, all of them serving one port: the kernel spreads the connections.

    python examples/one_per_core.py
    for i in 1 2 3 4; do nc -N 127.0.0.1 8888 </dev/null; done

Each process has a loop of its own and shares nothing with the others. Ctrl-C ends them all.
"""

import asyncio
import contextlib
import multiprocessing
import os
import signal
import socket
import sys

import rloop

PORT = int(os.environ.get("PORT", "8888"))  # 0: any that is free


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(f"process {os.getpid()}\n".encode())
    await writer.drain()
    writer.close()


async def serve(port: int) -> None:
    # reuse_port: each process has a listening socket of its own for the same port.
    server = await asyncio.start_server(answer, "127.0.0.1", port, reuse_port=True)
    async with server:
        await server.serve_forever()


def work(port: int) -> None:
    """What each process does."""
    with contextlib.suppress(KeyboardInterrupt):
        rloop.run(serve(port))


def main() -> None:
    # `kill` ends this process as Ctrl-C does, by an exception, so that it can end the others.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    # Holds the port, so that the processes agree on it; takes no connections itself.
    with socket.socket() as holder:
        holder.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # also soon after the last time
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind(("127.0.0.1", PORT))
        port = holder.getsockname()[1]
        # "spawn": each begins anew, with nothing of this process in it.
        context = multiprocessing.get_context("spawn")
        cores = os.sched_getaffinity(0)
        processes = [context.Process(target=work, args=(port,)) for _ in cores]
        for process in processes:
            process.start()
        print(len(processes), "processes on", holder.getsockname(), flush=True)
        try:
            for process in processes:
                process.join()
        except KeyboardInterrupt:
            pass
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                process.join()


if __name__ == "__main__":
    main()
