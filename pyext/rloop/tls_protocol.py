"""The standard library's SSLProtocol with the loop's buffers.

asyncio's own allocates 256 KiB for each connection and 256 KiB for each read, and learns from an
exception that there is nothing more to read. Here all connections of a loop share one buffer for
ciphertext and one for plain text (both are empty again before anybody else's code runs), and the
end of the data is known beforehand. States, handshake, shutdown, timeouts and flow control are
those of the running version.
"""

import ssl
from typing import Any

from . import _stdlib

_BUFFER_SIZE = 256 * 1024  # bytes, as asyncio's SSLProtocol.max_size


class TlsBuffers:
    """What the TLS connections of one loop share; made for the first of them."""

    __slots__ = ("ciphertext", "plaintext")

    def __init__(self) -> None:
        self.ciphertext = memoryview(bytearray(_BUFFER_SIZE))
        self.plaintext = memoryview(bytearray(_BUFFER_SIZE))


class TlsProtocol(_stdlib.SSLProtocol):  # type: ignore[misc] # a private class, so Any
    """TLS over a transport that hands each received piece over before it receives another."""

    max_size = 0  # while SSLProtocol.__init__ allocates a buffer of this size

    def __init__(self, loop: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(loop, *args, **kwargs)
        self.max_size = _BUFFER_SIZE
        self._buffers: TlsBuffers = loop._shared_tls_buffers()
        self._ssl_buffer_view = self._buffers.ciphertext  # where buffer_updated reads

    def get_buffer(self, n: int) -> memoryview:
        """Where the transport puts ciphertext, until it calls buffer_updated."""
        return self._buffers.ciphertext

    def _do_read__copied(self) -> None:
        """Deliver all plain text that there is by one data_received."""
        plaintext = self._buffers.plaintext
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
        if filled or full:
            data = bytes(plaintext[:filled])
            self._app_protocol.data_received(b"".join((*full, data)) if full else data)
        if not count:
            self._call_eof_received()
            self._start_shutdown()
