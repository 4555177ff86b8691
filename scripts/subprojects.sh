#!/usr/bin/env bash
# Fetches the libraries that wheels have built in: liburing, Abseil; and GoogleTest for the tests.
#
#   scripts/subprojects.sh    puts the archives of subprojects/*.wrap into subprojects/packagecache
#
# What is there with the right checksum stays. The rest comes from Debian's source packages by apt,
# on any Debian machine and without root: with a package list of its own, of the same mirror as the
# machine's, whose signatures apt checks. Another machine is given the folder of one (wheels.yml does
# it). meson compares each archive with the wrap's checksum before it uses it. What meson has
# unpacked and is out of date is removed.
#
#   DEBIAN_SOURCES=...    the suite of Debian that has these versions (trixie)

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=$root/subprojects/packagecache
suite=${DEBIAN_SOURCES:-trixie}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

main() {
  local wrap
  local -a missing=()
  for wrap in "$root"/subprojects/*.wrap; do
    is_cached "$wrap" || missing+=("$wrap")
    remove_if_outdated "$wrap"
  done
  ((${#missing[@]})) || return 0
  mkdir -p "$cache"
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  from_debian "${missing[@]}" || true
  for wrap in "${missing[@]}"; do
    is_cached "$wrap" || unavailable "$wrap"
  done
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

# Debian's name of the source package is the beginning of its archive's.
from_debian() {
  local wrap file mirror
  local -a packages=() options
  command -v apt-get >/dev/null && [[ -e "$keyring" ]] || return 1
  mirror=$(debian_mirror)
  [[ -n "$mirror" ]] || return 1
  printf 'deb-src [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$work/sources.list"
  mkdir -p "$work"/{state/lists,cache/archives}/partial "$work/fetched"
  options=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State=$work/state" -o "Dir::Cache=$work/cache" -o Acquire::Languages=none
    -o APT::Sandbox::User=)
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

# As in debian_tree.sh.
debian_mirror() {
  # shellcheck disable=SC2016  # apt expands it
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    'Label: Debian' 2>/dev/null | grep -E '^(https?|file)://' | head -n 1
}

unavailable() {
  printf 'subprojects: %s (checksum %s) cannot be had: it is in the sources of Debian %s\n' \
    "$cache/$(value "$1" source_filename)" "$(value "$1" source_hash)" "$suite" >&2
  exit 1
}

main
