#!/usr/bin/env bash
# Makes a bare Debian or Ubuntu machine ready, builds rloop and installs it into a venv.
#
#   scripts/bootstrap.sh               build/X.Y, installed into build/venv-X.Y
#   SANITIZE=1 scripts/bootstrap.sh    build/X.Y-sanitize, installed into build/X.Y-sanitize/site
#   SANITIZE=thread ..., COVERAGE=1 ...    likewise build/X.Y-thread, build/X.Y-coverage
#   scripts/bootstrap.sh --package     the same without the core's tests and the load generator
#   scripts/bootstrap.sh --venv-only   the venv with the development tools, nothing built
#
#   PYTHON=...        the interpreter, or its version (3.14); default python3, or the newest
#                     CPython >= 3.11 found
#   MESON_ARGS=...    more arguments for `meson setup`, e.g. -Dbuildtype=debug
#
# May be repeated at any time: what is there is kept, what changed is rebuilt. Everything is said on
# stderr; the only line on stdout is the venv's python, for scripts that call this one.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=pythons.sh
source "$root/scripts/pythons.sh"

exec 3>&1 1>&2
unset PYTHONPATH PYTHONHOME

fail() {
  printf 'bootstrap: %s\n' "$*"
  exit 1
}

main() {
  local venv_only=0
  package_only=0
  case "${1:-}" in
    '') ;;
    --package) package_only=1 ;;
    --venv-only) venv_only=1 ;;
    *) fail "unknown argument $1 (see the head of this script)" ;;
  esac

  ((venv_only)) || require_build_packages
  choose_python
  require_python_packages

  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  venv="$root/build/venv-$version"
  mkdir -p "$root/build"
  # Two bootstraps at a time would undo each other's work in the same folders.
  exec 9>"$root/build/.lock-$version"
  flock 9

  prepare_venv
  ((venv_only)) || build_and_install
  printf '%s\n' "$venv/bin/python" >&3
}

# --- system packages ------------------------------------------------------------------------------

require_build_packages() {
  local -a missing=()
  command -v "${CXX:-g++}" >/dev/null || missing+=(g++)
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  # Without pkg-config nothing is found, and apt-get skips what is installed already.
  has_library liburing 2.3 || missing+=(liburing-dev)
  has_library absl_inlined_vector 20220623 || missing+=(libabsl-dev)
  has_library gtest 1.12 || missing+=(libgtest-dev)
  install_packages "${missing[@]}"

  local -a wanted=()
  command -v strace >/dev/null || wanted+=(strace)
  command -v nc >/dev/null || wanted+=(netcat-openbsd)
  command -v valgrind >/dev/null || wanted+=(valgrind)
  install_optional_packages "${wanted[@]}"
}

has_library() {
  pkg-config --atleast-version="$2" "$1" 2>/dev/null
}

