#!/bin/bash
# savepoint.sh - a graph is stopped in the middle of its stream by `penstock stop --savepoint`, and goes on by `penstock submit --from` on
# other nodes, with other partitions: the bytes of both together are those of `penstock run`, and what cannot be gets a sentence.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 300000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300') windows=(--set 'windows=100,3600')
LOAD=$ROOT/debs14/load.yaml OUTLIERS=$ROOT/debs14/outliers.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
"$P" run "$OUTLIERS" --input meters.csv --output wanted/outliers "${windows[@]}" --quiet
"$P" key init points.key --quiet
"$P" key init other.key --quiet
protect=(--insecure-loopback)
# No checkpoint is due by itself: the one that there is was asked for.
every_node=(--checkpoints shared --key points.key --every-seconds 3600)

mkfifo stream
# Something of it was written, and not all.
amid() {
    local bytes
    bytes=$(stat -c %s "shared/$1/outputs/$2")
    expect "a part of $2 in the savepoint" cmp -n "$bytes" "shared/$1/outputs/$2" "wanted/$3/$2"
    expect "and not all of it" test "$bytes" -lt "$(stat -c %s "wanted/$3/$2")"
}

cluster n1 n2 n3
spec "nothing to stop" 77 stop load --savepoint first
err 'there is no graph `load`'
spec "no place for it" 2 stop load
err '--savepoint FOLDER is missing'
feed
spec "Query 1" 0 submit "$LOAD" --input stream "${sets[@]}"
spec "it is stopped" 0 stop load --savepoint first
out '^load: stopped, incarnation 1, checkpoint 0000000100000001: its savepoint is first$'
no_err
wait "$feeder"
amid first load_plug.csv load
spec "status shows it" 0 status load --json
json 'd["graphs"][0]["state"] == "stopped" and d["graphs"][0]["savepoint"] == "first" and d["graphs"][0]["from"] is None'
spec "once is enough" 77 stop load --savepoint second
err 'graph `load` is stopped'
spec "the same once more" 0 stop load --savepoint first
out '^load: stopped, incarnation 1, checkpoint 0000000100000001: its savepoint is first$'

spec "what it has committed, and that is all" 0 results load/load_plug --follow --node unix:n2/admin.sock
expect "it is what the savepoint has" cmp .out shared/first/outputs/load_plug.csv

# ---- it goes on, on more nodes with other partitions; the coordinator is another process by then ----
kill_node n1 KILL
up n1 --workers 1
await n1.err 'graph load, incarnation 1: stopped: its savepoint is first, as the store has it'
spec "and the next one gives it, too" 0 results load/load_house
expect "from the same place" cmp .out shared/first/outputs/load_house.csv
mv shared/first/outputs/load_house.csv .
spec "what was saved is gone" 65 results load/load_house
err 'what it has written cannot be read on node n1'
mv load_house.csv shared/first/outputs/
await n1.err 'node n[23] (has joined|is back)' 2
up n4 --workers 2 --join "$(reach n1)"
await n1.err 'node n4 has joined'
spec "from there, to the end" 0 submit "$LOAD" --input meters.csv "${sets[@]}" --set partitions=5 --source n3 --from first --wait
out '^load: done, incarnation 2, checkpoint 0000000100000001$'
await n3.err 'graph load, incarnation 2: its run has begun here, from checkpoint 0000000100000001'
shared_same load
spec "what has ended is not stopped" 77 stop load --savepoint third
err 'graph `load` is done'
rm -r shared/load/results
spec "the savepoint stays, and does it again" 0 submit "$LOAD" --input meters.csv "${sets[@]}" --from "$PWD/shared/first" --wait
shared_same load

# ---- a graph that is fed goes on from there, too, and is stopped again; one that cannot be is started again ----
rm -r shared/load/results
span=$(awk -F, 'NR == 2 { first = $2 } END { print int(($2 - first) / 20) + 1 }' meters.csv)
"$P" submit "$LOAD" --listen "${sets[@]}" --from first >/dev/null
"$P" replay meters.csv --to load --speed "${span}x" >replayed 2>&1 &
player=$!
spec "into the same folder" 77 stop load --savepoint first
err 'shared/first holds a savepoint already'
spec "a name that is none" 78 stop load --savepoint "$(printf 'a\tb')"
err 'the name of a savepoint has visible ASCII alone'
for name in ./second second/../second second//third second/ ..; do
    spec "a second name of one folder: $name" 78 stop load --savepoint "$name"
    err 'the name of a savepoint has neither `.` nor `..`, nor two slashes or one at its end: one folder has one name'
done
: >file
spec "below a file" 74 stop load --savepoint "$PWD/file/point"
err 'there is no savepoint, and the graph goes on: cannot make the folder'
await n1.err 'graph load, incarnation 5: running'
spec "elsewhere" 0 stop load --savepoint second
wait $player && played=0 || played=$?
expect "the player is told that it was stopped" test $played -eq 77
"$P" submit "$LOAD" --listen "${sets[@]}" --from second >/dev/null
"$P" gen --houses 4 --plugs 60 --rows 1000 --seed 6 --output others.csv --quiet
spec "another stream is not what it has begun with" 77 replay others.csv --to load
err 'graph `load` takes the stream'
spec "the rest" 0 replay meters.csv --to load
shared_same load
for ((i = 0; i < 2; i++)); do "$P" submit "$LOAD" --listen "${sets[@]}" --from second >/dev/null && "$P" cancel load >/dev/null; done
expect "cancelled, it leaves its savepoint" test -f shared/second/savepoint

