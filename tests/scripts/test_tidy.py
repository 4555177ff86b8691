"""scripts/tidy.py: each rule fails on a bad sample and is silent on a good one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import cpp_functions  # noqa: E402  (needs the path above)
import tidy  # noqa: E402

OPENING = "// What this is.\n// What it owns.\n// What it does not know.\n// Which thread.\n"


def write(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def found(rule: str, root: Path, name: str) -> list[str]:
    """The problems that one of the rules for files finds in one file."""
    text = (root / name).read_text()
    return [str(problem) for problem in getattr(tidy, rule)(root, Path(name), text)]


@pytest.mark.parametrize(
    ("name", "included"),
    [
        ("src/base/fd.hpp", "op/op.hpp"),
        ("src/op/recv.hpp", "reactor/reactor.hpp"),
        ("src/reactor/reactor.hpp", "net/stream.hpp"),
        ("src/reactor/reactor.hpp", "reactor/uring/ring.hpp"),
        ("src/reactor/uring/ring.hpp", "reactor/epoll/epoll_reactor.hpp"),
        ("src/reactor/epoll/epoll_reactor.cpp", "reactor/uring/ring.hpp"),
        ("src/net/stream.hpp", "reactor/uring/ring.hpp"),
        ("src/net/stream.cpp", "reactor/waker.hpp"),
        ("src/net/stream.hpp", "native/loop.hpp"),
        ("pyext/binding/ref.hpp", "base/fd.hpp"),
        ("pyext/binding/ref.hpp", "native/loop.hpp"),
        ("pyext/native/loop.hpp", "reactor/uring/ring_reactor.hpp"),
        ("src/net/stream.cpp", "stream.hpp"),
    ],
)
def test_an_include_in_the_wrong_direction_is_a_problem(
    tmp_path: Path, name: str, included: str
) -> None:
    write(tmp_path, name, f'// Sample.\n#include <vector>\n#include "{included}"\n')
    (problem,) = found("check_includes", tmp_path, name)
    assert problem.startswith(f"{name}:3: ")
    assert included in problem


@pytest.mark.parametrize(
    ("name", "included"),
    [
        ("src/op/recv.hpp", "base/fd.hpp"),
        ("src/reactor/uring/ring_reactor.cpp", "reactor/uring/ring.hpp"),
        ("src/reactor/uring/ring_reactor.hpp", "reactor/reactor.hpp"),
        ("src/reactor/reactor.cpp", "reactor/uring/ring_reactor.hpp"),
        ("src/net/stream.hpp", "reactor/reactor.hpp"),
        ("src/net/stream.hpp", "op/recv.hpp"),
        ("src/base/log.hpp", "absl/strings/str_cat.h"),
        ("pyext/native/loop.cpp", "binding/ref.hpp"),
        ("pyext/native/loop.cpp", "net/stream.hpp"),
    ],
)
def test_an_include_downward_or_inside_a_room_is_fine(
    tmp_path: Path, name: str, included: str
) -> None:
    write(tmp_path, name, f'#include "{included}"\n#include <liburing.h>\n')
    assert found("check_includes", tmp_path, name) == []


@pytest.mark.parametrize("header", ["<Python.h>", '"Python.h"', "<pybind11/pybind11.h>"])
def test_python_in_the_core_is_a_problem(tmp_path: Path, header: str) -> None:
    write(tmp_path, "src/base/fd.hpp", f"#include {header}\n")
    write(tmp_path, "pyext/native/loop.hpp", f"#include {header.replace(chr(34), '')}\n")
    assert "knows no Python" in found("check_includes", tmp_path, "src/base/fd.hpp")[0]


def test_python_in_the_extension_is_fine(tmp_path: Path) -> None:
    write(
        tmp_path, "pyext/native/loop.hpp", "#include <Python.h>\n#include <pybind11/pybind11.h>\n"
    )
    assert found("check_includes", tmp_path, "pyext/native/loop.hpp") == []


def test_a_source_in_no_room_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "src/misc/util.hpp", "")
    assert "no known room" in found("check_includes", tmp_path, "src/misc/util.hpp")[0]


def test_a_file_of_more_than_500_lines_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "src/base/fd.hpp", "//\n" * 500)
    write(tmp_path, "src/base/log.hpp", "//\n" * 501)
    assert found("check_size", tmp_path, "src/base/fd.hpp") == []
    assert "501 lines" in found("check_size", tmp_path, "src/base/log.hpp")[0]


def test_a_function_of_more_than_70_lines_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path, "src/a.cpp", "int f(int x) {\n" + "  x++;\n" * 69 + "}\n")
    write(tmp_path, "a.py", "def f():\n" + "    x = 1\n" * 70)
    assert found("check_size", tmp_path, "src/a.cpp") == [
        "src/a.cpp:1: f has 71 lines, more than 70"
    ]
    assert found("check_size", tmp_path, "a.py") == ["a.py:1: f has 71 lines, more than 70"]


def test_a_file_without_its_opening_comment_is_a_problem(tmp_path: Path) -> None:
    body = "#pragma once\n" + "int x;\n" * 40
    write(tmp_path, "src/base/fd.hpp", "// Too\n//\n// short.\n" + body)
    write(tmp_path, "src/base/fd.cpp", "// Its header says it.\n" + body)
    write(tmp_path, "src/base/log.hpp", "#pragma once\n" + OPENING + body)
    write(tmp_path, "src/base/clock.cpp", body)
    write(tmp_path, "pyext/rloop/tls.py", '"""One line."""\n' + "x = 1\n" * 40)
    write(tmp_path, "pyext/rloop/loop.py", '"""One\n\ntwo\nthree\nfour.\n"""\n' + "x = 1\n" * 40)
    write(tmp_path, "tests/loop/test_x.py", '"""One line."""\n' + "x = 1\n" * 40)
    bad = {
        name
        for path in tmp_path.rglob("*.*")
        if found("check_opening_comment", tmp_path, name := path.relative_to(tmp_path).as_posix())
    }
    assert bad == {"src/base/fd.hpp", "src/base/clock.cpp", "pyext/rloop/tls.py"}


def test_a_short_file_needs_no_opening_comment(tmp_path: Path) -> None:
    write(tmp_path, "src/base/fd.hpp", "int x;\n" * 30)
    assert found("check_opening_comment", tmp_path, "src/base/fd.hpp") == []


def test_a_room_without_its_test_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tidy, "NO_TEST_OF_ITS_OWN", {"base/assert": "a reason", "base/fd": "old"})
    for name in ("base/fd.hpp", "base/fd.cpp", "base/log.hpp", "base/assert.hpp"):
        write(tmp_path, f"src/{name}", "")
    for name in ("base/fd_test.cpp", "base/gone_test.cpp", "conformance/echo_test.cpp"):
        write(tmp_path, f"tests/core/{name}", "")
    texts = [str(problem) for problem in tidy.check_tests(tmp_path)]
    assert texts == [
        "src/base/log:1: has no test: tests/core/base/log_test.cpp",
        "tests/core/base/gone_test.cpp:1: tests a room that src/ does not have",
        "scripts/tidy.py:1: NO_TEST_OF_ITS_OWN excuses base/fd needlessly",
    ]


def test_a_source_that_no_meson_build_lists_is_a_problem(tmp_path: Path) -> None:
    for name in ("src/base/fd.cpp", "src/base/log.cpp", "pyext/rloop/tls.py"):
        write(tmp_path, name, "")
    write(tmp_path, "src/meson.build", "core_sources = files(\n  'base/fd.cpp',\n)\n")
    write(tmp_path, "tests/core/base/fd_test.cpp", "")
    write(tmp_path, "tests/meson.build", "core_tests = {'base/fd': files('core/base/fd_test.cpp')}")
    texts = [str(problem) for problem in tidy.check_listed(tmp_path)]
    assert texts == [
        "src/base/log.cpp:1: is not listed in src/meson.build",
        "pyext/rloop/tls.py:1: is not listed in pyext/meson.build",
    ]


def test_the_exit_code_says_whether_there_were_problems(tmp_path: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPTS / "tidy.py"), str(tmp_path)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    write(tmp_path, "scripts/fine.py", "")
    assert (run().returncode, run().stdout) == (0, "tidy: 0 problems\n")
    write(tmp_path, "src/base/fd.hpp", '#include "net/stream.hpp"\n')
    assert run().returncode == 1
    assert "tidy: 2 problems" in run().stdout


SAMPLE = """\
// A comment with a { brace.
#include <string>
#define OPEN {          \\
  {

namespace rloop {

constexpr int limits[] = {1, 2, 3};

template <class T>
class Box final : public Base<T> {
 public:
  explicit Box(int x)
      : a_{x}, b_{"}"} {
    if (x) { go(); }
  }
  char quote() const { return '{'; }
  int million() const noexcept { return 1'000'000; }

 private:
  int a_{0};
};

enum class State { kOpen, kClosed };

#if A
int choose() {
#else
int choose(int) {
#endif
  return call([] { return R"(})"; });
}

/* } */
auto trailing(std::initializer_list<int> list = {1, 2})
    -> std::string {
  struct Local { void inner() {} };
  return std::string{};
}

}  // namespace rloop

TEST_F(BoxTest, Works) {
  EXPECT_EQ(1, 1);
}
"""


def test_the_functions_of_a_cpp_file_are_found_by_their_braces() -> None:
    lines = SAMPLE.splitlines()
    functions = list(cpp_functions.functions(SAMPLE))
    assert [name for name, _, _ in functions] == [
        "Box", "quote", "million", "choose", "trailing", "TEST_F",
    ]  # fmt: skip
    starts = {name: lines[start - 1].strip() for name, start, _ in functions}
    assert starts["trailing"].startswith("auto trailing")
    assert starts["TEST_F"].startswith("TEST_F")
    assert all(lines[end - 1].rstrip().endswith("}") for _, _, end in functions)
    assert {name: end - start + 1 for name, start, end in functions}["trailing"] == 5
