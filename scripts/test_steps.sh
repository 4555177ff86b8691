# shellcheck shell=bash
# What the test command does: the environments that it runs in, and its steps. Sourced by test.sh.
#
# A step is a function that gets an environment's label and the JUnit file that it writes, if any.

# A hang in native code, where no Python signal handler runs, must not hang a CI run. SIGABRT makes
# faulthandler print where it hung. The steps are background jobs of a shell, which ignore SIGINT;
# programs under test must not.
step_limit=(env --default-signal=INT,QUIT timeout --signal=ABRT --kill-after=10 1800)

# --- environments ---------------------------------------------------------------------------------

# One for each interpreter, by its label, e.g. "3.13.0" or "3.14.10 (Debian unstable)".
declare -a labels=()
declare -A places=()  # "here" or "tree": where its commands run
declare -A pythons=() # the venv's python, as its commands see it
declare -A builds=()  # the build folder, likewise

# at PLACE COMMAND...
at() {
  local place=$1
  shift
  if [[ "$place" == tree ]]; then
    scripts/debian_tree.sh -- "$@"
  else
    "$@"
  fi
}

# on LABEL COMMAND...: runs it where that interpreter is.
on() {
  local place=${places[$1]}
  shift
  at "$place" "$@"
}

# build_for PLACE PYTHON FILE [OPTION...]: builds, and writes for `add_label` what was built to FILE;
# fails when the build does.
build_for() {
  local place=$1 output python label
  output=$(at "$place" env PYTHON="$2" SANITIZE="$sanitize" scripts/bootstrap.sh "${@:4}") || return 1
  python=$(tail -n 1 <<<"$output")
  label=$(at "$place" "$python" -c 'import platform; print(platform.python_version())') || return 1
  local build=build/${label%.*}
  case $sanitize in
    1) build+=-sanitize ;;
    thread) build+=-thread ;;
  esac
  [[ "$place" == here ]] || label+=' (Debian unstable)'
  add_label "$label" "$place" "$python" "$build"
  [[ $sanitize != 0 ]] || install_ecosystem "$label" || true
  printf '%s\n' "$label" "$place" "$python" "$build" >"$3"
}

add_label() {
  labels+=("$1")
  places[$1]=$2
  pythons[$1]=$3
  builds[$1]=$4
}

