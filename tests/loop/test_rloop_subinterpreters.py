"""Subinterpreters: they cannot import rloop, and the main interpreter's loops do not mind them.

CPython has had several private modules for them: `_xxsubinterpreters` until 3.12, `_interpreters`
from 3.13 on, and `_testcapi.run_in_subinterp`, which makes a legacy one in every version. Each
test runs in a process of its own, because the fault that it looks for is a crash.
"""

import json
import subprocess
import sys

import pytest
from support import PY312, RLOOP_IDS, loops_only

pytest.importorskip("_testcapi", reason="this Python was built without its test modules")

PREAMBLE = """
import json, os, sys, tempfile
BACKEND = sys.argv[1]
TRY = '''
import json, sys
try:
    import rloop
    outcome = "imported"
except ImportError as exc:
    outcome = str(exc)
except BaseException as exc:
    outcome = repr(exc)
with open(%r, "w") as file:
    file.write(outcome)
'''

def make(kind):
    if sys.version_info >= (3, 13):
        import _interpreters
        return _interpreters, _interpreters.create(kind)
    import _xxsubinterpreters
    return _xxsubinterpreters, _xxsubinterpreters.create(isolated=kind == "isolated")

def run_in(kind, source):
    if kind == "testcapi":
        import _testcapi
        _testcapi.run_in_subinterp(source)
        return
    module, other = make(kind)
    try:
        (module.exec if hasattr(module, "exec") else module.run_string)(other, source)
    finally:
        module.destroy(other)

def try_import(kind):
    with tempfile.NamedTemporaryFile("r") as file:
        run_in(kind, TRY % file.name)
        return file.read()

def use_in_main():
    import asyncio, rloop
    async def main():
        async def echo(reader, writer):
            writer.write(await reader.readline())
            writer.close()
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\\n")
        assert await reader.read() == b"line\\n"
        writer.close()
        server.close()
    loop = rloop.new_event_loop(BACKEND)
    loop.run_until_complete(main())
    loop.close()
"""
BACKENDS = {"rloop-epoll": "epoll", "rloop-uring": "io_uring"}
KINDS = ("testcapi", "legacy") if PY312 else ("testcapi", "isolated")
if sys.version_info >= (3, 13):
    # 3.12.1 itself crashes at exit after an isolated one that imported asyncio.
    KINDS = ("testcapi", "legacy", "isolated")
REFUSALS = (
    "rloop does not support subinterpreters: it can only be imported in the main interpreter of a"
    " process",
    "module rloop._core does not support loading in subinterpreters",
)


def run(loop_id: str, source: str) -> str:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PREAMBLE + source, BACKENDS[loop_id]],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", ["om", "mo", "omo", "oomm", "moom"])
def test_the_import_is_refused_and_the_main_interpreter_works(
    loop_id: str, kind: str, steps: str
) -> None:
    source = f"""
refusals = []
for step in {steps!r}:
    if step == "m":
        use_in_main()
    else:
        refusals.append(try_import({kind!r}))
print(json.dumps(refusals))
"""
    refusals = json.loads(run(loop_id, source))
    assert len(refusals) == steps.count("o")
    for refusal in refusals:
        assert refusal in REFUSALS


@loops_only(*RLOOP_IDS)
@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_loop_runs_closes_and_starts_children_beside_one(loop_id: str, kind: str) -> None:
    source = f"""
import asyncio, rloop
async def main():
    module, other = make({kind!r})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "print('child')", stdout=-1)
    out, _ = await process.communicate()
    assert (out, process.returncode) == (b"child\\n", 0)
    await asyncio.get_running_loop().run_in_executor(None, try_import, {kind!r})
    module.destroy(other)
    _, left_over = make({kind!r})
loop = rloop.new_event_loop(BACKEND)
loop.run_until_complete(main())
loop.close()
use_in_main()
left_open = rloop.new_event_loop(BACKEND)
left_open.call_later(1000, print)
print("alive")
"""
    assert run(loop_id, source) == "alive\n"
