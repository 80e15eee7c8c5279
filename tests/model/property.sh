#!/usr/bin/env bash
# Random small dirty streams with random parameters: penstock must give the model's bytes, dead letters and counts.
#
#   tests/model/property.sh PENSTOCK MODEL SEEDS FIRST_SEED
#
# A seed gives the stream, the parameters and how penstock is to run (workers, partitions, sizes). Files of a seed that
# failed are kept, and named.
set -u
[ $# -eq 4 ] || { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
penstock=$(realpath "$1")
model=$(realpath "$2")
seeds=$3
first_seed=$4
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
seconds_max=${PROPERTY_SECONDS_MAX:-120} # of one run: a deadlock (which SIGTERM may not end) is a failure, not a wait
scratch=$(mktemp -d)
kept=$scratch/kept
passed=0
failed=0

# What a report in JSON says, the model's or penstock's: rows, late, malformed, first line numbers.
counts() {
    sed -nE 's/.*"rows":([0-9]+).*/rows \1/p' "$1"
    sed -nE 's/.*"(rows_)?late":([0-9]+).*/late \2/p' "$1"
    sed -nE 's/.*"(lines_)?malformed":([0-9]+).*/malformed \2/p' "$1"
    if grep -q '"malformed_lines"' "$1"; then
        sed -E 's/.*"malformed_lines":\[([0-9,]*)\].*/\1/; s/,/\n/g' "$1" | sed '/^$/d'
    else
        grep -oE '"line":[0-9]+' "$1" | cut -d : -f 2
    fi
}

# Runs one graph into folder run/$1, prints what is wrong.
run_graph() {
    local graph=$1 status name
    shift
    mkdir -p "$scratch/seed/$graph"
    timeout --kill-after=5 "$seconds_max" "$penstock" run "$root/debs14/$graph.yaml" --input "$scratch/seed/stream.csv" \
        --output "$scratch/seed/$graph" --dead-letter "$scratch/seed/$graph.dead" --json "$@" \
        >"$scratch/seed/$graph.json" 2>"$scratch/seed/$graph.stderr" </dev/null
    status=$?
    if [ $status -ne 0 ]; then
        echo "$graph: exit status $status $(tail -n 2 "$scratch/seed/$graph.stderr" | tr '\n' ' ');"
        return
    fi
    for name in $([ "$graph" = load ] && echo load_house.csv load_plug.csv || echo outliers.csv); do
        cmp -s "$scratch/seed/$graph/$name" "$scratch/seed/model/$name" || echo "$name differs;"
    done
    cmp -s "$scratch/seed/$graph.dead" "$scratch/seed/model.dead" || echo "$graph: the dead-letter file differs;"
    if [ "$(counts "$scratch/seed/$graph.json")" != "$(counts "$scratch/seed/model.json")" ]; then
        echo "$graph: the counts differ;"
    fi
}

check_seed() {
    local slices every windows workers partitions frame_rows channel_frames block_bytes wrong sizes
    rm -rf "$scratch/seed"
    mkdir -p "$scratch/seed"
    mv "$scratch/streams/$1.csv" "$scratch/seed/stream.csv"
    mv "$scratch/streams/$1.parameters" "$scratch/seed/parameters"
    # shellcheck disable=SC2046 # NAME=VALUE words
    local $(cat "$scratch/seed/parameters")
    "$model" both "$scratch/seed/stream.csv" "$scratch/seed/model" --slices "$slices" --every "$every" --windows "$windows" \
        --dead-letter "$scratch/seed/model.dead" >"$scratch/seed/model.json" || return 1
    sizes=(--workers "$workers" --set "partitions=$partitions" --frame-rows "$frame_rows" --channel-frames "$channel_frames"
        --block-bytes "$block_bytes")
    wrong=$(
        run_graph load --set "slices=$slices" --set "every=$every" "${sizes[@]}"
        run_graph outliers --set "windows=$windows" "${sizes[@]}"
    )
    [ -n "$wrong" ] || return 0
    echo "$(tr '\n' ' ' <<<"$wrong")"
    return 1
}

mkdir "$scratch/streams"
python3 "$here/random_stream.py" "$first_seed" "$seeds" "$scratch/streams" || exit 1
for ((seed = first_seed; seed < first_seed + seeds; seed++)); do
    if wrong=$(check_seed "$seed" 2>&1); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        mkdir -p "$kept"
        mv "$scratch/seed" "$kept/$seed"
        echo "FAILED seed $seed: $wrong(kept in $kept/$seed)"
    fi
done
if [ $failed -eq 0 ]; then
    rm -rf "$scratch"
    echo "ok random streams, seeds $first_seed..$((first_seed + seeds - 1))"
fi
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
