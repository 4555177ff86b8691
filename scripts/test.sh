#!/usr/bin/env bash
# Runs every test and every check of the project.
#
#   scripts/test.sh                     checks and GoogleTest; on every CPython >= 3.11 found: the
#                                       loop's tests, CPython's own tests of asyncio, real packages
#   scripts/test.sh --quick             the same on one interpreter
#   scripts/test.sh --sanitize          the same tests under ASan and UBSan: pytest on the newest
#                                       interpreter of this machine and on 3.14, GoogleTest once
#   scripts/test.sh --sanitize-threads  GoogleTest, and the loop's tests that have threads, under TSan
#   scripts/test.sh --quick -- -k tcp   what follows -- goes to pytest
#
#   PYTHON=...       only this interpreter; a version, 3.14, may be Debian unstable's
#   DEBIAN_TREE=no   without the interpreters of Debian unstable
#   LANES=...        how many steps run at a time (one for each core, at most 4)
#
# Interpreters are those on PATH and under pyenv, and as root on a Debian or Ubuntu machine also
# those of Debian unstable, in a tree that scripts/debian_tree.sh makes under build/ and keeps
# (scripts/debian_tree.sh --refresh brings it up to date).
#
# First everything is built, this machine's and Debian unstable's side by side; then the steps run side
# by side, and the output of each is shown when it ends. A step that fails does not stop the others. The last line is
# "N passed, N failed" (and ", N skipped") over all tests; a step that fails without reporting a test
# counts as one failed.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=pythons.sh
source scripts/pythons.sh
# shellcheck source=lanes.sh
source scripts/lanes.sh
# shellcheck source=test_steps.sh
source scripts/test_steps.sh

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' scripts/test.sh
  exit 2
}

quick=0
sanitize=0
pytest_arguments=()
while (($#)); do
  case "$1" in
    --quick) quick=1 ;;
    --sanitize) sanitize=1 ;;
    --sanitize-threads)
      sanitize=thread
      quick=1
      ;;
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
# A shell goes on when its child answers Ctrl-C with an exit code, as debootstrap and ninja do.
trap 'exit 130' INT

# --- which interpreters ---------------------------------------------------------------------------

# Prints "PLACE PYTHON" for each: PLACE is "here" or "tree". Says on stderr what is left out.
interpreters() {
  local named=${PYTHON:-}
  if [[ -n "$named" ]]; then
    if only_in_tree "$named"; then
      echo "tree $named"
    else
      echo "here $named"
    fi
    return
  fi
  if ((quick)); then
    echo "here" # bootstrap.sh chooses
    return
  fi
  local minor status path seen=' ' has_python=
  while read -r minor _ status path; do
    has_python=yes
    if [[ "$status" == older_than_3.11 || "$seen" == *" $minor "* ]]; then
      continue
    elif [[ "$status" == ok ]] || { [[ "$status" == without_Python.h ]] && can_get_headers "$path"; }; then
      echo "here $path"
      seen+="$minor "
    else
      printf 'test.sh: not testing on %s (%s)\n' "$path" "${status//_/ }" >&2
    fi
  done < <(all_pythons)
  [[ -n "$has_python" ]] || echo "here" # bootstrap.sh installs the machine's own
  tree_interpreters
}

tree_interpreters() {
  local status=0 path
  [[ "${DEBIAN_TREE:-}" != no ]] || return 0
  scripts/debian_tree.sh >/dev/null || status=$?
  if ((status == 69)); then # there can be none here
    printf 'test.sh: not testing on the CPythons of Debian unstable (see above)\n' >&2
    record_left_out "CPythons of Debian unstable"
    return 0
  fi
  ((status == 0)) || return "$status"
  scripts/debian_tree.sh -- bash -c 'source scripts/pythons.sh; all_pythons' |
    while read -r _ _ status path; do
      [[ "$status" != ok ]] || echo "tree $path"
    done
}

