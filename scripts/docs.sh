#!/usr/bin/env bash
# Builds the site into build/site; a warning, a dead link among them, is an error.
#
#   scripts/docs.sh            builds it
#   scripts/docs.sh --serve    and shows it on 127.0.0.1:8000, anew after each change
#
#   PYTHON=...   the Python for its environment, build/venv-docs (python3)

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=build/venv-docs
stamp=$environment/.requirements
if ! cmp --silent requirements-docs.txt "$stamp"; then
  mkdir -p build
  "${PYTHON:-python3}" -m venv --clear "$environment"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check \
    --only-binary :all: -r requirements-docs.txt
  cp requirements-docs.txt "$stamp"
fi

# A word of mkdocs-material about its own future.
export NO_MKDOCS_2_WARNING=1
case "${1:-}" in
  '')
    "$environment/bin/mkdocs" build --strict --quiet
    printf 'docs.sh: built, open build/site/index.html\n'
    ;;
  --serve) exec "$environment/bin/mkdocs" serve --dev-addr 127.0.0.1:8000 ;;
  *)
    sed -n '2,/^$/s/^# \{0,1\}//p' scripts/docs.sh >&2
    exit 2
    ;;
esac
