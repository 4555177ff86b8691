"""What the processes of a soak say to each other, byte by byte.

Every connection carries a pattern: bytes of one long random block, from an offset that the
connection's seed decides. Both sides know at each position which byte has to come, so a byte that
is lost, doubled, changed, or another connection's is seen where it happens. The block's length is
a prime: no buffer size divides it, and a piece that comes twice never fits.

A client opens a connection by a header: the seed, and what it wants from the server.
"""

from __future__ import annotations

import enum
import random
import struct
from dataclasses import dataclass
from typing import Any

PERIOD = 1_048_573  # bytes; the largest prime below 1 MiB
_BLOCK = random.Random("rloop soak").randbytes(PERIOD)
_TWICE = _BLOCK + _BLOCK

#: No piece that is made at once is longer.
MOST_BYTES = PERIOD

HEADER = struct.Struct(">4sQBI")
_MAGIC = b"soak"


class WrongByte(Exception):
    """A byte that is not the one that was sent."""


class End(enum.IntEnum):
    """How a connection ends, as agreed in its header."""

    BY_CLIENT = 0
    SERVER_CLOSES = 1  # after `amount` bytes came in
    SERVER_ABORTS = 2  # likewise


@dataclass(frozen=True)
class Request:
    """The header: `amount` is a number of bytes, to be echoed before the end or to be sent."""

    seed: int
    end: End
    amount: int

    def encode(self) -> bytes:
        return HEADER.pack(_MAGIC, self.seed, self.end, self.amount)

    @classmethod
    def decode(cls, data: bytes) -> Request:
        magic, seed, end, amount = HEADER.unpack(data)
        if magic != _MAGIC:
            raise WrongByte(f"a connection began with {data!r}")
        return cls(seed, End(end), amount)


def file_content() -> bytes:
    """What the file for sendfile holds: at offset `seed % PERIOD` begins the pattern of `seed`."""
    return _BLOCK * 6


def pattern(seed: int, position: int, count: int) -> bytes:
    """`count` bytes (MOST_BYTES at most) of the pattern of `seed`, from `position` on."""
    start = (seed + position) % PERIOD
    return _TWICE[start : start + count]


class Checker:
    """Compares what arrives with the pattern of `seed`, from its beginning on."""

    def __init__(self, seed: int, name: str) -> None:
        self.position = 0
        self._seed = seed
        self._name = name

    def check(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Raises WrongByte, saying where the bytes may have come from instead."""
        rest = memoryview(data)
        while rest:
            # What came while a loop's reading was paused may be one long piece.
            piece, rest = rest[:MOST_BYTES], rest[MOST_BYTES:]
            start = (self._seed + self.position) % PERIOD
            if not _TWICE.startswith(piece, start):
                raise WrongByte(self._explain(bytes(piece), start))
            self.position += len(piece)

    def _explain(self, data: bytes, start: int) -> str:
        expected = _TWICE[start : start + len(data)]
        first = next(
            (i for i, (a, b) in enumerate(zip(data, expected, strict=False)) if a != b),
            len(expected),
        )
        text = (
            f"{self._name}, seed {self._seed}: byte {self.position + first} is wrong, in a piece "
            f"of {len(data)} bytes from {self.position} on; got {data[first : first + 16].hex()}, "
            f"expected {expected[first : first + 16].hex()}"
        )
        found = _BLOCK.find(data[first : first + 16]) if len(data) - first >= 8 else -1
        if found >= 0:
            shift = (found - start - first) % PERIOD
            if shift > PERIOD // 2:
                shift -= PERIOD
            text += f"; these bytes belong {shift} bytes further on, if to this connection"
        return text
