#!/usr/bin/env bash
# Both queries on four workers under the thread sanitizer, against the release build's bytes.
# usage: scripts/check_threads.sh RELEASE_PENSTOCK TSAN_PENSTOCK
set -euo pipefail
cd "$(dirname "$0")/.."
release=${1:?usage: scripts/check_threads.sh RELEASE_PENSTOCK TSAN_PENSTOCK}
tsan=${2:?usage: scripts/check_threads.sh RELEASE_PENSTOCK TSAN_PENSTOCK}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$release" gen --rows 300000 --seed 11 --output "$work/meters.csv" --quiet
for query in load outliers; do
    "$release" run "debs14/$query.yaml" --input "$work/meters.csv" --output "$work/expected" --workers 1 --quiet
    for partitions in 1 7; do
        echo "== $query, 4 workers, $partitions partitions"
        setarch "$(uname -m)" -R "$tsan" run "debs14/$query.yaml" --input "$work/meters.csv" --output "$work/seen" \
            --workers 4 --set "partitions=$partitions" --quiet
        for file in "$work"/seen/*; do
            cmp "$file" "$work/expected/${file##*/}"
        done
        rm -r "$work/seen"
    done
done
