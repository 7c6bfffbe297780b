#!/usr/bin/env bash
# Builds the binary that is to be shipped, guided by a profile: it is built once to count what it does, serves a mix of
# traffic on the loopback interface (training.yaml), and is built again with those counts. Costs three times the time
# of `cargo build --release`, and the result takes less CPU time for each request.
#
#   deploy/build.sh              the binary is target/pgo/balance
#
# Needs llvm-profdata of the LLVM that rustc has: `rustup component add llvm-tools`, or Debian's llvm-NN.
set -euo pipefail
cd "$(dirname "$0")/.."

out=$PWD/target/pgo
host=$(rustc -vV | sed -n 's/^host: //p')
llvm=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')

# The counts of one LLVM mean nothing to another one.
find_profdata() {
    local each
    for each in "$(rustc --print sysroot)/lib/rustlib/$host/bin/llvm-profdata" "llvm-profdata-$llvm" \
        "/usr/lib/llvm-$llvm/bin/llvm-profdata" llvm-profdata; do
        if "$each" merge --version 2> /dev/null | grep -q "version $llvm\."; then
            echo "$each"
            return
        fi
    done
    echo "llvm-profdata $llvm is missing: rustup component add llvm-tools, or apt-get install llvm-$llvm" >&2
    return 1
}

build() { # FOLDER FLAG
    # With --target the flag is not for build scripts and macros.
    RUSTFLAGS="${RUSTFLAGS:-} $2" CARGO_TARGET_DIR="$out/$1" cargo build --release --locked --target "$host" -p balance
}

started=()
stop_all() {
    [ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2> /dev/null || true
    wait "${started[@]}" || true
    started=()
}

start() { # ARGUMENTS
    "$balance" "$@" &
    started+=($!)
}

# Everything that is counted. The generator and the origins count too: they are in the same binary.
train() {
    local dir=$out/run web secure echo bulk
    # Below the ports that connections take.
    web=${FIRST_PORT:-21700} secure=$((web + 1)) echo=$((web + 2)) bulk=$((web + 3))
    local small_origin=$((web + 4)) large_origin=$((web + 5)) echo_origin=$((web + 6)) bulk_origin=$((web + 7))
    rm -rf "$dir"
    mkdir -p "$dir"
    "$balance" cert self-signed app.example --cert "$dir/cert.pem" --key "$dir/key.pem" > /dev/null
    sed -e "s|@DIR@|$dir|g; s|@WEB@|$web|g; s|@SECURE@|$secure|g; s|@ECHO@|$echo|g; s|@BULK@|$bulk|g" \
        -e "s|@SMALL_ORIGIN@|$small_origin|g; s|@LARGE_ORIGIN@|$large_origin|g" \
        -e "s|@ECHO_ORIGIN@|$echo_origin|g; s|@BULK_ORIGIN@|$bulk_origin|g; s|@METRICS@|$((web + 8))|g" \
        deploy/training.yaml > "$dir/balance.yaml"
    start bench backend --listen "127.0.0.1:$small_origin" --listen "127.0.0.2:$small_origin" --body 128
    start bench backend --listen "127.0.0.1:$large_origin" --body 65536
    start bench backend --mode echo --listen "127.0.0.1:$echo_origin"
    start bench backend --mode source --listen "127.0.0.1:$bulk_origin"
    start run -c "$dir/balance.yaml"
    local tries=0
    until "$balance" bench http "http://127.0.0.1:$web/api/" -H 'Host: app.example' --requests 1 --connections 1 \
        > /dev/null 2>&1; do
        [ $((tries += 1)) -lt 100 ] || { echo "the instrumented binary does not serve" >&2; return 1; }
        sleep 0.1
    done
    head -c 20000 /dev/zero | tr '\0' x > "$dir/upload"

    local plain="http://127.0.0.1:$web" tls="https://127.0.0.1:$secure"
    load "$plain/api/users/17?page=2" --requests 150000 --connections 64
    load "$plain/v2/items" --requests 20000 --connections 256
    load "$plain/page.html" --requests 10000 --connections 64
    load "$plain/upload" --requests 5000 --connections 16 --body "@$dir/upload"
    load "$plain/api/users/17" --requests 10000 --connections 64 --new-connections
    load "$plain/api/users/17" --requests 30000 --connections 16 --h2 --streams 8
    load "$tls/api/users/17" --requests 40000 --connections 64
    load "$tls/page.html" --requests 5000 --connections 16
    load "$tls/api/users/17" --requests 2000 --connections 16 --new-connections
    load "$tls/api/users/17" --requests 4000 --connections 16 --new-connections --resumption
    load "$tls/api/users/17?page=2" --requests 80000 --connections 32 --h2 --streams 8
    load "$tls/api/users/17" --requests 20000 --connections 64 --h2
    load "$tls/page.html" --requests 5000 --connections 16 --h2 --streams 4
    load "$tls/upload" --requests 3000 --connections 16 --h2 --body "@$dir/upload"
    "$balance" bench tcp --target "127.0.0.1:$echo" --connections 64 --size 64 --duration 3s > /dev/null
    "$balance" bench tcp --target "127.0.0.1:$echo" --connections 64 --size 64 --duration 2s --new-connections > /dev/null
    "$balance" bench tcp --target "127.0.0.1:$bulk" --connections 4 --bulk read --duration 1s > /dev/null
    # Each writes its counts when it ends.
    stop_all
}

load() { # URL OPTIONS
    local options=()
    [ "${1#https}" = "$1" ] || options=(--insecure --server-name app.example)
    "$balance" bench http "$@" "${options[@]}" -H 'Host: app.example' > /dev/null
}

profdata=$(find_profdata)
build training "-Cprofile-generate=$out/counts"
balance=$out/training/$host/release/balance
trap stop_all EXIT
rm -rf "$out/counts"
train
trap - EXIT
"$profdata" merge --output "$out/balance.profdata" "$out"/counts/*.profraw
build guided "-Cprofile-use=$out/balance.profdata"
cp "$out/guided/$host/release/balance" "$out/balance"
echo "target/pgo/balance"
