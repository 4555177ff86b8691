"""What `import rloop` costs, told by what it does and not by a clock.

Each module of the standard library that asyncio does without costs between a tenth of a millisecond
and some: pathlib 3, typing 6, platform 1, of 5 for all of rloop. And what is imported later than
rloop may not be there any more: a program changes its root, or has no descriptor left.
"""

import pytest
import support
from programs import check_script
from support import loops_only

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")

pytestmark = loops_only(*support.RLOOP_IDS)

# `from __future__ import annotations`: no annotation is evaluated, and typing is not needed.
ALLOWED = {"__future__"}


def test_the_import_brings_no_module_that_asyncio_does_without() -> None:
    source = """
        import asyncio, sys
        before = set(sys.modules)
        import rloop
        print(*(name for name in set(sys.modules) - before if name.split(".")[0] != "rloop"))
    """
    assert set(check_script(source).split()) <= ALLOWED


def test_a_loop_that_was_made_imports_nothing_more() -> None:
    source = """
        import asyncio, sys, rloop
        async def main():
            server = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
            server.close()
        asyncio.Runner(loop_factory=asyncio.new_event_loop).run(main())
        before = set(sys.modules)
        rloop.run(main())
        print(*(set(sys.modules) - before))
    """
    assert check_script(source).split() == []
