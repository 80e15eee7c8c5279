#!/bin/bash
# disk.sh - nodes with a bound of what they keep in checkpoints: what does not fit is given up with a sentence and the graph goes on, what
# graphs have left that have ended makes room for others, and nobody ever keeps more.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 300000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300')
LOAD=$ROOT/debs14/load.yaml
for name in load second third; do
    sed "s/^name: load/name: $name/" "$LOAD" >$name.yaml
    "$P" run $name.yaml --input meters.csv --output wanted/$name "${sets[@]}" --quiet
done
"$P" key init points.key --quiet
protect=(--insecure-loopback)
mkfifo stream
kept() { cat shared/*/nodes/"$1"/* 2>/dev/null | wc -c; } # kept NODE: bytes

# ---- what one graph keeps where nothing bounds it ----
every_node=(--checkpoints shared --key points.key --every-seconds 1)
cluster n1 n2
feed
spec "a graph without a bound" 0 submit load.yaml --input stream "${sets[@]}"
await n1.err 'graph load, incarnation 1: checkpoint 0000000100000002 is complete'
spec "status has no bound to show" 0 status --json
json '[e["disk_bytes_max"] for e in d["disks"]] == [None, None]'
touch enough
await n1.err 'graph load, incarnation 1: done'
wait $feeder
shared_same load
down
most=$(kept n1)
(($(kept n2) > most)) && most=$(kept n2)
bound=$((most / 1024 * 3 / 2)) # room for one graph, and not for two

# ---- the same as a bound: others have room when they have ended ----
every_node+=(--disk "${bound}KiB" --metrics 127.0.0.1:0)
up n1 --workers 1
up n2 --workers 1 --join "$(reach n1)"
await n1.err 'node n2 (has joined|is back)' 2
feed
spec "a second graph" 0 submit second.yaml --input stream "${sets[@]}"
await n1.err 'graph second, incarnation 1: checkpoint 0000000100000002 is complete'
spec "status shows the bound" 0 status
out "^disk of n1: [1-9][0-9]* of $bound KiB\$"
out "^disk of n2: [1-9][0-9]* of $bound KiB\$"
spec "top shows it" 0 top --json
json "all(0 < n['disk_bytes'] <= n['disk_bytes_max'] == $bound * 1024 for n in d['nodes'])"
expect "and the metrics" python3 "$HERE/check_metrics.py" \
    "$(sed -n 's|.*metrics at http://\(.*\)/metrics$|\1|p' n1.err | tail -n 1)" \
    "penstock_disk_limit_bytes==$((bound * 1024))" 'penstock_disk_bytes>=1000'
expect "what the first one has left has gone" test ! -e shared/load/nodes/n1/0000000100000001.manifest
touch enough
await n1.err 'graph second, incarnation 1: done'
wait $feeder
shared_same second
for name in n1 n2; do expect "$name keeps to it" test "$(kept $name)" -le $((bound * 1024)); done
down

# ---- and one in which nothing fits ----
rm -rf shared
every_node=(--checkpoints shared --key points.key --every-seconds 1 --disk 2KiB)
cluster n1 n2
feed
spec "a graph for which there is no room" 0 submit third.yaml --input stream "${sets[@]}"
await n1.err 'graph third, incarnation 1: checkpoint 0000000100000001 is given up: node n[12]: .*and --disk allows 2$'
await n1.err 'graph third, incarnation 1: checkpoint 0000000100000002 is given up'
await n2.err 'graph third, incarnation 1: this node has no part of checkpoint [0-9a-f]*: .*--disk allows 2$'
spec "status says so" 0 status third
out '^third: running, incarnation 1$'
out '^  its last checkpoint was given up: node n[12]: .*: it does not fit: .* and --disk allows 2$'
spec "as an object, too" 0 status third --json
json 'd["graphs"][0]["checkpoint"] is None and "--disk allows 2" in d["graphs"][0]["checkpoint_given_up"]'
for name in n1 n2; do expect "$name keeps nothing" test "$(kept $name)" -le 2048; done
spec "nothing is committed" 0 results third/load_plug
no_out
touch enough
await n1.err 'graph third, incarnation 1: done'
wait $feeder
shared_same third
down

# ---- state beyond a budget, which moves ----
every_node=(--state-budget 3MiB --disk 1GiB --metrics 127.0.0.1:0)
cluster n1 n2
"$P" gen --houses 4 --plugs 60 --rows 500000 --seed 5 --output meters.csv --quiet
"$P" run "$ROOT/debs14/outliers.yaml" --input meters.csv --output wanted/outliers --set windows=3000 --quiet
rm -f enough
feed
spec "a graph whose state is larger" 0 submit "$ROOT/debs14/outliers.yaml" --input stream --set windows=3000
spec "a partition moves" 0 move plug_above/0 n1 --json
json 'd["rows_lost"] == 0 and d["buckets"] > 0'
spilled() { # a node has pages in its file
    for name in n1 n2; do
        python3 "$HERE/check_metrics.py" "$(sed -n 's|.*metrics at http://\(.*\)/metrics$|\1|p' $name.err)" 'penstock_disk_bytes>=16384' && return
    done
    return 1
}
for _ in $(seq 300); do spilled >/dev/null 2>&1 && break; done
expect "pages are spilled meanwhile" spilled
touch enough
await n1.err 'graph outliers, incarnation 1: done'
wait $feeder
same outliers
down
every_node=(--state-budget 1MiB)
cluster n1 n2
spec "is refused with the least that would do" 78 submit "$ROOT/debs14/outliers.yaml" --input "$T/meters.csv" --set windows=3000
err 'node n[12]: a state budget of 1024 KiB is too small for the [0-9]* partitions that have state, which need [0-9]* KiB'
down

# ---- sentences ----
spec "no budget" 2 node --name n1 --dir n1 --listen 127.0.0.1:0 --insecure-loopback --state-budget much
err '--state-budget `much`: a size is wanted, as 64MiB'
spec "no policy" 2 node --name n1 --dir n1 --listen 127.0.0.1:0 --insecure-loopback --evict oldest
err '--evict `oldest`: event-time, lru, clock or random is wanted'
spec "no size" 2 node --name n1 --dir n1 --listen 127.0.0.1:0 --insecure-loopback --checkpoints shared --key points.key --disk much
err '--disk `much`: a size is wanted, as 64GiB'
spec "nothing to bound" 2 node --name n1 --dir n1 --listen 127.0.0.1:0 --insecure-loopback --disk 1GiB
err '--disk says nothing without --checkpoints DIR or --state-budget'
finish
