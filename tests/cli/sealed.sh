#!/bin/bash
# sealed.sh - rows sealed from end to end as their users meet them: the bytes of a run in the clear; who gets the key and who does not; what
# a host does to the stream and to the results; a stream that was cut.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

load=$ROOT/debs14/load.yaml outliers=$ROOT/debs14/outliers.yaml hands=$ROOT/tests/cli/sealed.py
"$P" gen --houses 8 --plugs 300 --duration 12m --seed 3 --late 200 --malformed 100 --quiet --output meters.csv
"$P" key init user.key --quiet
"$P" key init node.key --quiet
"$P" key init other.key --quiet

q1=(--enclave all --set every=60 --key user.key)
spec "a stream is sealed" 0 seal "$load" "${q1[@]}" -i meters.csv -o load.sealed --json
stream=$(python3 -c 'import json; print(json.load(open(".out"))["stream"])')
json 'd["rows"] > 10000 and d["rows_late"] > 0 and d["lines_malformed"] > 0 and d["error"] is None'
spec "another one" 0 seal "$load" "${q1[@]}" -i meters.csv -o before.sealed
expect "other sessions in each" test "$(python3 "$hands" unique load.sealed before.sealed)" = 2
spec "for Query 2" 0 seal "$outliers" --enclave all --set windows=60,300 --key user.key -i meters.csv -o outliers.sealed
time_of_a_row=$(sed -n '5000{s/^[0-9]*,\([0-9]*\),.*/\1/p}' meters.csv)
expect "no event time of a row in it, as text or as a number" python3 "$hands" clear load.sealed "$time_of_a_row"

mkfifo slow.pipe
"$P" seal "$load" "${q1[@]}" -i slow.pipe -o alone.sealed --quiet &
first=$!
exec 8>slow.pipe
head -c 3000000 meters.csv >&8 # it reads, so it has begun
for again in "" --resume; do
    # shellcheck disable=SC2086 # none, or a word
    spec "who seals into a file is alone${again:+, with $again}" 77 seal "$load" "${q1[@]}" -i meters.csv -o alone.sealed $again
    err 'another process is writing alone.sealed.part'
done
spec "nor does a replay into it" 77 replay meters.csv --to load/meters --node unix:nobody.sock --seal "$load" "${q1[@]}" --spool alone.sealed
err 'another process is writing alone.sealed.part'
tail -c +3000001 meters.csv >&8
exec 8>&-
spec_name="the first one goes on"
wait $first
expect "exit code 0" test $? = 0
expect "all of it" test "$(python3 "$hands" marks alone.sealed)" = "$(python3 "$hands" marks load.sealed)"
not_there alone.sealed.part
spec "there is nothing to go on with" 74 seal "$load" "${q1[@]}" -i meters.csv -o alone.sealed --resume
err 'cannot go on with alone.sealed.part: there is no such file'
not_there alone.sealed.part
spec "a spool of another graph" 77 replay meters.csv --to load/meters --node unix:nobody.sock --seal "$load" "${q1[@]}" --spool outliers.sealed
err 'outliers.sealed was not sealed for graph `load` with this key'
spec "a spool of another key" 77 replay meters.csv --to load/meters --node unix:nobody.sock --seal "$load" --enclave all --set every=60 --key other.key --spool load.sealed
err 'load.sealed was not sealed for graph `load` with this key'
spec "a graph that is called otherwise" 78 replay meters.csv --to loads/meters --node unix:nobody.sock --seal "$load" "${q1[@]}" --spool load.sealed
err '--seal .*load.yaml is graph `load`, and --to names graph `loads`'

# one edge that has all rows, and one that has none
cat >rare.yaml <<'EOG'
penstock: 1
name: rare
parameters: {window: 100}
operators:
  - id: meters
    type: csv_source
    params: {file: meters.csv}
  - id: above
    type: filter
    inputs: [meters]
    params: {where: ["value > 1000000"]}
