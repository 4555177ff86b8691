#!/usr/bin/env bash
# Compares event loops on this machine: asyncio, uvloop, the older rloop, and both of our engines.
#
#   scripts/compare_loops.sh [--quick | --full | --matrix | ...]     options: see --help
#   PYTHON=python3.13 scripts/compare_loops.sh            another interpreter
#
# Does the whole set-up on a fresh machine: scripts/bootstrap.sh builds the loop, the load generator
# and their environment under build/; the older rloop, imported under the same name as ours, gets an
# environment of its own. --full also installs requirements-benchmarks.txt into both environments.
# What cannot be had (a peer's package, strace, a web server) is named and left out.
# Results are printed and written to build/benchmarks/. A second run starts measuring at once.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
# Either would mix the two environments.
unset PYTHONPATH PYTHONHOME

say() { printf 'compare_loops: %s\n' "$*" >&2; }

main() {
  local python version loadgen peer
  local -a arguments
  case " $* " in
    *" --help "* | *" -h "*) exec "${PYTHON:-python3}" benchmarks/compare_loops.py --help ;;
  esac
  say "preparing the environment (scripts/bootstrap.sh)"
  python=$(scripts/bootstrap.sh | tail -n 1)
  version=$(version_of "$python")
  loadgen=$(prepare_loadgen "$version")
  arguments=(--loadgen "$loadgen")
  if peer=$(prepare_peer "$python" "$version"); then
    arguments+=(--peer-python "$peer")
  else
    say "the older rloop could not be installed: it is left out"
  fi
  case " $* " in
    *" --full "*) prepare_web "$python" "${peer:-}" ;;
  esac
  exec "$python" benchmarks/compare_loops.py "${arguments[@]}" "$@"
}

version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# Prints the Python of the environment that holds the older rloop; fails if it cannot be made.
# Made anew when it belongs to another Python version than the one that is measured. Called in a
# condition, where the shell's -e is off: hence the explicit returns.
prepare_peer() {
  local environment=$root/build/venv-peer-rloop
  local peer=$environment/bin/python
  if [[ "$(version_of "$peer")" != "$2" ]]; then
    say "creating the environment of the older rloop"
    "$1" -m venv --clear "$environment" >&2 || return 1
  fi
  if ! "$peer" -c 'import rloop' 2>/dev/null; then
    # A wheel or nothing: building it takes a Rust toolchain.
    "$peer" -m pip install --quiet --disable-pip-version-check --only-binary :all: rloop >&2 ||
      return 1
  fi
  printf '%s\n' "$peer"
}

# The web servers that --full measures, the same versions everywhere; what is installed is kept.
prepare_web() {
  local python
  for python in "$@"; do
    [[ -n "$python" ]] || continue
    "$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: \
      -r "$root/requirements-benchmarks.txt" >&2 ||
      say "web servers could not be installed for $python: they are left out"
  done
}

# The build makes the load generator; should it not have, a compiler makes it in a few seconds.
prepare_loadgen() {
  local built=$root/build/$1/benchmarks/loadgen/loadgen
  if [[ ! -x "$built" ]]; then
    say "compiling the load generator"
    built=$root/build/benchmarks/loadgen
    mkdir -p "$root/build/benchmarks"
    "${CXX:-c++}" -O2 -std=c++20 -o "$built" "$root"/benchmarks/loadgen/*.cpp
  fi
  printf '%s\n' "$built"
}

main "$@"
