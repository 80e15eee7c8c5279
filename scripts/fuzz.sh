#!/usr/bin/env bash
# Runs every fuzz target for some seconds, new inputs kept beside the build; usage: scripts/fuzz.sh BUILD SECONDS
# Ends with "N passed, N failed", one for each target. What broke a target is left in BUILD/found/.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:?usage: scripts/fuzz.sh BUILD SECONDS}
seconds=${2:?usage: scripts/fuzz.sh BUILD SECONDS}
passed=0
failed=0
declare -A running=()
mkdir -p "$build/found" || exit 1

for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    target=$build/tests/fuzz/$name
    corpus=tests/fuzz/corpus/${name#fuzz_}
    if [ ! -x "$target" ] || [ ! -d "$corpus" ]; then
        echo "FAILED: $target and $corpus are to be there"
        failed=$((failed + 1))
        continue
    fi
    mkdir -p "$build/corpus/$name"
    "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="$build/found/$name-" "$build/corpus/$name" "$corpus" >"$build/$name.log" 2>&1 &
    running[$!]=$name
done
for process in "${!running[@]}"; do
    name=${running[$process]}
    if wait "$process"; then
        passed=$((passed + 1))
        echo "$name: $(grep -h 'stat::number_of_executed_units' "$build/$name.log" | tr -s ' ')"
    else
        failed=$((failed + 1))
        echo "FAILED: $name"
        tail -n 60 "$build/$name.log"
    fi
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
