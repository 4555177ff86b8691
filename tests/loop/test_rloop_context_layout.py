"""What rloop knows of the inside of a Context is checked at import, and it can do without.

Where the check fails (a Python with another field in its contexts) every handle has a context of
its own, which CPython's functions enter and leave. All that the other tests say of contexts is true
there too: they are run once more, in a process that was told to distrust the layout.
"""

import subprocess
import sys
from pathlib import Path

import pytest
import support

rloop = __import__("rloop") if support.wanted("rloop") else pytest.importorskip("rloop")
core = __import__("rloop._core", fromlist=["Loop"])

HERE = Path(__file__).parent
DISTRUSTING = """
import sys
import pytest
from rloop import _core

_core._distrust_context_layout()
assert not _core._context_layout_fits()
# A handle that runs itself: its exception handler cannot enter the handle's context either, as in
# asyncio, unless that is a shared one.
chosen = "rloop and not test_a_callback_that_runs_its_own_handle_is_refused"
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-k", chosen, *sys.argv[1:]]))
"""


@pytest.mark.skipif(sys.version_info >= (3, 16), reason="what a later Python has is not known yet")
def test_the_layout_is_known() -> None:
    assert core._context_layout_fits()


@pytest.mark.timeout(300)
def test_contexts_without_their_layout() -> None:
    tests = sorted(str(path) for path in HERE.glob("test_contexts*.py"))
    run = subprocess.run(
        [sys.executable, "-c", DISTRUSTING, *tests],
        cwd=HERE.parent.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert " passed" in run.stdout
