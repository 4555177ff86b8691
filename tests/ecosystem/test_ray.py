"""Ray: an actor with coroutines, in a process that Ray's daemon starts, is on rloop by `run`.

ray is in no list of requirements (200 MB with what it needs); where somebody has it, it is tested.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from started import Program, under_run

pytest.importorskip("ray", reason="ray is not installed (on purpose: pip install ray)")

ACTOR = """
import asyncio, os, sys, time
import ray

@ray.remote(max_concurrency=200)
class Where:
    def __init__(self):
        self.together = 0

    async def loop(self):
        return getattr(asyncio.get_running_loop(), "backend", "asyncio"), os.getpid()

    async def meet(self, number, count):
        self.together += 1
        while self.together < count:  # all of them are under way at the same time
            await asyncio.sleep(0.001)
        return number

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, _temp_dir=sys.argv[1])
where = Where.remote()
engine, pid = ray.get(where.loop.remote())
print("actor:", engine, pid != os.getpid())
print("sum:", sum(ray.get([where.meet.remote(n, 100) for n in range(100)])))

async def main():
    return await where.meet.remote(7, 0)

print("awaited:", asyncio.run(main()))
ray.shutdown()
print("done")
"""


@pytest.mark.timeout(180)  # Ray starts five processes
def test_an_actors_coroutines(loop_id: str, tmp_path: Path) -> None:
    file = tmp_path / "actor.py"
    file.write_text(ACTOR)
    # Its sockets' paths may not be long.
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        # Ray takes uvloop where that is installed, unless RAY_USE_UVLOOP=0 is set.
        command = [*under_run(loop_id, "--as-uvloop"), str(file), folder]
        settings = {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
        if loop_id == "asyncio":
            settings["RAY_USE_UVLOOP"] = "0"
        with Program(command, loop_id, tmp_path, **settings) as program:
            program.says("done")
            assert program.ends() == 0, program.log()
            for line in (f"actor: {loop_id} True", "sum: 4950", "awaited: 7"):
                assert line in program.log()
