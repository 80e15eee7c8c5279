#!/bin/bash
# replicas.sh - a node is killed, and the replicas of what it had go on: no graph is started again, and the bytes are those of `penstock run`.
#   usage: replicas.sh PENSTOCK SOURCE_DIR [enclaves]: partitions and replicas in enclaves, on nodes with certificates; with checkpoints, too
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 800000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300' --set partitions=3)
"$P" run "$ROOT/debs14/load.yaml" --input meters.csv --output wanted/load "${sets[@]}" --quiet
inside=${3:-}
if [ -n "$inside" ] && [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi
sed -E "s/^    type: (plug|house)_load\$/&\n    replicas: 2${inside:+\n    enclave: true\n    epc: 8MiB}/" "$ROOT/debs14/load.yaml" >load.yaml
if [ -n "$inside" ]; then
    "$P" tls init authority --quiet
    for name in n1 n2 n3 n4; do "$P" tls issue authority $name --quiet; done
else
    protect=(--insecure-loopback)
fi
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
of_n4=$(grep -c ' on n4' .out)
expect "n4 has something" test "$of_n4" -ge 1
expect "six partitions have a replica" test "$(grep -c 'replica of' .out)" -eq 6
spec "as an object" 0 status load --json
json 'sum(p["replica_of"] is not None for g in d["graphs"] for p in g["places"]) == 6'

# ---- moves: the copy of a partition that gives a part goes, and comes again ----
spec "an operator with replicas is scaled" 0 scale plug_load 4
out 'rows lost 0'
copies_are() {
    copied=0
    until [[ $copied -eq $1 ]]; do
        await n1.err 'graph load, move [0-9]+: COMMITTED -> DONE' "$((++awaited))"
        "$P" status load >.out 2>.err
        copied=$(grep -c 'replica of' .out)
        [[ $awaited -lt 40 ]] || break
    done
    expect "$1 partitions have a replica" test "$copied" -eq "$1"
}
awaited=0
spec_name="four partitions have replicas again, and three"
copies_are 7
incarnation 1

# ---- a whole partition takes its replica along ----
read -r partition owner <<<"$(sed -nE 's/^  (plug_load\/[0-9]+) on (n[1-4]), [0-9]+ buckets$/\1 \2/p' .out | head -n 1)"
replica=$(sed -nE "s|^  plug_load/[0-9]+ on (n[1-4]), replica of $partition,.*|\1|p" .out)
for to in n1 n2 n3 n4; do [[ $to == "$owner" || $to == "$replica" ]] || break; done
spec "a partition moves to a node that has not its replica" 0 move "$partition" "$to"
out 'rows lost 0'
"$P" status load >.out 2>.err
expect "7 partitions have a replica at once" test "$(grep -c 'replica of' .out)" -eq 7
incarnation 1
awaited=$(grep -cE 'graph load, move [0-9]+: COMMITTED -> DONE' n1.err)
of_n4=$(grep -c ' on n4' .out)
expect "n4 has something" test "$of_n4" -ge 1

# ---- a node dies ----
spec_name="n4 is killed"
kill_node n4 KILL
await n1.err 'graph load, incarnation 1: goes on without node n4: replicas have what it had'
incarnation 1
expect "nothing on n4" test "$(grep -c ' on n4' .out)" -eq 0

spec_name="what was n4's has replicas on the other nodes, while the graph runs"
copies_are 7
incarnation 1
expect "nothing on n4" test "$(grep -c ' on n4' .out)" -eq 0
spec "they are moves in which nothing is handed over" 0 migration ls --json
json "sum(m['copies'] and m['step'] == 'DONE' for m in d['moves']) >= $of_n4"
spec "in words" 0 migration ls
out '^load/[0-9]+: (plug|house)_load/[0-9]+ on n[1-3] copied as [0-9]+ on n[1-3], [0-9]+ buckets, DONE$'
graph_ends
incarnation_done=$(grep -c 'graph load, incarnation 2' n1.err || true)
expect "it was not started again" test "$incarnation_done" -eq 0
down
if [ -z "$inside" ]; then
    cluster n1
    spec "on one node" 0 submit load.yaml --listen "${sets[@]}"
    await n1.err 'graph load, incarnation 1: running'
    spec "a partition that has no replica says so" 0 status load
    expect "six of them" test "$(grep -cE '^  (plug|house)_load/[0-9] on n1, [0-9]+ buckets, without a replica$' .out)" -eq 6
    spec "as an object" 0 status load --json
    json 'sum(p["alone"] for g in d["graphs"] for p in g["places"]) == 6'
    down
    finish
    exit
fi

# ---- with checkpoints: workers of replicas get the same images, and of one that is lost the other one goes on ----
"$P" key init k.key --quiet
every_node=(--checkpoints shared --key k.key --every-seconds 1 --enclave-patience 1)
cluster n1 n2 n3 n4
spec "once more, with checkpoints" 0 submit load.yaml --listen "${sets[@]}"
await n1.err 'graph load, incarnation 1: running'
"$P" replay meters.csv --to load/meters --speed 240x --id one >/dev/null 2>player.err &
player=$!
spec_name="a worker of a replica is killed"
until find shared/load/nodes -name '*.manifest' 2>/dev/null | grep -q .; do kill -0 $player || break; done
read -r worker _ <<<"$(cat /proc/"${pid[n4]}"/task/*/children)"
kill -9 "$worker"
await n1.err 'graph load: node n4: .*has been ended by signal 9 .*: its replica takes over'
await n1.err 'graph load, incarnation 1: goes on without (plug|house)_load/[0-9]+ on node n4: its replica has what it had'
awaited=0
copies_are 6
spec_name="a worker hangs on n1, which reads the input"
read -r worker _ <<<"$(cat /proc/"${pid[n1]}"/task/*/children)"
kill -STOP "$worker"
await n1.err 'graph load: node n1: .*has not moved for 1 s: its replica takes over'
await n1.err 'graph load, incarnation 1: goes on without (plug|house)_load/[0-9]+ on node n1: its replica has what it had'
copies_are 6
spec_name="n4 is killed"
kill_node n4 KILL
await n1.err 'graph load, incarnation 1: goes on without node n4: replicas have what it had'
copies_are 6
expect "it was not started again" test "$(grep -c 'graph load, incarnation 2' n1.err)" -eq 0
spec_name="n2 is killed, which has a sink"
kill_node n2 KILL
await n1.err 'graph load, incarnation 2: running'
expect "the stream was on its way all the time" kill -0 $player
kill -INT $player
wait $player
spec "the rest of it" 0 replay meters.csv --to load/meters --speed max --id one
await n1.err 'graph load, incarnation 2: done'
shared_same load
down

finish
