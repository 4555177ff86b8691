#!/usr/bin/env bash
# Proves that the wheels work for who has nothing but Python: in bare trees of two distributions.
#
#   scripts/test_wheels.sh             builds the wheels of both, and tests them with a few tests
#   scripts/test_wheels.sh bookworm    only one: bookworm (Debian 12, CPython 3.11), testing (its default,
#                                      3.14 so far), or another suite of Debian
#   scripts/test_wheels.sh --all       with all of tests/loop; the source distribution is built, too
#   scripts/test_wheels.sh --junitxml=FILE SUITE    with a report of pytest's part
#
#   RLOOP_WHEELS=dist ...       tests the wheels in that folder as they are; nothing is built
#   WHEEL_MACHINE=aarch64 ...   those for that machine, emulated (scripts/emulated.sh), where io_uring
#                               is not
#
# A tree has debootstrap's minbase, python3-minimal and venv: no compiler, no liburing, no Abseil. It
# is kept under build/wheels/, and entered as scripts/debian_tree.sh does it (root is needed). Exit code
# 69 says that there can be none here, or no wheel to put there; the reason is on stderr. In it the wheel is installed without any network, says what
# this machine allows, and echoes. Then pytest comes, and tests of tests/loop, of TLS and of the program
# of our predecessor's users among them, run from a folder that has no source of rloop.

set -euo pipefail

# What meets the system: the kernel, libc, the standard library. The rest is how asyncio is imitated,
# and takes minutes.
few=(test_rloop_api test_seed_programs test_tls test_subprocesses)
# Emulated there is neither io_uring nor seccomp, which two of these ask for by name.
few_emulated=(test_seed_programs test_streams test_tls test_datagrams test_unix_sockets
  test_timers test_threads test_subprocesses)
packages="python3-minimal python3-venv"

say() {
  printf 'test_wheels: %s\n' "$*"
}

fail() {
  say "$*"
  exit 1
}

