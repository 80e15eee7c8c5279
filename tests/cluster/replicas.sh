#!/bin/bash
# replicas.sh - a node is killed, and the replicas of what it had go on: no graph is started again, and the bytes are those of `penstock run`.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 800000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300' --set partitions=3)
sed -E 's/^    type: (plug|house)_load$/&\n    replicas: 2/' "$ROOT/debs14/load.yaml" >load.yaml
"$P" run load.yaml --input meters.csv --output wanted/load "${sets[@]}" --quiet
protect=(--insecure-loopback)
mkfifo stream
graph_ends() {
    touch enough
    await n1.err "graph load, incarnation [0-9]+: done"
    wait "${feeder:?}"
    same load
}
incarnation() {
    "$P" status load >.out 2>.err
    out "^load: running, incarnation $1\$"
}

# n1 has the input; sinks are on n2 and n3, as they get nothing else; n4 has partitions and replicas alone.
cluster n1 n2 n3 n4
feed
spec "Query 1, two replicas of each partition" 0 submit load.yaml --input stream "${sets[@]}"
"$P" status load >.out 2>.err
out '^  plug_load/[0-9]+ on n[1-4], replica of plug_load/[0-9]+$'
expect "neither input nor sink on n4" test "$(grep -cE '^  (meters|load_plug|load_house)/.* on n4$' .out)" -eq 0
expect "n4 has something" test "$(grep -cE ' on n4' .out)" -ge 1
expect "six partitions have a replica" test "$(grep -c 'replica of' .out)" -eq 6
spec "as an object" 0 status load --json
json 'sum(p["replica_of"] is not None for g in d["graphs"] for p in g["places"]) == 6'

# ---- bad input ----
spec "what has replicas does not move" 77 scale plug_load 5
err 'operator `plug_load` has `replicas`, or reads from one that has: its partitions stay where they are'
spec "by itself neither" 77 move house_load/0 n4

# ---- a node dies ----
spec_name="n4 is killed"
kill_node n4 KILL
await n1.err 'graph load, incarnation 1: goes on without node n4: replicas have what it had'
incarnation 1
expect "nothing on n4" test "$(grep -c ' on n4' .out)" -eq 0
graph_ends
incarnation_done=$(grep -c 'graph load, incarnation 2' n1.err || true)
expect "it was not started again" test "$incarnation_done" -eq 0
down

finish
