#!/bin/sh
# Balance beside nginx, HAProxy, Envoy and Caddy, in one interleaved run. See README.md; --help lists options.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec python3 "$here/compare" "$@"
