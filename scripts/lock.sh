#!/usr/bin/env bash
# Renews requirements/*.lock from pyproject.toml: exact versions and hashes, no index or download address.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() {
  .venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --no-header --no-annotate "$@"
}
# hatchling builds the editable install, without build isolation so that its version is locked too
compile pyproject.toml --extra build --output-file requirements/run.lock >/dev/null
compile pyproject.toml --extra build --extra dev --constraint requirements/run.lock --output-file requirements/dev.lock >/dev/null
