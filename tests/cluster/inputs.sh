#!/bin/bash
# inputs.sh - a stream that is divided by houses into a file for each of two nodes: both read, and the bytes are those of `penstock run` on
# the whole of it; also where one input comes later than the other, and where one is empty. What cannot be gets a sentence.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 300000 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300') windows=(--set 'windows=100,3600')
LOAD=$ROOT/debs14/load.yaml OUTLIERS=$ROOT/debs14/outliers.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
"$P" run "$OUTLIERS" --input meters.csv --output wanted/outliers "${windows[@]}" --quiet
awk -F, 'NR == 1 || $NF % 2 == 0' meters.csv >even.csv
awk -F, 'NR == 1 || $NF % 2 == 1' meters.csv >odd.csv
head -n 1 meters.csv >none.csv
protect=(--insecure-loopback)
cluster n1 n2 n3

spec "Query 1" 0 submit "$LOAD" --source n1=even.csv --source n2=odd.csv "${sets[@]}" --wait
same load
spec "status of a graph that has ended says where its results are" 0 status load --json
json '{p["operator"] for p in d["graphs"][0]["places"]} == {"load_plug", "load_house"}'
json 'd["graphs"][0]["rows"] == 300000'
spec "Query 2, by other nodes" 0 submit "$OUTLIERS" --source n3=odd.csv --source n2=even.csv "${windows[@]}" --wait
same outliers

# ---- one of them is far ahead, and waits ----
mkfifo late.csv
rm -rf n?/results
python3 "$HERE/feed.py" odd.csv late.csv enough &
feeder=$!
spec "an input that comes later" 0 submit "$LOAD" --source n1=even.csv --source n2=late.csv "${sets[@]}"
touch enough
await n1.err 'graph load, incarnation 2: done'
wait $feeder
same load
rm -rf n?/results
spec "one that is empty" 0 submit "$LOAD" --source n1=none.csv --source n2=meters.csv "${sets[@]}" --wait
same load

# ---- each house to the node that reads it ----
rm -rf n?/results enough
"$P" gen --houses 4 --plugs 60 --rows 1200000 --seed 6 --output longer.csv --quiet
awk -F, 'NR == 1 || $NF % 2 == 0' longer.csv >longer_even.csv
awk -F, 'NR == 1 || $NF % 2 == 1' longer.csv >longer_odd.csv
mv wanted/load shorter
"$P" run "$LOAD" --input longer.csv --output wanted/load "${sets[@]}" --quiet
"$P" run "$LOAD" --input longer.csv --output by_house "${sets[@]}" --set bucket_by=house_id --set buckets=256 --set partitions=3 --quiet
spec_name="houses that stay together" && expect "the same bytes" diff -r wanted/load by_house
mkfifo even.fifo odd.fifo
python3 "$HERE/feed.py" longer_even.csv even.fifo enough &
feeders=$!
python3 "$HERE/feed.py" longer_odd.csv odd.fifo enough &
feeders="$feeders $!"
spec "by two nodes" 0 submit "$LOAD" --source n1=even.fifo --source n2=odd.fifo "${sets[@]}" --set bucket_by=house_id --set buckets=256
spec "status says who reads" 0 status load --json
json '[(p["partition"], p["node"]) for p in d["graphs"][0]["places"] if p["operator"] == "meters"] == [(0, "n1"), (1, "n2")]'
spec "both ways at once" 2 rebalance --by-load --by-source
err 'do not go together'
until "$P" rebalance --by-source --json --node unix:n1/admin.sock >.out 2>.err || ! grep -q 'is not known yet' .err; do :; done
spec_name="each house to the node that reads it"
json 'd["rows_lost"] == 0 and d["moves"] <= 6 and d["error"] is None'
touch enough
await n1.err 'graph load, incarnation 4: done'
wait $feeders
same load
rm -rf wanted/load
mv shorter wanted/load

# ---- a node that reads is killed, and comes back ----
rm -rf n?/results
spec "Query 2 again" 0 submit "$OUTLIERS" --source n1=even.csv --source n3=odd.csv "${windows[@]}"
kill_node n3 KILL
up n3 --workers 1 --join "$(reach n1)"
await n1.err 'graph outliers, incarnation [0-9]+: done' 2
same outliers

# ---- what cannot be ----
spec "a file, and another way to say it" 77 submit "$LOAD" --source n1=even.csv --input odd.csv
err '--source NODE=FILE says what is read: no --input'
spec "one of them without a file" 77 submit "$LOAD" --source n1=even.csv --source n2
err 'no --source without a file'
spec "two nodes without files" 78 submit "$LOAD" --source n1 --source n2
err 'say what each node reads'
spec "a node that reads twice" 77 submit "$LOAD" --source n1=even.csv --source n1=odd.csv
err '--source names node `n1` twice'
spec "a node that there is not" 77 submit "$LOAD" --source n1=even.csv --source n9=odd.csv
err 'there is no node `n9` that could read the input'
spec "a file that there is not" 74 submit "$LOAD" --source n1=even.csv --source n2=odder.csv --wait
err 'cannot open the input odder.csv'
down

