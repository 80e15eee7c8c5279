#!/bin/bash
# cluster.sh - nodes of a real cluster on loopback: whatever is submitted, and whatever happens meanwhile, the bytes are those of
# `penstock run`.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 120000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
"$P" tls init authority --quiet
for name in n1 n2 n3 me; do "$P" tls issue authority $name --quiet; done
sets=(--set 'slices=60,300') windows=(--set 'windows=100,3600')
LOAD=$ROOT/debs14/load.yaml OUTLIERS=$ROOT/debs14/outliers.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --json >wanted.json 2>wanted.err
rows=$(python3 -c 'import json; print(json.load(open("wanted.json"))["rows"])')
"$P" run "$OUTLIERS" --input meters.csv --output wanted/outliers "${windows[@]}" --quiet
graphs_done() { for graph in "$@"; do await n1.err "graph $graph, incarnation [0-9]+: done"; done; }

# ---- over TLS ----
cluster n1 n2 n3
spec "the nodes are listed" 0 ls
for name in n1 n2 n3; do out "^$name at ${address[$name]}, 1 workers, alive"; done
out '^n1 .*, coordinator$'
expect "nothing about insecurity" test -z "$(grep insecure .out)"
spec "both queries are submitted" 0 submit "$LOAD" --input meters.csv "${sets[@]}"
out '^load: (running|done), incarnation 1$'
no_err
spec "at once" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}" --node "${address[n1]}" --tls authority/me
graphs_done load outliers
same load
same outliers
spec "done is what they are" 0 status
out '^load: done, incarnation 1$'
out '^outliers: done, incarnation 1$'
out '^  load_plug/0 on n[123]$'
expect "what has ended has no partitions" test "$(grep -c '^  plug_load/' .out)" -eq 0
spec "one graph as an object" 0 status load --json
json 'd["error"] is None and [g["graph"] for g in d["graphs"]] == ["load"] and d["insecure_loopback"] is False'
json "d['graphs'][0]['state'] == 'done' and d['graphs'][0]['rows'] == $rows and d['graphs'][0]['rows_out'] > 1000"
json 'sorted(p["operator"] for p in d["graphs"][0]["places"]) == ["load_house", "load_plug"]'
spec "a graph that has ended makes room" 0 submit "$LOAD" --input meters.csv "${sets[@]}" --set partitions=5 --json
json 'd["graph"] == "load" and d["incarnation"] == 2 and d["state"] in ("running", "done") and d["error"] is None'
graphs_done load
await n1.err 'graph load, incarnation 2: done'
same load
rm -rf n?/results/load
spec "another node reads the input, a command asks another node" 0 submit "$LOAD" --input meters.csv --source n3 "${sets[@]}" \
    --node unix:n2/admin.sock
out '^load: (running|done), incarnation 3$'
await n1.err 'graph load, incarnation 3: done'
same load
spec "who is asked makes no difference" 0 status load --node "${address[n3]}" --tls authority/me
out '^  load_plug/0 on n[123]$'
await n1.err 'graph load is submitted, its input is read by node n3'
cp .out status.n3
spec "the same from the coordinator" 0 status load
expect "the same words" cmp -s .out status.n3
spec "the nodes, asked elsewhere" 0 ls --node unix:n3/admin.sock --json
json '[n["node"] for n in d["nodes"]] == ["n1", "n2", "n3"] and [n["coordinator"] for n in d["nodes"]] == [True, False, False]'
down

# ---- without TLS ----
protect=(--insecure-loopback)
cluster n1 n2 n3
spec "status says that nothing is protected" 0 status
out 'this cluster runs with --insecure-loopback: its connections are not protected'
spec "so does ls" 0 ls --json
json 'd["insecure_loopback"] is True'
spec "both queries" 0 submit "$LOAD" --input meters.csv "${sets[@]}"
spec "at once" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}"
graphs_done load outliers
same load
same outliers
down
protect=()

# ---- while it runs: ways between the nodes that are slow, so that there is a while ----
slow=150000
slow_cluster() {
    way n1
    way n2 $slow
    way n3 $slow
    cluster n1 n2 n3
}
hurry() { kill -USR2 "${relay_pid[@]}"; }
submitted() {
    spec "$1" 0 submit "$LOAD" --input meters.csv "${sets[@]}"
    out '^load: running, incarnation 1$'
}

slow_cluster
submitted "a graph that takes its time"
spec "the same again is refused" 77 submit "$LOAD" --input meters.csv
err 'a graph `load` is running already: cancel it first'
spec "and as an object" 77 submit "$LOAD" --input meters.csv --json
json 'd["error"]["exit_code"] == 77 and "running already" in d["error"]["text"]'
spec "another one beside it" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}"
spec "is cancelled" 0 cancel outliers
out '^outliers: cancelled, incarnation 1$'
for name in n1 n2 n3; do
    await $name.err 'graph outliers, incarnation 1: its run was stopped here'
    not_there "$name/results/outliers/outliers.csv"
    not_there "$name/results/outliers/outliers.csv.part"
