#!/bin/bash
# enclave_own.sh - an operator of one's own, in total order, in enclaves on two nodes: its buckets move while the stream runs, and the graph
# goes on from a savepoint; the bytes are those of `penstock run` with the same object outside. A node without its program refuses it.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

build=$(dirname "$P")
if [ ! -x "$build/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi
cc -O2 -fPIC -shared -I"$ROOT" -o spike.so "$ROOT/examples/spike/spike.c"
cc -O2 -fPIE -static-pie -I"$ROOT" -o spike-enclave "$ROOT/examples/spike/spike.c" "$build/libpenstock-enclave.a" \
    -lcrypto -llz4 -lxxhash -lIPSec_MB 2>compiling || cat compiling
"$P" gen --houses 4 --plugs 60 --rows 120000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set "library=$T/spike.so" --set threshold=20 --set partitions=2)
sed 's/^    type: spike$/&\n    enclave: true\n    epc: 8MiB/' "$ROOT/examples/spike/spike.yaml" >spikes.yaml
"$P" run "$ROOT/examples/spike/spike.yaml" --input meters.csv --output wanted/spikes "${sets[@]}" --quiet
expect "there are jumps" test "$(wc -l <wanted/spikes/spikes.csv)" -gt 100
"$P" tls init authority --quiet
for name in n1 n2; do "$P" tls issue authority $name --quiet; done
"$P" key init k.key --quiet
nodes=(--checkpoints shared --key k.key --every-seconds 1)

every_node=("${nodes[@]}")
cluster n1
spec "a node that has no program of the user's own" 78 submit spikes.yaml --listen "${sets[@]}"
err 'operator `spikes` \(spike\) cannot run in an enclave: its type comes from a shared object'
down
rm -rf shared

every_node=("${nodes[@]}" --enclave-program "$T/spike-enclave")
cluster n1 n2
spec "spike in enclaves" 0 submit spikes.yaml --listen "${sets[@]}"
await n1.err 'graph spikes, incarnation 1: running'
"$P" replay meters.csv --to spikes/meters --speed 240x --id one >/dev/null 2>player.err &
player=$!
none_lost() { out "^$1 moves?, [0-9]+ buckets?, [0-9]+ bytes?, [0-9.]+ s, longest pause [0-9.]+ s, rows lost 0\$"; }
await n2.err 'graph spikes, incarnation 1: its run has begun here'
"$P" status spikes >.out
spec "a partition goes to the other node's worker" 0 move "$(grep -o 'spikes/[0-9]* on n1' .out | head -n 1 | cut -d' ' -f1)" n2
none_lost 1
spec "two become three" 0 scale spikes 3
none_lost '[1-9]'
spec "it is stopped" 0 stop spikes --savepoint saved
kill -INT $player 2>.feed # it may have ended: its graph has
wait $player
spec "and goes on from its savepoint, with other partitions" 0 submit spikes.yaml --listen --from saved "${sets[@]}" --set partitions=4
spec "the rest of the stream" 0 replay meters.csv --to spikes/meters --speed max --id one
await n1.err 'graph spikes, incarnation [0-9]+: done'
shared_same spikes
down
finish
