#!/bin/bash
# moves.sh - partitions of a graph are divided and moved while its stream runs, by `penstock scale` and `penstock move`: the bytes are those
# of `penstock run`, and what cannot be gets a sentence.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 300000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300') windows=(--set 'windows=100,3600')
LOAD=$ROOT/debs14/load.yaml OUTLIERS=$ROOT/debs14/outliers.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
"$P" run "$OUTLIERS" --input meters.csv --output wanted/outliers "${windows[@]}" --quiet
protect=(--insecure-loopback)

# The stream lasts as long as it is wanted to: then its rest comes at once.
mkfifo stream
feed() {
    rm -f enough
    python3 "$HERE/feed.py" meters.csv stream enough &
    feeder=$!
}

cluster n1 n2 n3
spec "nothing runs yet" 77 scale plug_load 4
err 'no graph that runs has an operator `plug_load`'
feed
spec "Query 1" 0 submit "$LOAD" --input stream "${sets[@]}"
spec "two partitions become four" 0 scale plug_load 4
out '^2 moves, 32 buckets, [0-9.]+ s$'
no_err
spec "status shows them" 0 status load
out '^load: running, incarnation 1$'
expect "four partitions" test "$(grep -c '^  plug_load/' .out)" -eq 4
expect "of sixteen buckets each" test "$(grep -c '^  plug_load/.*, 16 buckets$' .out)" -eq 4
from=$(sed -n 's|^  \(plug_load/[0-9]*\) on n[23], .*|\1|p' .out | head -n 1)
spec "one of them goes to the first node" 0 move "$from" n1 --json
json 'd["moves"] == 1 and d["buckets"] == 16 and d["seconds"] > 0 and d["error"] is None'
spec "it is there, under another number" 0 status load --json
json 'sum(p["buckets"] for p in d["graphs"][0]["places"] if p["operator"] == "plug_load") == 64'
json "\"$from\".split('/')[1] not in [str(p[\"partition\"]) for p in d['graphs'][0]['places'] if p['operator'] == 'plug_load']"

# ---- what cannot be ----
spec "where it was it is no more" 77 move "$from" n2
err "operator \`plug_load\` has no partition"
spec "to none" 77 scale plug_load 0
err 'operator `plug_load` can have 1 to 64 partitions, as it has so many buckets'
spec "to more than there are buckets" 77 scale plug_load 65
spec "to as many as there are" 77 scale plug_load 4
err 'has 4 partitions already'
spec "to fewer" 77 scale plug_load 2
err 'to have fewer of them is not possible yet'
spec "to a word" 78 scale plug_load many
err '`many` is no number of partitions'
spec "an operator that there is not" 77 scale plugload 4
err 'no graph that runs has an operator `plugload`'
spec "a sink" 77 scale load_plug 2
err 'operator `load_plug` has no buckets that could move'
spec "a partition without a number" 78 move plug_load n2
err '`plug_load` is no partition: OPERATOR/NUMBER is wanted'
spec "a node that there is not" 77 move house_load/0 n9
err 'the graph does not run on a node `n9`'
"$P" status load --json >.status 2>/dev/null
on=$(python3 -c 'import json; print([p["node"] for p in json.load(open(".status"))["graphs"][0]["places"] if p["operator"] == "house_load" and p["partition"] == 0][0])')
spec "where it is already" 77 move house_load/0 "$on"
err "house_load/0 is on node $on already"
spec "the other operator" 0 scale house_load 3
out '^1 moves, '
touch enough
await n1.err 'graph load, incarnation 1: done'
wait $feeder
same load
spec "after the end" 77 scale plug_load 8
down

# ---- the other query; a node dies where partitions have moved: the graph is started again, without them ----
cluster n1 n2 n3
feed
spec "Query 2" 0 submit "$OUTLIERS" --input stream "${windows[@]}"
spec "its plugs" 0 scale plug_above 5
out '^3 moves, '
spec "its houses" 0 scale house_share 3
touch enough
await n1.err 'graph outliers, incarnation 1: done'
wait $feeder
same outliers
rm -rf n?/results
spec "from a file, which can be read again" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}"
"$P" scale plug_above 4 >.scaled 2>&1 & # it may come in time, or not
scaling=$!
kill_node n3 KILL
await n1.err 'graph outliers, incarnation [0-9]+: done' 2
wait $scaling
rm -rf n3
same outliers
down
finish
