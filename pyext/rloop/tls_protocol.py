"""The standard library's SSLProtocol with the loop's buffers.

asyncio's own allocates 256 KiB for each connection and 256 KiB for each read, and learns from an
exception that there is nothing more to read. Here all connections of a loop share one buffer for
ciphertext and one for plain text (both are empty again before anybody else's code runs), and the
end of the data is known beforehand. States, handshake, shutdown, timeouts and flow control are
those of the running version, except that every connection ends: see the second half of TlsProtocol.
"""

from __future__ import annotations

import asyncio
import ssl

from ._stdlib import SSLProtocol, SSLProtocolTransport, TlsAppState, TlsState

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any

_BUFFER_SIZE = 256 * 1024  # bytes, as asyncio's SSLProtocol.max_size


class TlsBuffers:
    """What the TLS connections of one loop share; made for the first of them."""

    __slots__ = ("ciphertext", "plaintext")

    def __init__(self) -> None:
        self.ciphertext = memoryview(bytearray(_BUFFER_SIZE))
        self.plaintext: memoryview | None = memoryview(bytearray(_BUFFER_SIZE))

    def take_plaintext(self) -> memoryview:
        """The buffer, until it is put back; another one for a thread that should not be here."""
        plaintext, self.plaintext = self.plaintext, None
        return memoryview(bytearray(_BUFFER_SIZE)) if plaintext is None else plaintext


