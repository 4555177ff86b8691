#!/usr/bin/env bash
# Runs a command in a tree of Debian unstable, which has the newest CPythons, compiler and libraries.
#
#   scripts/debian_tree.sh               makes the tree, if it is not there yet, and prints its path
#   scripts/debian_tree.sh --refresh     brings it to today's packages first
#   scripts/debian_tree.sh -- COMMAND    runs COMMAND in it, in the project's folder, e.g.
#                                        scripts/debian_tree.sh -- scripts/bootstrap.sh
#
#   DEBIAN_TREE=...    where the tree is kept (build/debian); several checkouts may share one
#   DEBIAN_SUITE=...   unstable, testing, ...
#   DEBIAN_PACKAGES=...    what it has instead of the CPythons and the compiler
#   DEBIAN_FOLDER=...      a folder that commands see and run in, instead of the project and /tmp
#   DEBIAN_ARCHITECTURE=arm64    a tree of the packages named, to be emulated (scripts/emulated.sh)
#
# The tree is made by debootstrap in two minutes (1.7 GB). A command runs in it by chroot, in a mount
# namespace of its own, so nothing stays mounted. It sees the project under the path that it has
# outside, but build/ is a folder of its own (build/in-debian outside): environments and builds of
# the two systems do not meet. pip's settings and the certificates that it trusts come along.
# Exit code 69 says that there can be no tree here; the reason, and what helps, is on stderr.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source-path=SCRIPTDIR source=mirror.sh
source "$root/scripts/mirror.sh"

tree=$(realpath -m -- "${DEBIAN_TREE:-$root/build/debian}")
suite=${DEBIAN_SUITE:-unstable}
architecture=${DEBIAN_ARCHITECTURE:-}
unavailable=69 # EX_UNAVAILABLE of sysexits.h
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

# CPython's own tests come from the testsuite packages. What only some versions have is left out.
pythons=(3.13 3.14 3.15)
packages=(g++ pkg-config liburing-dev libabsl-dev libgtest-dev ca-certificates git
  strace netcat-openbsd valgrind)
if [[ -n "${DEBIAN_PACKAGES:-}" ]]; then
  pythons=()
  read -r -a packages <<<"$DEBIAN_PACKAGES"
fi
# What debootstrap would have brought.
essential=(base-files base-passwd bash coreutils dash findutils grep libc-bin sed)
emulation=()
[[ -z "$architecture" ]] || emulation=("$root/scripts/emulated.sh")

main() {
  case "${1:-}" in
    --mounted)
      shift
      enter "$@"
      ;;
    --mounted-bare)
      shift
      enter_bare "$@"
      ;;
    --)
      shift
      (($#)) || usage
      prepare >&2
      exec "${emulation[@]}" unshare --mount --propagation private -- \
        "$root/scripts/debian_tree.sh" --mounted "$@"
      ;;
    --refresh)
      # Neither apt nor anything that could be run without an emulator is in it.
      [[ -z "$architecture" ]] ||
        refuse "one of $architecture is only unpacked: remove $tree, and it is made anew"
      prepare >&2
      refresh >&2
      printf '%s\n' "$tree"
      ;;
    '')
      prepare >&2
      printf '%s\n' "$tree"
      ;;
    *) usage ;;
  esac
}

usage() {
  sed -n '2,/^$/s/^# \{0,1\}//p' "$root/scripts/debian_tree.sh" >&2
  exit 2
}

refuse() {
  printf 'debian_tree: no tree of Debian %s: %s\n' "$suite" "$*" >&2
  exit "$unavailable"
}

# --- the tree -------------------------------------------------------------------------------------

# What the stamp says is written last: a tree without it was interrupted and is made anew.
stamp() {
  printf '%s\n' "$suite ${pythons[*]} ${packages[*]}${architecture:+ $architecture}"
}

prepare() {
  [[ "${DEBIAN_TREE:-}" != no ]] || refuse "DEBIAN_TREE=no asks for none"
  ((EUID == 0)) || refuse "it is made and entered by root (sudo $0)"
  command -v apt-get >/dev/null || refuse "this is not a Debian or Ubuntu machine"
  unshare --mount true 2>/dev/null ||
    refuse "mount namespaces are refused (unshare --mount; a container needs CAP_SYS_ADMIN)"
  mkdir -p "${tree%/*}"
  exec 8>"$tree.lock"
  flock 8 # two commands at a time would make it twice
  if [[ "$(cat "$tree/.rloop-stamp" 2>/dev/null)" != "$(stamp)" ]]; then
    make_tree
  fi
  exec 8>&-
}

