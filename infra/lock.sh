#!/usr/bin/env bash
# Write the locks anew: all versions are chosen together, and each lock is a part of that choice. Needs uv.
set -euo pipefail
cd "$(dirname "$0")/.."
compile() { uv pip compile setup.cfg --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-annotate --no-header --quiet "$@"; }
compile --all-extras --upgrade --output-file locks/all.txt
compile --constraint locks/all.txt --output-file locks/main.txt
compile --extra dev --constraint locks/all.txt --output-file locks/dev.txt
extras=(airflow cluster connect forecast hbase heavydb kafka market postgres)  # what containers install
compile "${extras[@]/#/--extra=}" --constraint locks/all.txt --output-file locks/airflow.txt
compile --extra node --constraint locks/all.txt --output-file locks/node.txt
for tool in uv slither-analyzer; do  # each in an environment of its own
    uv pip compile - --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate \
        --no-header --quiet --output-file "locks/${tool%-analyzer}.txt" <<<"$tool"
done
