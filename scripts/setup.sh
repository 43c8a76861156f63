#!/usr/bin/env bash
# Sets up the virtual environment from the locked requirements.
#   scripts/setup.sh run   what Driftlock needs to run
#   scripts/setup.sh dev   that, and what its tests and checks need
# Needs only Python 3.11 with venv and access to the Python package index that pip is set up for.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:-run}
venv=.venv
python=${PYTHON:-}
if [ -z "$python" ]; then
  for candidate in python3.11 python3.12 python3.13 python3; do
    if command -v "$candidate" >/dev/null; then python=$candidate; break; fi
  done
fi
"$python" - <<'PY' || { echo "Driftlock needs Python 3.11 or newer with venv; set PYTHON to one." >&2; exit 1; }
import ensurepip, sys, venv
sys.exit(sys.version_info < (3, 11))
PY
[ -x "$venv/bin/python" ] || { echo "Creating $venv"; "$python" -m venv "$venv"; }
echo "Installing locked requirements ($kind)"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes -r "requirements/$kind.lock"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --editable .
echo "Compiling the detection kernels (once, about a minute)"
"$venv/bin/python" -m driftlock.runtime.kernels
touch "$venv/.$kind"
[ "$kind" = run ] || touch "$venv/.run"
