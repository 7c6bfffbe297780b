#!/usr/bin/env bash
# Whether this tree is slower than an older one: both are built, measured in turns in one run, and compared with a test
# of significance.
#
#   benchmark/regression.sh BASE [THRESHOLD]     a revision; 5% by default
#
# Exits with 0 (not slower), 1 (a scenario costs more CPU than before, beyond the threshold and beyond chance) or 2 (it
# could not be measured; the message says why). ROUNDS (11), SECONDS_EACH (3) and SCENARIOS may be set: with what they
# are by default it takes ten minutes after the builds. Results are in target/regression/results.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "regression: $*" >&2; }

base=${1:?usage: benchmark/regression.sh BASE [THRESHOLD]}
threshold=${2:-5%}
rounds=${ROUNDS:-11}
seconds=${SECONDS_EACH:-3}
scenarios=${SCENARIOS:-h1-64,h1-256,h1-64k,newconn,tcp-conn,tcp-echo}

# The first push of a branch has zeros for the revision before it: then what this one was made from is meant.
if [[ $base =~ ^0+$ ]]; then
    base=HEAD^
    if ! git rev-parse --verify --quiet "$base^{commit}" > /dev/null; then
        say "the first revision of all has none before it to compare with"
        exit 0
    fi
fi
commit=$(git rev-parse --verify --quiet "$base^{commit}") || { say "there is no revision $base"; exit 2; }

tree=target/regression/tree
results=$PWD/target/regression/results
mkdir -p "$results"

say "building this tree"
cargo build --release --locked || exit 2
say "building $(git log -1 --format='%h (%s)' "$commit") in target/regression"
if [ ! -e "$tree/.git" ]; then
    git worktree prune
    git worktree add --quiet --force --detach "$tree" "$commit"
fi
git -C "$tree" checkout --quiet --force --detach "$commit"
(cd "$tree" && CARGO_TARGET_DIR=../target cargo build --release --locked) || exit 2

# Both sides of each round, and what starting and stopping takes.
count=$(awk -F, '{ print NF }' <<< "$scenarios")
minutes=$(((count * 2 * (rounds + 1) * (seconds + 1) + 59) / 60))
say "measuring $count scenarios in $rounds rounds of $seconds s, about $minutes minutes"
status=0
BALANCE_BEFORE=$PWD/target/regression/target/release/balance \
    timeout --kill-after=20 $((2 * minutes + 2))m \
    benchmark/compare.sh --only balance,before --scenarios "$scenarios" --rounds "$rounds" --duration "$seconds" \
    --results "$results" --name regression > /dev/null || status=$?
case $status in
    0 | 1 | 3) ;; # 1 and 3 are about targets that peers take part in
    124 | 137) say "not done after $((2 * minutes + 2)) minutes"; exit 2 ;;
    *) exit 2 ;;
esac

# Each side as a result of its own, under the same name.
python3 - "$results" << 'END'
import json, sys
folder = sys.argv[1]
with open(f"{folder}/regression.json") as file:
    whole = json.load(file)
for side, name in (("before", "regression-before"), ("balance", "regression-after")):
    scenarios = {key: {"samples": {"balance": each["samples"][side]}} for key, each in whole["scenarios"].items()}
    with open(f"{folder}/{name}.json", "w") as file:
        json.dump({"scenarios": scenarios}, file)
END
exec target/release/balance bench compare "$results/regression-before.json" "$results/regression-after.json" \
    --metric cpu_us_per_request --threshold "$threshold"