# bootstrap.sh installs the headers of Debian's own Python, if it may.
can_get_headers() {
  [[ "$1" == /usr/bin/* && $EUID -eq 0 ]] && command -v apt-get >/dev/null
}

# --- the runs -------------------------------------------------------------------------------------

# The two systems at a time: each has one lock on its packages.
build_all() {
  local started=$SECONDS status=0 file
  local -a built
  interpreters >"$reports/interpreters" || status=$?
  ((status == 0)) || record "interpreters of Debian unstable" $((SECONDS - started)) "$status"
  in_lanes 'build_place here' 'build_place tree'
  for file in "$reports"/built-*; do
    [[ -e "$file" ]] || continue
    mapfile -t built <"$file"
    add_label "${built[@]}"
  done
}

build_place() {
  local number=10 place python started status log
  local -a options=()
  while read -r place python; do
    ((++number)) # two digits: the files stand in the order of the interpreters
    [[ "$place" == "$1" ]] || continue
    [[ $sanitize == 0 ]] || sanitized_here "$place" "$python" || continue
    started=$SECONDS
    status=0
    log=$reports/build-$number.log
    build_for "$place" "$python" "$reports/built-$number" "${options[@]}" </dev/null >"$log" 2>&1 ||
      status=$?
    show "build for ${python:-python3} ($place)" $((SECONDS - started)) "$status" "$log"
    # The core, whose tests take most of the time, is the same for every Python.
    options=(--package)
  done <"$reports/interpreters"
}

# The newest of this machine, and 3.14, or what was named.
sanitized_here() {
  [[ -n "${PYTHON:-}" ]] || { [[ "$1" == here ]] && ((!${#labels[@]})); } || [[ "$2" == *3.14 ]]
}

plain_steps() {
  local label minor seen=' ' first=${labels[0]} newest_in_tree tests=loop_tests
  newest_in_tree=$(first_of tree)
  add_step tidy "$first" tidy
  add_step format "$first" format
  add_step ruff_check "$first" 'ruff check'
  add_step docs "$first" documentation
  for label in "${labels[@]}"; do
    minor=$(cut -d. -f2 <<<"$label")
    [[ "$label" != "$newest_in_tree" || "$label" == "$first" ]] || tests=loop_tests_of_ours
    [[ "$seen" != *" $minor "* ]] || tests=loop_tests_of_patch_release
    add_step "$tests" "$label" "pytest on $label"
    tests=loop_tests_between
    seen+="$minor "
  done
  seen=' '
  for label in "${labels[@]}"; do
    minor=$(cut -d. -f2 <<<"$label")
    if [[ "$label" == "$first" ]]; then
      add_step ecosystem "$label" "packages on $label"
    elif ((minor != 12 && minor != 14)) && [[ "$seen" != *" $minor "* ]]; then
      # The oldest and the newest; to a package two patch releases are the same.
      add_step ecosystem_of_one_process "$label" "packages on $label"
    fi
    seen+="$minor "
    # The arguments choose among pytest's tests.
    ((${#pytest_arguments[@]})) || add_step conformance "$label" "CPython's tests on $label"
  done
  wheel_steps
  add_step hunt_tests "$first" "hunts on $first"
  add_step mypy "$first" mypy
  add_step instruction_tests "$first" "instructions on $first"
  add_step core_tests "$first" GoogleTest
  if [[ -n "$newest_in_tree" && "$newest_in_tree" != "$first" ]]; then
    add_step instruction_tests_alone "$newest_in_tree" "instructions on $newest_in_tree"
    # With another compiler and other libraries.
    add_step core_tests "$newest_in_tree" "GoogleTest on $newest_in_tree"
  fi
  for label in "${labels[@]}"; do
    add_step stubtest "$label" "stubtest on $label"
  done
}

# Of the whole command only. They need a tree of Debian, as some of the interpreters do.
wheel_steps() {
  local status=0
  ((!quick && !${#pytest_arguments[@]})) && [[ -z "${PYTHON:-}" ]] || return 0
  if [[ -z "$(first_of tree)" ]]; then
    printf 'test.sh: not testing wheels: there is no tree of Debian here (see above)\n' >&2
    record_left_out "wheels in bare trees"
    return 0
  fi
  scripts/subprojects.sh || status=$?
  if ((status == 69)); then # what else fails fails in the steps
    printf 'test.sh: not testing wheels: the libraries built into them are not here (see above)\n' >&2
    record_left_out "wheels in bare trees"
    return 0
  fi
  # The compiler of the wheel is this machine's, and so is the interpreter that unstable is too new for.
  if find_python_to_build_for 3.11 >/dev/null; then
    add_step wheel_bookworm "${labels[0]}" "wheel on Debian bookworm"
  else
    printf 'test.sh: not testing a wheel on Debian bookworm: no CPython 3.11 with headers here\n' >&2
    record_left_out "wheel on Debian bookworm"
  fi
  add_step wheel_testing "${labels[0]}" "wheel on Debian testing"
}

# The newest interpreter of a place, "here" or "tree".
first_of() {
  local label
  for label in "${labels[@]}"; do
    [[ "${places[$label]}" != "$1" ]] || { printf '%s' "$label" && return; }
  done
}

sanitized_steps() {
  local label
  for label in "${labels[@]}"; do
    add_step sanitized_tests "$label" "pytest, sanitized, on $label"
  done
  add_step core_tests "${labels[0]}" "GoogleTest, sanitized, on ${labels[0]}"
}

thread_steps() {
  add_step thread_tests "${labels[0]}" "pytest under TSan on ${labels[0]}"
  add_step core_tests "${labels[0]}" "GoogleTest under TSan on ${labels[0]}"
}

: >"$reports/summary"
build_all
if ((${#labels[@]})); then
  case $sanitize in
    0) plain_steps ;;
    1) sanitized_steps ;;
    thread) thread_steps ;;
  esac
  run_queue
fi

printf '\n=== summary (%d s)\n' "$SECONDS"
cut -d' ' -f4- "$reports/summary"
awk '{ passed += $1; failed += $2; skipped += $3 }
     END { printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped; exit failed > 0 }' \
  "$reports/summary"
