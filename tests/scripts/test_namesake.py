"""PyPI's `rloop`, which installs its package into the same folder, before and after ours.

Each test has an environment of its own: ours is copied into it as it was built, theirs is
installed by pip. Without the Rust wheel, for want of a network or of one for this Python, the test
is skipped.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

rloop = pytest.importorskip("rloop")

OURS = Path(rloop.__file__).parent
VERSION = "0.5.0"
REMEDY = "run `pip uninstall rloop rloop-uring` and then `pip install` with the one of the two that"


class Environment:
    """A fresh environment without pip."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, symlinks=True)
        self.python = folder / "bin/python"
        (self.package,) = (path / "rloop" for path in folder.glob("lib/python3.*/site-packages"))

    def install_ours(self) -> None:
        shutil.copytree(OURS, self.package, dirs_exist_ok=True)

    def pip(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pip", "--python", str(self.python), *arguments]
        return subprocess.run(command, capture_output=True, text=True)

    def install_theirs(self) -> None:
        done = self.pip("install", "--no-deps", "--only-binary", ":all:", f"rloop=={VERSION}")
        if done.returncode != 0:
            pytest.skip(f"no wheel of rloop {VERSION}: {done.stderr.splitlines()[-1]}")

    def uninstall_theirs(self) -> None:
        self.pip("uninstall", "--yes", "rloop").check_returncode()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.python), *arguments], cwd=self.package.parent, capture_output=True, text=True
        )

    def fails_to_import(self) -> str:
        done = self.run("-c", "import rloop")
        assert done.returncode == 1
        return done.stderr.splitlines()[-1]


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


def test_alone_the_package_is_its_source(environment: Environment) -> None:
    environment.install_ours()
    program = (
        "import inspect, importlib, rloop; print(rloop.__file__, rloop.__spec__.origin);"
        "assert 'def new_uring_event_loop' in inspect.getsource(rloop);"
        "assert importlib.reload(rloop).new_event_loop().close() is None"
    )
    done = environment.run("-W", "error", "-c", program)
    assert done.stderr == ""
    source = environment.package / "__init__.py"
    assert done.stdout.split() == [str(source), str(source)]


def test_it_works_without_sources(environment: Environment) -> None:
    environment.install_ours()
    compiled = environment.run("-m", "compileall", "-b", "-q", str(environment.package))
    assert compiled.returncode == 0
    for source in environment.package.rglob("*.py"):
        source.unlink()
    done = environment.run("-W", "error", "-m", "rloop")
    assert (done.returncode, done.stderr) == (0, "")


def test_ours_after_theirs_works_and_warns(environment: Environment) -> None:
    environment.install_theirs()
    environment.install_ours()
    done = environment.run("-c", "import rloop; rloop.new_event_loop().close()")
    assert done.returncode == 0
    assert "RuntimeWarning: the distributions `rloop` and `rloop-uring` are both" in done.stderr
    assert REMEDY in done.stderr
    report = environment.run("-m", "rloop")
    assert report.returncode == 0
    assert report.stdout.startswith("rloop ")
    assert REMEDY in report.stderr


def test_ours_before_theirs_says_what_happened(environment: Environment) -> None:
    environment.install_ours()
    environment.install_theirs()
    said = environment.fails_to_import()
    assert said.startswith("ImportError: the distribution `rloop` has overwritten ")
    assert REMEDY in said
    report = environment.run("-m", "rloop")
    assert report.returncode == 1
    assert REMEDY in report.stderr


@pytest.mark.parametrize(
    "order",
    [
        (Environment.install_ours, Environment.install_theirs),
        (Environment.install_theirs, Environment.install_ours),
    ],
    ids=["ours first", "theirs first"],
)
def test_after_theirs_was_uninstalled_ours_says_what_is_missing(
    environment: Environment, order: tuple[Callable[[Environment], None], ...]
) -> None:
    for install in order:
        install(environment)
    environment.uninstall_theirs()
    said = environment.fails_to_import()
    assert said.startswith("ImportError: the distribution `rloop` has deleted ")
    assert REMEDY in said


def test_the_two_share_no_file_but_one(environment: Environment) -> None:
    environment.install_theirs()
    theirs = {path.name for path in environment.package.iterdir() if path.is_file()}
    assert theirs & {path.name for path in OURS.iterdir() if path.is_file()} == {"__init__.py"}