main() {
  local suite report='' status=0 all=0
  local -a suites=()
  root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  work=$root/build/wheels
  machine=${WHEEL_MACHINE:-$(uname -m)}
  architecture=''
  [[ "$machine" == @(x86_64|aarch64) ]] || fail "WHEEL_MACHINE is x86_64 or aarch64, not $machine"
  if [[ "$machine" != "$(uname -m)" ]]; then
    [[ "$machine" == aarch64 ]] || fail "wheels for $machine are tested on such a machine"
    architecture=arm64
  fi
  mkdir -p "$work"
  while (($#)); do
    case $1 in
      --all) all=1 ;;
      --junitxml=*) report=${1#*=} ;;
      -*) sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit 2 ;;
      *) suites+=("$1") ;;
    esac
    shift
  done
  ((${#suites[@]})) || suites=(bookworm testing)
  [[ -z "$report" ]] || ((${#suites[@]} == 1)) || fail "--junitxml is for one suite"
  for suite in "${suites[@]}"; do
    test_on "$suite" || status=$(worse "$status" $?)
  done
  if ((all)) && [[ -z "$architecture" ]]; then
    source_distribution || status=$(worse "$status" $?)
  fi
  return "$status"
}

# What failed counts for more than what cannot be here.
worse() {
  if (($1 == 0 || $1 == 69)); then echo "$2"; else echo "$1"; fi
}

# lock ROOM: until the script ends or locks another, nobody else empties or fills it.
lock() {
  exec 7>"$1.lock"
  flock --nonblock 7 || {
    say "waiting for another run in $1"
    flock 7
  }
}

# --- outside --------------------------------------------------------------------------------------

test_on() {
  local suite=$1 tree version wheel status=0 started=$SECONDS room=$work/room-$1$architecture
  local -a tests=() options=() settings=(RLOOP_TESTS_LOOPS=rloop RLOOP_LEAK_CYCLES=100)
  lock "$room" || return 1
  tree=$(of_tree "$suite") || return
  version=$(cd "$tree/usr/bin" && readlink python3) # without starting it
  wheel=$(wheel_for "${version#python}") || return
  say "$(basename "$wheel") on Debian $suite"
  fill_room "$room" "$wheel" || return 1
  if [[ -n "$architecture" ]]; then
    few=("${few_emulated[@]}")
    # Nor does qemu-user tell a parent what its child of vfork(2) could not start.
    options=(-k "not rloop-uring and not a_program_that_does_not_exist" --timeout=300)
    settings+=(RLOOP_TESTS_DEADLINE=100)
  fi
  if ((!all)); then
    tests=("${few[@]/#/tests/loop/}")
    tests=("${tests[@]/%/.py}")
  fi
  of_tree "$suite" "$room" env "${settings[@]}" \
    bash ./test_wheels.sh --inside "${options[@]}" "${tests[@]:-tests/loop}" || status=$?
  [[ -z "$report" ]] || cp "$room/report.xml" "$report" || true
  say "Debian $suite: $((SECONDS - started)) s, exit code $status"
  return "$status"
}

# of_tree SUITE: its path. of_tree SUITE FOLDER COMMAND...: runs a command in it.
of_tree() {
  local -a command=()
  (($# == 1)) || command=(-- "${@:3}")
  DEBIAN_TREE=$work/tree-$1$architecture DEBIAN_SUITE=$1 DEBIAN_PACKAGES=$packages \
    DEBIAN_ARCHITECTURE=$architecture DEBIAN_FOLDER=${2:-} \
    "$root/scripts/debian_tree.sh" "${command[@]}"
}

wheel_for() {
  local tag=cp${1/./} folder
  local -a found
  if [[ -n "${RLOOP_WHEELS:-}" ]]; then
    folder=$RLOOP_WHEELS
  else
    folder=$work/tested
    WHEEL_FOLDER=$folder "$root/scripts/build_wheels.sh" "$1" >/dev/null || return
  fi
  found=("$folder"/rloop_uring-*-"$tag-$tag"-*_"$machine".whl)
  [[ ${#found[@]} == 1 && -e "${found[0]}" ]] || {
    say "no wheel, or several, for CPython $1 in $folder" >&2
    return 1
  }
  printf '%s\n' "${found[0]}"
}

# The tests and the examples, and nothing that could be imported as rloop.
fill_room() {
  rm -rf "$1" && mkdir -p "$1/tests" && cp -r "$root/tests/loop" "$1/tests/" || return 1
  cp -r "$root/examples" "$root/pyproject.toml" "$root/scripts/test_wheels.sh" "$2" "$1/"
}

# As pip builds it: in an environment of its own, with archives that are here and none of the system's
# libraries.
source_distribution() {
  local folder=$work/source started=$SECONDS
  lock "$folder" || return 1
  rm -rf "$folder"
  mkdir -p "$folder" || return 1
  "$root/scripts/subprojects.sh" || return
  if [[ -n "${RLOOP_WHEELS:-}" ]]; then
    cp "$RLOOP_WHEELS"/rloop_uring-*.tar.gz "$folder/" || return 1
  else
    WHEEL_FOLDER=$folder "$root/scripts/build_wheels.sh" source >/dev/null || return
  fi
  python3 -m venv "$folder/venv" || return 1
  (cd "$folder" && MESON_PACKAGE_CACHE_DIR=$root/subprojects/packagecache venv/bin/pip install \
    --quiet --disable-pip-version-check -Csetup-args=--wrap-mode=forcefallback ./*.tar.gz &&
    venv/bin/python -m rloop) || return 1
  say "source distribution: $((SECONDS - started)) s"
}

# --- inside ---------------------------------------------------------------------------------------

inside() {
  local program
  for program in cc gcc g++ c++ clang meson ninja pkg-config; do
    ! command -v "$program" || fail "this tree has a compiler or its tools: $program"
  done
  ! ldconfig -p 2>/dev/null | grep -E 'liburing|libabsl' || fail "this tree has the libraries that wheels do without"
  rm -rf venv
  python3 -m venv venv
  venv/bin/pip install --quiet --no-index --disable-pip-version-check ./*.whl
  first_use
  venv/bin/pip install --quiet --disable-pip-version-check 'pytest>=8.0' pytest-timeout trustme
  venv/bin/python -X faulthandler -m pytest -q -p no:cacheprovider --junitxml=report.xml \
    "$@"
}

# Before anything else is installed.
first_use() {
  venv/bin/python -m rloop
  venv/bin/python - <<'PY'
import asyncio
import pathlib
import rloop
from importlib import metadata

wheel, = pathlib.Path(".").glob("*.whl")
assert wheel.name.split("-")[1] == metadata.version("rloop-uring") == rloop.__version__, wheel
assert "LICENSE" in str(metadata.files("rloop-uring")), "no license in the wheel"

async def echo(reader, writer):
    writer.write(await reader.readline())
    await writer.drain()
    writer.close()
    await writer.wait_closed()

async def main():
    async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"echoed\n")
        assert await reader.read() == b"echoed\n"
        writer.close()
        await writer.wait_closed()

for backend in ("auto", "epoll"):
    loop = rloop.new_event_loop(backend)
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main())
    print("echoed on", loop.backend)
    loop.close()
PY
}

if [[ "${1:-}" == --inside ]]; then
  shift
  inside "$@"
else
  main "$@"
fi
