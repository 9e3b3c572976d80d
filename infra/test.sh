#!/usr/bin/env bash
# Run every check: style, types, the fast tests, the contracts, then the tests that start real servers.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

section() { printf '\n== %s\n' "$*"; }

section "ruff"
ruff check .
ruff format --check .
section "mypy"
mypy
section "fast tests and doctests"
pytest -n auto -m "not stack"
section "contracts: sources against artifacts, forge, gas against the snapshot, slither"
(
    cd contracts
    node scripts/compile.js --check
    node_modules/.bin/forge fmt --check
    node_modules/.bin/forge test
    node_modules/.bin/forge snapshot --check --match-contract Gas --quiet ||
        { echo "gas changed: look at it, then: cd contracts && npm run snapshot"; exit 1; }
)
infra/slither.sh
section "tests that start real servers, three files at a time: they mostly wait"
pytest -n 3 --dist loadfile -m stack
