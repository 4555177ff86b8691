# shellcheck shell=bash
# Finds a mirror of Debian. Sourced by debian_tree.sh and subprojects.sh; it only defines functions.

# Prints the address of the one that this machine's apt uses; fails, and prints nothing, where there is
# none. That of the security updates has the same origin and neither other suites nor sources.
debian_mirror() {
  { known_mirrors || true; } | { grep -E '^(https?|file)://' || true; } | {
    local first
    read -r first && printf '%s\n' "$first"
  }
}

# By what apt has fetched, which says whose it is; else, where that was not kept, as in most container
# images, by the list of sources alone. It says nothing of the kind, so only Debian's own is believed.
known_mirrors() {
  # shellcheck disable=SC2016  # apt expands them
  apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' \
    'Label: Debian' 2>/dev/null
  [[ "$(os_release ID)" == debian ]] || return 0
  # shellcheck disable=SC2016
  apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' \
    'Component: main' 2>/dev/null | debian_first "$(os_release VERSION_CODENAME)"
}

# debian_first SUITE: the addresses on stdin, those that have this suite before the others.
debian_first() {
  awk -v suite="$1" '$1 ~ /security/ || $2 ~ /security/ { next }
    $1 == suite { print $2; next }
    { others = others $2 "\n" }
    END { printf "%s", others }'
}

os_release() {
  (
    # shellcheck source=/dev/null
    source /etc/os-release && printf '%s' "${!1:-}"
  ) 2>/dev/null || true
}
