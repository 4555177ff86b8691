#!/usr/bin/env bash
# Says which lines and branches of src/ and pyext/ no test reaches.
#
#   scripts/coverage.sh                 builds with gcov, runs GoogleTest, the loop's tests, CPython's
#                                       own tests of asyncio and real packages, and reports
#   scripts/coverage.sh --report-only   reports on what former runs have counted
#   scripts/coverage.sh -- -k tcp       what follows -- goes to pytest, instead of everything
#
#   PYTHON=...   the interpreter, as for scripts/bootstrap.sh
#
# Writes build/coverage/index.html (per line) and build/coverage/missing.txt (the lines, and the
# lines with branches, that nothing reaches), prints the sums, and fails below the bounds. Branches
# to exceptions, and those of assertions, are left out. Lines that only run where a process is killed,
# or where the kernel is another one, are not seen.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' scripts/coverage.sh
  exit 2
}

report_only=0
pytest_arguments=()
case "${1:-}" in
  '') ;;
  --report-only) report_only=1 ;;
  --)
    shift
    pytest_arguments=("$@")
    ;;
  *) usage ;;
esac

python=$(COVERAGE=1 scripts/bootstrap.sh)
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
build=$PWD/build/$version-coverage
tools=${python%/*}
"$tools/gcovr" --version >/dev/null 2>&1 ||
  "$python" -m pip install --quiet --disable-pip-version-check 'gcovr>=8.2'

# The counts of two processes that end at a time are added under a lock on the file.
run() {
  env LD_PRELOAD="$build/tests/librloop_at_exit.so" PYTHONPATH="$build/site" "$@" ||
    printf 'coverage.sh: failed, and counted as far as it came: %s\n' "$*" >&2
}

# RLOOP_SANITIZE: the tests of memory and of instructions have nothing to say about such a build.
run_pytest() {
  run RLOOP_SANITIZE=1 RLOOP_TESTS_LOOPS=rloop RLOOP_LEAK_CYCLES=500 "$python" -X faulthandler \
    -m pytest -q -p no:cacheprovider --timeout=600 "$@"
}

if ((!report_only)); then
  find "$build" -name '*.gcda' -delete
  if ((${#pytest_arguments[@]})); then
    run_pytest "${pytest_arguments[@]}"
  else
    run env "PATH=$tools:$PATH" meson test -C "$build" --suite core --quiet --timeout-multiplier 4
    run_pytest tests/loop tests/tcp tests/hunt
    run "$python" tests/loop/conformance.py
    run_pytest tests/ecosystem
  fi
fi

mkdir -p build/coverage
"$tools/gcovr" --root . --object-directory "$build" --filter src/ --filter pyext/ \
  --exclude-throw-branches --exclude-unreachable-branches --merge-mode-functions separate \
  --html-details build/coverage/index.html
"$python" scripts/coverage_bounds.py "$build" >build/coverage/missing.txt