make_tree() {
  local log=$tree.log mirror=''
  [[ -e "$tree/.rloop-stamp" || -z "$(ls -A "$tree" 2>/dev/null)" ]] ||
    refuse "$tree holds something else, and would be deleted (remove it, or name another DEBIAN_TREE)"
  printf 'debian_tree: making %s of Debian %s (about two minutes)\n' "$tree" "$suite"
  # Without the keyring debootstrap would take packages that nobody signed.
  if ! command -v debootstrap >/dev/null || [[ ! -e $keyring ]]; then
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends debootstrap \
      debian-archive-keyring </dev/null; } >"$log" 2>&1 || refuse "no debootstrap (see $log)"
  fi
  mirror=$(debian_mirror) || [[ -z "$architecture" ]] ||
    refuse "apt has no mirror of Debian among its sources"
  rm -rf --one-file-system "$tree"
  mkdir "$tree"
  : >"$tree/.rloop-stamp" # so far it says that the tree is ours
  if [[ -n "$architecture" ]]; then
    unpack_tree "$mirror" >"$log" 2>&1 || refuse "its packages could not be unpacked (see $log)"
    stamp >"$tree/.rloop-stamp"
    return
  fi
  # What debootstrap mounts in the tree goes with it, also when it is killed.
  # shellcheck disable=SC2086  # no mirror is no argument: then debootstrap takes its own
  unshare --mount --propagation private -- debootstrap --variant=minbase "$suite" "$tree" \
    $mirror >"$log" 2>&1 </dev/null || refuse "debootstrap failed (see $log)"
  apt_settings >"$tree/etc/apt/apt.conf.d/90rloop"
  if ! in_tree install_packages >>"$log" 2>&1; then
    refuse "packages could not be installed (see $log)"
  fi
  stamp >"$tree/.rloop-stamp"
}

