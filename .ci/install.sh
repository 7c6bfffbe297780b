#!/usr/bin/env bash
# Installs what the tests need besides Rust: the real peers that Balance is tested against, and the C++ compiler that
# builds libFuzzer (Debian, Ubuntu).
# What is there already is left alone, so it may be run at any time; installing packages needs root.
set -euo pipefail
cd "$(dirname "$0")/.."

# Program and package.
programs=(
    "nginx nginx"
    "haproxy haproxy"
    "openssl openssl"
    "apache2 apache2"
    "node nodejs"
    "npm npm"
    "python3 python3"
    "pip3 python3-pip"
    "go golang-go"
    "curl curl"
    "wrk wrk"
    "hey hey"
    "h2load nghttp2-client"
    "nghttp nghttp2-client"
    "c++ g++"
    "testssl testssl.sh"
    "prlimit util-linux"
    "setpriv util-linux"
)

has() { PATH="$PATH:/usr/sbin:/usr/local/sbin" command -v "$1" > /dev/null; }

missing=()
for line in "${programs[@]}"; do
    read -r program package <<< "$line"
    has "$program" || missing+=("$package")
done

install_packages() {
    local sudo=()
    [ "$(id -u)" -eq 0 ] || sudo=(sudo)
    export DEBIAN_FRONTEND=noninteractive
    "${sudo[@]}" apt-get update -qq
    # The tests start nginx and Apache themselves; a policy keeps the packages from starting them as services.
    local policy=/usr/sbin/policy-rc.d made_policy=no status=0
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" > /dev/null
        "${sudo[@]}" chmod +x "$policy"
        made_policy=yes
    fi
    "${sudo[@]}" apt-get install -y -qq --no-install-recommends "$@" > /dev/null || status=$?
    [ "$made_policy" = no ] || "${sudo[@]}" rm -f "$policy"
    return "$status"
}

if [ ${#missing[@]} -gt 0 ]; then
    echo "installing ${missing[*]}"
    install_packages "${missing[@]}"
fi

# The WebSocket client and server; package.json fixes the version.
peers=${CARGO_TARGET_DIR:-target}/test-peers
if ! cmp -s crates/balance-testkit/real/package.json "$peers/package.json" || [ ! -d "$peers/node_modules/ws" ]; then
    echo "installing ws into $peers"
    mkdir -p "$peers"
    cp crates/balance-testkit/real/package.json "$peers/package.json"
    npm install --prefix "$peers" --no-audit --no-fund --no-package-lock --silent
fi

# The validator that holds the JSON Schema of the configuration against the examples and the tests' mistakes; and the
# WSGI server among the origins; an HTTP/2 client; a second WebSocket client; and gRPC, client and server.
if ! PYTHONPATH="$peers/python" python3 -c 'from jsonschema import Draft202012Validator; import grpc, gunicorn, h2, websockets' 2> /dev/null; then
    echo "installing jsonschema, gunicorn, h2, websockets and grpcio into $peers"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --upgrade \
        --target "$peers/python" 'jsonschema>=4,<5' 'gunicorn>=27,<28' 'h2>=4,<5' 'websockets>=15,<16' 'grpcio>=1.60,<2'
fi
