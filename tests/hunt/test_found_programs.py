"""Programs that the hunt found, shrunk; each says what was wrong, or why it has to agree."""

from __future__ import annotations

from typing import Any

import pytest
from compare import Loops
from program import Program, Setup, Step

#: A name for the behaviour, and the program.
FOUND: dict[str, Program] = {
    "a reset under a waiting send ends the connection once": Program(
        actors=(Setup(kind="tcp", options=("buffered", True)),),
        steps=(Step(0, "write_bulk"), Step(0, "peer_reset")),
    ),
}


@pytest.mark.parametrize("name", FOUND)
def test_found_programs_agree_with_asyncio(name: str) -> None:
    loops: Any = Loops()
    try:
        assert loops.check(FOUND[name]) == {}
    finally:
        loops.close()
