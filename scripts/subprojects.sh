#!/usr/bin/env bash
# Fetches the libraries that wheels have built in: liburing, Abseil; and GoogleTest for the tests.
#
#   scripts/subprojects.sh    puts the archives of subprojects/*.wrap into subprojects/packagecache
#
# What is there with the right checksum stays. The rest comes from Debian's source packages by apt,
# without root, on a machine whose apt has a mirror of Debian (and Debian's keyring): with a package
# list of its own, of the same mirror, whose signatures apt checks. Another machine, an Ubuntu among
# them, is given the folder of such a one (the workflows do it); exit code 69 says that this is one.
# meson compares each archive with the wrap's checksum before it uses it. What meson has unpacked and
# is out of date is removed.
#
#   DEBIAN_SOURCES=...    the suite of Debian that has these versions (trixie)

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=mirror.sh
source "$root/scripts/mirror.sh"

cache=$root/subprojects/packagecache
suite=${DEBIAN_SOURCES:-trixie}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
unavailable=69 # EX_UNAVAILABLE of sysexits.h

main() {
  local wrap mirror
  local -a missing=()
  for wrap in "$root"/subprojects/*.wrap; do
    is_cached "$wrap" || missing+=("$wrap")
    remove_if_outdated "$wrap"
  done
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || refuse "this is not a Debian machine"
  [[ -e "$keyring" ]] || refuse "there is no $keyring (the package debian-archive-keyring)"
  mirror=$(debian_mirror) || refuse "apt has no mirror of Debian among its sources"
  mkdir -p "$cache"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  from_debian "$mirror" "${missing[@]}" || true # apt has said why
  for wrap in "${missing[@]}"; do
    is_cached "$wrap" || fail "$wrap"
  done
}

refuse() {
  printf 'subprojects: no archives of the libraries: %s. %s\n' "$*" \
    "Copy subprojects/packagecache from a Debian machine, where scripts/subprojects.sh fills it" >&2
  exit "$unavailable"
}

fail() {
  printf 'subprojects: %s (checksum %s) could not be had of the sources of Debian %s\n' \
    "$cache/$(value "$1" source_filename)" "$(value "$1" source_hash)" "$suite" >&2
  exit 1
}

# value WRAP KEY
value() {
  sed -n "s/^$2 *= *//p" "$1"
}

is_cached() {
  local file
  file=$cache/$(value "$1" source_filename)
  [[ -e "$file" && "$(sha256sum <"$file")" == "$(value "$1" source_hash) "* ]]
}

# meson unpacks an archive once, and puts our meson.build beside it.
remove_if_outdated() {
  local ours unpacked
  ours=$root/subprojects/packagefiles/$(value "$1" patch_directory)
  unpacked=$root/subprojects/$(value "$1" directory)
  [[ ! -d "$unpacked" ]] || cmp -s "$ours/meson.build" "$unpacked/meson.build" || rm -rf "$unpacked"
}

# from_debian MIRROR WRAP...: Debian's name of the source package is the beginning of its archive's. A
# mirror that is a snapshot outlives its date.
from_debian() {
  local wrap file mirror=$1
  local -a packages=() options
  shift
  printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$work/sources.list"
  mkdir -p "$work"/{state/lists,cache/archives}/partial "$work/fetched"
  options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State=$work/state" -o "Dir::Cache=$work/cache" -o Acquire::Languages=none
    -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=)
  for wrap in "$@"; do
    file=$(value "$wrap" source_filename)
    packages+=("${file%%_*}")
  done
  printf 'subprojects: %s from the sources of Debian %s\n' "${packages[*]}" "$suite" >&2
  apt-get "${options[@]}" -qq update || return 1
  (cd "$work/fetched" && apt-get "${options[@]}" -qq source --download-only --only-source \
    "${packages[@]}" >/dev/null) || return 1
  for wrap in "$@"; do
    file=$(value "$wrap" source_filename)
    [[ ! -e "$work/fetched/$file" ]] || mv "$work/fetched/$file" "$cache/"
  done
}

main
