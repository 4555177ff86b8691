"""What is not there yet: each method raises NotImplementedError with its own name.

One list, so that a reader sees at a glance what a program cannot use today, and so that nothing
is inherited from asyncio's base class half working.
"""

from typing import Any, NoReturn

METHODS = (
    "create_datagram_endpoint",
    "create_unix_connection",
    "create_unix_server",
    "connect_read_pipe",
    "connect_write_pipe",
    "subprocess_exec",
    "subprocess_shell",
    "sendfile",
    "sock_sendfile",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendto",
    "start_tls",
)


class MissingMixin:
    """The methods of METHODS, and TLS in create_connection and create_server."""

    __slots__ = ()

    def _make_ssl_transport(self, *_args: Any, **_keywords: Any) -> NoReturn:
        raise NotImplementedError("rloop: TLS (ssl=...) is not there yet")


def _raises(name: str) -> Any:
    async def missing(self: Any, *_args: Any, **_keywords: Any) -> NoReturn:
        raise NotImplementedError(f"rloop: {name}() is not there yet")

    missing.__name__ = name
    missing.__qualname__ = f"MissingMixin.{name}"
    return missing


for _name in METHODS:
    setattr(MissingMixin, _name, _raises(_name))
