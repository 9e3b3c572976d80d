#!/usr/bin/env bash
# Look for known mistakes in the contracts with Slither; fails on any finding that contracts/SLITHER.md does not
# explain. Slither has a virtual environment of its own, .venv-slither, since it and the project want different
# versions of web3.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -x contracts/node_modules/.bin/forge ] || { echo "slither: type npm ci in contracts/ first" >&2; exit 1; }
if ! cmp -s locks/slither.txt .venv-slither/.lock; then
    uv=$(command -v uv || true)
    [ -n "$uv" ] || uv=$PWD/.venv/bin/uv
    [ -x "$uv" ] || { echo "slither: uv is missing; type: infra/setup.sh dev" >&2; exit 1; }
    python=python3
    [ ! -x .venv/bin/python ] || python=$PWD/.venv/bin/python
    rm -rf .venv-slither
    "$uv" venv --quiet --python "$python" .venv-slither
    VIRTUAL_ENV=$PWD/.venv-slither "$uv" pip install --quiet --require-hashes -r locks/slither.txt
    cp locks/slither.txt .venv-slither/.lock
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Slither has forge compile into folders of its own, so that forge's next run of the tests need not start anew.
export FOUNDRY_OUT=$work/out FOUNDRY_CACHE_PATH=$work/cache
export PATH=$PWD/.venv-slither/bin:$PWD/contracts/node_modules/.bin:$PATH
cd contracts
slither . --json "$work/findings.json" --fail-none >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
node scripts/slither-findings.js "$work/findings.json"
