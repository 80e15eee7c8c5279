#!/bin/bash
# moves.sh - partitions of a graph are divided and moved while its stream runs, by `penstock scale` and `penstock move`: the bytes are those
# of `penstock run`, and what cannot be gets a sentence.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 300000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
sets=(--set 'slices=60,300') windows=(--set 'windows=100,3600')
LOAD=$ROOT/debs14/load.yaml OUTLIERS=$ROOT/debs14/outliers.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
"$P" run "$OUTLIERS" --input meters.csv --output wanted/outliers "${windows[@]}" --quiet
protect=(--insecure-loopback)

# The stream lasts as long as it is wanted to: then its rest comes at once.
mkfifo stream

cluster n1 n2 n3
spec "nothing runs yet" 77 scale plug_load 4
err 'no graph that runs has an operator `plug_load`'
feed
spec "Query 1" 0 submit "$LOAD" --input stream "${sets[@]}"
spec "two partitions become four" 0 scale plug_load 4
out '^2 moves, 32 buckets, [0-9]+ bytes?, [0-9.]+ s, longest pause [0-9.]+ s, rows lost 0$'
no_err
spec "status shows them" 0 status load
out '^load: running, incarnation 1$'
expect "four partitions" test "$(grep -c '^  plug_load/' .out)" -eq 4
expect "of sixteen buckets each" test "$(grep -c '^  plug_load/.*, 16 buckets$' .out)" -eq 4
from=$(sed -n 's|^  \(plug_load/[0-9]*\) on n[23], .*|\1|p' .out | head -n 1)
spec "one of them goes to the first node" 0 move "$from" n1 --json
json 'd["moves"] == 1 and d["buckets"] == 16 and d["seconds"] > 0 and d["bytes"] > 0 and d["rows_lost"] == 0 and d["error"] is None'
spec "it is there, under another number" 0 status load --json
json 'sum(p["buckets"] for p in d["graphs"][0]["places"] if p["operator"] == "plug_load") == 64'
json "\"$from\".split('/')[1] not in [str(p[\"partition\"]) for p in d['graphs'][0]['places'] if p['operator'] == 'plug_load']"

# ---- what cannot be ----
spec "where it was it is no more" 77 move "$from" n2
err "operator \`plug_load\` has no partition"
spec "to none" 77 scale plug_load 0
err 'operator `plug_load` can have 1 to 64 partitions, as it has so many buckets'
spec "to more than there are buckets" 77 scale plug_load 65
err 'can have 1 to 64 partitions'
spec "to more than there can be" 77 scale plug_load 100000
err 'can have 1 to 64 partitions'
spec "to as many as there are" 0 scale plug_load 4
out '^operator `plug_load` has 4 partitions already: nothing to do$'
no_err
spec "and as an object" 0 scale plug_load 4 --json
json 'd["moves"] == 0 and d["buckets"] == 0 and d["rows_lost"] == 0 and d["relocations"] == [] and d["error"] is None'
spec "to a word" 2 scale plug_load many
err '`many` is no number of partitions'
spec "an operator that there is not" 77 scale plugload 4
err 'no graph that runs has an operator `plugload`'
spec "a sink" 77 scale load_plug 2
err 'operator `load_plug` has no buckets that could move'
spec "a partition without a number" 2 move plug_load n2
err '`plug_load` is no partition: OPERATOR/NUMBER is wanted'
spec "a node that there is not" 77 move house_load/0 n9
err 'there is no node `n9` that is alive'
spec "a move that there is not" 77 migration show load/99
err 'there is no move `load/99`'
spec "one that is done is not taken back" 77 migration cancel load/1
err 'move 1 is DONE: that cannot be taken back'
spec "no command" 2 migration begin
spec "of a node that reads, the rest goes" 77 drain n1
out '^[1-9][0-9]* moves?, '
err 'node `n1` gets nothing any more, but is not empty: it has the input `meters` of graph `load`, which cannot move while the graph runs$'
spec "that is taken back" 0 drain n1 --undo
spec "a node that there is not" 77 drain n9
"$P" status load --json >.status 2>/dev/null
on=$(python3 -c 'import json; print([p["node"] for p in json.load(open(".status"))["graphs"][0]["places"] if p["operator"] == "house_load" and p["partition"] == 0][0])')
spec "where it is already" 0 move house_load/0 "$on"
out "^house_load/0 is on node $on already: nothing to do\$"
spec "the other operator, and how far it is, by a node that hands on" 0 scale house_load 3 --progress --node unix:n2/admin.sock
out '^1 move, '
err '^penstock: move 1 of 1: house_load [0-9]+ -> [0-9]+ on node n[123]: preparing, [0-9.]+ s, up to [0-9.]+ s left$'
err '^penstock: move 1 of 1: house_load [0-9]+ -> [0-9]+ on node n[123]: handing over(, [0-9.]+ of [0-9.]+ MB)?, [0-9.]+ s$'
err '^penstock: move 1 of 1: house_load [0-9]+ -> [0-9]+ on node n[123]: done(, [0-9.]+ of [0-9.]+ MB)?, [0-9.]+ s$'