# unpack_tree MIRROR: of another architecture packages are unpacked, and that is all: their scripts
# would be emulated for minutes, and what Python needs of them is here. What this suite does not have
# is left out. Its output is a log, so it returns, and the caller says that there can be no tree.
unpack_tree() {
  local own=$tree/var/lib/rloop-apt mirror=$1 folder deb package
  local -a settings found=()
  for folder in bin sbin lib; do
    mkdir -p "$tree/usr/$folder" && ln -s "usr/$folder" "$tree/$folder" || return 1
  done
  mkdir -p "$own"/{state/lists,cache/archives}/partial "$tree/etc"
  : >"$own/status"
  printf 'deb [signed-by=%s] %s %s main\n' "$keyring" "$mirror" "$suite" >"$own/sources.list"
  settings=(-qq -o "APT::Architecture=$architecture" -o "APT::Architectures::=$architecture"
    -o "Dir::Etc::sourcelist=$own/sources.list" -o Dir::Etc::sourceparts=-
    -o "Dir::State=$own/state" -o "Dir::State::status=$own/status" -o "Dir::Cache=$own/cache"
    -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=
    -o APT::Install-Recommends=false)
  apt-get "${settings[@]}" update || return 1
  for package in "${packages[@]}"; do
    ! apt-cache "${settings[@]}" show "$package" >/dev/null 2>&1 || found+=("$package")
  done
  apt-get "${settings[@]}" install -y --download-only "${essential[@]}" "${found[@]}" || return 1
  for deb in "$own"/cache/archives/*.deb; do
    dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink -C "$tree" || return 1
  done
  rm -rf "$own"
  cp "$tree/usr/share/base-passwd/passwd.master" "$tree/etc/passwd" || return 1
  cp "$tree/usr/share/base-passwd/group.master" "$tree/etc/group" || return 1
  echo 'hosts: files dns' >"$tree/etc/nsswitch.conf"
}

refresh() {
  printf 'debian_tree: refreshing %s\n' "$tree"
  if ! { in_tree apt_get update && in_tree apt_get dist-upgrade && in_tree install_packages; } \
    >"$tree.log" 2>&1; then
    refuse "it could not be refreshed (see $tree.log)"
  fi
}

# How this machine reaches its mirror. A mirror that is a snapshot outlives its date.
apt_settings() {
  apt-config dump | grep -iE '^Acquire::(https?|ftp|Retries|.*::Proxy)' || true
  echo 'Acquire::Check-Valid-Until "false";'
  echo 'APT::Install-Recommends "false";'
}

# Calls one of the functions below, inside.
in_tree() {
  unshare --mount --propagation private -- "$root/scripts/debian_tree.sh" --mounted-bare \
    bash -c "$(declare -f apt_get install_packages); $(declare -p pythons packages); $*"
}

apt_get() {
  DEBIAN_FRONTEND=noninteractive apt-get -qq -y "$@" </dev/null
}

# A version that this suite does not have any more, or not yet, does not cost the others.
install_packages() {
  local version
  apt_get update || return 1
  for version in "${pythons[@]}"; do
    if apt-cache show "python$version-venv" >/dev/null 2>&1; then
      packages+=("python$version-dev" "python$version-venv" "libpython$version-testsuite")
    fi
  done
  apt_get install "${packages[@]}" && apt_get clean
}

# --- inside ---------------------------------------------------------------------------------------

# Both run in the mount namespace, as yet outside of the tree.

# While packages are installed: what their scripts write must not be the machine's.
enter_bare() {
  mount_kernel_folders
  bind /etc/resolv.conf
  unset TMPDIR # which may not be there
  in_environment / "$@"
}

enter() {
  mount_kernel_folders
  if [[ -n "${DEBIAN_FOLDER:-}" ]]; then
    bind "$DEBIAN_FOLDER"
    share_network_settings
    unset TMPDIR PYTHONPATH
    in_environment "$DEBIAN_FOLDER" "$@"
  fi
  bind /tmp
  bind "$root"
  mkdir -p "$root/build/in-debian" "$tree$root/build"
  mount --bind "$root/build/in-debian" "$tree$root/build"
  [[ "${TMPDIR:-}" != /* ]] || bind "$TMPDIR"
  share_network_settings
  mkdir -p "$tree${HOME:-/root}"
  in_environment "$root" "$@"
}

mount_kernel_folders() {
  local folder
  for folder in dev proc sys; do
    mount --rbind "/$folder" "$tree/$folder"
  done
}

# The environment goes along, but for what names programs of the other system; and no tree is made
# in a tree.
in_environment() {
  local folder=$1
  shift
  exec chroot "$tree" /usr/bin/env -C "$folder" -u LANG -u LANGUAGE -u PYENV_ROOT -u CC -u CXX \
    DEBIAN_TREE=no LC_ALL=C.UTF-8 \
    PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$@"
}

# bind PATH: the tree shows PATH as it is outside. The files are the machine's settings: a package
# that is installed in the tree must not write to them.
bind() {
  local options=bind
  [[ -e "$1" ]] || return 0
  if [[ -d "$1" ]]; then
    mkdir -p "$tree$1"
  else
    options=bind,ro
    mkdir -p "$(dirname "$tree$1")"
    touch -a "$tree$1" # of a file there has to be something to mount over
  fi
  mount -o "$options" "$1" "$tree$1"
}

# Names and addresses, pip's settings and cache, and the certificates that this machine trusts (a
# registry behind a proxy has one of its own).
share_network_settings() {
  local file
  local -A files=([/etc/resolv.conf]=1 [/etc/hosts]=1 [/etc/pip.conf]=1
    [/etc/ssl/certs/ca-certificates.crt]=1)
  for file in "${HOME:-/root}"/{.config/pip,.pip,.cache/pip} "${PIP_FIND_LINKS:-}" \
    "${PIP_CERT:-}" "${PIP_CONFIG_FILE:-}" "${SSL_CERT_FILE:-}" "${REQUESTS_CA_BUNDLE:-}"; do
    [[ "$file" != /* ]] || files[$file]=1
  done
  for file in "${!files[@]}"; do
    bind "$file"
  done
}

main "$@"
