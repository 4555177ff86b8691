#!/usr/bin/env bash
# Runs a command that may start programs for aarch64, which qemu-user emulates.
#
#   scripts/emulated.sh COMMAND...
#
# Debian's qemu-user-static has the kernel start them for the whole machine. Where that is not so (in
# most containers), root gets it for this command alone: a user namespace in which every user is
# itself, with its own list of formats (Linux 6.7). Exit code 69 says that neither can be; the reason,
# and what helps, is on stderr.

set -euo pipefail

emulator=qemu-aarch64-static
formats=/proc/sys/fs/binfmt_misc
isolated=(unshare --user --mount --propagation private --)
# The beginning of an ELF file for aarch64, executable or shared (the bytes that differ are masked).
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'

main() {
  case "${1:-}" in
    --isolated)
      shift
      isolated "$@"
      ;;
    --mapped)
      shift
      register
      exec "$@"
      ;;
    '' | -*)
      sed -n '2,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
      exit 2
      ;;
  esac
  if [[ "$(uname -m)" == aarch64 ]] || grep -qs "^interpreter .*qemu-aarch64" "$formats"/*; then
    exec "$@"
  fi
  command -v "$emulator" >/dev/null ||
    refuse "there is no $emulator (apt-get install qemu-user-static)"
  ((EUID == 0)) || refuse "the kernel does not know the emulator, and only root can tell it"
  "${isolated[@]}" true 2>/dev/null || refuse "user namespaces are refused (unshare --user)"
  enter_namespace "$@"
}

refuse() {
  printf 'emulated: no programs for aarch64 here: %s\n' "$*" >&2
  exit 69 # EX_UNAVAILABLE of sysexits.h
}

# The map of users has to come from outside: a child of ours writes it, once the namespace is there.
# Who has a user there gets the rights of root with the next exec. They talk by pipes, which end with
# whoever holds them: neither waits for one that has failed.
enter_namespace() {
  local asks asked answers answered
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  make_pipe asks asked
  make_pipe answers answered
  rm -rf "$folder"
  # shellcheck disable=SC2154 # make_pipe assigns them
  map_users $$ <&"$asked" >&"$answers" {asks}>&- {asked}<&- {answers}>&- {answered}<&- &
  exec {asked}<&- {answers}>&-
  exec "${isolated[@]}" "${BASH_SOURCE[0]}" --isolated "$asks" "$answered" "$@"
}

# make_pipe IN OUT: names of variables, which get the descriptors. Opened for both at first, or each
# end would wait for the other.
make_pipe() {
  local both name=$folder/$1
  mkfifo "$name"
  exec {both}<>"$name"
  eval "exec {$1}>\"\$name\" {$2}<\"\$name\""
  exec {both}>&-
}

# map_users PID: says "mapped", or why not, when it is told that the namespace is there.
map_users() {
  read -r || return 0 # it has not come to be
  if { echo '0 0 4294967295' >"/proc/$1/uid_map" && echo '0 0 4294967295' >"/proc/$1/gid_map"; } \
    2>/dev/null; then
    echo mapped
  else
    echo "this root may not map all users into a namespace (it is not the machine's own)"
  fi
}

# isolated ASKS ANSWERED COMMAND...: in the namespace, as yet as nobody.
isolated() {
  local answer='nobody has mapped the users' asks=$1 answered=$2
  shift 2
  echo there >&"$asks"
  read -r answer <&"$answered" || true
  exec {asks}>&- {answered}<&-
  [[ "$answer" == mapped ]] || refuse "$answer"
  exec "${BASH_SOURCE[0]}" --mapped "$@"
}

# F: the emulator is opened now, so that it is also there after a chroot.
register() {
  mount -t binfmt_misc binfmt_misc "$formats" 2>/dev/null ||
    refuse "the kernel is older than 6.7 (on this machine's own system: apt-get install qemu-user-static)"
  printf '%s' ":qemu-aarch64:M::$magic:$mask:$(command -v "$emulator"):F" >"$formats/register"
}

main "$@"
