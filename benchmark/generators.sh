#!/bin/sh
# `balance bench http` beside wrk, hey and h2load on the same server, in turns. See README.md; --help lists options.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec python3 "$here/compare/generators.py" "$@"
