#!/usr/bin/env bash
# Rules of STYLE.md that no lint holds. Prints every breach, and fails if there is one.
set -euo pipefail
cd "$(dirname "$0")/.."

breaches=0
breach() {
    echo "style: $*" >&2
    breaches=$((breaches + 1))
}

mapfile -t sources < <(git ls-files --cached --others --exclude-standard -- '*.rs' | sort -u)
for file in "${sources[@]}"; do
    [ -f "$file" ] || continue
    case "$file" in
        */mod.rs | */utils.rs | */common.rs | */helpers.rs | */misc.rs) breach "$file: a file is named after one noun (1)" ;;
    esac
    lines=$(wc -l < "$file")
    case "$file" in
        */tests/* | */tests.rs) limit=1000 ;;
        *)
            limit=600
            head -n 1 "$file" | grep -q '^//!' || breach "$file: does not begin with //! (12)"
            ;;
    esac
    [ "$lines" -le "$limit" ] || breach "$file: $lines lines, at most $limit (2)"
done

# Prints what matches, as breaches.
refuse() {
    local why=$1 pattern=$2
    shift 2
    local found
    found=$(grep -nE "$pattern" "$@" /dev/null || true)
    [ -z "$found" ] || breach "$why"$'\n'"$found"
}

refuse "unfinished work (15)" '\bTODO\b|\bFIXME\b|todo!\(|unimplemented!\(' "${sources[@]}"
mapfile -t safe < <(printf '%s\n' "${sources[@]}" | grep -Ev '^crates/balance-net/src/sys(\.rs|/.*)$')
refuse "unsafe outside balance-net/src/sys.rs and below it (ARCHITECTURE, invariant 9)" '\bunsafe( \{|[ ]+(fn|impl|extern|trait)\b)' "${safe[@]}"

lines=$(wc -l < ARCHITECTURE.md)
[ "$lines" -le 400 ] || breach "ARCHITECTURE.md: $lines lines, at most 400 (23)"

# Documents that name the code and the test behind each claim.
for document in docs/threat-model.md docs/fuzzing.md; do
    while IFS= read -r name; do
        case "$name" in
            */*.rs | */src/*) [ -e "crates/$name" ] || [ -e "$name" ] || breach "$document: there is no $name" ;;
            *_*) git grep -qw "$name" -- '*.rs' || breach "$document: no source has the name $name" ;;
        esac
    done < <(grep -oE '`[a-z0-9_/.-]+`' "$document" | tr -d '`' | sort -u)
done

while IFS= read -r script; do
    bash -n "$script" || breach "$script: not valid"
done < <(git ls-files --cached --others --exclude-standard -- '*.sh' .ci/run ci/long)

[ "$breaches" -eq 0 ] || { echo "style: $breaches breaches" >&2; exit 1; }
echo "style: ${#sources[@]} source files, no breach"