install_packages() {
  (($#)) || return 0
  if ! can_install; then
    printf 'bootstrap: these packages are missing: %s\n' "$*"
    printf 'bootstrap: run   sudo apt-get install %s\n' "$*"
    exit 1
  fi
  apt_install "$@" || fail "apt-get could not install: $*"
}

# A few tests count system calls with strace or talk through nc; they are skipped without it.
install_optional_packages() {
  (($#)) || return 0
  if ! can_install || ! apt_install "$@"; then
    printf 'bootstrap: optional packages are missing: %s (some tests will be skipped)\n' "$*"
  fi
}

can_install() {
  [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null
}

apt_install() {
  apt-get -qq update &&
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" </dev/null
}

# --- the interpreter ------------------------------------------------------------------------------

# Sets `python` to the interpreter itself, not to a shim that may change its mind later.
choose_python() {
  if [[ -n "${PYTHON:-}" ]]; then
    check_python "$PYTHON"
    return
  fi
  python=$(default_python)
  if [[ -z "$python" ]] && can_install; then
    apt_install python3 python3-venv python3-dev || true
    python=$(default_python)
  fi
  [[ -n "$python" ]] || fail "no CPython >= 3.11 on PATH or under pyenv; set PYTHON="
}

check_python() {
  local program description status
  program=$(find_python "$1") ||
    fail "PYTHON=$1: no such program (Debian unstable's: scripts/debian_tree.sh -- env PYTHON=$1 $0)"
  description=$(describe_python "$program")
  [[ -n "$description" ]] || fail "PYTHON=$1 is not a working CPython 3"
  read -r _ _ status python <<<"$description"
  case "$status" in
    ok | without_Python.h) ;;
    *) fail "PYTHON=$1 ($python) is ${status//_/ }; rloop needs CPython >= 3.11 with a GIL" ;;
  esac
}

# python3 if it will do, else the newest that will.
default_python() {
  local status path
  read -r _ _ status path <<<"$(describe_python python3)"
  if [[ "$status" != ok ]]; then
    read -r _ _ status path < <(all_pythons | awk '$3 == "ok"') || true
  fi
  if [[ -z "$path" ]]; then # the last resort: its headers are a package away
    read -r _ _ status path < <(all_pythons | awk '$3 == "without_Python.h"') || true
  fi
  printf '%s' "$path"
}

# Debian splits Python: venv (ensurepip) and the headers are packages of their own.
require_python_packages() {
  local facts
  facts=$("$python" -c '
import importlib.util, os, sys, sysconfig
base = sys.base_prefix
version = "%d.%d" % sys.version_info[:2]
missing = []
if importlib.util.find_spec("ensurepip") is None or importlib.util.find_spec("venv") is None:
    missing.append("venv")
if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
    missing.append("dev")
print(" ".join(["system" if base == "/usr" else "own"] + ["python%s-%s" % (version, m) for m in missing]))
')
  local -a words
  read -r -a words <<<"$facts"
  ((${#words[@]} > 1)) || return 0
  if [[ "${words[0]}" != system ]]; then
    fail "$python lacks ${words[*]:1} (ensurepip or Python.h), and is not the system's own Python"
  fi
  install_packages "${words[@]:1}"
}

# --- the venv -------------------------------------------------------------------------------------

# The stamp names what the venv was made from and where: a venv that was moved is remade, because
# its scripts hold absolute paths.
prepare_venv() {
  local stamp="$venv/.rloop-stamp" made_from requirements
  made_from="$venv $("$python" -c 'import os, sys; print(os.path.realpath(sys.executable), sys.version)' | tr -d '\n')"
  requirements=$(sha256sum <"$root/requirements-dev.txt")
  if venv_works && [[ "$(cat "$stamp" 2>/dev/null)" == "$made_from"$'\n'"$requirements" ]]; then
    return 0
  fi
  if ! venv_works || [[ "$(head -n 1 "$stamp" 2>/dev/null)" != "$made_from" ]]; then
    printf 'bootstrap: creating %s with %s\n' "$venv" "$python"
    rm -rf "$venv"
    "$python" -m venv "$venv"
  fi
  printf '%s\n' "$made_from" >"$stamp"
  printf 'bootstrap: installing requirements-dev.txt\n'
  "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    -r "$root/requirements-dev.txt"
  printf '%s\n' "$requirements" >>"$stamp"
}

venv_works() {
  "$venv/bin/python" -c 'import pip' 2>/dev/null
}

# --- the build ------------------------------------------------------------------------------------

build_and_install() {
  local build="$root/build/$version" site suffix
  local -a options=()
  site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
  # b_lundef: the sanitizers' symbols come from the library that LD_PRELOAD brings.
  case "${SANITIZE:-0}" in
    0) ;;
    thread)
      build+=-thread
      options=(-Dbuildtype=debugoptimized -Doptimization=1 -Db_sanitize=thread -Db_lundef=false)
      ;;
    *)
      build+=-sanitize
      options=(-Dbuildtype=debugoptimized -Doptimization=1 '-Db_sanitize=address,undefined'
        -Db_lundef=false)
      ;;
  esac
  if [[ "${COVERAGE:-0}" != 0 ]]; then
    build+=-coverage
    options=(-Dbuildtype=debug -Db_coverage=true -Db_lundef=false)
  fi
  ((!${#options[@]})) || site="$build/site"
  export PATH="$venv/bin:$PATH"
  configure "$build" "$site" "${options[@]}"
  local -a targets=()
  if ((package_only)); then
    suffix=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_config_var("EXT_SUFFIX"))')
    targets=("pyext/_core$suffix" "pyext/__init__$suffix")
  fi
  ninja -C "$build" --quiet "${targets[@]}"
  install_package "$build" "$site"
}

configure() {
  local build=$1 site=$2
  shift 2
  local -a arguments extra
  read -r -a extra <<<"${MESON_ARGS:-}"
  # The tools by name, so that a reconfiguration started by ninja alone finds the same ones.
  write_if_changed "$venv/rloop-native.ini" "[binaries]
python = '$venv/bin/python'
pybind11-config = '$venv/bin/pybind11-config'"
  arguments=(--native-file "$venv/rloop-native.ini" "-Dpython.platlibdir=$site"
    "-Dpython.purelibdir=$site" -Dpython.bytecompile=0 "$@" "${extra[@]}")
  if [[ -f "$build/build.ninja" ]] && cmp -s "$build/.rloop-arguments" - <<<"${arguments[*]}" &&
    [[ ! "$venv/rloop-native.ini" -nt "$build/.rloop-arguments" ]]; then
    return 0
  fi
  rm -rf "$build" # ninja's files of another configuration help nobody
  meson setup "$build" "$root" "${arguments[@]}"
  printf '%s\n' "${arguments[*]}" >"$build/.rloop-arguments"
}

write_if_changed() {
  cmp -s "$1" - <<<"$2" || printf '%s\n' "$2" >"$1"
}

install_package() {
  local build=$1 site=$2
  meson install -C "$build" --no-rebuild --quiet --tags runtime,python-runtime
  # What a former installation left behind and this one does not hold would still be importable.
  "$venv/bin/python" - "$build" "$site" <<'PY'
import json, pathlib, sys
build, site = map(pathlib.Path, sys.argv[1:])
plan = json.loads((build / "meson-info/intro-install_plan.json").read_text())
kept = {pathlib.Path(entry["destination"].format(
            py_platlib=site, py_purelib=site, prefix="", libdir_static="", libdir_shared=""))
        for kind in plan.values() for entry in kind.values()}
for path in (site / "rloop").rglob("*"):
    if path.is_file() and "__pycache__" not in path.parts and path not in kept:
        path.unlink()
PY
}

main "$@"
