"""Runs every test of this folder on every loop, and looks at what each test leaves behind.

A test takes `loop` and runs four times: on asyncio, uvloop and rloop's two backends. It may be a
coroutine function, which then runs on that loop with a deadline. After it the loop is closed, and
the test fails when a descriptor leaked, when an exception went to nobody, or when the loop's
exception handler heard something that the test did not take from `noise`.

RLOOP_TESTS_LOOPS=asyncio,uvloop leaves rloop out: the tests themselves are then checked.
RLOOP_TESTS_VERIFY_DIFFERS=1 runs what `differs` would skip, and fails where nothing differs.
"""

from __future__ import annotations

import asyncio
import gc
import importlib.util
import inspect
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from support import (
    DEADLINE,
    LOOP_IDS,
    Noise,
    collect,
    finish,
    new_loop,
    open_descriptors,
    run_briefly,
    wanted,
    within_deadline,
)

VERIFY_DIFFERS = os.environ.get("RLOOP_TESTS_VERIFY_DIFFERS") == "1"
HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None

passed = pytest.StashKey[bool]()
warmed_up: set[str] = set()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "differs(loop_id, reason): that loop really differs here")
    config.addinivalue_line("markers", "loops_only(*loop_ids): only these loops have the feature")
    config.addinivalue_line(
        "markers", "deadline(seconds): of a coroutine test that is long by nature"
    )
    config.addinivalue_line("markers", "timeout(seconds): fail the test after so long")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "loop_id" not in metafunc.fixturenames:
        return
    marker = metafunc.definition.get_closest_marker("loops_only")
    loop_ids = marker.args if marker else LOOP_IDS
    metafunc.parametrize("loop_id", tuple(filter(wanted, loop_ids)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        callspec = getattr(item, "callspec", None)
        loop_id = callspec.params.get("loop_id") if callspec else None
        for marker in item.iter_markers("differs"):
            other, reason = marker.args
            if other == loop_id and VERIFY_DIFFERS:
                item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
            elif other == loop_id:
                item.add_marker(pytest.mark.skip(reason=reason))
        if loop_id == "uvloop" and not HAS_UVLOOP:
            reason = "uvloop is not installed, so there is nothing to compare with"
            item.add_marker(pytest.mark.skip(reason=reason))
        about_rloop = loop_id is None and item.path.name.startswith("test_rloop_")
        if about_rloop and not wanted("rloop"):
            reason = "RLOOP_TESTS_LOOPS asks for other loops alone"
            item.add_marker(pytest.mark.skip(reason=reason))
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(4 * DEADLINE))
        # An object that nobody closed warns while it is collected, where no test can see it;
        # as an error it reaches the hook that `noise` listens to.
        item.add_marker(pytest.mark.filterwarnings("error::ResourceWarning"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.when == "call":
        item.stash[passed] = report.passed
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    loop = pyfuncitem.funcargs["loop"]
    marker = pyfuncitem.get_closest_marker("deadline")
    deadline = marker.args[0] if marker else DEADLINE
    loop.run_until_complete(within_deadline(pyfuncitem.obj(**arguments), deadline))
    return True


@pytest.fixture
def noise(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Noise]:
    """What nobody caught: exception handler contexts, and exceptions in finalizers and threads."""
    found = Noise()
    monkeypatch.setattr(
        sys,
        "unraisablehook",
        lambda args: found.unraisable.append(f"{args.exc_value!r}: {args.object}"),
    )
    monkeypatch.setattr(
        threading, "excepthook", lambda args: found.unraisable.append(f"thread: {args.exc_value!r}")
    )
    yield found
    contexts = found.take()
    collect()
    if request.node.stash.get(passed, False):
        assert contexts == [], "the exception handler was called and no test expected it"
        assert found.unraisable == [], "an exception was raised where nobody can catch it"


@pytest.fixture
def loop(
    request: pytest.FixtureRequest, loop_id: str, noise: Noise
) -> Iterator[asyncio.AbstractEventLoop]:
    """One fresh loop; afterwards it is closed, and every descriptor must be gone with it."""
    if loop_id not in warmed_up:
        # What a library opens once and keeps is not a leak.
        warmed_up.add(loop_id)
        first = new_loop(loop_id)
        run_briefly(first)
        first.close()
    collect()
    # What is there before a test, pytest's reports among it, is none of its garbage: the
    # collections after it need not look at it, nor those of the thousands of tests that follow.
    gc.freeze()
    before = open_descriptors()
    loop = new_loop(loop_id)
    loop.set_exception_handler(noise.record)
    yield loop
    try:
        finish(loop)
    finally:
        loop.close()
    del loop
    if request.node.stash.get(passed, False):
        collect()
        after = open_descriptors()
        leaked = {fd: what for fd, what in after.items() if before.get(fd) != what}
        assert leaked == {}, "these descriptors outlived the loop"
