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
# The beginning of an ELF file for aarch64, executable or shared (the bytes that differ are masked).
magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'

main() {
  case "${1:-}" in
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
  unshare --user --mount true 2>/dev/null || refuse "user namespaces are refused (unshare --user)"
  enter_namespace "$@"
}

refuse() {
  printf 'emulated: no programs for aarch64 here: %s\n' "$*" >&2
  exit 69 # EX_UNAVAILABLE of sysexits.h
}

# The map of users has to come from outside: a child of ours writes it, once the namespace is there.
# Who has a user there gets the rights of root with the next exec.
enter_namespace() {
  local folder
  folder=$(mktemp -d)
  mkfifo "$folder/pid" "$folder/mapped"
  {
    read -r pid <"$folder/pid"
    echo '0 0 4294967295' >"/proc/$pid/uid_map"
    echo '0 0 4294967295' >"/proc/$pid/gid_map"
    echo >"$folder/mapped"
    rm -rf "$folder"
  } &
  # shellcheck disable=SC2016  # the inner shell expands it
  exec unshare --user --mount --propagation private -- bash -c \
    'echo $$ >"$0/pid"; read -r <"$0/mapped"; exec "$@"' "$folder" "${BASH_SOURCE[0]}" --mapped "$@"
}

# F: the emulator is opened now, so that it is also there after a chroot.
register() {
  mount -t binfmt_misc binfmt_misc "$formats" 2>/dev/null ||
    refuse "the kernel is older than 6.7 (on this machine's own system: apt-get install qemu-user-static)"
  printf '%s' ":qemu-aarch64:M::$magic:$mask:$(command -v "$emulator"):F" >"$formats/register"
}

main "$@"
