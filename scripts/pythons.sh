# shellcheck shell=bash
# Finds CPython interpreters. Sourced by bootstrap.sh, build_wheels.sh, test.sh and compare_loops.sh; it
# only defines functions.
#
# An interpreter is described on one line: minor version, patch, a word that says whether it can be
# used ("ok" or the reason why not, with underscores), and the path. Free-threaded builds are not
# supported, and a candidate that does not start (a pyenv shim of another version) is not listed.

# Prints "3.13 0 ok /path" for one candidate, or nothing when it is no working CPython 3.
describe_python() {
  "$1" - 2>/dev/null <<'PY' || true
import os, sys, sysconfig
if sys.implementation.name == "cpython":
    status = "ok"
    if sys.version_info < (3, 11):
        status = "older_than_3.11"
    elif sysconfig.get_config_var("Py_GIL_DISABLED"):
        status = "free-threaded"
    elif not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        status = "without_Python.h"
    print("%d.%d" % sys.version_info[:2], sys.version_info[2], status, sys.executable)
PY
}

# Every candidate: PATH without pyenv's shims (the versions behind them are listed directly), then
# pyenv's own folder.
candidate_pythons() {
  local folder
  local pyenv_root="${PYENV_ROOT:-${HOME:-}/.pyenv}"
  local -a folders
  IFS=: read -r -a folders <<<"$PATH"
  for folder in "${folders[@]}" "$pyenv_root"/versions/*/bin; do
    [[ "$folder" == "$pyenv_root/shims" || "$folder" == */venv-*/bin ]] && continue
    find "$folder/" -maxdepth 1 \( -name python3 -o -name 'python3.[0-9]*' \) \
      ! -name '*-config' 2>/dev/null || true
  done
}

# Descriptions of all interpreters, newest first, each file once.
all_pythons() {
  local candidate
  while read -r candidate; do
    describe_python "$candidate"
  done < <(candidate_pythons | xargs -r -d '\n' realpath 2>/dev/null | sort -u) |
    sort -t" " -k1,1Vr -k2,2nr
}

# The program that PYTHON= names: a bare version, 3.14, is the newest of that version here. Prints
# nothing, and fails, where there is none.
find_python() {
  local minor status path
  if [[ ! "$1" =~ ^3\.[0-9]+$ ]]; then
    command -v "$1"
    return
  fi
  while read -r minor _ status path; do
    if [[ "$minor" == "$1" && ("$status" == ok || "$status" == without_Python.h) ]]; then
      printf '%s\n' "$path"
      return
    fi
  done < <(all_pythons)
  return 1
}

# find_python_to_build_for VERSION: likewise, but it has its headers.
find_python_to_build_for() {
  local minor status path
  while read -r minor _ status path; do
    if [[ "$minor" == "$1" && "$status" == ok ]]; then
      printf '%s\n' "$path"
      return
    fi
  done < <(all_pythons)
  return 1
}

# The version, 3.14, of the newest CPython here that is a release and can be built for: packages have
# no wheels for what is still changing. Prints nothing, and fails, where there is none.
newest_release() {
  local minor status path
  while read -r minor _ status path; do
    if [[ "$status" == ok ]] &&
      "$path" -c 'import sys; sys.exit(sys.version_info.releaselevel != "final")'; then
      printf '%s\n' "$minor"
      return
    fi
  done < <(all_pythons)
  return 1
}

# True for a version, 3.14 or python3.14, that only the tree of scripts/debian_tree.sh can have.
only_in_tree() {
  [[ "${DEBIAN_TREE:-}" != no && "$1" =~ ^(python)?3\.[0-9]+$ ]] && ! find_python "$1" >/dev/null
}
