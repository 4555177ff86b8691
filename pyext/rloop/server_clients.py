"""Which connections a Server has (3.13 and newer), without a weak reference to each.

asyncio's Server keeps a WeakSet of its transports, to close them and to know when the last one is
gone: 150 bytes a connection. The loop has a list of its open transports anyway, and each knows its
server; so ours only have to be counted, which native code does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, MutableSet
from weakref import WeakSet

from . import _core

TYPE_CHECKING = False  # typing is not imported for nothing
if TYPE_CHECKING:
    from typing import Any


class ServerClients(_core.ServerClients, MutableSet):  # type: ignore[type-arg]
    """`Server._clients`: the loop's own transports, and weakly whatever else is added.

    What a Server needs of a set, and the operators of all sets; not every method of a WeakSet.
    """

    __slots__ = ("_loop", "_others")

    def __init__(self, loop: Any, server: Any) -> None:
        self._belong_to(server)
        self._loop = loop
        self._others: WeakSet[Any] = WeakSet()

    @classmethod
    def _from_iterable(cls, elements: Iterable[Any]) -> set[Any]:
        return set(elements)

    def add(self, transport: Any) -> None:
        """As set.add."""
        if not self._add(transport):
            self._others.add(transport)

    def discard(self, transport: Any) -> None:
        """As set.discard."""
        if not self._discard(transport):
            self._others.discard(transport)

    def copy(self) -> set[Any]:
        """As they are now; what is done with one of them may change the set."""
        return set(self)

    def __contains__(self, transport: object) -> bool:
        if self._is_ours(transport):
            return transport._is_client  # type: ignore[attr-defined, no-any-return]
        return transport in self._others

    def __len__(self) -> int:
        return self._count + len(self._others)

    def __iter__(self) -> Iterator[Any]:
        yield from self._loop._clients_of(self._server)
        yield from self._others


def count_clients(loop: Any, server: Any) -> None:
    """Puts a ServerClients in the place of the WeakSet of a Server that begins to serve."""
    clients = getattr(server, "_clients", None)  # before 3.13 a Server counts
    if type(clients) is WeakSet and not clients:
        server._clients = ServerClients(loop, server)
