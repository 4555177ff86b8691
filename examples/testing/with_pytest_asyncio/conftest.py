"""pytest-asyncio (1.4 and newer) on rloop: this hook in conftest.py.

With several entries each test runs once on each: {"rloop": ..., "asyncio": asyncio.new_event_loop}.
"""

import rloop


def pytest_asyncio_loop_factories(config, item):
    return {"rloop": rloop.new_event_loop}
