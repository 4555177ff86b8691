#!/usr/bin/env bash
# Installs the servers that tests/ecosystem and the benchmarks of real programs talk to: PostgreSQL,
# Redis and Prometheus, as Debian packages.
#
#   scripts/services.sh
#
# They start their own instances in a temporary folder (scripts/service_programs.py); of the packages they
# need the programs alone. So nothing is started here or enabled for the next boot, and no database cluster is
# created. Where the packages cannot be installed (no apt-get, neither root nor sudo without a
# password) this says what is missing and still succeeds: the tests that need it are skipped then.

set -euo pipefail

policy=/usr/sbin/policy-rc.d
cluster_setting=/etc/postgresql-common/createcluster.d/without-main-cluster.conf
as_root=()

main() {
  if (($#)); then
    say "unknown argument $1 (see the head of this script)"
    exit 2
  fi
  local -a missing=()
  has_postgresql || missing+=(postgresql)
  has_redis || missing+=(redis-server)
  command -v prometheus >/dev/null || missing+=(prometheus)
  ((${#missing[@]})) || return 0
  if ! can_install; then
    say "missing: ${missing[*]} (the tests that need them will be skipped)"
    say "as root: apt-get install ${missing[*]}"
    return 0
  fi
  say "installing ${missing[*]}"
  trap allow_services EXIT
  forbid_services
  install_packages "${missing[@]}" || say "apt-get could not install all of: ${missing[*]}"
  disable_services "${missing[@]}"
}

say() {
  printf 'services: %s\n' "$*" >&2
}

# Debian keeps the server's programs in a folder of the version, which is not on PATH.
has_postgresql() {
  command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

has_redis() {
  command -v redis-server >/dev/null
}

can_install() {
  command -v apt-get >/dev/null || return 1
  if [[ $EUID -ne 0 ]]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
}

install_packages() {
  "${as_root[@]}" apt-get -qq update &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
      apt-get -qq install -y --no-install-recommends "$@" </dev/null >&2
}

# Packages ask policy-rc.d whether they may start what they bring; 101 means no. What a run that was
# killed has put aside is the owner's, and is not overwritten with ours.
forbid_services() {
  if [[ -e $policy && ! -e $policy.before-services ]]; then
    "${as_root[@]}" mv "$policy" "$policy.before-services"
  fi
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
  "${as_root[@]}" chmod 755 "$policy"
  "${as_root[@]}" mkdir -p "${cluster_setting%/*}"
  echo 'create_main_cluster = false' | "${as_root[@]}" tee "$cluster_setting" >/dev/null
}

# As it was before: what the machine's owner installs later is not our business.
allow_services() {
  "${as_root[@]}" rm -f "$policy" "$cluster_setting"
  "${as_root[@]}" rmdir --ignore-fail-on-non-empty "${cluster_setting%/*}" "${cluster_setting%/*/*}"
  if [[ -e $policy.before-services ]]; then
    "${as_root[@]}" mv "$policy.before-services" "$policy"
  fi
}

# Without a cluster PostgreSQL's service has nothing to start; the others would run after a boot.
# systemctl needs no running systemd for this: the package has enabled it without one too.
disable_services() {
  local service
  command -v systemctl >/dev/null || return 0
  for service in redis-server prometheus; do
    if [[ " $* " == *" $service "* ]]; then
      "${as_root[@]}" systemctl --quiet disable "$service" || true
    fi
  done
}

main "$@"
