"""TLS: the standard library's SSLProtocol over our transports.

create_connection and create_server are asyncio's own; they come here for the transport. start_tls
is asyncio's with our protocol in it.
SSLProtocol is a BufferedProtocol that reads ciphertext from a native transport and hands plain
text to the user's protocol, with the handshake and shutdown timeouts of the running version.
"""

from __future__ import annotations

import ssl
from asyncio import Future
from collections.abc import Callable
from contextvars import Context

from ._core import StreamTransport
from .tls_protocol import TlsBuffers, TlsProtocol

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class TlsMixin:
    """The TLS side of UringEventLoop."""

    __slots__ = ()
    _tls_buffers: TlsBuffers | None

    def _shared_tls_buffers(self: Any) -> TlsBuffers:
        if self._tls_buffers is None:
            self._tls_buffers = TlsBuffers()
        buffers: TlsBuffers = self._tls_buffers
        return buffers

    def _make_ssl_transport(
        self: Any,
        rawsock: Any,
        protocol: Any,
        sslcontext: ssl.SSLContext | None,
        waiter: Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        call_connection_made: bool = True,
        context: Context | None = None,
    ) -> Any:
        """A TLS transport over a connected socket; the waiter's result is the handshake's.

        Timeouts in seconds, None for asyncio's defaults. The protocol is called in `context`, or in
        a copy of the current one.
        """
        try:
            tls = TlsProtocol(
                self,
                protocol,
                sslcontext,
                waiter,
                server_side,
                server_hostname,
                call_connection_made=call_connection_made,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        except BaseException:
            rawsock.close()  # it was ours from here on; asyncio leaves it to the collector
            raise
        self._make_socket_transport(rawsock, tls, extra=extra, server=server, context=context)
        return tls._app_transport

    async def start_tls(
        self: Any,
        transport: Any,
        protocol: Any,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> Any:
        """Upgrade a transport to TLS; the new one is what `protocol` uses from here on.

        Raises TypeError for what is no SSLContext and for transports that cannot be upgraded.
        """
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        waiter = self.create_future()
        tls = TlsProtocol(
            self,
            protocol,
            sslcontext,
            waiter,
            server_side,
            server_hostname,
            ssl_handshake_timeout=ssl_handshake_timeout,
            ssl_shutdown_timeout=ssl_shutdown_timeout,
            call_connection_made=False,
        )
        if not isinstance(transport, StreamTransport):
            tls.use_own_buffers()  # who knows when another transport fills what it was given
        tls_transport = tls._app_transport  # gone from there when the connection is lost
        # Paused until connection_made was called: no data may come before.
        transport.pause_reading()
        if server_side:
            tls.take_over(protocol)
        transport.set_protocol(tls)
        made = self.call_soon(tls.connection_made, transport)
        resumed = self.call_soon(transport.resume_reading)
        try:
            await waiter
        except BaseException:
            transport.close()
            made.cancel()
            resumed.cancel()
            # Its exception knows this frame: nothing would go before the collector comes.
            del waiter
            raise
        return tls_transport

    def _tls_factory(
        self: Any,
        protocol_factory: Callable[[], Any],
        sslcontext: ssl.SSLContext,
        ssl_handshake_timeout: float | None,
        ssl_shutdown_timeout: float | None,
    ) -> Callable[[], Any]:
        """What a listener calls for each connection: the user's protocol behind a TLS server."""

        def make_protocol() -> Any:
            protocol = protocol_factory()
            waiter: Future[None] = self.create_future()
            tls = TlsProtocol(
                self,
                protocol,
                sslcontext,
                waiter,
                True,
                None,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
            transport = tls._app_transport

            def handshake_done(waiter: Future[None]) -> None:
                if waiter.cancelled() or waiter.exception() is None:
                    return
                transport.close()
                if self.get_debug():
                    self.call_exception_handler(
                        {
                            "message": "Error on transport creation for incoming connection",
                            "exception": waiter.exception(),
                            "protocol": protocol,
                            "transport": transport,
                        }
                    )

            waiter.add_done_callback(handshake_done)
            return tls

        return make_protocol
