"""The server of the benchmarks: one event loop, one way of using it; an echo unless told otherwise.

    python benchmarks/server.py --loop uring --addr 127.0.0.1:25000 --proto

Without a mode it uses raw sockets (`loop.sock_*`); `--streams` echoes lines through StreamReader
and StreamWriter, `--proto` through a Protocol, `--buffered` through a BufferedProtocol. `--udp`
echoes datagrams, `--tls` encrypts, `--sink` and `--source` move bytes one way. All modes get the
same listening socket and set TCP_NODELAY. The server is meant to be measured, so nothing is done
per message beyond the echo unless `--print` is given. It ends on SIGTERM or SIGINT, or by itself
after `--exit-after` seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable
from typing import Any

from harness.loops import NAMES, LoopUnavailableError, describe, factory_for
from traffic.addresses import (
    Address,
    TcpAddress,
    UnixAddress,
    check_local,
    datagram_socket,
    listening_socket,
    parse_address,
    remove_socket_file,
)
from traffic.echoes import (
    BufferedEchoProtocol,
    EchoProtocol,
    PrintingBufferedEchoProtocol,
    PrintingEchoProtocol,
    close_connections,
    serve_datagrams,
    serve_protocol,
    serve_raw,
    serve_streams,
)
from traffic.oneway import serve_sink, serve_source

# Past --exit-after, how long the loop may take to end before the process is killed, in seconds.
GRACE_SECONDS = 5.0


MODE_NAMES = {
    "raw": "raw sockets",
    "streams": "streams",
    "proto": "protocol",
    "buffered": "buffered protocol",
}


def mode_of(options: argparse.Namespace) -> str:
    for mode in ("streams", "proto", "buffered"):
        if getattr(options, mode):
            return mode
    return "raw"


def choose_service(options: argparse.Namespace) -> Callable[[socket.socket], Any]:
    """Return the coroutine function that serves a listening (or bound) socket."""
    mode = mode_of(options)
    if options.udp:
        return lambda bound: serve_datagrams(bound, mode)
    if options.sink:
        return lambda listener: serve_sink(listener, mode)
    if options.source:
        return lambda listener: serve_source(listener, mode, options.source)
    if mode == "raw":
        return lambda listener: serve_raw(listener, options.print)
    tls = tls_context(options.tls) if options.tls else None
    if mode == "streams":
        return lambda listener: serve_streams(listener, options.print, tls)
    protocols: dict[tuple[str, bool], Callable[[], asyncio.BaseProtocol]] = {
        ("proto", False): EchoProtocol,
        ("proto", True): PrintingEchoProtocol,
        ("buffered", False): BufferedEchoProtocol,
        ("buffered", True): PrintingBufferedEchoProtocol,
    }
    protocol = protocols[mode, options.print]
    return lambda listener: serve_protocol(listener, protocol, tls)


def tls_context(certificate: str) -> ssl.SSLContext:
    """Return a server context from a PEM file that holds the key and the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def run(options: argparse.Namespace) -> None:
    """Serve until a signal or the time limit, then close every connection."""
    loop = asyncio.get_running_loop()
    loop.set_debug(False)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if options.exit_after:
        loop.call_later(options.exit_after, stop.set)

    serve = choose_service(options)
    listener = (
        datagram_socket(options.addr)
        if options.udp
        else listening_socket(options.addr, options.socket_buffers)
    )
    name = listener.getsockname()
    serving = loop.create_task(serve(listener))
    stopping = loop.create_task(stop.wait())
    print(f"using {describe(loop, options.loop)}")
    print(f"mode: {MODE_NAMES[mode_of(options)]}")
    print(f"serving on: {name}")
    print(f"PID: {os.getpid()}", flush=True)
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        serving.result()
    serving.cancel()
    await close_connections()
    listener.close()


def address_option(text: str) -> Address:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def add_kinds(parser: argparse.ArgumentParser) -> None:
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--udp", action="store_true", help="echo datagrams (raw or --proto)")
    kind.add_argument("--sink", action="store_true", help="receive and discard")
    kind.add_argument("--source", type=int, metavar="BYTES", help="send blocks of this size")
    kind.add_argument("--tls", metavar="PEM", help="TLS with this key and certificate")


def refuse_combinations(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    mode = mode_of(options)
    if options.tls and mode == "raw":
        parser.error("--tls needs --streams, --proto or --buffered")
    if options.udp and mode not in ("raw", "proto"):
        parser.error("--udp goes with --proto or no mode")
    if options.udp and isinstance(options.addr, UnixAddress):
        parser.error("--udp needs host:port")


def read_options() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--loop", default="asyncio", help=f"{', '.join(NAMES)} or module:factory (asyncio)"
    )
    parser.add_argument(
        "--addr",
        default=TcpAddress("127.0.0.1", 25000),
        type=address_option,
        help="host:port (port 0: any free one), unix:path or file:/path (127.0.0.1:25000)",
    )
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--streams", action="store_true", help="StreamReader and StreamWriter")
    mode.add_argument("--proto", action="store_true", help="asyncio.Protocol")
    mode.add_argument("--buffered", action="store_true", help="asyncio.BufferedProtocol")
    add_kinds(parser)
    parser.add_argument("--print", action="store_true", help="print the size of each message")
    parser.add_argument(
        "--socket-buffers", type=int, metavar="BYTES", help="SO_SNDBUF and SO_RCVBUF of connections"
    )
    parser.add_argument("--exit-after", type=float, metavar="SECONDS", help="end by itself")
    parser.add_argument(
        "--allow-remote", action="store_true", help="accept an address other machines can reach"
    )
    parser.add_argument(
        "--allow-tracer", action="store_true", help="let any process of this user trace the server"
    )
    options = parser.parse_args()
    refuse_combinations(parser, options)
    try:
        options.factory = factory_for(options.loop)
        if not options.allow_remote:
            check_local(options.addr)
    except LoopUnavailableError as error:
        parser.error(f"argument --loop: {options.loop} is not available: {error}")
    except ValueError as error:
        parser.error(str(error))
    return options


def allow_tracer() -> None:
    """Permit ptrace by processes that are no ancestors (the Yama security module forbids it)."""
    pr_set_ptracer, any_process = 0x59616D61, ctypes.c_ulong(-1)
    ctypes.CDLL(None).prctl(pr_set_ptracer, any_process, 0, 0, 0)


def main() -> None:
    options = read_options()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if options.allow_tracer:
        allow_tracer()
    if options.exit_after:
        # SIGALRM's default action: an end even if the loop hangs.
        signal.setitimer(signal.ITIMER_REAL, options.exit_after + GRACE_SECONDS)
    try:
        with asyncio.Runner(loop_factory=options.factory) as runner:
            runner.run(run(options))
    except OSError as error:
        raise SystemExit(f"server.py: {error}") from error
    except NotImplementedError as error:
        raise SystemExit(f"server.py: {options.loop} has no such server or mode") from error
    finally:
        if isinstance(options.addr, UnixAddress):
            remove_socket_file(options.addr.path)


if __name__ == "__main__":
    main()
