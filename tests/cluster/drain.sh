#!/bin/bash
# drain.sh - nodes that are drained, or told to end, while a graph runs: what they have goes elsewhere, no graph is started again, and the
# bytes are those of `penstock run`. What a command has said of a node holds whoever is killed.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 800000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300' --set partitions=4)
LOAD=$ROOT/debs14/load.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
protect=(--insecure-loopback)

# The stream lasts as long as it is wanted to: then its rest comes at once.
mkfifo stream
# Its graph is gone.
feed_no_more() { kill -9 $feeder && wait $feeder; } >.fed 2>&1
graph_ends() {
    touch enough
    await n1.err "graph load, incarnation [0-9]+: done"
    wait $feeder
    same load
}
on() { "$P" status load >.out 2>.err; grep -cE "^  (plug|house)_load/.* on $1, " .out; }
incarnation() {
    "$P" status load >.out 2>.err
    out "^load: running, incarnation $1\$"
}
# In milliseconds, what follows.
took() {
    local begun
    begun=$(date +%s%N)
    "$@"
    milliseconds=$((($(date +%s%N) - begun) / 1000000))
}
wait_gone() {
    local name
    for name in "$@"; do
        wait "${pid[$name]}" && node_code=0 || node_code=$?
        unset "pid[$name]"
        expect "exit code 0 of $name" test "$node_code" = 0
    done
}
# n1 has the input; sinks are on n2 and n3, as they get nothing else; n4 has partitions alone.
spread() {
    feed
    spec "Query 1" 0 submit "$LOAD" --input stream "${sets[@]}"
    "$P" status load >.out 2>.err
    expect "neither input nor sink on n4" test "$(grep -cE '^  (meters|load_plug|load_house)/.* on n4$' .out)" -eq 0
    expect "n4 has partitions" test "$(on n4)" -ge 1
}

# ---- a node is told to end, and comes back ----
cluster n1 n2 n3 n4
spread
spec_name="n4 is told to end"
kill_node n4 TERM
expect "exit code 0" test "$node_code" = 0
await n4.err 'it was told to end: what it has is to go elsewhere first, for which there are 30 s'
await n1.err 'graph load, incarnation 1: goes on without node n4, which has nothing of it'
await n1.err 'node n4 is taken for dead: it ends, as it was told to'
incarnation 1
expect "nothing on n4" test "$(on n4)" -eq 0
up n4 --workers 1 --join "$(reach n1)"
await n1.err 'node n4 has joined' 2
spec "it is a node like any other" 0 ls --json
json 'all(not n["draining"] and not n["leaving"] for n in d["nodes"])'
spec "it gets its part" 0 rebalance
expect "n4 has partitions" test "$(on n4)" -ge 1
incarnation 1

# ---- drained, and killed ----
spec "the node is drained" 0 drain n4
out '^[1-9][0-9]* moves?, '
expect "nothing on n4" test "$(on n4)" -eq 0
spec "given again" 0 drain n4 --json
json 'd["moves"] == 0 and d["node"] == "n4" and d["draining"] is True and d["error"] is None'
spec "and again" 0 drain n4
out '^node `n4` is drained already, and has nothing: nothing to do$'
spec "it is shown" 0 ls
out '^n4 at .*, alive, draining$'
spec "and so it is as an object" 0 ls --json
json '[n["node"] for n in d["nodes"] if n["draining"]] == ["n4"]'
spec "by status, too" 0 status
out '^n4 is draining: it gets nothing until `penstock drain n4 --undo`$'
spec "and as an object" 0 status --json
json 'd["draining"] == ["n4"]'
kill_node n4 KILL
await n1.err 'node n4 is taken for dead: it was silent for too long'
incarnation 1
up n4 --workers 1 --join "$(reach n1)"
await n1.err 'node n4 has joined' 3
spec "it has come back, and gets nothing" 0 rebalance
expect "nothing on n4" test "$(on n4)" -eq 0
spec "nor by move" 77 move house_load/0 n4
err 'node `n4` is being drained: it gets nothing any more'
spec "nor by scale" 0 scale plug_load 7
expect "nothing on n4" test "$(on n4)" -eq 0
spec "nor an input" 77 submit "$LOAD" --input stream --source n4
err 'node `n4`, which would read the input, is being drained'
incarnation 1
graph_ends