class SSLTransport(SSLProtocolTransport):  # type: ignore[misc] # a private class, so Any
    """asyncio's, which a second close() does not cut off from its protocol (and from abort)."""

    # Closed by the program when it was closing already: what asyncio takes for "done with".
    _is_done_with = False
    _closed: bool

    def is_closing(self) -> bool:
        """Whether this transport or the one below it is; older versions ask only this one."""
        below = self._ssl_protocol._transport
        return self._closed or (below is not None and below.is_closing())

    def close(self) -> None:
        """Close after what was written has gone; connection_lost comes in every state."""
        if self._loop.get_debug() and not self._closed:
            self._loop._check_thread()  # before anything has changed
        self._is_done_with = self._closed
        self._closed = True
        self._ssl_protocol._close()

    def abort(self) -> None:
        """Close at once."""
        self._force_close(None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """As any transport's; of a lost connection there is nobody to resume."""
        if self._ssl_protocol._transport is None:
            self._ssl_protocol._set_write_buffer_limits(high, low)
        else:
            super().set_write_buffer_limits(high, low)

    def _force_close(self, exc: BaseException | None) -> None:
        self._closed = True
        self._ssl_protocol._abort(exc)


class TlsProtocol(SSLProtocol):  # type: ignore[misc] # a private class, so Any
    """TLS over a transport that hands each received piece over before it receives another."""

    max_size = 0  # while SSLProtocol.__init__ allocates a buffer of this size
    # Made by SSLProtocol.__init__.
    _app_transport: Any
    _app_transport_created: bool
    _extra: dict[str, Any]
    _shutdown_timeout_handle: Any
    _sslobj: Any

    def __init__(self, loop: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(loop, *args, **kwargs)
        self.max_size = _BUFFER_SIZE
        self._use_buffers(loop._shared_tls_buffers())

    def use_own_buffers(self) -> None:
        """Share none: for a transport that may be given a buffer now and fill it later."""
        self._use_buffers(TlsBuffers())

    def _use_buffers(self, buffers: TlsBuffers) -> None:
        self._buffers = buffers
        self._ssl_buffer_view = buffers.ciphertext  # where buffer_updated reads

    def take_over(self, protocol: Any) -> None:
        """Of a server's stream: what the client sent behind its request for TLS, with the request.

        It came before start_tls could be called, and is the beginning of the handshake.
        """
        reader = getattr(protocol, "_stream_reader", None)
        if isinstance(protocol, asyncio.StreamReaderProtocol) and reader is not None:
            self._incoming.write(reader._buffer)
            reader._buffer.clear()

    def _get_app_transport(self) -> Any:
        if self._app_transport is None and not self._app_transport_created:
            self._app_transport = SSLTransport(self._loop, self)
            self._app_transport_created = True
        return super()._get_app_transport()

    def get_buffer(self, n: int) -> memoryview:
        """Where the transport puts ciphertext, until it calls buffer_updated."""
        return self._buffers.ciphertext

    def _do_read__copied(self) -> None:
        """Deliver all plain text that there is by one data_received."""
        buffers = self._buffers
        plaintext = buffers.take_plaintext()
        tls, incoming = self._sslobj, self._incoming
        full: list[bytes] = []
        filled, count = 0, 1
        try:
            while True:
                count = tls.read(_BUFFER_SIZE - filled, plaintext[filled:])
                if not count:
                    break  # close_notify
                filled += count
                if filled == _BUFFER_SIZE:
                    full.append(bytes(plaintext))
                    filled = 0
                if not incoming.pending and not tls.pending():
                    break
        except (ssl.SSLWantReadError, ssl.SSLSyscallError):
            pass
        finally:
            data = bytes(plaintext[:filled])
            buffers.plaintext = plaintext
        if filled or full:
            self._app_protocol.data_received(b"".join((*full, data)) if full else data)
        if not count:
            self._call_eof_received()
            self._start_shutdown()

    # -- the end ------------------------------------------------------------------------------
    #
    # FLUSHING is where the peer's end waits until a paused program reads on. asyncio also takes it
    # for "is closing", so that close() does nothing there and connection_lost never comes.

    def eof_received(self) -> Any:
        """The peer has ended the stream below; True while the program has not read all of it."""
        keep_open = super().eof_received()
        return self._state is TlsState.FLUSHING or keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        """The connection below is gone."""
        if self._state is TlsState.DO_HANDSHAKE and self._app_state is TlsAppState.STATE_CON_MADE:
            # start_tls: the protocol knows the connection, so it is told of the end, as it is
            # when the peer ends the handshake in any other way.
            self._set_state(TlsState.UNWRAPPED)
            if exc is None:
                self._wakeup_waiter(ConnectionAbortedError("closed during the SSL handshake"))
        transport = self._app_transport
        super().connection_lost(exc)
        if transport is not None and transport._is_done_with:
            # A program may keep its transport; the TLS context need not live as long.
            self._sslobj = self._sslcontext = None
            self._extra = {}

    def _close(self) -> None:
        """For the program; _start_shutdown is also what the peer's close_notify does."""
        if self._state is not TlsState.FLUSHING or not self._app_reading_paused:
            self._start_shutdown()
            return
        # The peer has ended and nobody reads on. Nothing more will come to wait for, but what was
        # written may meet a peer that does not read.
        self._set_state(TlsState.SHUTDOWN)
        self._do_shutdown()
        self._limit_shutdown()

    def _on_shutdown_complete(self, shutdown_exc: BaseException | None) -> None:
        if shutdown_exc:
            super()._on_shutdown_complete(shutdown_exc)
            return
        # The transport below sends what was written first. Before 3.14.10 asyncio takes the limit
        # away here, and a peer that does not read keeps the connection for ever.
        self._limit_shutdown()
        self._loop.call_soon(self._transport.close)

    def _limit_shutdown(self) -> None:
        """End the connection after the shutdown timeout, until connection_lost."""
        if self._shutdown_timeout_handle is None:
            self._shutdown_timeout_handle = self._loop.call_later(
                self._ssl_shutdown_timeout, self._check_shutdown_timeout
            )

    def _abort(self, exc: BaseException | None = None) -> None:
        # Before 3.12.2 asyncio's takes no argument and is given one by TLS in TLS.
        self._set_state(TlsState.UNWRAPPED)
        if self._transport is not None:
            self._transport._force_close(exc)

    def _do_flush(self) -> None:
        """Deliver what has come, then shut down; asyncio's gives a BufferedProtocol one buffer."""
        left = self._unread()
        while True:
            self._do_read()
            if self._state is not TlsState.FLUSHING:
                return  # the program closed or aborted meanwhile
            before, left = left, self._unread()
            if self._app_reading_paused and left and not self._app_transport._closed:
                return  # until resume_reading or close
            if self._app_reading_paused or left in (0, before):
                break
        self._set_state(TlsState.SHUTDOWN)
        self._discard_unread()
        self._do_shutdown()

    def _do_shutdown(self) -> None:
        # What the peer sends after our close_notify ends the connection at once, as in asyncio,
        # but not before what was written has gone.
        if self._get_write_buffer_size() or self._transport.get_write_buffer_size():
            self._discard_unread()
        super()._do_shutdown()

    def _unread(self) -> int:
        """Bytes that came and were not delivered, encrypted or not; 0 when there are none."""
        pending: int = self._incoming.pending + self._sslobj.pending()
        return pending

    def _discard_unread(self) -> None:
        """After close(): data that nobody reads any more is no failure of the shutdown."""
        try:
            while self._unread() and self._sslobj.read(_BUFFER_SIZE):
                pass
        except ssl.SSLError:
            pass  # no whole record is left, or close_notify was there; unwrap tells the rest
        self._control_ssl_reading()
