#!/bin/bash
# replay.sh - a recorded stream into a graph that runs on a cluster: whatever breaks meanwhile, the bytes are those of `penstock run`, and
# a stream counts once.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 120000 --late 50 --malformed 20 --seed 5 --output meters.csv --quiet
"$P" gen --houses 4 --plugs 60 --rows 120000 --late 50 --malformed 20 --seed 6 --output other.csv --quiet
gzip -k meters.csv
"$P" tls init authority --quiet
for name in n1 n2 n3 me; do "$P" tls issue authority $name --quiet; done
"$P" key init points.key --quiet
sets=(--set 'slices=60,300') windows=(--set 'windows=100,3600')
LOAD=$ROOT/debs14/load.yaml OUTLIERS=$ROOT/debs14/outliers.yaml
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
"$P" run "$OUTLIERS" --input meters.csv --output wanted/outliers "${windows[@]}" --quiet
bytes=$(stat -c %s meters.csv)
# Event times of the first and the last line, and two between.
times=$(python3 - <<'PY'
times = [int(line.split(b",")[1]) for line in open("meters.csv", "rb") if line.count(b",") == 6 and line.split(b",")[1].isdigit()]
first, last = times[0], max(times)
print(first, last, first + (last - first) // 3, first + (last - first) * 2 // 3)
PY
)
read -r first last from until <<<"$times"
listen() { # GRAPH flags...
    local graph=$1
    shift
    spec "$1 waits for a stream" 0 submit "$graph" --listen "${@:2}"
}
again() { # what stands in results goes, the graph is submitted anew
    rm -rf n?/results shared
    listen "$@"
}
# In the background: play NAME flags...
play() {
    local name=$1
    shift
    "$P" replay "$@" >"$name.out" 2>"$name.err" &
    player=$!
}
played() { # NAME CODE
    { wait "$player" && code=0 || code=$?; } 2>/dev/null
    expect "exit code $2 of $1: $(tail -n 3 "$1.err")" test $code = "$2"
}

# ---- what it says before anything is sent ----
spec "where is missing" 2 replay meters.csv
err '--to HOST:PORT or --to GRAPH/SOURCE is missing'
spec "no such speed" 2 replay meters.csv --to 127.0.0.1:1 --speed fast
err '--speed `fast`: seconds of event time in a second are wanted, as 60x or 0.5x, or max'
spec "nothing is left" 2 replay meters.csv --to unix:none --from 5 --until 4
err '--from is above --until'
spec "an id with an @" 2 replay meters.csv --to 127.0.0.1:1 --id a@b
spec "no such file" 74 replay none.csv --to 127.0.0.1:1
spec "a pipe" 74 replay <(cat meters.csv) --to 127.0.0.1:1
err 'a stream that is replayed must be a file'
spec "nobody there" 69 replay meters.csv --to 127.0.0.1:1
err 'cannot reach 127.0.0.1:1'

# ---- over TLS, to a node that does not read ----
cluster n1 n2
tls=(--tls authority/me)
spec "no graph takes a stream" 77 replay meters.csv --to "${address[n1]}" "${tls[@]}"
err 'no graph of this cluster takes a stream: submit one with --listen'
spec "a file and a stream" 2 submit "$LOAD" --listen --input meters.csv
listen "$LOAD" load "${sets[@]}" --source n2
spec "without a certificate another node is out of reach" 75 replay meters.csv --to load
err 'the node that reads the stream has not answered for too long; tried last was'
spec "by the address of any node" 0 replay meters.csv --to "${address[n1]}" "${tls[@]}" --json
json "d['graph'] == 'load' and d['length'] == d['bytes'] == $bytes and d['connections'] == 1 and not d['taken_before']"
json "d['time_first'] == $first and d['time_last'] == $last and d['speed'] > 10 and d['error'] is None"
await n1.err 'graph load, incarnation 1: done'
same load
spec "the same again adds nothing" 0 replay meters.csv --to load/meters --node "${address[n2]}" "${tls[@]}"
out '^load: all of this stream was taken before, nothing was added$'
spec "as an object" 0 replay meters.csv --to load/meters --json
json "d['taken_before'] and d['rows'] == d['bytes'] == 0"
same load
spec "another stream is refused" 77 replay other.csv --to load/meters
err 'graph `load` takes the stream [0-9a-f]{32}, and [0-9a-f]{32} is another one'
spec "another range of the same is another one" 77 replay meters.csv --to load/meters --from 5
spec "what it took is shown" 0 status load --json
json 'd["graphs"][0]["listens"] and len(d["graphs"][0]["stream"]) == 32'
spec "no such source" 77 replay meters.csv --to load/meter
err 'graph `load` has no source `meter`: its source is `meters`'
spec "no such graph" 77 replay meters.csv --to loads/meters
err 'there is no graph `loads`'

# ---- a node that reads, by its unix socket; uncompressed on the way ----
listen "$OUTLIERS" outliers "${windows[@]}"
spec "by the names of graph and source" 0 replay meters.csv.gz --to outliers/meters --json
json "d['graph'] == 'outliers' and d['length'] == $bytes"
same outliers
again "$LOAD" load "${sets[@]}"
listen "$OUTLIERS" outliers "${windows[@]}"
spec "two that wait" 77 replay meters.csv --to "${address[n1]}" "${tls[@]}"
err 'more than one graph of this cluster takes a stream'
"$P" cancel outliers >.out
spec "an id of one's own" 0 replay meters.csv --to "${address[n1]}" "${tls[@]}" --id meters-2013
same load
spec "by that id it is known" 0 replay meters.csv.gz --to load --id meters-2013
out 'all of this stream was taken before'
spec "a graph that was cancelled" 77 replay meters.csv --to outliers
err 'graph `outliers` is cancelled'
spec "one that reads a file" 0 submit "$OUTLIERS" --input meters.csv "${windows[@]}" --wait
spec "takes no stream" 77 replay meters.csv --to outliers
err 'graph `outliers` reads a file: it was submitted without --listen'

# ---- a range ----
python3 - "$from" "$until" <<'PY'
import sys
begin, end = int(sys.argv[1]), int(sys.argv[2])
inside, out = False, open("cut.csv", "wb")
for line in open("meters.csv", "rb"):
    fields = line.split(b",")
    time = int(fields[1]) if len(fields) > 1 and fields[1].isdigit() else None
    inside = inside or (time is not None and time >= begin)
    if inside and time is not None and time >= end:
        break
    if inside:
        out.write(line)
PY
mkdir -p whole && mv wanted/load whole/
"$P" run "$LOAD" --input cut.csv --output wanted/load "${sets[@]}" --quiet
for file in meters.csv meters.csv.gz; do
    again "$LOAD" load "${sets[@]}" --source n2
    spec "a range of $file" 0 replay $file --to load "${tls[@]}" --node "${address[n1]}" --from "$from" --until "$until" --json
    json "d['length'] == $(stat -c %s cut.csv) and d['time_first'] >= $from and d['time_last'] < $until"
    same load
done
rm -rf wanted/load && mv whole/load wanted/

# ---- at a pace ----
speed=$(((last - first) / 2))
again "$LOAD" load "${sets[@]}" --source n2
spec "in two seconds" 0 replay meters.csv --to load "${tls[@]}" --node "${address[n1]}" --speed ${speed}x --json --progress
json "2 <= d['seconds'] < 20 and $speed / 10 < d['speed'] <= $speed * 1.001 and d['length'] == $bytes"
err '^penstock: [0-9,]+ rows, .*, time [0-9]+, speed [0-9.e+]+x, [0-9]+ %$'
same load

# ---- two at once, and one that is killed ----
again "$LOAD" load "${sets[@]}" --source n2
play one meters.csv --to load "${tls[@]}" --node "${address[n1]}" --speed 1x
await n2.err 'its stream comes by a connection, from byte 0 on' 5
spec "somebody else has it" 77 replay meters.csv --to load "${tls[@]}" --node "${address[n1]}"
err 'somebody else replays this stream at the moment'
kill -KILL "$player"
played one 137
spec "another process goes on" 0 replay meters.csv --to load "${tls[@]}" --node "${address[n1]}" --json
json "0 < d['bytes'] < d['length'] == $bytes"
await n2.err 'its stream comes by a connection, from byte [1-9][0-9]* on'
same load
play one meters.csv --to load "${tls[@]}" --node "${address[n1]}" --speed 1x
played one 0
down

# ---- one that stands still ----
cluster n1 n2
listen "$LOAD" load "${sets[@]}" --source n2
play still meters.csv --to load "${tls[@]}" --node "${address[n1]}" --speed $((speed / 8))x
await n2.err 'its stream comes by a connection, from byte 0 on'
kill -STOP "$player"
spec "another process has its place" 0 replay meters.csv --to load "${tls[@]}" --node "${address[n1]}" --json
json "d['bytes'] <= d['length'] == $bytes"
await n2.err 'whoever sends its stream stands still, and another one has it, too: that connection is closed'
same load
kill -CONT "$player"
played still 0
down

# ---- a way that is cut ----
way n1
way n2 400000
cluster n1 n2
listen "$LOAD" load "${sets[@]}" --source n2
play cut meters.csv --to load "${tls[@]}" --node "${address[n1]}" --json
spec_name="a way that is cut, and made again"
for turn in 1 2 3; do
    await cut.err 'node n2 takes it, from byte' $turn
    kill -USR1 "${relay_pid[n2]}"
done
await cut.err 'node n2 takes it, from byte' 4
kill -USR2 "${relay_pid[n2]}"
played cut 0
cp cut.out .out
json "d['length'] == $bytes and d['bytes'] >= $bytes and d['connections'] >= 4"
expect "no other incarnation" test -z "$(grep 'incarnation 2' n1.err)"
same load
down

# ---- the node that reads is killed ----
same_shared() { for file in wanted/load/*; do expect "the bytes of penstock run in ${file##*/}" cmp -s "$file" "shared/load/results/${file##*/}"; done; }
every_node=(--checkpoints shared --key points.key --every-seconds 1)
for back in no yes; do
    spec_name="the reading node is killed, and comes back: $back"
    rm -rf shared
    cluster n1 n2
    listen "$LOAD" load "${sets[@]}" --source n2
    play killed meters.csv --to load "${tls[@]}" --node "${address[n1]}" --speed $((speed / 8))x
    await n1.err 'checkpoint [0-9a-f]+ is complete'
    kill_node n2 KILL
    if [[ $back == yes ]]; then up n2 --workers 1 --join "$(reach n1)"; fi
    await n1.err 'graph load, incarnation 2: running'
    await killed.err 'takes it, from byte [1-9][0-9]* on'
    kill -INT "$player" # patience is not tested here: another process sends the rest
    played killed 1
    spec "the rest at once" 0 replay meters.csv --to load "${tls[@]}" --node "${address[n1]}" --json
    json "d['length'] == $bytes and d['bytes'] < $bytes"
    await n1.err 'graph load, incarnation 2: done'
    expect "it went on from a checkpoint" grep -q 'incarnation 2: its run has begun here, from checkpoint' n1.err
    same_shared
    down
done
every_node=()

# ---- the same without checkpoints: from the beginning ----
cluster n1 n2
listen "$LOAD" load "${sets[@]}" --source n2
play killed meters.csv --to load "${tls[@]}" --node "${address[n1]}" --speed $((speed / 8))x
await n2.err 'its stream comes by a connection'
kill_node n2 KILL
await n1.err 'graph load, incarnation 2: running'
await killed.err 'node n1 takes it, from byte 0 on'
kill -INT "$player"
played killed 1
expect "it says how to go on" grep -q 'the same command goes on from where the graph is' killed.err
spec "the rest at once" 0 replay meters.csv --to load "${tls[@]}" --node "${address[n1]}"
await n1.err 'graph load, incarnation 2: done'
rm -rf n2/results
same load
down

# ---- the coordinator is killed, and comes back ----
cluster n1 n2
listen "$LOAD" load "${sets[@]}" --source n2
play back meters.csv --to load "${tls[@]}" --node "${address[n1]}" --speed $((speed / 8))x
await n2.err 'its stream comes by a connection'
kill_node n1 KILL
up n1 --workers 1
await n1.err 'graph load, incarnation 2: running'
await back.err 'node n2 takes it, from byte 0 on' 2
kill -INT "$player"
played back 1
spec "what the store says of the stream stays" 77 replay other.csv --to load
spec "the rest" 0 replay meters.csv --to load "${tls[@]}" --node "${address[n1]}"
await n1.err 'graph load, incarnation 2: done'
same load
down

# ---- a stream for each of two nodes; one of them is killed, and the third reads on ----
"$P" gen --houses 4 --plugs 60 --rows 120000 --seed 7 --output pair.csv --quiet
awk -F, 'NR == 1 || $NF % 2 == 0' pair.csv >even.csv
awk -F, 'NR == 1 || $NF % 2 == 1' pair.csv >odd.csv
rm -rf wanted/load shared
"$P" run "$LOAD" --input pair.csv --output wanted/load "${sets[@]}" --quiet
every_node=(--checkpoints shared --key points.key --every-seconds 1)
cluster n1 n2 n3
spec "files, and streams" 77 submit "$LOAD" --listen --source n2=even.csv --source n3=odd.csv
err 'with --listen each --source names a node alone'
spec "a file, and a stream" 77 submit "$LOAD" --listen --source n2 --source n3=odd.csv
spec "a node that reads two" 77 submit "$LOAD" --listen --source n2 --source n2
err '--source names node `n2` twice'
listen "$LOAD" load "${sets[@]}" --source n2 --source n3
spec "whose it is must be said" 77 replay even.csv --to load
err 'graph `load` takes several streams, those of n2 and n3: say with --reader whose this one is'
spec "by the address of a node that reads none" 77 replay even.csv --to "${address[n1]}" "${tls[@]}"
err 'graph `load` takes several streams'
spec "of a name that no node has" 2 replay even.csv --to load --reader "n 2"
err '--reader `n 2`: the name of a node is wanted'
spec "of a node that reads none" 77 replay even.csv --to load --reader n1
err 'graph `load` has no stream of `n1`: it takes those of n2 and n3'
play even even.csv --to load "${tls[@]}" --node "${address[n1]}" --reader n2 --speed $((speed / 8))x
even=$player
await n2.err 'its stream comes by a connection, from byte 0 on'
spec_name="status says who is waited for"
until "$P" status load >.out 2>.err && grep -Eq 'stream of n2, read by n2: [0-9a-f]{32}, is at event time' .out; do :; done
out '^  stream of n3, read by n3: none was said yet: event time waits for it$'
spec "top, too" 0 top --once --json
json '[(s["reader"], s["waited_for"]) for s in d["graphs"][0]["streams"]] == [("n2", False), ("n3", True)]'
spec "the same for another" 77 replay even.csv --to load --reader n3
err 'as that of n2, and not of n3'
spec "another one for the same" 77 replay odd.csv --to load --reader n2
err 'as that of n2, and [0-9a-f]{32} is another one'
play odd odd.csv --to "${address[n3]}" "${tls[@]}" --speed $((speed / 8))x
await n1.err 'graph load, incarnation 1: checkpoint [0-9a-f]+ is complete'
kill_node n3 KILL
await n1.err 'graph load, incarnation 2: running'
await even.err 'node n2 takes it, from byte [1-9][0-9]* on'
await odd.err 'node n1 takes it, from byte [1-9][0-9]* on'
kill -INT "$player" "$even"
played odd 1
player=$even
played even 1
play even even.csv --to load --reader n2 "${tls[@]}" --node "${address[n1]}"
spec "by its id, whoever reads it" 0 replay odd.csv --to "${address[n2]}" "${tls[@]}" --json
json "d['length'] == $(stat -c %s odd.csv) and 0 < d['bytes'] < d['length']"
played even 0
await n1.err 'graph load, incarnation 2: done'
same_shared
spec "the same again adds nothing" 0 replay odd.csv --to load --reader n3
out '^load: all of this stream was taken before, nothing was added$'
same_shared
spec "what it took is shown" 0 status load --json
json '[(s["reader"], s["node"], len(s["stream"]), s["waited_for"]) for s in d["graphs"][0]["streams"]] == [("n2", "n2", 32, False), ("n3", "n1", 32, False)]'
json '[(s["sent"], s["ended"]) for s in d["graphs"][0]["streams"]] == [(False, True)] * 2'
json 'd["graphs"][0]["stream"] is None and d["graphs"][0]["rows"] == 120000'
down
every_node=()

finish
