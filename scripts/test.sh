#!/usr/bin/env bash
# Runs every test and every check of the project.
#
#   scripts/test.sh                     checks and GoogleTest; on every CPython >= 3.11 found: the
#                                       loop's tests, CPython's own tests of asyncio, real packages
#   scripts/test.sh --quick             the same on one interpreter
#   scripts/test.sh --sanitize          GoogleTest and pytest under ASan and UBSan, one interpreter
#   scripts/test.sh --quick -- -k tcp   what follows -- goes to pytest
#
#   PYTHON=...   only this interpreter
#
# A step that fails does not stop the later ones. The last line is "N passed, N failed" (and
# ", N skipped") over all tests; a step that fails without reporting a test counts as one failed.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=pythons.sh
source scripts/pythons.sh

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' scripts/test.sh
  exit 2
}

# A hang in native code, where no Python signal handler runs, must not hang a CI run. SIGABRT makes
# faulthandler print where it hung.
step_limit=(timeout --signal=ABRT --kill-after=10 1500)

quick=0
sanitize=0
pytest_arguments=()
while (($#)); do
  case "$1" in
    --quick) quick=1 ;;
    --sanitize) sanitize=1 ;;
    --)
      shift
      pytest_arguments=("$@")
      break
      ;;
    *) usage ;;
  esac
  shift
done

reports=$(mktemp -d)
trap 'rm -rf "$reports"' EXIT

# --- steps ----------------------------------------------------------------------------------------

passed=0
failed=0
skipped=0
summary=()

# step NAME REPORT COMMAND...: runs the command; REPORT is its JUnit file or "-".
step() {
  local name=$1 report=$2 status=0 started=$SECONDS
  local good=0 bad=0 left_out=0
  shift 2
  printf '\n=== %s\n' "$name"
  "$@" </dev/null || status=$?
  if [[ "$report" != - ]]; then
    read -r good bad left_out <<<"$("$venv_python" scripts/junit_total.py "$report")"
  fi
  if ((status != 0 && bad == 0)); then
    bad=1
  fi
  passed=$((passed + good))
  failed=$((failed + bad))
  skipped=$((skipped + left_out))
  local verdict=ok
  ((status == 0)) || verdict="FAILED (exit code $status)"
  summary+=("$(printf '%-28s %5d s  %5d passed %3d failed %4d skipped  %s' \
    "$name" $((SECONDS - started)) "$good" "$bad" "$left_out" "$verdict")")
  return 0
}

