"""Checks that the house keeps its shape: who includes whom, and how large things are.

    python scripts/tidy.py [root]

A meson test and a step of scripts/test.sh. It reads source text only, needs nothing but Python, and
prints one line `path:line: problem` for each finding; the exit code is 1 if there was one. What it
checks, one function for each rule:

- `check_includes`: the layers base <- op <- reactor <- net <- native -> binding (MAY_INCLUDE);
- `check_size`: at most 500 lines in a file, 70 in a function;
- `check_opening_comment`: a file says what it is before it starts;
- `check_tests`: src/x/y.hpp has its tests/core/x/y_test.cpp, and the other way round;
- `check_listed`: a source that no meson.build lists is a source that nobody compiles.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cpp_functions

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 70
# A file this short explains itself.
SHORT_FILE_LINES = 30
OPENING_COMMENT_LINES = 4

FOLDERS = ("src", "pyext", "tests", "benchmarks", "examples", "scripts")
# Stubs (.pyi) are lists, so neither their size nor their opening is a sign of anything.
SUFFIXES = (".hpp", ".cpp", ".py")

# The rooms, by their folder, and what each may include: folders, or single headers of a folder.
# Nothing includes upward or sideways, except native -> binding.
REACTOR_INTERFACE = ("reactor/reactor.hpp", "reactor/capabilities.hpp")
MAY_INCLUDE: dict[str, tuple[str, ...]] = {
    "base": ("base",),
    "op": ("base", "op"),
    "reactor": ("base", "op", "reactor"),
    "reactor/uring": ("base", "op", "reactor", "reactor/uring"),
    "reactor/epoll": ("base", "op", "reactor", "reactor/epoll"),
    "net": ("base", "op", *REACTOR_INTERFACE, "net"),
    "binding": ("binding",),
    "native": ("base", "op", "reactor", "net", "binding", "native"),
}
# The factory chooses among the backends, so the sources of reactor/ (never its headers) see them.
FACTORY_MAY_INCLUDE = ("reactor/uring", "reactor/epoll")

# Rooms without a test file of their own, and where they are tested instead.
NO_TEST_OF_ITS_OWN: dict[str, str] = {}
# Tests of the core that mirror no single source.
TESTS_OF_MANY_ROOMS = ("conformance", "hunt")

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
# Libraries that are included with quotes, as their own documentation does.
LIBRARY_HEADER = re.compile(r"^absl/")
PYTHON_HEADER = re.compile(r"^(Python\.h|pybind11/)")


@dataclass(frozen=True)
class Problem:
    path: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.text}"


# --- who includes whom ----------------------------------------------------------------------------


def check_includes(root: Path, path: Path, text: str) -> Iterator[Problem]:
    """The direction of every include of a file in src/ or pyext/."""
    if path.parts[0] not in ("src", "pyext") or path.suffix == ".py":
        return
    room = room_of("/".join(path.parts[1:]))
    if room is None:
        yield Problem(
            path, 1, "is in no known room; add the room to MAY_INCLUDE in scripts/tidy.py"
        )
        return
    for number, line in enumerate(text.splitlines(), start=1):
        match = INCLUDE.match(line)
        if match is None:
            continue
        quoted, included = match[1] == '"', match[2]
        if PYTHON_HEADER.match(included):
            if path.parts[0] == "src":
                yield Problem(path, number, f"the core knows no Python, but includes {included}")
        elif not quoted or LIBRARY_HEADER.match(included):
            continue
        elif not allowed(room, included, is_source=path.suffix == ".cpp"):
            yield Problem(path, number, refusal(room, included))


def room_of(relative: str) -> str | None:
    """The room of a header or source, named by its path below src/ or pyext/."""
    folder = relative.rpartition("/")[0]
    return folder if folder in MAY_INCLUDE else None


def allowed(room: str, included: str, *, is_source: bool) -> bool:
    permitted = MAY_INCLUDE[room]
    if room == "reactor" and is_source:
        permitted += FACTORY_MAY_INCLUDE
    return included in permitted or room_of(included) in permitted


def refusal(room: str, included: str) -> str:
    if room_of(included) is None:
        return f'"{included}" names no room: paths are relative to src/ or pyext/'
    permitted = ", ".join(MAY_INCLUDE[room])
    return f'{room} must not include "{included}" (it may include {permitted})'


# --- how large things are -------------------------------------------------------------------------


def check_size(root: Path, path: Path, text: str) -> Iterator[Problem]:
    """The length of the file, and of each function in it."""
    lines = text.count("\n")
    if lines > MAX_FILE_LINES:
        yield Problem(path, 1, f"has {lines} lines, more than {MAX_FILE_LINES}: two concepts?")
    functions = python_functions(text) if path.suffix == ".py" else cpp_functions.functions(text)
    for name, start, end in functions:
        length = end - start + 1
        if length > MAX_FUNCTION_LINES:
            yield Problem(path, start, f"{name} has {length} lines, more than {MAX_FUNCTION_LINES}")


def python_functions(text: str) -> Iterator[tuple[str, int, int]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, node.lineno, node.end_lineno or node.lineno


# --- what it says first ---------------------------------------------------------------------------


def check_opening_comment(root: Path, path: Path, text: str) -> Iterator[Problem]:
    """A newcomer reads the opening of a file first, so there has to be one."""
    if text.count("\n") <= SHORT_FILE_LINES:
        return
    needed = OPENING_COMMENT_LINES
    described_in_header = path.suffix == ".cpp" and (root / path.with_suffix(".hpp")).exists()
    if described_in_header or path.parts[0] == "tests":
        needed = 1  # a test says what it is by its path
    found = opening_lines(path, text)
    if found < needed:
        yield Problem(path, 1, f"opens with {found} lines of comment; {needed} are needed")


def opening_lines(path: Path, text: str) -> int:
    if path.suffix == ".py":
        docstring = ast.get_docstring(ast.parse(text))
        if docstring is not None:
            return docstring.count("\n") + 1
    comment = "#" if path.suffix == ".py" else "//"
    count = 0
    for line in text.splitlines():
        if line.startswith(("#!", "#pragma once")) or not line.strip():
            continue
        if not line.startswith(comment):
            break
        count += 1
    return count


# --- the tests, and the lists of sources ----------------------------------------------------------


def check_tests(root: Path) -> Iterator[Problem]:
    """The tests of the core mirror its rooms, in both directions."""
    rooms = {p.relative_to(root / "src").with_suffix("") for p in sources(root, "src")}
    tests = {
        p.relative_to(root / "tests/core").with_name(p.stem.removesuffix("_test"))
        for p in sources(root, "tests/core")
        if p.stem.endswith("_test") and not is_test_of_many_rooms(p.relative_to(root))
    }
    excused = {Path(name) for name in NO_TEST_OF_ITS_OWN}
    for room in sorted(rooms - tests - excused):
        yield Problem(Path("src") / room, 1, f"has no test: tests/core/{room}_test.cpp")
    for room in sorted(tests - rooms):
        yield Problem(
            Path(f"tests/core/{room}_test.cpp"), 1, "tests a room that src/ does not have"
        )
    for room in sorted(excused & tests):
        yield Problem(Path("scripts/tidy.py"), 1, f"NO_TEST_OF_ITS_OWN excuses {room} needlessly")


def is_test_of_many_rooms(path: Path) -> bool:
    return any(part in TESTS_OF_MANY_ROOMS for part in path.parts)


def check_listed(root: Path) -> Iterator[Problem]:
    """The meson.build of src/, pyext/ and tests/ names every source below it."""
    for folder, files in (
        ("src", sources(root, "src", ".cpp")),
        ("pyext", sources(root, "pyext", ".cpp", ".py", ".pyi")),
        ("tests", sources(root, "tests/core", ".cpp")),
    ):
        build_file = root / folder / "meson.build"
        listed = build_file.read_text() if build_file.exists() else ""
        for path in files:
            if f"'{path.relative_to(root / folder)}'" not in listed:
                name = path.relative_to(root)
                yield Problem(name, 1, f"is not listed in {folder}/meson.build")


def sources(root: Path, folder: str, *suffixes: str) -> list[Path]:
    wanted = suffixes or (".hpp", ".cpp")
    return sorted(p for p in (root / folder).rglob("*") if p.suffix in wanted)


# --- all of it ------------------------------------------------------------------------------------

FILE_RULES: tuple[Callable[[Path, Path, str], Iterator[Problem]], ...] = (
    check_includes,
    check_size,
    check_opening_comment,
)
TREE_RULES: tuple[Callable[[Path], Iterator[Problem]], ...] = (check_tests, check_listed)


def problems(root: Path) -> Iterator[Problem]:
    """Every finding in the tree below `root`, file by file, then those of the tree."""
    for folder in FOLDERS:
        for path in sources(root, folder, *SUFFIXES):
            text = path.read_text()
            for file_rule in FILE_RULES:
                yield from file_rule(root, path.relative_to(root), text)
    for tree_rule in TREE_RULES:
        yield from tree_rule(root)


def main() -> int:
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent
    found = list(problems(root))
    for problem in found:
        print(problem)
    print(f"tidy: {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