EOG
for way in often:meters rarely:above; do
    cat >>rare.yaml <<EOG
  - id: ${way%:*}
    type: aggregate
    enclave: true
    epc: 16MiB
    inputs: [${way#*:}]
    key: [house_id]
    params: {window: \${window}, group: [house_id], aggregates: [count as readings]}
  - id: ${way%:*}_out
    type: csv_sink
    inputs: [${way%:*}]
    params: {file: ${way%:*}.csv, columns: [window_end, house_id, readings], order: [window_end, house_id]}
EOG
done
"$P" gen --rows 300000 --houses 8 --plugs 50 --seed 7 --output rows.csv --quiet
# On a busy machine an edge's worker may get no processor for as many rows as lie in the rings; without marks it would be all of them.
"$P" gen --rows 1500000 --houses 8 --plugs 50 --seed 7 --output many.csv --quiet
for workers in 1 2; do
    spec "an edge that has no rows, $workers workers" 0 seal rare.yaml --key user.key -i many.csv -o many.sealed --workers $workers
    expect "is marked as often as the other" test "$(python3 "$hands" marks many.sealed)" -lt 750000
done
rm many.csv many.sealed
"$P" seal rare.yaml --key user.key -i rows.csv -o rare.sealed --workers 2 --quiet

if [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run any further: this build has no penstock-enclave"
    finish
    exit 0
fi

"$P" run "$load" -i meters.csv -o wanted --set every=60 --quiet
"$P" run "$outliers" -i meters.csv -o wanted --set windows=60,300 --quiet
for window in 100 2000; do "$P" run rare.yaml -i rows.csv -o wanted$window --set window=$window --quiet; done

# ---- who gets the key ----
spec "what enclaves are measured as is a policy" 0 measure "$load" --enclave all --set every=60 --node-key node.key
out 'measurements:'
cp .out policy.yaml
{ "$P" measure "$outliers" --enclave all --set windows=60,300; "$P" measure rare.yaml; "$P" measure rare.yaml --set window=2000; } | grep '^  - ' >also
sed -i '/^measurements:/r also' policy.yaml
keeper=''
serve() { # serve POLICY FLAGS...: a keeper of the key at keys.sock
    [ -z "$keeper" ] || { kill "$keeper"; wait "$keeper" 2>/dev/null; }
    rm -f keys.sock
    local policy=$1
    shift
    mkfifo said
    "$P" key serve user.key --policy "$policy" --listen unix:keys.sock "$@" 2>said &
    keeper=$!
    exec 7<said
    rm said
    read -r _ <&7 # that it listens
    cat <&7 >kept &
}
trap '[ -z "$keeper" ] || kill "$keeper"; rm -rf "$T"' EXIT

bare=(--enclave all --sealed --epc 8MiB)
sealed=("${bare[@]}" --keys unix:keys.sock --node-key node.key)
serve policy.yaml
spec "software evidence is refused unless it is allowed" 77 run "$load" -i load.sealed -o results --set every=60 "${sealed[@]}"
err 'operator plug_load .* gets no key: .* the evidence is not what the policy wants: hardware is software'
not_there results/load_plug.csv.sealed
serve policy.yaml --allow-software
spec "another configuration is measured as something else" 77 run "$load" -i load.sealed -o results --set every=120 "${sealed[@]}"
err 'the evidence is not what the policy wants: process.measurement'
spec "a node that the policy does not know" 77 run "$load" -i load.sealed -o results --set every=60 "${bare[@]}" --keys unix:keys.sock --node-key other.key
err 'the evidence is not what the policy wants: process.node_key'
spec "nobody there" 74 run "$load" -i load.sealed -o results --set every=60 "${bare[@]}" --keys unix:nobody.sock --node-key node.key
err 'the keeper of the key, unix:nobody.sock'

# ---- the same bytes ----
opened() { # opened GRAPH SINK FILE FLAGS...
    local graph=$1 sink=$2 file=$3
    shift 3
    spec "$file opens" 0 open "$graph" "results/$file.sealed" --enclave all --key user.key --sink "$sink" -o "$file" "$@"
    expect "the bytes of a run in the clear in $file" cmp -s "wanted/$file" "$file"
}
for partitions in 1 5; do
    rm -rf results
    spec "Query 1 on sealed rows, $partitions partitions" 0 run "$load" -i load.sealed -o results --set every=60 --set partitions=$partitions "${sealed[@]}"
    err 'Before and behind them rows are sealed: this process has no key for them'
    opened "$load" load_plug load_plug.csv --set every=60
    opened "$load" load_house load_house.csv --set every=60
    spec "Query 2 on sealed rows, $partitions partitions" 0 run "$outliers" -i outliers.sealed -o results --set windows=60,300 --set partitions=$partitions "${sealed[@]}"
    opened "$outliers" outliers outliers.csv --set windows=60,300
done

# ---- what a host does to the stream ----
attacked() { # attacked WHAT CODE 'what is said'
    spec "a stream after: $1" "$2" run "$load" -i bad.sealed -o bad --set every=60 "${sealed[@]}"
    err "$3"
    not_there bad/load_plug.csv.sealed
}
for word in "drop:one was left out" "repeat:comes a second time" "swap:one was left out, or repeated|comes a second time" \
    "change:does not open" "shift:does not open|not the next one|not read here"; do
    python3 "$hands" "${word%%:*}" load.sealed bad.sealed
    attacked "${word%%:*}" 77 "in its enclave: the sealed stream loads.0>plug_load.0 is not what was sealed: .*(${word#*:})"
done
python3 "$hands" mix load.sealed before.sealed bad.sealed
attacked "a capsule of another time" 77 'is of a stream that has not begun here'
cat load.sealed before.sealed >bad.sealed
attacked "the same once more" 77 'behind its end|another one stands already'
python3 "$hands" cut load.sealed bad.sealed
attacked "cut within a capsule" 65 'it is cut, or no sealed stream'
python3 "$hands" end load.sealed bad.sealed
attacked "without its end" 65 'the end of the sealed stream is missing'
cp outliers.sealed bad.sealed
attacked "of another graph" 65 'it was sealed for another graph'
cp meters.csv bad.sealed
attacked "no sealed stream at all" 65 'no sealed stream: `penstock seal` makes one'

spec "Query 2 once more" 0 seal "$outliers" --enclave all --set windows=60,300 --key user.key -i meters.csv -o other.sealed
python3 "$hands" weave outliers.sealed other.sealed bad.sealed 1
spec "one input of an operator from another stream" 77 run "$outliers" -i bad.sealed -o bad --set windows=60,300 "${sealed[@]}"
err 'operator plug_above .* its inputs come of different streams of the user'

# ---- and to the results ----
for word in drop repeat swap change; do
    python3 "$hands" "$word" results/load_plug.csv.sealed bad.sealed
    spec "results after: $word" 77 open "$load" bad.sealed --enclave all --set every=60 --key user.key --sink load_plug -o bad.csv
    err 'is not what was sealed'
    not_there bad.csv
    not_there bad.csv.part
done
python3 "$hands" end results/load_plug.csv.sealed bad.sealed
spec "results without their end" 77 open "$load" bad.sealed --enclave all --set every=60 --key user.key --sink load_plug -o bad.csv
err 'it is not complete: its end is missing'
spec "results of another stream" 77 open "$load" results/load_plug.csv.sealed --enclave all --set every=60 --key user.key --sink load_plug -o bad.csv --stream "$(printf '%032d' 7)"
err 'these are results of another stream than --stream says'
spec "no id of a stream" 2 open "$load" results/load_plug.csv.sealed --enclave all --key user.key -o bad.csv --stream 7
err '32 hexadecimal digits are wanted'
spec "of that stream" 0 open "$load" results/load_plug.csv.sealed --enclave all --set every=60 --key user.key --sink load_plug -o good.csv --stream "$stream"
spec "results with another key" 77 open "$load" results/load_plug.csv.sealed --enclave all --set every=60 --key other.key --sink load_plug -o bad.csv
err 'was sealed with another key'
spec "results of another sink" 77 open "$load" results/load_house.csv.sealed --enclave all --set every=60 --key user.key --sink load_plug -o bad.csv
err 'these are results of another sink, or of another graph'

# ---- a stream that was cut ----
python3 "$hands" cut load.sealed again.sealed.part 40
spec "sealing goes on where it was cut" 0 seal "$load" "${q1[@]}" -i meters.csv -o again.sealed --resume
expect "two sessions, and nothing twice under one key and sequence" test "$(python3 "$hands" unique again.sealed)" = 2
for sessions in 3 4; do # more than a reader has room for
    mv again.sealed before.sealed
    python3 "$hands" cut before.sealed again.sealed.part $((sessions * 60))
    spec "cut again, it goes on again" 0 seal "$load" "${q1[@]}" -i meters.csv -o again.sealed --resume
    expect "in $sessions sessions, and nothing twice" test "$(python3 "$hands" unique again.sealed)" = $sessions
done
rm -rf results
spec "a stream that was cut and gone on with" 0 run "$load" -i again.sealed -o results --set every=60 "${sealed[@]}"
opened "$load" load_plug load_plug.csv --set every=60
mkfifo meters.pipe
"$P" seal "$load" "${q1[@]}" -i meters.pipe -o stopped.sealed 2>stopped.err &
sealer=$!
exec 8>meters.pipe
head -c 5000000 meters.csv >&8 # all but a pipe's fill of it has been read
kill -INT $sealer # the pipe stays open: there is more to come
spec_name="an interrupt leaves what can be gone on with"
wait $sealer
expect "exit code 1" test $? = 1
exec 8>&-
expect "what to do" grep -q 'what was sealed so far is in stopped.sealed.part: the same again with --resume goes on' stopped.err
spec "and it is" 0 seal "$load" "${q1[@]}" -i meters.csv -o stopped.sealed --resume
expect "two sessions, and nothing twice" test "$(python3 "$hands" unique stopped.sealed)" = 2
rm -rf results
spec "with the same results" 0 run "$load" -i stopped.sealed -o results --set every=60 "${sealed[@]}"
opened "$load" load_plug load_plug.csv --set every=60
python3 "$hands" change load.sealed again.sealed.part 2
spec "what was changed is not gone on with" 77 seal "$load" "${q1[@]}" -i meters.csv -o again.sealed --resume
err 'cannot go on with again.sealed.part: .* does not open'

# ---- a stream that is sealed while it comes ----
mkfifo live.pipe
rm -rf results
mkdir results
"$P" seal "$load" "${q1[@]}" -i live.pipe -o - --quiet 2>live.err | "$P" run "$load" -i - -o results --set every=60 "${sealed[@]}" --quiet &
live=$!
exec 8>live.pipe
head -c 4000000 meters.csv >&8
spec_name="results of what has come are there while the stream stands still"
expect "bytes in load_house.csv.sealed.part" timeout 60 python3 "$ROOT/tests/await_file.py" results load_house.csv.sealed.part 2048
tail -c +4000001 meters.csv >&8
exec 8>&-
wait $live
expect "exit code 0" test $? = 0
expect "nothing is said" test ! -s live.err
opened "$load" load_plug load_plug.csv --set every=60
opened "$load" load_house load_house.csv --set every=60
spec "a report has no room on standard output" 2 seal "$load" "${q1[@]}" -i meters.csv -o - --json
err '--json needs --output FILE'
spec "nor is there anything to go on with" 2 seal "$load" "${q1[@]}" -i meters.csv -o - --resume
err '--resume needs --output FILE'
not_there -.part

# ---- checkpoints ----
"$P" key init k.key --quiet
points=("${sealed[@]}" --set every=60 --checkpoint points --key k.key --every-rows 10000)
spec_name="killed in the middle, twice"
newest() { compgen -G "points/*.manifest" | sort | tail -n 1; }
for again in "" "--resume --set partitions=5"; do
    before=$(newest)
    # shellcheck disable=SC2086 # none, or words
    "$P" run "$load" -i load.sealed -o cut "${points[@]}" $again --quiet &
    run=$!
    until [[ $(newest) != "$before" ]]; do kill -0 $run 2>/dev/null || break; done
    kill -9 $run 2>/dev/null
    wait $run 2>/dev/null
done
expect "there is a checkpoint" test -n "$(compgen -G 'points/*.manifest')"
spec "a run on sealed rows goes on from its checkpoint, in other partitions each time" 0 run "$load" -i load.sealed -o cut "${points[@]}" --resume --set partitions=2 --json
json 'd["error"] is None and d["sealed"]'
rm -rf results
mv cut results
opened "$load" load_plug load_plug.csv --set every=60
opened "$load" load_house load_house.csv --set every=60
expect "nothing twice under one key and sequence" python3 "$hands" unique results/load_plug.csv.sealed results/load_house.csv.sealed

rarely() { # rarely FILE WINDOW FLAGS...: the graph with an edge that has no rows
    "$P" run rare.yaml -i "$1" -o "rare$2" --set "window=$2" --sealed --keys unix:keys.sock --node-key node.key --checkpoint "points$2" --key k.key --quiet "${@:3}"
}
rarely_opened() { # rarely_opened WINDOW
    spec "its results open" 0 open rare.yaml "rare$1/often.csv.sealed" --set "window=$1" --key user.key --sink often_out -o often.csv
    expect "the bytes of a run in the clear" cmp -s "wanted$1/often.csv" often.csv
}
export -f rarely
mkfifo rare.pipe
spec_shell "there is one while the stream goes on, though one edge has no rows" 0 '
    rarely rare.pipe 100 --every-rows 50000 &
    exec 8>rare.pipe
    head -c 5000000 rare.sealed >&8
    until compgen -G "points100/*.manifest" >&2; do kill -0 $! || exit; done
    tail -c +5000001 rare.sealed >&8
    exec 8>&-
    wait $!'
rarely_opened 100
for again in one another; do # whose cut is below a mark that its workers have had, and its host has not seen
    spec_shell "from the last one to the next: $again" 0 'rarely rare.sealed 100 --every-rows 1000 --resume'
    rarely_opened 100
done
rm -rf points100
awk -F, -v OFS=, 'NR > 1 { $2 = 1377986401 } NR <= 60000' rows.csv >one.csv
spec "rows of one event time" 0 seal rare.yaml --key user.key -i one.csv -o rare.sealed
spec_shell "what no mark bears out has to fit" 78 'rarely rare.sealed 100 --every-rows 1000'
err 'more than 1024 KiB of rows of meters.0>often.0 wait .* give it a larger EPC; with one of 32 MiB twice as many may'
spec "for larger epochs" 0 seal rare.yaml --set window=2000 --key user.key -i rows.csv -o rare.sealed
spec_shell "rows of an epoch have not to fit into what may wait in its worker" 0 'rarely rare.sealed 2000 --every-rows 1000'
rarely_opened 2000
expect "there is a checkpoint" test -n "$(compgen -G 'points2000/*.manifest')"
spec_shell "from which it goes on" 0 'rarely rare.sealed 2000 --every-rows 1000 --resume'
rarely_opened 2000

# ---- a partition that is far behind ----
spec_shell "what one partition puts out waits for another in the host" 0 "python3 '$ROOT/tests/cli/sealed_slow.py' \$P '$load' stop"
spec_shell "a worker that dies ends the run" 74 "python3 '$ROOT/tests/cli/sealed_slow.py' \$P '$load' kill"
err 'operator plug_load \(plug_load\), partition 1, in its enclave: its worker has been ended by signal 9'
not_there slow/load_house.csv.sealed.part
spec_shell "so does one that hangs" 75 "python3 '$ROOT/tests/cli/sealed_slow.py' \$P '$load' hang"
err 'operator plug_load \(plug_load\), partition 1, in its enclave: its worker has not moved for 2 s'
spec "what one put out that ended early does not open" 77 open "$load" slow/load_plug.csv.sealed.failed --enclave all --set every=60 --key user.key --sink load_plug -o bad.csv
err 'it is not complete: its end is missing'
spec "it begins again, with other workers" 0 run "$load" -i slow.sealed -o again --set every=60 "${sealed[@]}"
expect "nothing twice under one key and sequence" test "$(python3 "$hands" unique slow/load_plug.csv.sealed.failed again/load_plug.csv.sealed)" -ge 2

# ---- workers that are slower than the input ----
"$P" gen --rows 5000000 --seed 5 --quiet --output long.csv
spec "a long stream is sealed" 0 seal "$outliers" --enclave all --set windows=60,300 --key user.key -i long.csv -o long.sealed
rm long.csv
spec "a stream of 130 MB is read as fast as workers take it" 0 run "$outliers" -i long.sealed -o long --set windows=60,300 \
    --enclave all --sealed --keys unix:keys.sock --node-key node.key --json
json 'd["rows"] > 2000000 and d["peak_memory_bytes"] < 64 << 20'
rm -r long long.sealed

# ---- the host has no key ----
if [ "$(id -u)" = 0 ]; then
    spec_shell "the user's key does not lie in the memory of the host" 0 "python3 '$ROOT/tests/cli/sealed_host.py' \$P '$load'"
else
    echo "not run: looking into the host's memory needs root"
fi

# ---- what is refused ----
spec "an operator in the clear on the way" 78 seal "$load" --enclave plug_load --key user.key -i meters.csv -o no.sealed
err 'operator `house_load` \(house_load\) lies on the way of sealed rows, and is not in an enclave'
sed 's/inputs: \[plug_load.averages\]/inputs: [between]/; s/^  - id: house_load/  - id: between\n    type: filter\n    inputs: [plug_load.averages]\n    params: {where: ["house_id > 0"]}\n&/' "$load" >between.yaml
spec "a stateless one behind an enclave" 78 seal between.yaml --enclave all --key user.key -i meters.csv -o no.sealed
err 'operator `between` \(filter\) cannot lie on the way of sealed rows: it runs beside `plug_load`'
spec "the same of a run" 78 run "$load" -i load.sealed -o results --set every=60 --sealed --keys unix:keys.sock --node-key node.key
err 'operator `plug_load` \(plug_load\) lies on the way of sealed rows'
spec "--sealed without a keeper" 2 run "$load" -i load.sealed --sealed
err '--sealed needs --input FILE, of `penstock seal`, --keys ADDRESS'
spec "a keeper on a network without certificates" 2 key serve user.key --policy policy.yaml --listen localhost:0
err 'needs --tls FOLDER'
chmod 644 other.key
spec "a key that others may read" 77 seal "$load" --enclave all --key other.key -i meters.csv -o no.sealed
err 'other.key'
not_there no.sealed
printf 'penstock_policy: 1\nbackends: [process]\n' >any.yaml
spec "a policy that any program meets" 78 key serve user.key --policy any.yaml --listen unix:any.sock
err 'the policy names no measurements'
finish
