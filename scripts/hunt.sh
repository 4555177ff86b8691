#!/usr/bin/env bash
# Hunts for faults with random sequences of what can happen; each subcommand does its set-up first.
#
#   scripts/hunt.sh core [OPTION...]       the C++ core: calls and completions in any order, against
#                                          scripted and real engines (tests/core/hunt/README.md)
#     --seconds N | --steps N              how long, for each group of worlds (default: 60 seconds):
#                                          the scripted ones, then the real engines
#     --world NAME                         stream, datagram, listener, watch, real_epoll,
#                                          real_uring, scripted, real, all (default: all)
#     --seed N                             the first seed (default: one that is new each time)
#     --replay SEED --world NAME           that sequence again, shrunk if it fails
#     --sanitize                           under ASan and UBSan, about twenty times slower
#     --libfuzzer [SECONDS]                sequences chosen by coverage, with clang
#
#   scripts/hunt.sh programs [OPTION...]   whole programs, on asyncio and on both engines
#                                          (tests/hunt/README.md; --help shows the options)
#   scripts/hunt.sh failures [OPTION...]   every system call and every allocation of ten programs
#                                          fails once (tests/hunt/fail_once/README.md; --help)
#
#   PYTHON=...   the interpreter whose venv has the build tools (see scripts/bootstrap.sh)
#
# The last line says how many sequences were tried; a failure is printed with its seed and as the
# shortest list of steps that still fails, and the exit code is 1.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

main() {
  local command=${1:-}
  (($# == 0)) || shift
  case "$command" in
    core) hunt_core "$@" ;;
    programs) run_python tests/hunt/hunt_programs.py "$@" ;;
    failures) run_python tests/hunt/fail_once/run.py "$@" ;;
    *) usage ;;
  esac
}

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' scripts/hunt.sh >&2
  exit 2
}

fail() {
  printf 'hunt: %s\n' "$*" >&2
  exit 1
}

run_python() {
  local python
  python=$(scripts/bootstrap.sh)
  exec "$python" "$@"
}

# --- the core -------------------------------------------------------------------------------------

hunt_core() {
  local sanitize=0 world='' fuzz_seconds='' has_limit=0 replays=0
  local -a options=()
  while (($#)); do
    case "$1" in
      --sanitize) sanitize=1 ;;
      --libfuzzer)
        fuzz_seconds=60
        if [[ "${2:-}" =~ ^[0-9]+$ ]]; then
          fuzz_seconds=$2
          shift
        fi
        ;;
      --world | --seed | --steps | --seconds | --replay)
        (($# > 1)) || usage
        if [[ "$1" == --world ]]; then
          world=$2
        else
          options+=("$1" "$2")
        fi
        case "$1" in
          --steps | --seconds) has_limit=1 ;;
          --replay) replays=1 ;;
        esac
        shift
        ;;
      *) usage ;;
    esac
    shift
  done
  if [[ -n "$fuzz_seconds" ]]; then
    fuzz_core "$fuzz_seconds"
    return
  fi
  local program
  program=$(build_hunter "$sanitize")
  if ((replays)); then
    [[ -n "$world" ]] || fail "--replay needs --world, as the failure was printed"
    "$program" --world "$world" "${options[@]}"
    return
  fi
  ((has_limit)) || options+=(--seconds 60)
  [[ " ${options[*]} " == *' --seed '* ]] || options+=(--seed "$(new_seed)")
  printf 'hunt: %s\n' "${options[*]}"
  if [[ -n "$world" && "$world" != all ]]; then
    "$program" --world "$world" "${options[@]}"
  else
    local status=0
    "$program" --world scripted "${options[@]}" || status=1
    "$program" --world real "${options[@]}" || status=1
    return "$status"
  fi
}

new_seed() {
  printf '%d' "$(($(date +%s) * 1000000))"
}

# build_hunter SANITIZE: its path, on stdout.
build_hunter() {
  local python build suffix=''
  python=$(SANITIZE=$1 scripts/bootstrap.sh)
  (($1 == 0)) || suffix=-sanitize
  build=build/$(version_of "$python")$suffix
  "$(dirname "$python")/ninja" -C "$build" --quiet tests/hunt_core >&2
  printf '%s/tests/hunt_core\n' "$build"
}

version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'
}

# --- the core, led by coverage --------------------------------------------------------------------

fuzz_core() {
  local python venv build=build/hunt-libfuzzer
  python=$(scripts/bootstrap.sh --venv-only)
  venv=$(dirname "$python")
  require_clang
  if [[ ! -f "$build/build.ninja" ]]; then
    # b_lundef: the fuzzer and the sanitizers come with the executable.
    PATH="$venv:$PATH" CXX=$clang "$venv/meson" setup "$build" -Dextension=false -Dloadgen=false \
      -Dlibfuzzer=true -Db_sanitize=address,undefined -Db_lundef=false \
      -Dbuildtype=debugoptimized -Dwerror=false >&2
  fi
  "$venv/ninja" -C "$build" --quiet tests/hunt_fuzz >&2
  mkdir -p "$build/corpus"
  # A sequence that fails is written to build/; HUNT_PRINT=1 hunt_fuzz FILE prints its steps and runs it.
  "$build/tests/hunt_fuzz" -max_total_time="$1" -max_len=1024 -print_final_stats=1 \
    -artifact_prefix="$build/" "$build/corpus"
}

require_clang() {
  clang=$(find_clang)
  [[ -z "$clang" ]] || return 0
  [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null ||
    fail "--libfuzzer needs clang++ with libFuzzer: run   sudo apt-get install clang"
  printf 'hunt: installing clang\n' >&2
  { apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends clang \
      libclang-rt-dev </dev/null; } >&2 || fail "apt-get could not install clang"
  clang=$(find_clang)
  [[ -n "$clang" ]] || fail "clang is installed, but its libFuzzer does not link"
}

# The clang++ that can link a fuzzer; nothing when there is none.
find_clang() {
  local candidate
  for candidate in clang++ $(compgen -c clang++- | sort -Vr); do
    if command -v "$candidate" >/dev/null && "$candidate" -fsanitize=fuzzer -x c++ -o /dev/null - \
      2>/dev/null <<<'extern "C" int LLVMFuzzerTestOneInput(const char*, unsigned long) { return 0; }'; then
      printf '%s' "$candidate"
      return
    fi
  done
}

main "$@"
