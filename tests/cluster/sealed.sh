#!/bin/bash
# sealed.sh - rows sealed from end to end on three nodes: what the user opens is the bytes of `penstock run`; what a host does to a stream is
# noticed inside, and the graph ends with a report; nodes that are confidential machines show that.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

hands=$ROOT/tests/cli/sealed.py
"$P" gen --houses 4 --plugs 60 --rows 200000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300' --set partitions=3)
sed -E 's/^    type: (plug|house)_load$/&\n    enclave: true\n    epc: 8MiB/' "$ROOT/debs14/load.yaml" >load.yaml
"$P" run "$ROOT/debs14/load.yaml" --input meters.csv --output wanted "${sets[@]}" --quiet
"$P" key init user.key --quiet
"$P" key init other.key --quiet
for name in n1 n2 n3 n4; do "$P" key init $name.key --quiet; done
"$P" seal load.yaml "${sets[@]}" --key user.key -i meters.csv -o meters.sealed --quiet
if [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi
"$P" tls init authority --quiet
for name in n1 n2 n3 n4 user; do "$P" tls issue authority $name --quiet; done

# each node signs with a key of its own, and the user's policy names them all
"$P" measure load.yaml "${sets[@]}" --node-key n1.key >policy.yaml
for name in n2 n3 n4; do
    "$P" measure load.yaml "${sets[@]}" --node-key $name.key | sed -n '/^node_keys:/{n;p}' >also
    sed -i '/^node_keys:/r also' policy.yaml
done
mkfifo said
"$P" key serve user.key --policy policy.yaml --allow-software --listen "unix:$PWD/keys.sock" 2>said &
keeper=$!
exec 7<said
rm said
read -r _ <&7 # that it listens
cat <&7 >kept &
trap 'kill $keeper; down; rm -rf "$T"' EXIT
keys=(--sealed --keys "unix:$PWD/keys.sock")

opened() { # opened FOLDER: each result, wherever it lies below it, opens to what it is to be
    local sink file
    for sink in load_plug load_house; do
        file=$(find "$@" -name "$sink.csv.sealed")
        rm -f "$sink.csv"
        spec "$sink.csv opens" 0 open load.yaml "$file" "${sets[@]}" --key user.key --sink "$sink" -o "$sink.csv"
        expect "the bytes of penstock run in $sink.csv" cmp -s "wanted/$sink.csv" "$sink.csv"
    done
}
once() { python3 "$hands" unique "$@" >/dev/null; }
start_node() { up "$1" --workers 1 --node-key "$1.key" "${@:2}"; }
three() { # three [slow]: what comes to n1 goes slowly
    rm -rf n[1-9] n[1-9].err n[1-9].out
    if [[ ${1:-} == slow ]]; then
        shift
        way n1 2000000
    fi
    start_node n1 "$@"
    start_node n2 --join "$(reach n1)" "$@"
    start_node n3 --join "$(reach n1)" "$@"
    for name in n2 n3; do await n1.err "node $name has joined"; done
    export PENSTOCK_NODE=unix:n1/admin.sock
}

three
spec "a sealed file, read by one node" 0 submit load.yaml "${sets[@]}" "${keys[@]}" --source n2 --input meters.sealed --wait
expect "each of six workers has asked for its key" test "$(grep -c 'released' kept)" = 6
opened n[1-3]/results/load
expect "nothing is in the clear on any node" test -z "$(find n[1-3]/results -name '*.csv')"
expect "nothing twice under one key and sequence" once n[1-3]/results/load/*.sealed meters.sealed

# ---- over the network ----
play() { # play NAME FLAGS...: what it says goes to NAME.err
    "$P" replay meters.csv --to load/meters --node "$(reach n1)" --tls authority/user --seal load.yaml --key user.key \
        --spool spool.sealed "${sets[@]}" "${@:2}" >"$1.out" 2>"$1.err" &
    player=$!
}
python3 "$hands" cut meters.sealed spool.sealed.part 40
before=$(stat -c %s spool.sealed.part)
head -c "$before" spool.sealed.part >begun
down
three slow
spec "a graph that waits for sealed rows" 0 submit load.yaml "${sets[@]}" "${keys[@]}" --listen
spec "without checkpoints its partitions stay" 77 move plug_load/0 n2
err 'the rows of graph `load` are sealed from end to end: its partitions go elsewhere from a checkpoint alone, and it has none'
play first
await first.err 'node n1 takes it, from byte 0 on'
spec_name="whoever replays is killed in the middle"
kill -9 $player
wait $player 2>/dev/null
kill -USR2 "${relay_pid[n1]}" # enough of the slowness
cp spool.sealed sent
play second
spec_name="the same again goes on"
wait $player
expect "to the end" test $? = 0
expect "with the same bytes" cmp -s sent spool.sealed
await n1.err 'graph load, incarnation 1: done'
expect "what had been sealed before that stays" cmp -s -n $((before - 50)) begun spool.sealed
expect "what was sealed in two parts is two sessions, and nothing twice under one key and sequence" test "$(python3 "$hands" unique spool.sealed)" = 2
opened n[1-3]/results/load
expect "nor in the results" once n[1-3]/results/load/*.sealed
spec "a sealed file is sent as it is" 0 submit load.yaml "${sets[@]}" "${keys[@]}" --listen
spec "to its end" 0 replay meters.sealed --to load/meters
opened n[1-3]/results/load
spec "at no speed" 2 replay meters.sealed --to load/meters --speed 60x
err 'it is sealed, so --speed, --from and --until mean nothing'
spec "--seal without a spool" 2 replay meters.csv --to load/meters --seal load.yaml --key user.key
err '--seal GRAPH.yaml, --key FILE and --spool FILE belong together'
spec "nothing goes in clear, though the spool is there" 65 replay meters.csv --to load/meters --seal load.yaml --key user.key --spool meters.csv
err 'it is no sealed stream, and with --seal nothing goes in clear'

# ---- what dies ----
down
"$P" key init k.key --quiet
every_node=(--checkpoints shared --key k.key --every-seconds 1 --enclave-patience 1)
three slow
spec "with checkpoints" 0 submit load.yaml "${sets[@]}" "${keys[@]}" --listen
workers_of() { cat /proc/"${pid[$1]}"/task/*/children 2>/dev/null; }
manifests() { find shared/load/nodes -name '*.manifest' 2>/dev/null | sort | tail -n 1; }
newer() { # newer: waits until there is a checkpoint that was not there before
    local before=$1
    until [[ $(manifests) != "$before" && -n $(manifests) ]]; do kill -0 $player || break; done
}
told() { # told NODE: waits until NODE has told the coordinator of its state: what goes from there is told by that
    until "$P" top --json 2>/dev/null | python3 -c 'import json, sys; print(sum(p["state_bytes"] for g in json.load(sys.stdin)["graphs"]
        for o in g["operators"] if o["state_bytes"] > 0 for p in o["partitions"] if p["node"] == sys.argv[1]))' "$1" 2>/dev/null | grep -q '^[1-9]'; do
        kill -0 $player || break
    done
}
play third
newer ""
partitions() { "$P" status load >.status && grep -cE "^  $1/[0-9]+ on n" .status; }
spec "an operator gets more partitions, stop and go" 0 scale plug_load 4 --progress
err 'move 1 of 1: plug_load in 4 partitions: stop and go, waiting for a checkpoint, '
err 'move 1 of 1: plug_load in 4 partitions: stop and go, done, '
out '^graph `load` was relocated, stop and go: .* as incarnation 2$'
expect "each of them somewhere" test "$(partitions plug_load)" = 4
spec "and fewer" 0 scale house_load 2 --json
json 'd["moves"] == 1 and d["rows_lost"] == 0 and [r["incarnation"] for r in d["relocations"]] == [3]'
expect "so it has" test "$(partitions house_load)" = 2
spec "as many as it has" 0 scale house_load 2
out '^operator `house_load` has 2 partitions already: nothing to do$'
place() { "$P" status load >.status && sed -nE "s|^  $1 on (n[0-9]+).*|\1|p" .status; }
here=$(place plug_load/0)
there=n1
[[ $here == n1 ]] && there=n2
spec "a partition goes elsewhere, stop and go" 0 move plug_load/0 "$there" --progress
err 'move 1 of 1: plug_load 0 -> 0 on node n[12]: stop and go, waiting for a checkpoint, '
err 'move 1 of 1: plug_load 0 -> 0 on node n[12]: stop and go, done, '
out '^1 move, [0-9]+ buckets?, [0-9]+ bytes, .* rows lost 0$'
out '^graph `load` was relocated, stop and go: it stood still for [0-9.]+ s, and goes on from checkpoint [0-9a-f]+ as incarnation 4$'
expect "it is there" test "$(place plug_load/0)" = "$there"
mv keys.sock aside.sock
spec "nobody who has the key answers: the graph is not stopped" 77 move plug_load/0 "$here"
err 'node n[1-3]: the keeper of the key, unix:.*: No such file or directory'
mv aside.sock keys.sock
told n3
spec "n3 is emptied" 0 drain n3 --json
json 'd["moves"] == 1 and d["rows_lost"] == 0 and d["draining"] and [r["incarnation"] for r in d["relocations"]] == [5] and d["relocations"][0]["pause_seconds"] > 0 and d["bytes"] > 0'
expect "nothing is there" test -z "$("$P" status load | grep ' on n3')"
spec "so it is shown" 0 migration ls
out '^load/1: plug_load in 4 partitions, stop and go, [0-9]+ buckets, DONE$'
out '^load/2: house_load in 2 partitions, stop and go, [0-9]+ buckets, DONE$'
out '^load/3: plug_load/0 on n[1-3] to n[12], stop and go, [0-9]+ buckets, DONE$'
out '^load/5: .* on n3 to n[12].*, stop and go, [0-9]+ buckets, DONE$'
spec_name="n3 is killed: the graph does not need it"
kill_node n3 KILL
await n1.err 'node n3 is taken for dead'
spec_name="a worker of n2 is killed"
read -r worker _ <<<"$(workers_of n2)"
kill -9 "$worker"
await n1.err 'graph load: node n2: .*has been ended by signal 9 .*: it goes back to its last checkpoint'
await n1.err 'graph load, incarnation 6: running'
up n4 --workers 1 --join "$(reach n1)" --node-key other.key
await n1.err 'node n4 has joined'
spec "where it gets no key it is not" 77 move plug_load/0 n4
err 'node n4: .* gets no key: .* the evidence is not what the policy wants: process.node_key.*: the graph is back where it was'
await n1.err 'graph load, incarnation 8: running'
expect "it is where it was" test "$(place plug_load/0)" = "$there"
spec_name="n2 is told to end"
kill_node n2 TERM
await n1.err 'graph load, incarnation 9: goes on without node n2, which has nothing of it'
spec_name="so is whoever replays"
kill -9 $player
wait $player 2>/dev/null
kill -USR2 "${relay_pid[n1]}" # enough of the slowness
cp spool.sealed sent
play fourth
wait $player
expect "to the end" test $? = 0
expect "with the same bytes" cmp -s sent spool.sealed
await n1.err 'graph load, incarnation 9: done'
opened shared/load/results
expect "nothing twice under one key and sequence" once shared/load/results/*.sealed
expect "what was put out goes on in other sessions" test "$(python3 "$hands" unique shared/load/results/load_plug.csv.sealed)" -gt 3

# ---- stopped, to go on ----
down
every_node=(--checkpoints shared --key k.key --every-seconds 3600)
rm -rf shared
three
mkfifo stream
rm -f enough
python3 "$ROOT/tests/cluster/feed.py" meters.sealed stream enough 2>.feed &
feeder=$!
spec "a graph that is to be stopped" 0 submit load.yaml "${sets[@]}" "${keys[@]}" --input stream
spec "what reads a pipe stays" 77 move plug_load/0 n2
err 'its input cannot be read again, as a pipe cannot: it stays where it is'
spec "it is stopped" 0 stop load --savepoint first
wait $feeder
expect "something of it was written" test -s shared/first/outputs/load_plug.csv.sealed
spec "in the clear" 77 submit load.yaml "${sets[@]}" --input meters.csv --from first
err 'the rows of the graph of the savepoint are sealed from end to end: it goes on with --sealed and --keys'
for name in n2 n3; do kill_node $name KILL; done
start_node n4 --join "$(reach n1)"
await n1.err 'node n4 has joined'
spec "on other nodes, in fewer partitions" 0 submit load.yaml "${sets[@]}" --set partitions=2 "${keys[@]}" --source n4 --input meters.sealed --from first --wait
out '^load: done, incarnation [0-9]+, checkpoint 0000000100000002$'
opened shared/load/results
expect "behind what was in the savepoint" cmp -n "$(stat -c %s shared/first/outputs/load_plug.csv.sealed)" shared/first/outputs/load_plug.csv.sealed shared/load/results/load_plug.csv.sealed
expect "and that was not all" test "$(stat -c %s shared/first/outputs/load_plug.csv.sealed)" -lt "$(stat -c %s shared/load/results/load_plug.csv.sealed)"
expect "nothing twice under one key and sequence" once shared/load/results/*.sealed
spec "once more, from the same, in more" 0 submit load.yaml "${sets[@]}" --set partitions=5 "${keys[@]}" --input meters.sealed --from first --wait
opened shared/load/results
python3 "$ROOT/tests/cluster/feed.py" meters.csv stream enough 2>.feed &
feeder=$!
spec "one in the clear" 0 submit load.yaml "${sets[@]}" --input stream
spec "that is stopped, too" 0 stop load --savepoint clear
wait $feeder
spec "is none of sealed rows" 77 submit load.yaml "${sets[@]}" "${keys[@]}" --input meters.sealed --from clear
err 'the graph of the savepoint read rows in the clear: without --sealed it goes on'

# ---- fewer than the graph says ----
down
rm -rf shared spool.sealed*
three slow
spec "without a checkpoint that nobody asks for" 0 submit load.yaml "${sets[@]}" "${keys[@]}" --listen
play fifth
rows_of() { # rows_of OPERATOR: as many as it has had, as it was told last
    "$P" top --json 2>/dev/null | python3 -c 'import json, sys; print(*(o["rows"] for g in json.load(sys.stdin)["graphs"]
        for o in g["operators"] if o["operator"] == sys.argv[1] and o["rows"] > 0))' "$1"
}
comes() { # comes BEFORE OPERATOR: waits for more rows than BEFORE, but not for the end of the stream
    until now=$(rows_of "$2") && [[ -n $now && $now != "$1" ]]; do kill -0 $player 2>/dev/null || return 1; done
}
comes "" plug_load
spec "two have all of it" 0 scale plug_load 2
checkpoint=$(manifests)
expect "event time reaches what follows, and its results come" comes "" load_house
expect "again and again" comes "$now" load_house
expect "without another checkpoint" test "$checkpoint" = "$(manifests)"
kill -USR2 "${relay_pid[n1]}"
wait $player
expect "to the end" test $? = 0
await n1.err 'graph load, incarnation 2: done'
opened shared/load/results
down
every_node=()
three

# ---- what a host does ----
for word in "drop:one was left out" "repeat:comes a second time" "swap:one was left out, or repeated|comes a second time" "change:does not open"; do
    python3 "$hands" "${word%%:*}" meters.sealed bad.sealed
    spec "a stream after: ${word%%:*}" 77 submit load.yaml "${sets[@]}" "${keys[@]}" --input bad.sealed --wait
    err "in its enclave: the sealed stream loads.0>plug_load.0 is not what was sealed: .*(${word#*:})"
done
"$P" seal load.yaml "${sets[@]}" --key user.key -i meters.csv -o before.sealed --quiet
python3 "$hands" mix meters.sealed before.sealed bad.sealed
spec "with a capsule of another time" 77 submit load.yaml "${sets[@]}" "${keys[@]}" --input bad.sealed --wait
err 'is of a stream that has not begun here'
python3 "$hands" end meters.sealed bad.sealed
spec "a stream without its end" 65 submit load.yaml "${sets[@]}" "${keys[@]}" --input bad.sealed --wait
err 'the end of the sealed stream is missing'

# ---- who gets the key ----
kill_node n3 KILL
up n3 --workers 1 --join "$(reach n1)" --node-key other.key
await n1.err 'node n3 is back'
spec "a node that the policy does not know" 77 submit load.yaml "${sets[@]}" "${keys[@]}" --input meters.sealed --wait
err 'gets no key: .* the evidence is not what the policy wants: process.node_key'
kill_node n3 KILL
up n3 --workers 1 --join "$(reach n1)"
await n1.err 'node n3 is back' 2
spec "a node that has none" 78 submit load.yaml "${sets[@]}" "${keys[@]}" --input meters.sealed --wait
err 'node n3 has no key to sign its workers. evidence with: start it with --node-key FILE'
spec "--sealed without a keeper" 2 submit load.yaml "${sets[@]}" --sealed --input meters.sealed
err '--sealed and --keys ADDRESS'
spec "an operator in the clear on the way" 78 submit "$ROOT/debs14/load.yaml" "${sets[@]}" "${keys[@]}" --input meters.sealed
err 'operator `plug_load` \(plug_load\) lies on the way of sealed rows'
sed 's/^    enclave: true$/&\n    autoscale: {max: 4, target: 60}/' load.yaml >alone.yaml
spec "sealed rows that scale by themselves" 78 submit alone.yaml "${sets[@]}" "${keys[@]}" --input meters.sealed
err 'operator `plug_load`: .* where rows are sealed they stay in their partitions: take `autoscale` out'
sed 's/^    enclave: true$/&\n    replicas: 2/' load.yaml >twice.yaml
spec "sealed rows with replicas" 78 submit twice.yaml "${sets[@]}" "${keys[@]}" --input meters.sealed
err 'operator `plug_load`: .* where rows are sealed they stay in their partitions: take `replicas` out'
down

# ---- nodes that are confidential machines: made ones, whose folder answers as the kernel's does (tests/cli/tsm_kernel.c) ----
plain=$P made=$(dirname "$P")/tests/cli
mkdir tsm machine
"$made/made_machine" machine
cat >on_machine <<EOS
#!/bin/sh
export TSM_FOLDER=$T/tsm TSM_MACHINE=$T/machine LD_PRELOAD="$made/libtsm_kernel.so"
exec "$plain" "\$@"
EOS
chmod +x on_machine
sed "s/^backends: .*/backends: [process-snp]/; s/^measurements:/&\n  - $(printf '3c%.0s' {1..48})/" policy.yaml >machines.yaml
mkfifo said
"$P" key serve user.key --policy machines.yaml --roots machine/root.pem --listen "unix:$PWD/machines.sock" 2>said &
trap 'kill $keeper '$!'; down; rm -rf "$T"' EXIT
exec 6<said
read -r _ <&6
cat <&6 >kept.machines &
keys=(--sealed --keys "unix:$PWD/machines.sock")
rm -rf n[1-9] n[1-9].err n[1-9].out
P=$T/on_machine
start_node n1 --tsm "$T/tsm"
P=$plain
start_node n2 --tsm none --join "$(reach n1)"
await n1.err 'node n2 has joined'
spec "one of two nodes is no such machine" 77 submit load.yaml "${sets[@]}" "${keys[@]}" --input meters.sealed --wait
err 'gets no key: .* the evidence is not what the policy wants: backend is process, not process-snp'
kill_node n2 KILL
await n1.err 'node n2 is taken for dead'
spec "all of them are" 0 submit load.yaml "${sets[@]}" "${keys[@]}" --input meters.sealed --wait
expect "six workers at least have a key, by both kinds of evidence" test "$(grep -c 'released to a worker of measurement [0-9a-f]* (process-snp)' kept.machines)" -ge 6
opened n1/results/load
down

finish
