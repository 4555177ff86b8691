"""Which connections a Server has (3.13 and newer), without a weak reference to each.

asyncio's Server keeps a WeakSet of its transports, to close them and to know when the last one is
gone: 150 bytes a connection. The loop has a list of its open transports anyway, and each knows its
server; so ours only have to be counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from weakref import WeakSet, ref

from ._core import StreamTransport

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class ServerClients(MutableSet):  # type: ignore[type-arg]
    """`Server._clients`: the loop's own transports, and weakly whatever else is added."""

    __slots__ = ("_count", "_loop", "_others", "_server")

    def __init__(self, loop: Any, server: Any) -> None:
        self._loop = loop
        self._server = ref(server)  # which holds us
        self._count = 0  # of the loop's transports that are in the set
        self._others: WeakSet[Any] = WeakSet()

    @classmethod
    def _from_iterable(cls, elements: Iterable[Any]) -> set[Any]:
        return set(elements)

    def _is_ours(self, transport: Any) -> bool:
        return type(transport) is StreamTransport and transport._server is self._server()

    def add(self, transport: Any) -> None:
        """As set.add."""
        if not self._is_ours(transport):
            self._others.add(transport)
        elif not transport._is_client:
            transport._is_client = True
            self._count += 1

    def discard(self, transport: Any) -> None:
        """As set.discard."""
        if not self._is_ours(transport):
            self._others.discard(transport)
        elif transport._is_client:
            transport._is_client = False
            self._count -= 1

    def copy(self) -> set[Any]:
        """As they are now; what is done with one of them may change the set."""
        return set(self)

    def __contains__(self, transport: object) -> bool:
        if self._is_ours(transport):
            return bool(transport._is_client)  # type: ignore[attr-defined]
        return transport in self._others

    def __len__(self) -> int:
        return self._count + len(self._others)

    def __iter__(self) -> Iterator[Any]:
        yield from self._loop._clients_of(self._server())
        yield from self._others


def count_clients(loop: Any, server: Any) -> None:
    """Puts a ServerClients in the place of the WeakSet of a Server that begins to serve."""
    clients = getattr(server, "_clients", None)  # before 3.13 a Server counts
    if type(clients) is WeakSet and not clients:
        server._clients = ServerClients(loop, server)