# Sets `venv_python` and `build`; fails when the build does.
bootstrap() {
  local output
  venv_python=
  output=$(PYTHON="$1" SANITIZE="$sanitize" scripts/bootstrap.sh) || return 1
  venv_python=$(tail -n 1 <<<"$output")
  build=build/$("$venv_python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  ((!sanitize)) || build+=-sanitize
}

tidy() {
  "$venv_python" scripts/tidy.py || return 1
  # One test for the sum at the end.
  echo '<testsuites><testcase name="tidy"/></testsuites>' >"$reports/tidy.xml"
}

ruff_check() {
  "$tools/ruff" check --no-cache .
}

mypy() {
  "$tools/mypy" --cache-dir=build/mypy
}

# The package as it is installed against its stub, and the stub against the package.
stubtest() {
  "$tools/stubtest" rloop --allowlist tests/stubtest_allowlist.txt --ignore-unused-allowlist
}

core_tests() {
  rm -f "$build/meson-logs/testlog.junit.xml"
  "${step_limit[@]}" "$tools/meson" test -C "$build" --suite core --print-errorlogs
}

loop_tests() {
  local report=$1
  shift
  "${step_limit[@]}" "$@" "$venv_python" -X faulthandler -m pytest -q -p no:cacheprovider \
    "--junitxml=$report" "${selection[@]}" "${pytest_arguments[@]}"
}

# CPython's own tests, on both engines.
conformance() {
  "${step_limit[@]}" "$venv_python" tests/loop/conformance.py "--junitxml=$1"
}

# Real programs on real packages and servers; what cannot be installed is skipped, with the reason.
ecosystem() {
  scripts/services.sh || true
  "$venv_python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
    -r requirements-ecosystem.txt || true
  "${step_limit[@]}" "$venv_python" -X faulthandler -m pytest -q -p no:cacheprovider \
    "--junitxml=$1" tests/ecosystem "${pytest_arguments[@]}"
}

# --- which interpreters ---------------------------------------------------------------------------

# Prints one path per line; says on stderr what is left out.
interpreters() {
  if [[ -n "${PYTHON:-}" ]] || ((quick)); then
    printf '%s\n' "${PYTHON:-}" # empty: bootstrap.sh chooses
    return
  fi
  local minor status path seen=' '
  while read -r minor _ status path; do
    if [[ "$status" == older_than_3.11 || "$seen" == *" $minor "* ]]; then
      continue
    elif [[ "$status" == ok ]] || { [[ "$status" == without_Python.h ]] && can_get_headers "$path"; }; then
      printf '%s\n' "$path"
      seen+="$minor "
    else
      printf 'test.sh: not testing on %s (%s)\n' "$path" "${status//_/ }" >&2
    fi
  done < <(all_pythons)
}

# bootstrap.sh installs the headers of Debian's own Python, if it may.
can_get_headers() {
  [[ "$1" == /usr/bin/* && $EUID -eq 0 ]] && command -v apt-get >/dev/null
}

# --- the runs -------------------------------------------------------------------------------------

plain_run() {
  local python version first=1
  for python in "${pythons[@]}"; do
    leak_cycles=2000
    step "build for $(basename "${python:-python3}")" - bootstrap "$python"
    [[ -n "$venv_python" ]] || continue
    tools=$(dirname "$venv_python")
    version=$(basename "$build")
    if ((first)); then
      step tidy "$reports/tidy.xml" tidy
      step format - scripts/format.sh --check
      step 'ruff check' - ruff_check
      step mypy - mypy
      step 'GoogleTest' "$build/meson-logs/testlog.junit.xml" core_tests
      leak_cycles=10000
      first=0
    fi
    step "stubtest on $version" - stubtest
    step "pytest on $version" "$reports/$version.xml" loop_tests "$reports/$version.xml" \
      env RLOOP_LEAK_CYCLES="$leak_cycles"
    ((${#pytest_arguments[@]})) || # they choose among pytest's tests
      step "CPython's tests on $version" "$reports/conformance-$version.xml" \
        conformance "$reports/conformance-$version.xml"
    step "packages on $version" "$reports/ecosystem-$version.xml" \
      ecosystem "$reports/ecosystem-$version.xml"
  done
}

# LeakSanitizer looks at the core alone: an interpreter keeps what it has at exit, on purpose.
# The module is loaded by an interpreter that was not built with ASan, so its runtime comes first
# by LD_PRELOAD, and libstdc++ with it, whose __cxa_throw it has to intercept.
sanitized_run() {
  step 'build, sanitized' - bootstrap "${pythons[0]}"
  [[ -n "$venv_python" ]] || return 0
  tools=$(dirname "$venv_python")
  export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
  ASAN_OPTIONS=detect_leaks=1 step 'GoogleTest, sanitized' \
    "$build/meson-logs/testlog.junit.xml" core_tests
  local compiler=${CXX:-g++}
  step 'pytest, sanitized' "$reports/sanitized.xml" loop_tests "$reports/sanitized.xml" env \
    LD_PRELOAD="$("$compiler" -print-file-name=libasan.so) $("$compiler" -print-file-name=libstdc++.so)" \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 PYTHONMALLOC=malloc \
    PYTHONPATH="$PWD/$build/site" RLOOP_SANITIZE=1
}

mapfile -t pythons < <(interpreters)
tools=
build=
venv_python=
if ((sanitize)); then
  # Ours alone: the peers' code and the packages' is not sanitized.
  selection=(tests/loop tests/tcp --timeout=180 -k rloop)
  sanitized_run
else
  selection=(tests/loop tests/tcp tests/scripts tests/benchmarks)
  plain_run
fi

printf '\n=== summary\n'
printf '%s\n' "${summary[@]}"
printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
((failed == 0))
