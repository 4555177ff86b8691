#!/usr/bin/env bash
# Formats the C++ (clang-format) and the Python (ruff) of the project.
#
#   scripts/format.sh            changes the files
#   scripts/format.sh --check    changes nothing, names what would change, fails if there is any

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

check=0
case "${1:-}" in
  '') ;;
  --check) check=1 ;;
  *)
    echo "usage: scripts/format.sh [--check]" >&2
    exit 2
    ;;
esac

# The versions that requirements-dev.txt pins: another clang-format formats differently.
python=$(scripts/bootstrap.sh --venv-only)
tools=$(dirname "$python")

mapfile -t folders < <(find src pyext tests benchmarks examples -maxdepth 0 2>/dev/null)
mapfile -t cpp_files < <(find "${folders[@]}" -name '*.[ch]pp' | sort)

status=0
if ((check)); then
  "$tools/clang-format" --dry-run --Werror "${cpp_files[@]}" || status=1
  "$tools/ruff" format --no-cache --check . || status=1
else
  "$tools/clang-format" -i "${cpp_files[@]}"
  "$tools/ruff" format --no-cache .
fi
exit "$status"