# ---- what is drained stays so ----
spec "a graph on what is left" 0 submit "$LOAD" --input meters.csv "${sets[@]}"
expect "nothing on n4" test "$(on n4)" -eq 0
await n1.err 'graph load, incarnation 2: done'
kill_node n1 KILL
up n1 --workers 1
await n1.err 'node n4 (is back|has joined)' 4
spec "the coordinator was killed, and knows it" 0 ls
out '^n4 at .*, alive, draining$'
spec "it is taken back" 0 drain n4 --undo
out '^node `n4` gets partitions again$'
spec "twice, it is so already" 0 drain n4 --undo
out '^node `n4` is not being drained: nothing to do$'
spec "and as an object" 0 drain n4 --undo --json
json 'd["node"] == "n4" and d["draining"] is False and d["error"] is None'
spec "nor of a node that there is not" 77 drain n9 --undo
err 'there is no node `n9`'
kill_node n1 KILL
up n1 --workers 1
await n1.err 'node n4 (is back|has joined)' 5
spec "nor does it come back" 0 ls --json
json 'not any(n["draining"] for n in d["nodes"])'
feed
spec "and gets its part again" 0 submit "$LOAD" --input stream "${sets[@]}"
expect "n4 has partitions" test "$(on n4)" -ge 1
down
feed_no_more

# ---- the coordinator drains itself ----
cluster n1 n2 n3
feed
spec "n1 gets nothing" 0 drain n1
spec "its own input neither" 77 submit "$LOAD" --input stream "${sets[@]}"
err 'node `n1`, which would read the input, is being drained: say with --source which node is to read it'
spec "all is elsewhere" 0 submit "$LOAD" --input stream --source n2 "${sets[@]}"
spec "n1 gets some after all" 0 drain n1 --undo
spec "a part of it" 0 rebalance
expect "n1 has partitions" test "$(on n1)" -ge 1
kill_node n1 TERM
expect "exit code 0" test "$node_code" = 0
await n1.err 'graph load, incarnation 1: goes on without node n1, which has nothing of it'
up n1 --workers 1
await n1.err 'graph load, incarnation 1: running'
incarnation 1
graph_ends
down

# ---- bounds ----
spec "no time" 2 node --name n9 --dir n9 --listen 127.0.0.1:0 --insecure-loopback --drain-timeout never
cluster n1 n2 n3
spec_name="nothing runs: all are told to end"
stop_all() {
    kill -TERM "${pid[@]}"
    wait_gone "${!pid[@]}"
}
took stop_all
expect "at once, and not after $milliseconds ms" test $milliseconds -lt 1500
cluster n1 n2 n3 n4
spread
spec_name="a graph runs: all are told to end"
took stop_all
expect "soon, and not after $milliseconds ms" test $milliseconds -lt 4000
expect "no node has waited for its time" test -z "$(grep 'its time to bring elsewhere' n?.err)"
feed_no_more

every_node=(--drain-timeout 1)
cluster n1 n2 n3 n4
spread
await n1.err 'graph load, incarnation 1: running'
kill -STOP $feeder # no epoch ends, nothing can move
spec_name="a stream that stands still, and a second to wait"
kill_node n4 TERM
expect "exit code 0" test "$node_code" = 0
await n4.err 'its time to bring elsewhere what it has is over'
await n1.err 'graph load, incarnation 2: starting' # and no more than that: what was read of the pipe is gone
down
feed_no_more

every_node=(--drain-timeout 300)
cluster n1 n2 n3 n4
spread
kill -STOP $feeder
spec_name="a second signal"
kill -TERM "${pid[n4]}"
await n1.err 'node n4 was told to end: what it has is to go elsewhere first'
"$P" ls >.out 2>.err
out '^n4 at .*, alive, leaving$'
spec "it gets nothing meanwhile" 77 move house_load/0 n4
kill_node n4 INT
expect "exit code 0" test "$node_code" = 0
await n1.err 'node n4 is taken for dead: it ends, as it was told to'
down
feed_no_more

every_node=(--drain-timeout 0)
cluster n1 n2 n3 n4
spread
spec_name="no time at all"
kill_node n4 TERM
expect "exit code 0" test "$node_code" = 0
expect "nothing was asked" test -z "$(grep 'was told to end: what it has' n1.err n4.err)"
down
feed_no_more
finish