done
spec "twice is refused" 77 cancel outliers
err 'graph `outliers` is cancelled'
spec "as an object" 77 cancel outliers --json
json 'd["error"]["exit_code"] == 77'
spec "the first one goes on" 0 status load
out '^load: running, incarnation 1$'

spec_name="ways that are cut and made again"
for turn in 1 2 3; do
    kill -USR1 "${relay_pid[n2]}" "${relay_pid[n3]}"
    "$P" status load >.out 2>.err
    out '^load: running, incarnation 1$'
done
kill -USR1 "${relay_pid[@]}"
await n1.err 'node n2 is back' 1
if ss -K dport = "${address[n2]##*:}" >.ss 2>&1 && grep -q ":${address[n2]##*:} " .ss; then
    ss -K sport = "${address[n3]##*:}" >.ss 2>&1
else
    echo "no ss -K here: sockets are cut by relays alone"
fi
hurry
graphs_done load
expect "no other incarnation" test -z "$(grep 'graph load, incarnation 2' n1.err)"
same load
down

slow_cluster
submitted "a node that is killed"
kill_node n2 KILL
await n1.err 'node n2: its connection is lost'
await n1.err 'node n2 is taken for dead: it was silent for too long'
await n1.err 'graph load, incarnation 2: running'
spec "its partitions are elsewhere" 0 status load
expect "nothing on n2" test -z "$(grep 'on n2' .out)"
spec "it is dead" 0 ls
out '^n2 at .* dead$'
up n2 --workers 1 --join "$(reach n1)"
await n1.err 'node n2 has joined' 2
hurry
graphs_done load
await n1.err 'graph load, incarnation 2: done'
same load
down

slow_cluster
submitted "a node that is killed and is back before it is missed"
kill_node n3 KILL
up n3 --workers 1 --join "$(reach n1)"
await n1.err 'graph load, incarnation 2: running'
hurry
graphs_done load
same load
down

slow_cluster
submitted "a node that stands still, and wakes up when it was given up"
kill_node n2 STOP
await n1.err 'node n2 is taken for dead'
await n1.err 'graph load, incarnation 2: running'
kill_node n2 CONT
await n1.err 'node n2 has joined' 2
await n2.err 'graph load, incarnation 1: its run was stopped here'
hurry
graphs_done load
await n1.err 'graph load, incarnation 2: done'
expect "no third incarnation" test -z "$(grep 'graph load, incarnation 3' n1.err)"
same load
down

slow_cluster
submitted "the node with the sink of plugs is told to end"
kill_node n2 TERM
expect "exit code 0" test "$node_code" = 0
await n1.err 'node n2 is taken for dead: it ends, as it was told to'
await n1.err 'graph load, incarnation 2: running'
hurry
graphs_done load
same load
down

# ---- the coordinator ----
slow_cluster
submitted "the coordinator is killed"
spec "a graph that was cancelled before" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}"
"$P" cancel outliers >.out 2>.err
kill_node n1 KILL
await n2.err 'lost the connection to the coordinator'
for verb in status ls; do
    spec "nobody else can answer $verb: it passes" 75 $verb --node unix:n2/admin.sock
    err 'this node has no connection to the coordinator, n1 at'
done
up n1 --workers 1
await n1.err 'graph load, incarnation 1: waiting: .*, as the store has it'
await n1.err 'graph outliers, incarnation 1: cancelled, as the store has it'
await n1.err 'graph load, incarnation 2: running'
for name in n2 n3; do await $name.err 'graph load, incarnation 1: its run was stopped here'; done
spec "what was cancelled stays so" 0 status outliers
out '^outliers: cancelled, incarnation 1$'
hurry
graphs_done load
same load
spec "and is told to end" 0 status load
kill_node n1 TERM
expect "exit code 0" test "$node_code" = 0
up n1 --workers 1
await n1.err 'graph load, incarnation 2: done, as the store has it'
await n1.err 'node n3 (is back|has joined)' 2
spec "what is done is not done again" 0 status --json
json '{g["graph"]: (g["state"], g["incarnation"]) for g in d["graphs"]} == {"load": ("done", 2), "outliers": ("cancelled", 1)}'
json "[g['rows'] for g in d['graphs'] if g['graph'] == 'load'] == [$rows]"
spec "the next one has the next incarnation" 0 submit "$LOAD" --input meters.csv "${sets[@]}"
out 'incarnation 3$'
await n1.err 'graph load, incarnation 3: done'
same load
down

slow_cluster
submitted "the coordinator is killed, and another node with it"
kill_node n3 KILL
kill_node n1 KILL
up n1 --workers 1
await n1.err 'node n3 is taken for dead'
await n1.err 'graph load, incarnation 2: running'
hurry
graphs_done load
same load
down

finish
