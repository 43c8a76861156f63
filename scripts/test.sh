#!/usr/bin/env bash
# The whole suite: format, lint, layers, types, then every test. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=.venv/bin
step() { printf '\n== %s\n' "$1"; shift; "$@"; }
step "format" $bin/ruff format --check .
step "lint" $bin/ruff check .
step "layers" $bin/lint-imports
step "types" $bin/mypy
step "tests" $bin/pytest -q -n 2 --dist loadgroup tests "$@"
