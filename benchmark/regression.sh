#!/usr/bin/env bash
# Whether this tree is slower than an older one: both are built, measured in turns in one run, and compared with a test
# of significance. Exits with 1 when a scenario costs more CPU than before, beyond the threshold and beyond chance.
#
#   benchmark/regression.sh BASE [THRESHOLD]     a revision; 5% by default
#
# ROUNDS (11), SECONDS_EACH (3) and SCENARIOS may be set.
set -euo pipefail
cd "$(dirname "$0")/.."

base=${1:?usage: benchmark/regression.sh BASE [THRESHOLD]}
threshold=${2:-5%}
rounds=${ROUNDS:-11}
seconds=${SECONDS_EACH:-3}
scenarios=${SCENARIOS:-h1-64,h1-256,h1-64k,newconn,tcp-conn,tcp-echo}

commit=$(git rev-parse --verify --quiet "$base^{commit}") || { echo "no revision $base" >&2; exit 2; }
tree=target/regression/tree
results=$PWD/benchmark/results

cargo build --release --locked
if [ ! -e "$tree/.git" ]; then
    git worktree add --force --detach "$tree" "$commit"
fi
git -C "$tree" checkout --quiet --detach "$commit"
(cd "$tree" && CARGO_TARGET_DIR=../target cargo build --release --locked)

status=0
BALANCE_BEFORE=$PWD/target/regression/target/release/balance \
    benchmark/compare.sh --only balance,before --scenarios "$scenarios" --rounds "$rounds" --duration "$seconds" \
    --name regression > /dev/null || status=$?
# 1 and 3 are about targets that peers take part in; here only a run that failed counts.
[ "$status" -ne 2 ] || exit 2

# Each side as a result of its own, under the same name.
python3 - "$results/regression.json" "$results" << 'END'
import json, sys
whole, folder = json.load(open(sys.argv[1])), sys.argv[2]
for side, name in (("before", "regression-before"), ("balance", "regression-after")):
    scenarios = {key: {"samples": {"balance": each["samples"][side]}} for key, each in whole["scenarios"].items()}
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump({"scenarios": scenarios}, file)
END
exec target/release/balance bench compare "$results/regression-before.json" "$results/regression-after.json" \
    --metric cpu_us_per_request --threshold "$threshold"
