#!/bin/bash
# bench.sh - the measurements that need nodes, as short as can be: each gives its figures, and none of them is absurd. How good they are is
# not judged here: that is for a machine that does nothing else.
# shellcheck source-path=SCRIPTDIR source=../cli/lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/../cli/lib.sh"

figures='import json, sys
for row in json.load(open(".bench", encoding="utf-8"))["benchmarks"][sys.argv[1]]:
    print(row["figure"], row["what"], sep="\t")'
bench() { # NAME flags...: its figures are in .figures, before what they are of
    "$ROOT/tools/bench/bench" "$@" --penstock "$P" --quick --json >.bench 2>.bench.err ||
        { echo "bench $1:" && tail -n 5 .bench.err; } >&2
    python3 -c "$figures" "$1" >.figures 2>>.bench.err
}
between() { # WHAT LOW HIGH: there is such a figure, and it is so
    expect "$1 between $2 and $3" awk -F '\t' -v what="$1" -v low="$2" -v high="$3" \
        'index($2, what) { found = $1 + 0 > low + 0 && $1 + 0 < high + 0 } END { exit !found }' .figures
}

spec_name="a move under a little load"
bench migration --state-bytes 4194304 --load 5
for mode in live stop-and-copy; do
    between "$mode, load 5 %, steady, p99" 0 5000
    for way in out in; do
        between "$mode, load 5 %, $way: p99 of the worst second" 0 30000
        between "$mode, load 5 %, $way: the copy" 0 100000
        between "$mode, load 5 %, $way: the move" 0 60
        between "$mode, load 5 %, $way: the operator that stays, p99" 0 30000
    done
done
spec_name="two nodes against one"
bench nodes --rows 50000
for query in "Query 1" "Query 2"; do
    between "$query, 2 nodes / 1 node" 0.01 100
    between "$query, with TLS / without" 0.01 100
done
spec_name="a node is killed"
bench recovery --state-bytes 4194304
between "results again after" 1 120
finish
