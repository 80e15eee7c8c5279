#!/bin/bash
# autoscale.sh - an operator that has little to do gets fewer partitions by itself, one that has `mode: dry-run` keeps them, and the bytes are
# those of `penstock run`.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 1200000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300' --set partitions=4)
awk '/^    partitions:/ { print; rule = n++ ? "target: 70, max: 8, mode: dry-run" : "target: 70, min: 2, max: 8"
    print "    autoscale: {" rule ", grace: 1}"; next } { print }' "$ROOT/debs14/load.yaml" >load.yaml
"$P" run load.yaml --input meters.csv --output wanted/load "${sets[@]}" --quiet
protect=(--insecure-loopback)
mkfifo stream
cluster n1 n2 n3
rm -f enough
python3 "$HERE/feed.py" meters.csv stream enough &
feeder=$!
spec "a graph whose operators scale by themselves" 0 submit load.yaml --input stream "${sets[@]}"
await n1.err 'graph load, plug_load, autoscale: 4 -> 2 partitions: busy [0-9]+ % of the time, below 60 %'
await n1.err 'graph load, plug_load, autoscale: [0-9]+ moves, 32 buckets, '
await n1.err 'graph load, house_load, autoscale [(]dry run[)]: 4 -> 1 partitions'
spec "what has scaled is seen, what was only thought of is not" 0 status load
expect "two partitions" test "$(grep -c '^  plug_load/' .out)" -eq 2
expect "four of the other" test "$(grep -c '^  house_load/' .out)" -eq 4
: >enough
wait "$feeder"
await n1.err 'graph load, incarnation 1: done'
same load
down
finish
