#!/usr/bin/env bash
# Compares event loops on this machine: asyncio, uvloop, the Rust rloop, zuvloop, rsloop, blazio, and
# both of our engines.
#
#   scripts/compare_loops.sh [--quick | --full | --matrix | ...]     options: see --help
#   PYTHON=3.13 scripts/compare_loops.sh                  another interpreter; one that only Debian
#                                  unstable has runs in the tree that scripts/debian_tree.sh makes
#   DEBIAN_TREE=no ...             without that tree
#
# Without PYTHON, --full takes the newest release of CPython that can be had, here or in that tree (it
# is made for it, in two minutes); anything else takes what scripts/bootstrap.sh takes.
#
# Does the whole set-up on a fresh machine: scripts/bootstrap.sh builds the loop, the load generator
# and their environment under build/; the packages that are compared have environments of their own
# (one of them is imported under the same name as ours), with wheels from PyPI. --full also installs
# requirements-benchmarks.txt, and PostgreSQL and Redis (scripts/services.sh). What cannot be had (a
# package, strace, a service) is named and left out. Results are printed and written to
# build/benchmarks/ (of a run in the tree to build/in-debian/benchmarks/). A second run starts
# measuring at once.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
# shellcheck source-path=SCRIPTDIR source=pythons.sh
source scripts/pythons.sh
# Either would mix the two environments.
unset PYTHONPATH PYTHONHOME

say() { printf 'compare_loops: %s\n' "$*" >&2; }

# Named as in benchmarks/harness/peers.py.
packages=(rloop zuvloop rsloop blazio)

main() {
  local python version loadgen package
  local -a environments=()
  case " $* " in
    *" --help "* | *" -h "*) exec python3 benchmarks/compare_loops.py --help ;;
  esac
  case " $* " in
    *" --full "*)
      PYTHON=${PYTHON:-$(newest_python)}
      export PYTHON
      ;;
  esac
  if only_in_tree "${PYTHON:-}"; then
    say "running in the tree of Debian unstable"
    exec scripts/debian_tree.sh -- scripts/compare_loops.sh "$@"
  fi
  say "preparing the environment (scripts/bootstrap.sh)"
  python=$(scripts/bootstrap.sh | tail -n 1)
  version=$(version_of "$python")
  loadgen=$(prepare_loadgen "$version")
  for package in "${packages[@]}"; do
    if prepare_peer "$python" "build/peers-$version/$package" "$package"; then
      environments+=("build/peers-$version/$package/bin/python")
    else
      say "$package cannot be installed for Python $version: it is left out"
    fi
  done
  case " $* " in
    *" --full "*) prepare_programs "$python" "${environments[@]}" ;;
  esac
  exec "$python" benchmarks/compare_loops.py --loadgen "$loadgen" "$@"
}

# The newest version, here or in the tree; nothing where bootstrap.sh has to find one.
newest_python() {
  local here in_tree=
  here=$(newest_release) || here=
  if [[ "${DEBIAN_TREE:-}" != no ]]; then
    # Why there can be no tree is on stderr.
    in_tree=$(scripts/debian_tree.sh -- bash -c 'source scripts/pythons.sh; newest_release') ||
      in_tree=
  fi
  printf '%s\n' "$here" "$in_tree" | sort -V | tail -n 1
}

version_of() {
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null
}

# prepare_peer PYTHON ENVIRONMENT PACKAGE: installs the package's wheel there, if it is not there yet;
# fails, and leaves nothing, where there is none (building one takes a Rust or Zig toolchain).
prepare_peer() {
  "$2/bin/python" -c "import $3" 2>/dev/null && return
  say "creating the environment of $3"
  { "$1" -m venv --clear "$2" && "$2/bin/python" -m pip install --quiet \
    --disable-pip-version-check --only-binary :all: "$3"; } >&2 && return
  rm -rf "$2"
  return 1
}

# The programs that --full measures, the same versions everywhere; what is installed is kept. A
# package without a wheel, as at first for a new CPython, does not cost the others.
prepare_programs() {
  local python package
  scripts/services.sh
  for python in "$@"; do
    [[ -n "$python" ]] || continue
    install_wheels "$python" -r requirements-benchmarks.txt 2>/dev/null && continue
    while read -r package; do
      install_wheels "$python" "$package" </dev/null ||
        say "$package cannot be installed for $python: its rows are left out"
    done < <(grep -o '^[^ #]\+' requirements-benchmarks.txt)
  done
}

install_wheels() {
  local python=$1
  shift
  "$python" -m pip install --quiet --disable-pip-version-check --only-binary :all: "$@" >&2
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