# ---- moves that were; fewer partitions; a node that comes when the graph runs, and goes ----
spec "what has moved" 0 migration ls
out '^load/1: plug_load/[0-9]+ on n[1-3] to [0-9]+ on n[1-3], 16 buckets, DONE$'
spec "one of them" 0 migration show load/1 --json
json 'd["moves"][0]["step"] == "DONE" and d["moves"][0]["owner_epoch"] == 2 and d["moves"][0]["bytes"] > 0'
json 'd["moves"][0]["rows_lost"] == 0'
spec "and all that there is to say" 0 migration show load/1
out '^  rows lost 0$'
spec "to fewer, told as objects" 0 scale plug_load 2 --progress --json
no_err
progress_of() { python3 - .out <<'PY'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
said = [(p["move"], p["moves"], p["operator"], p["phase"]) for p in (line["progress"] for line in lines[:-1])]
assert {(m, 2, "plug_load", phase) for m in (1, 2) for phase in ("preparing", "done")} <= set(said), said
assert all(before <= after for before, after in zip([s[0] for s in said], [s[0] for s in said[1:]])), said
assert lines[-1]["moves"] == 2 and lines[-1]["buckets"] == 32 and lines[-1]["rows_lost"] == 0 and lines[-1]["error"] is None
PY
}
expect "each move from its beginning to its end, then the answer" progress_of
spec "there are two" 0 status load
expect "two partitions" test "$(grep -c '^  plug_load/' .out)" -eq 2
spec_name="a number comes again; on a terminal one line is made anew"
python3 -c 'import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))' "$P" scale plug_load 3 >live </dev/null
expect "exit code 0" test $? = 0
expect "one line" grep -q "$(printf '\rmove 1 of 1: plug_load .*: done, .*\033\[K\r\033\[K1 move, ')" live
up n4 --workers 1 --join "$(reach n1)"
await n1.err 'node n4 has joined'
spec "buckets go to it, too" 0 rebalance
spec "it has some" 0 status load
expect "of both operators" test "$(grep -cE '^  (plug|house)_load/.* on n4, ' .out)" -ge 2
expect "a quarter of the plugs" grep -qE '^  plug_load/[0-9]+ on n4, 16 buckets$' .out
spec "all is even" 0 rebalance
out '^0 moves, '
until "$P" rebalance --by-load --node unix:n1/admin.sock >.out 2>.err || ! grep -q 'how busy partitions are is not known yet' .err; do :; done
expect "by what they do" grep -qE '^[0-9]+ moves?, .*, rows lost 0$' .out
spec "it goes" 0 drain n4
spec "it has nothing" 0 status load
expect "no place on it" test "$(grep -c ' on n4' .out)" -eq 0
spec "it gets nothing" 77 move house_load/0 n4
err 'node `n4` is being drained'
touch enough
await n1.err 'graph load, incarnation 1: done'
wait $feeder
same load
spec "after the end" 77 scale plug_load 8
down

# ---- the other query; a node dies where partitions have moved: the graph is started again, without them ----
cluster n1 n2 n3
feed
spec "Query 2" 0 submit "$OUTLIERS" --input stream "${windows[@]}"
spec "its plugs" 0 scale plug_above 5
out '^3 moves, '
spec "its houses" 0 scale house_share 3
kill -STOP $feeder # no epoch ends
spec "its time is over" 75 scale plug_above 8 --deadline 2 --progress
err 'its deadline passed'
err '^penstock: move 1 of 3: plug_above [0-9]+ -> [0-9]+ on node n[123]: (preparing|copying), [0-9.]+ s, up to [0-9.]+ s left$'
err '^penstock: move 1 of 3: plug_above .*: given up, '
expect "a line a second, and one for each phase" test "$(grep -c '^penstock: move' .err)" -le 8
spec "all is where it was" 0 status outliers
expect "five partitions" test "$(grep -c '^  plug_above/' .out)" -eq 5
spec "it says why" 0 migration ls
out '^outliers/[0-9]+: plug_above/.*, ABORTED: its deadline passed'
kill -CONT $feeder
spec "it can go all the same" 0 scale plug_above 6 --deadline 300
out '^1 move, '
spec "no time at all" 2 scale plug_above 8 --deadline 0
touch enough
await n1.err 'graph outliers, incarnation 1: done'
wait $feeder
same outliers
rm -rf n?/results
spec "from a file, which can be read again" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}"
"$P" scale plug_above 4 >.scaled 2>&1 & # it may come in time, or not
scaling=$!
kill_node n3 KILL
await n1.err 'graph outliers, incarnation [0-9]+: done' 2
wait $scaling
rm -rf n3
same outliers
down
finish
