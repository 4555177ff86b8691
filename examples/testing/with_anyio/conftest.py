"""anyio's pytest plugin on rloop: this fixture in conftest.py, `pip install anyio`."""

import pytest

import rloop


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": rloop.new_event_loop}