# ---- the coordinator is killed amid a stop, which has nothing to cut yet: it goes on with it when it is back ----
"$P" submit "$LOAD" --listen "${sets[@]}" --from second >/dev/null
"$P" stop load --savepoint third >stopped 2>stopped.err &
stopper=$!
until "$P" status load --json 2>/dev/null | grep -q '"stopping":"third"'; do kill -0 $stopper || break; done
kill_node n1 KILL
wait $stopper && stopped=0 || stopped=$?
expect "the command is told that it has lost the coordinator" test $stopped -eq 69 -o $stopped -eq 75
up n1 --workers 1
await n1.err 'graph load, incarnation [0-9]+: is to be stopped with the savepoint third, as the store has it'
await n1.err 'graph load, incarnation [0-9]+: running'
spec "status shows it" 0 status load
out '^  it is to be stopped at its next checkpoint, with the savepoint third$'
spec "to another folder" 77 stop load --savepoint fourth
err 'graph `load` is being stopped already'
"$P" replay meters.csv --to load --speed "${span}x" >replayed 2>&1 &
player=$!
spec "given again, it is waited for" 0 stop load --savepoint third
out '^load: stopped, incarnation [0-9]+, checkpoint [0-9a-f]{16}: its savepoint is third$'
wait $player && played=0 || played=$?
expect "the player is told that it was stopped" test $played -eq 77
expect "nothing is left of what was on its way" test -z "$(find shared/third -name '*part')"
rm -r shared/load/results
"$P" submit "$LOAD" --listen "${sets[@]}" --from third >/dev/null
spec "the rest of it" 0 replay meters.csv --to load
shared_same load
mkdir -p shared/begun/outputs
"$P" submit "$LOAD" --listen "${sets[@]}" --from third >/dev/null
spec "where one was begun and came to nothing" 77 stop load --savepoint begun
err 'shared/begun holds a savepoint already, or one was begun there: name another folder'
"$P" cancel load >/dev/null

# ---- the other query ----
feed
spec "Query 2" 0 submit "$OUTLIERS" --input stream "${windows[@]}"
spec "it is stopped" 0 stop outliers --savepoint before/upgrade --json
json 'd["graph"] == "outliers" and d["state"] == "stopped" and d["savepoint"] == "before/upgrade" and d["error"] is None'
wait "$feeder"
down

# ---- another cluster, one node ----
cluster n9
spec "Query 2 goes on" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}" --set partitions=1 --from before/upgrade --wait
shared_same outliers

# ---- what cannot be ----
spec "no savepoint" 77 submit "$LOAD" --input meters.csv "${sets[@]}" --from nowhere
err 'there is no savepoint in shared/nowhere'
spec "of another graph" 77 submit "$LOAD" --input meters.csv "${sets[@]}" --from before/upgrade
err 'the checkpoint is of the graph `outliers`, not of `load`'
spec "with other parameters" 77 submit "$LOAD" --input meters.csv --set 'slices=120,300' --from first
err 'the checkpoint does not fit the graph; the state of these operators would be lost: .*it had other parameters'
head -n 100 meters.csv >less.csv
spec "an input that is too short" 65 submit "$LOAD" --input less.csv "${sets[@]}" --from first --wait
cp -r shared/first shared/damaged
part=$(ls -d shared/damaged/parts/*/*.pages | head -n 1)
dd if=/dev/zero of="$part" bs=1 seek=200 count=64 conv=notrunc status=none
spec "a page that was changed" 77 submit "$LOAD" --input meters.csv "${sets[@]}" --from damaged
err 'cannot be put back: page .* is not what was sealed there'
rm "$part"
spec "a file that is gone" 74 submit "$LOAD" --input meters.csv "${sets[@]}" --from damaged
dd if=/dev/zero of=shared/damaged/savepoint bs=1 seek=200 count=4 conv=notrunc status=none
spec "a record that was changed" 77 submit "$LOAD" --input meters.csv "${sets[@]}" --from damaged
err 'the savepoint in shared/damaged does not open with this key, or was changed'
mv shared/damaged/savepoint shared/damaged/savepoint.part
spec "one that was never finished" 77 submit "$LOAD" --input meters.csv "${sets[@]}" --from damaged
err 'there is no savepoint in shared/damaged'
down

every_node=(--checkpoints shared --key other.key --every-seconds 3600)
cluster n1
spec "under another key" 77 submit "$LOAD" --input meters.csv "${sets[@]}" --from first
err 'the savepoint in shared/first does not open with this key, or was changed'
down
every_node=()
cluster n1
feed
spec "without checkpoints" 0 submit "$LOAD" --input stream "${sets[@]}"
spec "there is no savepoint" 77 stop load --savepoint fourth
err 'this cluster has no checkpoints, and so no savepoints'
spec "nor any to go on from" 77 submit "$OUTLIERS" --input meters.csv --from before/upgrade
err 'this cluster has no checkpoints, and so no savepoints'
kill $feeder
wait $feeder 2>/dev/null
down
finish
