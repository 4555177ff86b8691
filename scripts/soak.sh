#!/usr/bin/env bash
# All transports at once under random load, while a chaos process resets, stalls, kills, forks,
# signals, takes descriptors away and moves the loop to other threads. Each byte is checked.
#
#   scripts/soak.sh [MINUTES]           ten minutes unless said; both engines side by side
#   scripts/soak.sh --messages 1e8      until so many messages are checked on each engine
#   scripts/soak.sh --help              every option
#   PYTHON=3.13 scripts/soak.sh         another interpreter; one that only Debian unstable has runs
#                                       in the tree that scripts/debian_tree.sh makes
#
# Does the whole set-up on a fresh machine (scripts/bootstrap.sh). Prints a line each minute and a
# summary; pictures and samples are written to build/soak/. The exit code is 0 when every byte was
# right, nothing unexpected happened and nothing grew. See tests/soak/README.md.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source-path=SCRIPTDIR source=pythons.sh
source scripts/pythons.sh
unset PYTHONPATH PYTHONHOME

if only_in_tree "${PYTHON:-}"; then
  exec scripts/debian_tree.sh -- scripts/soak.sh "$@"
fi
python=$(scripts/bootstrap.sh --package)
# A background job of a shell ignores SIGINT; the processes of the soak must not.
exec env --default-signal=INT,QUIT PYTHONPATH=tests "$python" -m soak "$@"
