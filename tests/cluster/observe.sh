#!/bin/bash
# observe.sh - what a user sees of a running cluster: `penstock top`, the metrics of each node, and `penstock results`, which gives the bytes
# of `penstock run`, each once, whoever dies meanwhile.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 300000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
"$P" key init cluster.key --quiet
sets=(--set 'slices=60,300')
LOAD=$ROOT/debs14/load.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
protect=(--insecure-loopback)
mkfifo stream
metrics_of() { sed -n 's|.*metrics at http://\(.*\)/metrics$|\1|p' "$1.err" | tail -n 1; }
scraped() { # scraped NODE WANTED...: its metrics hold what the format says, and these samples
    local name=$1
    shift
    expect "metrics of $name" python3 "$HERE/check_metrics.py" "$(metrics_of "$name")" "$@"
}
rows='[0-9.]+[kM]?' # above zero, where it begins with a digit that is none
live() {            # `top` on a terminal
    python3 -c 'import pty, sys; pty.spawn(sys.argv[1:])' "$P" top --every 1 >live </dev/null &
    watcher=$!
}
follow() { # follow NODE: into `followed`, its end into `followed.end`
    : >followed
    { "$P" results load/load_plug --follow --node "unix:$1/admin.sock" >followed 2>followed.err; echo "exit $?" >followed.end; } &
    follower=$!
}
followed() { # to its end, each byte once
    wait $follower
    expect "it ends well" grep -qx 'exit 0' followed.end
    expect "the bytes of penstock run" cmp followed wanted/load/load_plug.csv
}

# ---- a graph without checkpoints ----
every_node=(--metrics 127.0.0.1:0)
cluster n1 n2 n3
spec "top of an idle cluster" 0 top
out '^n3 +alive'
for name in n1 n2 n3; do scraped $name "penstock_build_info{node=$name}==1" "penstock_coordinator_connected==1"; done
scraped n1 'penstock_coordinator==1' 'penstock_cluster_nodes{state=alive}==3'
python3 "$HERE/feed.py" meters.csv stream enough &
feeder=$!
spec "a graph that takes its time" 0 submit "$LOAD" --input stream "${sets[@]}"
live
await live "^ *meters +1 +[1-9]$rows +[1-9]$rows +"
await live '^ *plug_load +2 +[1-9].* +[0-9]+% +[0-9]+% +[0-9]+% +'
await live '^ *loads -> plug_load +[1-9]'
expect "few rows are enough for it" python3 "$HERE/small_top.py" "$P" top --every 1 --node "${PENSTOCK_NODE}"
expect "it is made anew in place" grep -q "$(printf '\033\\[H')" live
kill $watcher
wait $watcher 2>/dev/null
spec "top as a table" 0 top
out '^ +OPERATOR +PARTS +ROWS/S +OUT/S +BUSY +BLOCKED +IDLE +QUEUE +LAG +STATE$'
out '^ +loads .* in meters$'
expect "no escapes where no terminal is" test -z "$(grep "$(printf '\033')" .out)"
spec "and as an object, from another node" 0 top --json --node unix:n3/admin.sock
json '[n["state"] for n in d["nodes"]] == ["alive"] * 3 and all(n["memory_bytes"] > 1e6 for n in d["nodes"])'
json 'any(n["sent_bytes_per_s"] > 0 for n in d["nodes"]) and d["error"] is None and d["cut"] is False'
cp .out top.json
operator='{o["operator"]: o for o in d["graphs"][0]["operators"]}'
json "($operator)['plug_load']['rows_per_s'] > 0 and len(($operator)['plug_load']['partitions']) == 2"
json "($operator)['plug_load']['state_bytes'] > 0 and ($operator)['plug_load']['lag'] >= 0"
json "($operator)['loads']['inside'] == 'meters' and ($operator)['meters']['rows'] > ($operator)['loads']['rows_out_per_s']"
json 'all(abs(o["busy"] + o["blocked"] + o["idle"] - 1) < 0.01 for o in d["graphs"][0]["operators"] if o["partitions"] and not o["inside"])'
json '{(e["from"], e["to"]) for e in d["graphs"][0]["edges"]} == {("loads", "plug_load"), ("plug_load", "house_load"), ("plug_load", "load_plug"), ("house_load", "load_house")}'
json 'all(0 <= e["queue_fill"] <= 1 and e["bytes"] >= e["rows"] * 8 for e in d["graphs"][0]["edges"])'
scraped n1 'penstock_rows_total{graph=load,operator=meters}>=1000' 'penstock_run_incarnation{graph=load}==1' \
    'penstock_edge_rows_total{graph=load,from=loads,to=plug_load}>=500' 'penstock_link_sent_bytes_total>=1000' \
    'penstock_graph_state{graph=load,state=running}==1' 'penstock_metrics_truncated==0'
