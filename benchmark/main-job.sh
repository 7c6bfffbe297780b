#!/bin/sh
# Balance beside nginx and HAProxy on its main job, in one interleaved run. See README.md; --help lists options.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
exec python3 "$here/main_job" "$@"
