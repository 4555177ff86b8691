"""The version stands in meson.build alone; everything else that names it agrees."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def version() -> str:
    found = re.search(r"^  version: '([^']+)',$", (ROOT / "meson.build").read_text(), re.MULTILINE)
    assert found is not None
    return found[1]


def test_the_module_has_the_version_of_the_build() -> None:
    rloop = pytest.importorskip("rloop")
    assert rloop.__version__ == version()


def test_the_distribution_takes_its_version_from_the_build() -> None:
    """So do the names of wheels and of the source distribution; scripts/test_wheels.sh looks."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]


def test_the_changelog_begins_with_this_version_or_what_comes_after_it() -> None:
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert version() in headings[:2]
    assert headings[0] in (version(), "Unreleased")


def test_the_first_page_names_this_version() -> None:
    page = (ROOT / "docs/index.md").read_text()
    named = re.findall(r"(?:\brloop_uring-|^rloop )([0-9.]+[0-9])(?:-cp| on )", page, re.MULTILINE)
    assert len(named) >= 2
    assert set(named) == {version()}