scraped n2 'penstock_rows_total{operator=plug_load}>=1' 'penstock_watermark_lag_event_time{operator=plug_load}>=0'

spec "nothing is committed yet" 0 results load/load_plug
err '^nothing is committed yet: a graph without checkpoints commits all when it has ended$'
no_out
follow n3
spec "a move of what is watched" 0 scale plug_load 3
spec_name="clients that no node should mind"
expect "each has its answer" python3 "$HERE/hostile_scrapes.py" "$(metrics_of n2)"
scraped n2 'penstock_build_info{node=n2}==1'
expect "no other incarnation" test -z "$(grep 'incarnation 2' n1.err)"

touch enough
await n1.err 'graph load, incarnation 1: done'
wait $feeder
followed
for file in load_plug load_house; do
    spec "what $file has written" 0 results "load/$file" --node unix:n2/admin.sock
    expect "the bytes of penstock run" cmp .out "wanted/load/$file.csv"
done
spec_shell "onto a full disk" 74 '"$P" results load/load_plug >/dev/full'
err '^penstock: error: standard output could not be written: No space left on device$'
spec "by the name of its file" 0 results load/load_plug.csv
expect "the same" cmp .out wanted/load/load_plug.csv
spec "counted" 0 results load/load_plug --json
json "d['bytes'] == $(stat -c %s wanted/load/load_plug.csv) and d['ended'] is True and d['error'] is None"
spec "a sink that there is not" 77 results load/plug_load
err 'graph `load` has no sink `plug_load`'
spec "a graph that there is not" 77 results lod/load_plug --json
json 'd["error"]["exit_code"] == 77 and "there is no graph" in d["error"]["text"]'
spec "no sink at all" 2 results load
err '`load` is no sink: GRAPH/SINK is wanted'
rm -rf n?/results/load
spec "what was written is gone" 65 results load/load_plug
err 'graph `load`: what it has written cannot be read on node n[123]'
down

spec "metrics where others would reach them" 77 node --name n4 --dir n4 --listen 127.0.0.1:0 --insecure-loopback --metrics 0.0.0.0:0
err '--metrics 0.0.0.0:0 is no loopback address'
spec "allowed, of nothing" 2 node --name n4 --dir n4 --listen 127.0.0.1:0 --insecure-loopback --metrics-anyone
every_node=(--metrics 0.0.0.0:0 --metrics-anyone)
up n4 --workers 1
scraped n4 'penstock_build_info{node=n4}==1'
down

# ---- with checkpoints, while nodes die ----
# Cuts travel behind what stands in the connections already: there has to be much more than these hold.
"$P" gen --houses 4 --plugs 60 --rows 3000000 --seed 6 --output long.csv --quiet
"$P" run "$LOAD" --input long.csv --output wanted/load "${sets[@]}" --quiet
slow=1500000
every_node=(--checkpoints shared --key cluster.key --every-seconds 1)
way n1
way n2 $slow
way n3 $slow
cluster n1 n2 n3
spec "a graph that can go on" 0 submit "$LOAD" --input long.csv "${sets[@]}"
spec "before the first checkpoint, or behind it" 0 results load/load_plug
follow n2
await n1.err 'checkpoint [0-9a-f]+ is complete'
spec "what is committed so far" 0 results load/load_plug --node unix:n3/admin.sock
expect "is how it begins" cmp -n "$(stat -c %s .out)" .out wanted/load/load_plug.csv
expect "and not all of it" test "$(stat -c %s .out)" -lt "$(stat -c %s wanted/load/load_plug.csv)"
kill_node n3 KILL
await n1.err 'graph load, incarnation 2: running'
spec "a dead node has no figures" 0 top --json
json '[(n["state"], n["memory_bytes"], n["sent_bytes_per_s"], n["received_bytes_per_s"]) for n in d["nodes"] if n["node"] == "n3"] == [("dead", None, None, None)]'
json 'all(p["node"] != "n3" for g in d["graphs"] for o in g["operators"] for p in o["partitions"])'
spec "nor in the table" 0 top
out '^n3 +dead +- +- +- +-$'
up n3 --workers 1 --join "$(reach n1)"
await n1.err 'node n3 has joined' 2
kill_node n2 KILL
await n1.err 'graph load, incarnation [34]: running'
up n2 --workers 1 --join "$(reach n1)"
await n1.err 'node n2 has joined' 2
kill_node n1 KILL
up n1 --workers 1
await n1.err 'graph load, incarnation [4-9]: running'
kill -USR2 "${relay_pid[@]}"
await n1.err 'graph load, incarnation [0-9]+: done'
followed
spec "and all at once" 0 results load/load_plug
expect "the bytes of penstock run" cmp .out wanted/load/load_plug.csv
down
finish
