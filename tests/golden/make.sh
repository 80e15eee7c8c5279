#!/usr/bin/env bash
# Computes the digests of streams.txt anew, from the flags and parameters that stand in it.
#
#   tests/golden/make.sh PENSTOCK MODEL
#
# The outputs come from the brute-force model alone; of penstock only `gen` is used.
set -euo pipefail
[ $# -eq 2 ] || { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
penstock=$1
model=$2
streams=$(cd "$(dirname "$0")" && pwd)/streams.txt
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

digest() { sha256sum <"$1" | cut -d ' ' -f 1; }

name='' gen='' set=''
finish_stream() {
    [ -n "$name" ] || return 0
    local flags=() word counts
    for word in $set; do
        flags+=("--${word%%=*}" "${word#*=}")
    done
    # shellcheck disable=SC2086 # the flags are words
    "$penstock" gen $gen >"$scratch/input.csv"
    counts=$("$model" both "$scratch/input.csv" "$scratch" --dead-letter "$scratch/dead" ${flags[@]+"${flags[@]}"})
    echo "stream $name"
    echo "gen $gen"
    [ -z "$set" ] || echo "set $set"
    echo "input $(digest "$scratch/input.csv")"
    echo "counts $(sed -E 's/[{}"]//g; s/,malformed_lines.*//; s/:/=/g; s/,/ /g' <<<"$counts")"
    for word in load_plug.csv load_house.csv outliers.csv; do
        echo "output $word $(digest "$scratch/$word")"
    done
    [ ! -s "$scratch/dead" ] || echo "dead $(digest "$scratch/dead")"
    echo "  $name: $counts, $(wc -l <"$scratch/outliers.csv") lines of outliers" >&2
    name=''
}

while read -r word rest; do
    case $word in
    '#'*) echo "$word $rest" ;;
    stream)
        finish_stream
        echo
        name=$rest gen='' set=''
        ;;
    gen) gen=$rest ;;
    set) set=$rest ;;
    esac
done <"$streams" >"$scratch/streams.txt" && finish_stream >>"$scratch/streams.txt"
mv "$scratch/streams.txt" "$streams"