# Before the steps run side by side: what is installed meanwhile would disturb them.
install_ecosystem() {
  on "$1" scripts/services.sh || true
  on "$1" "${pythons[$1]}" -m pip install --quiet --disable-pip-version-check \
    --only-binary :all: -r requirements-ecosystem.txt 2>"$reports/pip-$1.log" && return
  # Not every package has wheels for the newest Python yet.
  local requirement
  while read -r requirement; do
    requirement=${requirement%%#*} # as an argument pip knows no comments
    [[ -n "$requirement" ]] || continue
    on "$1" "${pythons[$1]}" -m pip install --quiet --disable-pip-version-check \
      --only-binary :all: "$requirement" 2>"$reports/pip-$1.log" </dev/null ||
      printf 'test.sh: no %s for %s: %s\n' "$requirement" "$1" "$(tail -n 1 "$reports/pip-$1.log")"
  done <requirements-ecosystem.txt
}

# --- steps ----------------------------------------------------------------------------------------

tidy() {
  on "$1" "${pythons[$1]}" scripts/tidy.py || return 1
  # One test for the sum at the end.
  echo '<testsuites><testcase name="tidy"/></testsuites>' >"$2"
}

format() {
  on "$1" env PYTHON="${pythons[$1]}" scripts/format.sh --check
}

ruff_check() {
  on "$1" "${pythons[$1]%/*}/ruff" check --no-cache .
}

# As each version sees the package.
mypy() {
  local version status=0
  for version in 3.11 3.12 3.13 3.14 3.15; do
    on "$1" "${pythons[$1]%/*}/mypy" --cache-dir=build/mypy --python-version "$version" || status=1
  done
  return "$status"
}

# The package as it is installed against its stub, and the stub against the package.
stubtest() {
  on "$1" "${pythons[$1]%/*}/stubtest" rloop --allowlist tests/stubtest_allowlist.txt \
    --ignore-unused-allowlist
}

# A warning, a dead link among them, is an error.
docs() {
  on "$1" env PYTHON="${pythons[$1]}" scripts/docs.sh
}

core_tests() {
  local log=${builds[$1]}/meson-logs/testlog.junit.xml status=0
  on "$1" rm -f "$log"
  local tools=${pythons[$1]%/*}
  local -a options=(env "PATH=$tools:$PATH") # meson looks for ninja there
  # LeakSanitizer looks at the core alone: an interpreter keeps what it has at exit, on purpose.
  [[ $sanitize != 1 ]] || options+=(ASAN_OPTIONS=detect_leaks=1)
  [[ $sanitize != thread ]] || options+=("TSAN_OPTIONS=$tsan_options")
  on "$1" "${options[@]}" "${step_limit[@]}" "$tools/meson" test -C "${builds[$1]}" --suite core \
    --print-errorlogs || status=$?
  on "$1" cp "$log" "$2" || return 1
  return "$status"
}

# run_pytest LABEL REPORT [ENVIRONMENT...] -- ARGUMENT...: a report that did not arrive is a failure.
run_pytest() {
  local label=$1 report=$2
  local -a variables=()
  shift 2
  while [[ "$1" != -- ]]; do
    variables+=("$1")
    shift
  done
  shift
  local status=0
  # What fails everywhere waits everywhere for its deadline: fifty say as much as all.
  on "$label" env "${variables[@]}" "${step_limit[@]}" "${pythons[$label]}" -X faulthandler \
    -m pytest -q -p no:cacheprovider --maxfail=50 "--junitxml=$report" "$@" \
    "${pytest_arguments[@]}" ||
    status=$?
  # None of this step's tests was chosen.
  ((status != 5 || ${#pytest_arguments[@]} == 0)) || return 0
  ((status == 0)) || return "$status"
  [[ -s "$report" ]]
}

# The first interpreter runs stock asyncio's ids too, and the long leak cycles: they say nothing new
# on the others. (What uvloop does differently, tests/loop says by itself.)
loop_tests() {
  run_pytest "$1" "$2" RLOOP_LEAK_CYCLES=10000 RLOOP_TESTS_LOOPS=asyncio,rloop -- \
    tests/loop tests/tcp tests/scripts
}

loop_tests_of_ours() {
  run_pytest "$1" "$2" RLOOP_LEAK_CYCLES=500 RLOOP_TESTS_LOOPS=rloop -- tests/loop tests/tcp \
    "${@:3}"
}

# The clients of the live view are plain Python about sockets and /proc.
without_live_view=(--ignore-glob='tests/loop/test_rloop_inspect_*.py')

loop_tests_between() {
  loop_tests_of_ours "$1" "$2" "${without_live_view[@]}"
}

# Another release of a Python that is tested already: what follows asyncio's own code and words, and
# CPython's own tests.
loop_tests_of_patch_release() {
  local name
  local -a files=()
  for name in contexts_of_handles 'datagram*' debug_mode 'newer_asyncio' overrides 'replaced_*' \
    rloop_signatures 'rloop_watchdog' 'server_object' 'stream*' 'subprocesses*' tasks_and_futures \
    'tls*' 'transport_*' 'wrong_*'; do
    files+=(tests/loop/test_$name.py)
  done
  run_pytest "$1" "$2" RLOOP_TESTS_LOOPS=rloop -- "${files[@]}"
}

# With fixed seeds; scripts/hunt.sh and scripts/soak.sh take new ones, for as long as one wants.
hunt_tests() {
  run_pytest "$1" "$2" -- tests/hunt tests/soak
}

# Under valgrind, so they take minutes; with the tests of the benchmarks' own programs.
instruction_tests() {
  run_pytest "$1" "$2" -- tests/benchmarks
}

instruction_tests_alone() {
  run_pytest "$1" "$2" -- tests/benchmarks/test_instructions.py
}

# Ours alone: the peers' code and the packages' is not sanitized. The module is loaded by an
# interpreter that was not built with ASan, so its runtime comes first by LD_PRELOAD, and libstdc++
# with it, whose __cxa_throw it has to intercept.
run_sanitized_pytest() {
  local label=$1 report=$2 compiler=${CXX:-g++} runtime stdcpp
  [[ "${places[$label]}" == here ]] || compiler=g++
  runtime=$(on "$label" "$compiler" -print-file-name="$3")
  stdcpp=$(on "$label" "$compiler" -print-file-name=libstdc++.so)
  run_pytest "$label" "$report" LD_PRELOAD="$runtime $stdcpp" \
    PYTHONPATH="$PWD/${builds[$label]}/site" RLOOP_SANITIZE=1 RLOOP_TESTS_LOOPS=rloop "${@:4}" \
    --timeout=180 -k rloop
}

sanitized_tests() {
  run_sanitized_pytest "$1" "$2" libasan.so PYTHONMALLOC=malloc \
    ASAN_OPTIONS=detect_leaks=0:abort_on_error=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 -- \
    tests/loop tests/tcp "${without_live_view[@]}"
}

# Of CPython TSan sees what it intercepts, the locks among it: so the GIL orders what it should. A
# program with a race ends with another exit code than its own.
tsan_options="suppressions=$PWD/tests/tsan_suppressions.txt:exitcode=66:die_after_fork=0:second_deadlock_stack=1"

thread_tests() {
  local -a files
  mapfile -t files < <(grep -lE 'threading|call_soon_threadsafe' tests/loop/test_*.py)
  run_sanitized_pytest "$1" "$2" libtsan.so TSAN_OPTIONS="$tsan_options" -- "${files[@]}"
}

# CPython's own tests, on both engines.
conformance() {
  on "$1" "${step_limit[@]}" "${pythons[$1]}" tests/loop/conformance.py "--junitxml=$2" &&
    [[ -s "$2" ]]
}

# Real programs on real packages and servers; what cannot be installed is skipped, with the reason.
ecosystem() {
  run_pytest "$1" "$2" -- tests/ecosystem
}

# Programs of several processes concern the kernel more than the interpreter, and take minutes.
ecosystem_of_one_process() {
  local name
  local -a left_out=()
  for name in dask examples hooks jupyter ray reload workers; do
    left_out+=("--ignore=tests/ecosystem/test_$name.py")
  done
  run_pytest "$1" "$2" -- tests/ecosystem "${left_out[@]}"
}

# The wheels as users install them, each in a bare tree of the distribution that it is for.
wheel_bookworm() {
  wheel_on bookworm "$1" "$2"
}

wheel_testing() {
  wheel_on testing "$1" "$2"
}

wheel_on() {
  "${step_limit[@]}" scripts/test_wheels.sh "--junitxml=$3" "$1"
}
