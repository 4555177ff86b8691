"""The kinds of actors, by name. A new transport is a module with KINDS and a line here."""

from __future__ import annotations

import connection_kinds
import datagrams
import descriptors
import scheduling
import servers
import streams
from programs import Kind

ALL: tuple[Kind, ...] = (
    *connection_kinds.KINDS,
    *datagrams.KINDS,
    *descriptors.KINDS,
    *scheduling.KINDS,
    *servers.KINDS,
    *streams.KINDS,
)
KINDS: dict[str, Kind] = {kind.name: kind for kind in ALL}


def named(*names: str) -> tuple[Kind, ...]:
    return tuple(KINDS[name] for name in names)


#: What the tests give programs to; a long hunt mixes all. TLS and streams are only hunted: one in a
#: thousand programs differs there, and not all of these have been looked at.
GROUPS: dict[str, tuple[Kind, ...]] = {
    "sockets": named("tcp", "accepted tcp", "unix"),
    "pipes": named("read pipe", "write pipe"),
    "scheduling": named("scheduling"),
    "descriptors": named("requests", "watched"),
    "datagrams": named("datagrams"),
    "servers": named("servers"),
}
