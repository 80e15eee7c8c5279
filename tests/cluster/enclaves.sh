#!/bin/bash
# enclaves.sh - operators in enclaves on three nodes: their buckets move while the stream runs, workers are killed and stopped, a node is
# killed, and what goes on leaves the bytes of `penstock run` without enclaves. Where nodes have no certificates nothing moves.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 400000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300' --set partitions=3)
sed -E 's/^    type: (plug|house)_load$/&\n    enclave: true\n    epc: 8MiB/' "$ROOT/debs14/load.yaml" >load.yaml
"$P" run "$ROOT/debs14/load.yaml" --input meters.csv --output wanted/load "${sets[@]}" --quiet
if [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi
"$P" tls init authority --quiet
for name in n1 n2 n3 n4; do "$P" tls issue authority $name --quiet; done
"$P" key init k.key --quiet
every_node=(--checkpoints shared --key k.key --every-seconds 1 --enclave-patience 1)
workers_of() { cat /proc/"${pid[$1]}"/task/*/children 2>/dev/null; }
incarnation() { await n1.err "graph load, incarnation $1: running"; }

cluster n1 n2 n3

spec "Query 1 in enclaves" 0 submit load.yaml --listen "${sets[@]}"
incarnation 1
"$P" replay meters.csv --to load/meters --speed 240x --id one >/dev/null 2>player.err &
player=$!
none_lost() { out "^$1 moves?, [0-9]+ buckets?, [0-9]+ bytes?, [0-9.]+ s, longest pause [0-9.]+ s, rows lost 0\$"; }
spec "a partition goes to another node's worker" 0 move plug_load/0 n3
none_lost 1
await n1.err 'move 1: attest'
spec "three become four" 0 scale house_load 4
none_lost 1
spec "and two, which have all of it" 0 scale house_load 2
none_lost 2
await n1.err 'move [0-9]+: join' 2
spec "a node is drained" 0 drain n3
none_lost '[1-9]'
spec "it has nothing any more" 0 status load --json
json 'not [p for p in d["graphs"][0]["places"] if p["node"] == "n3" and p.get("buckets")]'
spec "gets something again" 0 drain n3 --undo
"$P" status load >.out
spec "a partition" 0 move "$(grep -o 'house_load/[0-9]* on n[12], [0-9]*' .out | head -n 1 | cut -d' ' -f1)" n3
none_lost 1
kill_node n3 TERM
expect "a node that is told to end does so when it has nothing any more" test "$node_code" = 0
expect "and the graph has not begun again" test "$(grep -c 'graph load, incarnation 2' n1.err)" = 0
up n3 --workers 1 --join "$(reach n1)"
await n1.err 'node n3 has joined' 2
spec "it is back" 0 rebalance
none_lost '[1-9]'

spec_name="a worker of n2 is killed"
until find shared/load/nodes -name '*.manifest' 2>/dev/null | grep -q .; do kill -0 $player || break; done
read -r worker _ <<<"$(workers_of n2)"
kill -9 "$worker"
await n1.err 'graph load: node n2: .*has been ended by signal 9 .*: it goes back to its last checkpoint'
incarnation 2

spec_name="a worker of n3 hangs"
read -r worker _ <<<"$(workers_of n3)"
kill -STOP "$worker"
await n1.err 'graph load: node n3: .*has not moved for 1 s: it goes back to its last checkpoint'
incarnation 3

spec_name="n3 is killed"
kill_node n3 KILL
incarnation 4
spec "it is stopped" 0 stop load --savepoint saved
kill -INT $player 2>.feed # it may have ended: its graph has
wait $player
spec "and goes on from its savepoint, with other partitions" 0 submit load.yaml --listen --from saved "${sets[@]}" --set partitions=5
spec "the rest of the stream" 0 replay meters.csv --to load/meters --speed max --id one
await n1.err 'graph load, incarnation 5: done'
shared_same load

# epochs of a second: what a lane has is compared at the second end of one at the earliest
spec "once more, slowly" 0 submit load.yaml --listen "${sets[@]}"
incarnation 6
"$P" replay meters.csv --to load/meters --speed 30x --id two >/dev/null 2>player.err &
player=$!
await n2.err 'graph load, incarnation 6: its run has begun here'
spec_name="the worker of a lane is killed"
before=$(workers_of n2)
moves=$(grep -c 'move [0-9]*: copy$' n1.err)
"$P" move plug_load/0 n2 >.out 2>.err &
mover=$!
await n1.err 'move [0-9]+: copy$' $((moves + 1))
for worker in $(workers_of n2); do [[ " $before " == *" $worker "* ]] || kill -9 "$worker"; done
wait $mover && code=0 || code=$?
expect "the move is given up" test $code = 77
err 'node n2: its worker has been ended by signal 9'
spec "and may be tried again" 0 move plug_load/0 n2
none_lost 1
expect "nothing has begun again" test "$(grep -c 'graph load, incarnation 7' n1.err)" = 0
kill -INT $player
wait $player
spec "enough of it" 0 cancel load

# Query 2 has all that moves in one graph: a partition without a key, one that is told all of it, and buckets; and here its filter, too.
sed -E 's/^    type: (filter|median_all|plug_above|house_share)$/&\n    enclave: true\n    epc: 8MiB/' "$ROOT/debs14/outliers.yaml" >outliers.yaml
windows=(--set 'windows=60,300' --set partitions=2)
head -n 150000 meters.csv >fewer.csv
"$P" run "$ROOT/debs14/outliers.yaml" --input fewer.csv --output wanted/outliers "${windows[@]}" --quiet
spec "Query 2 in enclaves" 0 submit outliers.yaml --listen "${windows[@]}"
await n1.err 'graph outliers, incarnation 1: running'
"$P" replay fewer.csv --to outliers/meters --speed 60x --id four >/dev/null 2>player.err &
player=$!
await n2.err 'graph outliers, incarnation 1: its run has begun here'
for place in plug_above/0 median_all/0 house_share/1 loads/0; do
    at=$("$P" status outliers 2>.err | grep -o "$place on n[12]" | tail -c 3)
    [ "$at" = n1 ] && to=n2 || to=n1
    spec "$place goes from $at to the other node's worker" 0 move "$place" $to
    none_lost 1
done
spec "two become three" 0 scale plug_above 3
none_lost 1
expect "the stream was on its way all the time" kill -0 $player
kill -INT $player
wait $player
spec "the rest of it" 0 replay fewer.csv --to outliers/meters --speed max --id four
await n1.err 'graph outliers, incarnation 1: done'
expect "nothing has begun again" test "$(grep -c 'graph outliers, incarnation 2' n1.err)" = 0
shared_same outliers
down

# More than the 2 s after which a node that says nothing is taken for dead; the program beside `penstock` is read at each start.
mkdir bin
cp "$P" "$(dirname "$P")/penstock-enclave" bin
cp "$(dirname "$P")/tests/cluster/slow" bin/slow
built=$P P=$T/bin/penstock every_node=()
cluster n1 n2
spec "on nodes whose program is about to be another one" 0 submit load.yaml --listen "${sets[@]}"
incarnation 1
"$P" replay meters.csv --to load/meters --speed 30x --id three >/dev/null 2>player.err &
player=$!
await n2.err 'graph load, incarnation 1: its run has begun here'
mv bin/slow bin/penstock-enclave
spec "the worker of a lane takes its time to start" 77 move plug_load/0 n2
err 'node n2: its worker has ended'
expect "its node has answered meanwhile" test "$(grep -c 'graph load, incarnation 2' n1.err)" = 0
spec "and goes on" 0 status load --json
json 'd["graphs"][0]["state"] == "running" and {p["node"] for p in d["graphs"][0]["places"]} == {"n1", "n2"}'
kill -INT $player
wait $player
spec "enough of that" 0 cancel load
down
P=$built

# ---- buckets move only to machines of which the hardware says what they are (made ones: tests/cli/tsm_kernel.c) ----
made=$(dirname "$P")/tests/cli
mkdir tsm machine another
"$made/made_machine" machine
"$made/made_machine" another
cat >on_machine <<EOS
#!/bin/sh
export TSM_FOLDER=$T/tsm LD_PRELOAD="$made/libtsm_kernel.so"
exec "$built" "\$@"
EOS
chmod +x on_machine
printf 'penstock_policy: 1\nbackends: [snp]\nnonce: true\nmeasurements: [%s]\n' "$(printf '3c%.0s' {1..48})" >peers.yaml
sed '/^measurements/d' peers.yaml >any.yaml
spec "a policy that any machine meets" 78 node --name n1 --dir n1 --listen 127.0.0.1:0 --tls authority/n1 --peer-policy any.yaml
err '--peer-policy names no measurements'
spec "roots for nothing" 2 node --name n1 --dir n1 --listen 127.0.0.1:0 --tls authority/n1 --roots machine/root.pem
err '--roots means something with --peer-policy'
P=$T/on_machine every_node=(--peer-policy peers.yaml --roots machine/root.pem)
rm -rf n[1-9] n[1-9].err n[1-9].out
export TSM_MACHINE=$T/machine
up n1 --workers 1 --tsm "$T/tsm"
up n2 --workers 1 --tsm "$T/tsm" --join "$(reach n1)"
TSM_MACHINE=$T/another up n3 --workers 1 --tsm "$T/tsm" --join "$(reach n1)"
up n4 --workers 1 --tsm none --join "$(reach n1)"
P=$built
for name in n2 n3 n4; do await n1.err "node $name has joined"; done
export PENSTOCK_NODE=unix:n1/admin.sock
spec "a graph on such nodes" 0 submit load.yaml --listen "${sets[@]}"
incarnation 1
"$P" replay meters.csv --to load/meters --speed 30x --id five >/dev/null 2>player.err &
player=$!
await n2.err 'graph load, incarnation 1: its run has begun here'
find_one() { # it has another number behind a move
    "$P" status load >.places 2>.err
    at=$(grep -o 'plug_load/[0-9]* on n[12], [1-9]' .places | head -n 1 | cut -d, -f1)
}
to_the_other() { # a partition that is on n2 goes to n1, or one on n1 to n2
    find_one
    [ "${at#* on }" = n1 ] && to=n2 || to=n1
    spec "$at goes to $to" 0 move "${at% on *}" $to
    none_lost 1
}
to_the_other
find_one
spec "but to no machine of a maker that nobody knows" 77 move "${at% on *}" n3
err "the other node's machine is not what the policy wants: chain.snp.ask is .*certificate signature failure"
spec "and to none that shows nothing" 77 move "${at% on *}" n4
err 'the other node shows no hardware.s evidence of its machine'
to_the_other
expect "nothing has begun again" test "$(grep -c 'graph load, incarnation 2' n1.err)" = 0
expect "each request is gone" test -z "$(ls -A tsm)"
kill -INT $player
wait $player
spec "enough of such nodes" 0 cancel load
down

protect=(--insecure-loopback) every_node=()
cluster n1
spec "nodes without certificates" 0 submit load.yaml --listen "${sets[@]}"
incarnation 1
spec "their workers do not know each other" 78 move plug_load/0 n1
err 'operator `plug_load` runs in enclaves, whose workers know each other.s nodes by certificates with Ed25519 keys'
spec "nor here" 78 scale house_load 5
err 'start its nodes with --tls'
sed 's/^    enclave: true$/&\n    autoscale: {min: 1, max: 4, target: 60}/' load.yaml >alone.yaml
spec "nor does an operator scale by itself" 78 submit alone.yaml --listen "${sets[@]}"
err 'operator `plug_load`: with `enclave` and `autoscale` its buckets have to move, for which .* need certificates: start them with --tls; .*dry-run'
sed 's/^    enclave: true$/&\n    replicas: 2/' load.yaml >twice.yaml
spec "nor has it replicas" 78 submit twice.yaml --listen "${sets[@]}"
err 'operator `plug_load`: with `enclave` and `replicas` its buckets have to move, for which .* need certificates: start them with --tls; or take `replicas` out$'
down

finish
