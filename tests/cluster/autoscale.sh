#!/bin/bash
# autoscale.sh - an operator that has little to do gets fewer partitions by itself, one that has `mode: dry-run` keeps them, one whose worker in
# an enclave has much to do gets more, however little its node's thread does; and the bytes are those of `penstock run`.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 1200000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300' --set partitions=4)
awk '/^    partitions:/ { print; rule = n++ ? "target: 70, max: 8, mode: dry-run" : "target: 70, min: 2, max: 8"
    print "    autoscale: {" rule ", grace: 1}"; next } { print }' "$ROOT/debs14/load.yaml" >load.yaml
"$P" run load.yaml --input meters.csv --output wanted/load "${sets[@]}" --quiet
# Of an operator of one's own, which works for some milliseconds in each frame.
inside=false build=$(dirname "$P") feeder_inside=''
if [ -x "$build/penstock-enclave" ]; then
    inside=true
    cc -O2 -fPIC -shared -I"$ROOT" -o guest.so "$ROOT/tests/cli/guest.c"
    cc -O2 -fPIE -static-pie -I"$ROOT" -o guest-enclave "$ROOT/tests/cli/guest.c" "$build/libpenstock-enclave.a" \
        -lcrypto -llz4 -lxxhash -lIPSec_MB 2>compiling || cat compiling
    cat >guests.yaml <<G
penstock: 1
name: guests
parameters: {attempt: ""}
libraries: [$T/guest.so]
operators:
  - id: meters
    type: csv_source
    params: {file: meters.csv}
  - id: guests
    type: guest
    inputs: [meters]
    key: [house_id]
    enclave: true
    epc: 8MiB
    autoscale: {target: 10, band: 5, min: 1, max: 2, grace: 1}
    params: {total: 0, epoch: 60, attempt: "\${attempt}"}
  - id: out
    type: csv_sink
    inputs: [guests]
    params: {file: out.csv, columns: [house_id, rows, kind]}
G
    sed '/^    e[np]c/d; /^    autoscale/d' guests.yaml >plain.yaml
    "$P" run plain.yaml --input meters.csv --output wanted/guests --quiet
    mkfifo stream_inside
    every_node=(--enclave-program "$T/guest-enclave")
else
    echo "not run: this build has no penstock-enclave, so nothing scales in one"
fi
"$P" tls init authority --quiet
for name in n1 n2 n3; do "$P" tls issue authority $name --quiet; done
mkfifo stream
cluster n1 n2 n3
rm -f enough enough_inside
if $inside; then
    python3 "$HERE/feed.py" meters.csv stream_inside enough_inside &
    feeder_inside=$!
    spec "a graph whose operator works in an enclave, and scales by itself" 0 submit guests.yaml --input stream_inside --set attempt=work
fi
python3 "$HERE/feed.py" meters.csv stream enough &
feeder=$!
spec "a graph whose operators scale by themselves" 0 submit load.yaml --input stream "${sets[@]}"
await n1.err 'graph load, plug_load, autoscale: 4 -> 2 partitions: busy [0-9]+ % of the time, below 60 %'
await n1.err 'graph load, plug_load, autoscale: [0-9]+ moves?, 32 buckets, '
await n1.err 'graph load, house_load, autoscale [(]dry run[)]: 4 -> 1 partitions'
spec "what has scaled is seen, what was only thought of is not" 0 status load
expect "two partitions" test "$(grep -c '^  plug_load/' .out)" -eq 2
expect "four of the other" test "$(grep -c '^  house_load/' .out)" -eq 4
: >enough
wait "$feeder"
await n1.err 'graph load, incarnation 1: done'
same load
if $inside; then
    spec_name="its worker's time counts"
    await n1.err 'graph guests, guests, autoscale: 1 -> 2 partitions: busy [0-9]+ % of the time, above 15 %'
    await n1.err 'graph guests, guests, autoscale: 1 move, '
    spec "two partitions of it" 0 status guests
    expect "two of it" test "$(grep -c '^  guests/' .out)" -eq 2
    : >enough_inside
    wait "$feeder_inside"
    await n1.err 'graph guests, incarnation 1: done'
    same guests
fi
down
finish
