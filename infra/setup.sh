#!/usr/bin/env bash
# Set up this checkout: Python, Java, Node, anvil and, for dev, geth, PostgreSQL, Kafka and HBase.
# Usage: infra/setup.sh main|dev
# Says in one sentence what is missing and what to type; as root on Debian or Ubuntu it installs that itself.
set -euo pipefail
cd "$(dirname "$0")/.."
kind=${1:?main or dev}

fail() { echo "setup: $*" >&2; exit 1; }

# install_package 'what it is for' candidate… : the first candidate that the system has
install_package() {
    local purpose=$1 package root=no; shift
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then root=yes; apt-get update -qq; fi
    for package in "$@"; do
        apt-cache show "$package" >/dev/null 2>&1 || continue
        [ "$root" = yes ] || fail "$purpose is missing; type: sudo apt-get install -y $package"
        echo "setup: installing $package"
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null
        return
    done
    fail "$purpose is missing; type: sudo apt-get install -y $1"
}

find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            command -v "$candidate"; return
        fi
    done
    fail "Python 3.11 or later is missing; type: sudo apt-get install -y python3"
}

java_works() {
    local java=${JAVA_HOME:+$JAVA_HOME/bin/}java
    local version
    version=$("$java" -version 2>&1 | sed -n 's/.*version "\([0-9]*\).*/\1/p' | head -1) || return 1
    [ "${version:-0}" -ge 17 ]
}

node_works() {
    command -v npm >/dev/null && node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2>/dev/null
}

# the newest Go that the system has as a package of its own version; Debian 12's plain golang-go is too old for geth
install_go() {
    local minor
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then apt-get update -qq; fi
    for minor in 26 25 24 23 22 21 20; do
        if apt-cache show "golang-1.$minor-go" >/dev/null 2>&1; then
            install_package "Go 1.20 or later, which builds geth," "golang-1.$minor-go"; return
        fi
    done
}

if [ ! -x .venv/bin/python ]; then
    python=$(find_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null || install_package "Python's venv" python3-venv
    "$python" -m venv .venv
fi
uv=$(command -v uv || true)
if [ -z "$uv" ]; then
    if [ ! -x .venv/bin/uv ]; then
        .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
        .venv/bin/python -m pip install --quiet --require-hashes -r locks/uv.txt
    fi
    uv=.venv/bin/uv
fi
export VIRTUAL_ENV=$PWD/.venv
echo "setup: Python packages"
"$uv" pip install --quiet --require-hashes -r "locks/$kind.txt"
"$uv" pip install --quiet --no-deps --config-settings editable_mode=compat -e .

java_works || install_package "Java 17 or later, which Spark needs," \
    openjdk-17-jre-headless openjdk-21-jre-headless default-jre-headless

if [ "$kind" = dev ] && ! command -v pg_ctl >/dev/null && ! ls /usr/lib/postgresql/*/bin/pg_ctl >/dev/null 2>&1; then
    install_package "PostgreSQL, which the outbox's tests start," postgresql
fi

if ! node_works; then
    [ -x .venv/bin/npm ] || "$uv" pip install --quiet --require-hashes -r locks/node.txt
    export PATH=$PWD/.venv/bin:$PATH
    node_works || fail "Node 20 or later with npm is missing; type: sudo apt-get install -y nodejs npm"
fi
echo "setup: anvil and the contracts' packages"
if [ "$kind" = dev ]; then
    npm ci --prefix contracts --no-audit --no-fund --loglevel=error
elif [ ! -d contracts/node_modules/@openzeppelin ]; then  # never take away what the tests need
    npm ci --prefix contracts --omit=dev --no-audit --no-fund --loglevel=error
fi

if [ "$kind" = dev ] && ! .venv/bin/python -m infra.geth_install --find >/dev/null 2>&1; then
    echo "setup: geth for the private network, built once in some minutes"
    .venv/bin/python -c 'from infra.geth_install import find_go; find_go()' 2>/dev/null || install_go
    .venv/bin/python -m infra.geth_install >/dev/null  # says what is missing when there is still no Go
fi
if [ "$kind" = dev ]; then
    command -v mvn >/dev/null || install_package "Maven, which fetches the jars of Kafka and HBase," maven
    echo "setup: jars of Kafka and HBase, fetched once"
    .venv/bin/python -m infra.jars >/dev/null
fi
touch ".venv/.$kind"
[ "$kind" = main ] || touch .venv/.main
