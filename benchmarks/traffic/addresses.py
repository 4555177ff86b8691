"""Addresses on the command lines of the benchmarks: `host:port`, `unix:path` or `file:/path`.

The servers here echo whatever they are sent, with no limits, so they listen on this machine only:
`check_local` refuses an address that other machines can reach. `listening_socket` makes the socket
that the server hands to the loop under test; all loops get the same one, with the same backlog.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

BACKLOG = 4096


@dataclass(frozen=True)
class TcpAddress:
    host: str
    port: int


@dataclass(frozen=True)
class UnixAddress:
    path: str


Address = TcpAddress | UnixAddress


def parse_address(text: str) -> Address:
    """Read an address; raise ValueError, with the accepted forms, for anything else."""
    for prefix in ("unix:", "file:"):
        if text.startswith(prefix) and len(text) > len(prefix):
            return UnixAddress(text.removeprefix(prefix))
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{text!r} is not host:port, unix:path or file:/path")
    return TcpAddress(host.removeprefix("[").removesuffix("]"), int(port))


def check_local(address: Address) -> None:
    """Raise ValueError unless only this machine can connect to the address."""
    if isinstance(address, UnixAddress) or address.host == "localhost":
        return
    try:
        local = ipaddress.ip_address(address.host).is_loopback
    except ValueError:
        local = False
    if not local:
        raise ValueError(f"{address.host} is not a loopback address")


def connect(address: Address, timeout_seconds: float) -> socket.socket:
    """Return a connected blocking socket; its operations time out after `timeout_seconds`."""
    if isinstance(address, TcpAddress):
        connected = socket.create_connection((address.host, address.port), timeout_seconds)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connected
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connected.settimeout(timeout_seconds)
    connected.connect(address.path)
    return connected


def listening_socket(address: Address, buffer_bytes: int | None = None) -> socket.socket:
    """Return a non-blocking listening socket; a stale unix socket file is replaced.

    `buffer_bytes` is what it asks for as SO_SNDBUF and SO_RCVBUF; what it accepts inherits them.
    """
    if isinstance(address, UnixAddress):
        remove_socket_file(address.path)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(address.path)
    else:
        family, kind, number, _, name = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, number)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(name)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        if buffer_bytes is not None:
            listener.setsockopt(socket.SOL_SOCKET, option, buffer_bytes)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def datagram_socket(address: Address) -> socket.socket:
    """Return a non-blocking bound UDP socket."""
    assert isinstance(address, TcpAddress)
    family, kind, number, _, name = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_DGRAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, number)
    bound.bind(name)
    bound.setblocking(False)
    return bound


def remove_socket_file(path: str) -> None:
    """Remove `path` if it is a socket; any other kind of file is left alone."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(Path(path).stat().st_mode):
            Path(path).unlink()