# ---- with checkpoints: killed, they go on where they were; stopped, they go on from a savepoint ----
"$P" key init key --quiet
every_node=(--checkpoints shared --key key --every-seconds 1)
feed_both() { # even.in and odd.in, as meters would
    rm -f enough even.in odd.in
    mkfifo even.in odd.in
    python3 "$HERE/feed.py" even.csv even.in enough 2>.even &
    feeders=($!)
    python3 "$HERE/feed.py" odd.csv odd.in enough 2>.odd &
    feeders+=($!)
}
fed_both() { # what comes next is read from files
    cp even.csv even.now && mv even.now even.in
    cp odd.csv odd.now && mv odd.now odd.in
}
fed_enough() {
    touch enough
    wait "${feeders[@]}"
}
cluster n1 n2 n3
feed_both
spec "Query 2, with checkpoints" 0 submit "$OUTLIERS" --source n1=even.in --source n3=odd.in "${windows[@]}"
await n1.err 'graph outliers, incarnation 1: checkpoint 00000001[0-9a-f]+ is complete'
fed_both
kill_node n3 KILL
kill_node n2 KILL
fed_enough
up n3 --workers 1 --join "$(reach n1)"
up n2 --workers 1 --join "$(reach n1)"
await n1.err 'graph outliers, incarnation [0-9]+: done' 1
for node in n1 n3; do
    await $node.err 'graph outliers, incarnation [0-9]+: its run has begun here, from checkpoint 00000001' 1
done
shared_same outliers
spec "each row is counted once" 0 status outliers --json
json 'd["graphs"][0]["rows"] == 300000'
[ ! -x "$(dirname "$P")/penstock-enclave" ] || { # its operators bring images of their own
    sed -E 's/^    type: (plug|house)_load$/&\n    enclave: true\n    epc: 8MiB/' "$LOAD" >inside.yaml
    LOAD=inside.yaml
}
feed_both
spec "Query 1, with checkpoints" 0 submit "$LOAD" --source n1=even.in --source n2=odd.in "${sets[@]}"
spec "it is stopped" 0 stop load --savepoint first
out '^load: stopped, incarnation 1, checkpoint 00000001[0-9a-f]+: its savepoint is first$'
fed_enough
spec "its savepoint has two inputs" 77 submit "$LOAD" --input meters.csv "${sets[@]}" --from first
err 'the graph of the savepoint read 2 inputs, and this one reads 1: give --source as often, in the same order'
spec "from there, read by other nodes" 0 submit "$LOAD" --source n3=even.csv --source n1=odd.csv "${sets[@]}" \
    --set partitions=3 --from first --wait
shared_same load
down

# ---- what a run has read of a pipe, the next one does not have ----
every_node=() LOAD=$ROOT/debs14/load.yaml
cluster n1 n2
mkfifo once.in
feed_once() {
    rm -f enough
    python3 "$HERE/feed.py" meters.csv once.in enough 2>.once &
    feeder=$!
}
feed_once
spec "from a pipe" 0 submit "$LOAD" --input once.in "${sets[@]}"
kill_node n2 KILL
wait $feeder
up n2 --workers 1 --join "$(reach n1)"
await n1.err 'graph load, incarnation [0-9]+: failed: node n1: the input once.in cannot be read again, and a run before this one has read of it'
spec "nothing of it is results" 77 results load/load_plug
feed_once
touch enough
spec "anew, it is read" 0 submit "$LOAD" --input once.in "${sets[@]}" --wait
wait $feeder
same load

# ---- pipes that nobody writes to: more than there are threads that could wait for it ----
mkfifo never.in
for i in 1 2 3 4 5; do
    sed "s/^name: load$/name: load$i/" "$LOAD" >load$i.yaml
    spec "a pipe that nobody writes to, $i" 0 submit load$i.yaml --input never.in "${sets[@]}"
done
rm -rf n?/results/load
spec "a file meanwhile" 0 submit "$LOAD" --input meters.csv "${sets[@]}" --wait
same load
spec "one is cancelled" 0 cancel load1
spec_name="a node is told to end meanwhile" words=("(SIGTERM)")
kill -TERM "${pid[n1]}"
timeout 60 tail --pid="${pid[n1]}" -f /dev/null
expect "it ends" test $? = 0
wait "${pid[n1]}"
unset "pid[n1]"
down
finish
