#!/bin/bash
# checkpoint.sh - runs that go on from checkpoints as their users meet them: `penstock checkpoint`, and every way in which a
# checkpoint, an input or an output is not what it was.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

LOAD=$ROOT/debs14/load.yaml
"$P" gen --houses 4 --plugs 60 --rows 60000 --output meters.csv --quiet
"$P" key init k.key --quiet
"$P" key init other.key --quiet
settings=(--set "slices=60,300")
checkpoints=(--checkpoint points --key k.key --every-rows 5000)
slowly=(--block-bytes 512 --frame-rows 16) # so that a checkpoint falls into what is left of the stream

spec "a run without checkpoints" 0 run "$LOAD" --input meters.csv --output wanted "${settings[@]}" --quiet
# Paced, so that there is time for several checkpoints: the stream alone takes some hundredths of a second.
spec_shell "a run with checkpoints tells how many" 0 \
    "\"\$P\" gen --houses 4 --plugs 60 --rows 60000 --rate 60000 --quiet |
    \"\$P\" run '$LOAD' --input - --output results ${settings[*]} ${checkpoints[*]}"
err 'checkpoints +[0-9]+ written, [0-9]+ pages'
same() {
    for file in load_plug.csv load_house.csv; do
        expect "the bytes of a run without checkpoints in $file" cmp -s "wanted/$file" "results/$file"
    done
}
same
ids() { find points -name '*.manifest' -printf '%f\n' | sort | sed 's/\.manifest$//'; }
expect "two checkpoints are kept" test "$(ids | wc -l)" = 2
old=$(ids | head -n 1) new=$(ids | tail -n 1)
old_id=$((16#$old)) new_id=$((16#$new))
# By the input alone: the keys of the plugs that have sent loads before checkpoint ID was cut, as its table has them.
plugs_at() {
    "$P" checkpoint ls points --key k.key --json | python3 -c '
import json, sys
print(*(c["offset"] for c in json.load(sys.stdin)["checkpoints"] if c["id"] == int(sys.argv[1])))' "$1" >offset
    head -c "$(cat offset)" meters.csv |
        awk -F, '$4 == 1 { printf "%02x000000%02x000000%02x000000\n", $7, $6, $5 }' | sort -u
}
cp -r points points.whole
cp -r results results.whole
# What a kill leaves: outputs that have not got their names yet.
cp -r results results.killed
for file in results.killed/*.csv; do mv "$file" "$file.part"; done

killed() { # folder and outputs as they were when it was killed
    rm -rf points results
    cp -r points.whole points
    cp -r results.killed results
}
# As if it had been killed in the middle: the second half of the input has come since, with room for more checkpoints.
head -n 30001 meters.csv >half.csv
halfway() {
    rm -rf points results
    spec "half of the stream" 0 run "$LOAD" --output results "${checkpoints[@]}" --input half.csv "${settings[@]}" \
        --block-bytes 512 --quiet
}
flip() { # flip FILE OFFSET : another byte there
    python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    byte = f.read(1)[0]
    f.seek(int(sys.argv[2]))
    f.write(bytes([byte ^ 0x10]))' "$1" "$2"
}
# resume CODE "a sentence" words... : runs again over the same input
resume() {
    local wanted=$1 sentence=$2
    shift 2
    spec "$sentence" "$wanted" run "$LOAD" --output results "${checkpoints[@]}" --resume "$@"
}
input=(--input meters.csv "${settings[@]}")

# ---- ls ----
spec "ls shows a line a checkpoint" 0 checkpoint ls points --key k.key
out "^ +$old_id +load +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9]+ +plug_load,house_load$"
expect "the newest is the last" grep -Eq "^ +$new_id " <(tail -n 1 .out)
spec "ls as an object" 0 checkpoint ls points --key k.key --json
json "[c['id'] for c in d['checkpoints']] == [$old_id, $new_id] and d['error'] is None"
json 'all(c["opened"] and c["graph"] == "load" and c["operators"] == ["plug_load", "house_load"] for c in d["checkpoints"])'
json 'all(0 < c["bytes_new"] <= c["bytes_live"] and c["pages"] > 0 and c["cut"] % 30 == 0 for c in d["checkpoints"])'
json 'd["checkpoints"][0]["cut"] < d["checkpoints"][1]["cut"] and d["checkpoints"][0]["rows"] < d["checkpoints"][1]["rows"]'
no_err
spec "ls without a key shows ids and bytes" 0 checkpoint ls points
out "^ +$new_id +[0-9]+$"
err 'note: .*sealed: --key FILE'
expect "no name of what is in it" test -z "$(grep plug_load .out)"
spec "the same as an object" 0 checkpoint ls points --json
json 'all(not c["opened"] and c["why"] and c["bytes"] > 0 and "graph" not in c for c in d["checkpoints"])'
spec "ls with another key" 77 checkpoint ls points --key other.key
out "^ +$new_id +cannot be opened: its manifest does not open with this key, or was changed$"
err 'no checkpoint in points opens with this key'
spec "the same as an object" 77 checkpoint ls points --key other.key --json
json 'd["error"]["exit_code"] == 77 and not any(c["opened"] for c in d["checkpoints"])'
mkdir empty
spec "ls of a folder without checkpoints" 0 checkpoint ls empty --key k.key
no_out
err 'empty holds no checkpoint'
spec "the same as an object" 0 checkpoint ls empty --json
json 'd["checkpoints"] == []'

# ---- verify ----
spec "verify opens every page" 0 checkpoint verify points --key k.key
out "^checkpoint $old_id is whole: all [0-9]+ pages open$"
out "^checkpoint $new_id is whole: all [0-9]+ pages open$"
out 'older folder put back in the place of a newer one cannot be noticed'
spec "verify of one" 0 checkpoint verify points --key k.key --id "$old_id"
expect "one checkpoint" test "$(grep -c '^checkpoint' .out)" = 1
spec "verify as an object" 0 checkpoint verify points --key k.key --json
json 'len(d["checkpoints"]) == 2 and all(c["whole"] for c in d["checkpoints"]) and d["rollback_noticed"] is False'
spec "verify with another key" 77 checkpoint verify points --key other.key
err "checkpoint $old_id is not whole: its manifest does not open with this key, or was changed"
spec "verify of one that is not there" 74 checkpoint verify points --key k.key --id 999999
err 'points holds no checkpoint 999999'
spec "verify of an empty folder" 74 checkpoint verify empty --key k.key
err 'empty holds no checkpoint'

# ---- export ----
spec "export lists tables and logs" 0 checkpoint export points --key k.key
out "^plug_load +plugs +table +12 +[0-9]+ +[0-9]+ +$(plugs_at "$new_id" | wc -l)\$"
out '^plug_load +history +log +0 +0 '
spec "the same as an object" 0 checkpoint export points --key k.key --json
json "d['id'] == $new_id and {s['operator'] for s in d['structures']} == {'plug_load', 'house_load'}"
cp .out listed.json
entries_of() { python3 -c '
import json, sys
print(*(s["entries"] for s in json.load(open("listed.json"))["structures"] if (s["operator"], s["structure"]) == tuple(sys.argv[1:])))' "$@"; }
spec "export of a table is CSV" 0 checkpoint export points --key k.key --operator house_load --structure houses
expect "a header" test "$(head -n 1 .out)" = bucket,number,key,record
expect "the four houses, by their keys" test "$(tail -n +2 .out | cut -d , -f 3 | sort | tr '\n' ' ')" = \
    '00000000 01000000 02000000 03000000 '
expect "in order of bucket and number" sort -c -t , -k 1,1n -k 2,2n <(tail -n +2 .out)
no_err
spec "export of a log is CSV" 0 checkpoint export points --key k.key --operator plug_load --structure history
expect "a header" test "$(head -n 1 .out)" = bucket,position,bytes
expect "as many lines as it has entries" test "$(tail -n +2 .out | wc -l)" = "$(entries_of plug_load history)"
expect "in order of bucket and position" sort -c -t , -k 1,1n -k 2,2n <(tail -n +2 .out)
spec "export of the older one" 0 checkpoint export points --key k.key --id "$old_id" --operator plug_load --structure plugs
expect "the keys of all plugs" cmp -s <(plugs_at "$old_id") <(tail -n +2 .out | cut -d , -f 3 | sort)
spec "export of what is not there" 2 checkpoint export points --key k.key --operator house_load --structure plugs
err "no table or log .plugs. of .house_load."
no_out
spec "export with another key" 77 checkpoint export points --key other.key
err 'does not open with this key'
spec_shell "export onto a full disk" 74 \
    '"$P" checkpoint export points --key k.key --operator plug_load --structure plugs >/dev/full'
err 'standard output could not be written'

# ---- usage ----
spec "an action is wanted" 2 checkpoint
spec "a folder is wanted" 2 checkpoint ls
spec "a mistyped action" 2 checkpoint verfy points
err 'did you mean `verify`\?'
spec "an action like nothing" 2 checkpoint frobnicate points
err 'there are ls, verify and export'
spec "verify wants a key" 2 checkpoint verify points
err '--key FILE'
spec "export wants a key" 2 checkpoint export points
spec "ls takes no id" 2 checkpoint ls points --id 1
err '--id is of no use'
spec "an operator alone" 2 checkpoint export points --key k.key --operator plug_load
err 'together'
spec "CSV is no object" 2 checkpoint export points --key k.key --operator plug_load --structure plugs --json
json 'd["error"]["exit_code"] == 2'
spec "no such folder" 74 checkpoint ls none
err 'checkpoint folder none cannot be read: No such file or directory'
spec "no such key file" 74 checkpoint ls points --key none.key
expect "nothing in the folder was changed" diff -r points points.whole

# ---- resuming ----
killed
resume 0 "a killed run goes on" "${input[@]}"
err "resumed +from checkpoint $new_id, at byte [0-9]+ of the input"
same
resume 0 "a completed run is resumed again" "${input[@]}"
same
for shape in "1 1" "4 7"; do
    killed
    resume 0 "a run goes on with other workers and partitions" "${input[@]}" --workers "${shape% *}" \
        --set "partitions=${shape#* }"
    same
done
killed
resume 0 "as an object" "${input[@]}" --json
json 'abs(d["rows_per_second"] * d["seconds"] - (d["rows"] - d["checkpoints"]["resumed_rows"])) < d["rows"] / 100 and d["checkpoints"]["resumed_rows"] > 0'
json "d['checkpoints']['resumed_id'] == $new_id and d['checkpoints']['passed_over'] is None"

# ---- keys ----
killed
spec "resuming with another key" 77 run "$LOAD" --output results --checkpoint points --key other.key --resume "${input[@]}"
err 'no checkpoint in points can be resumed with this key'
spec "resuming with a key file that is not there" 74 run "$LOAD" --output results --checkpoint points --key none.key --resume \
    "${input[@]}"
spec "resuming without a key" 2 run "$LOAD" --output results --checkpoint points --resume "${input[@]}"
err '--key FILE'
spec "--resume without --checkpoint" 2 run "$LOAD" --resume "${input[@]}"
err '--resume is of no use without --checkpoint DIR'
cp k.key rotated.key
"$P" key rotate rotated.key --quiet
halfway
spec "a newer key in front opens what the older one sealed" 0 run "$LOAD" --output results --checkpoint points \
    --key rotated.key --every-rows 500 --resume "${input[@]}" "${slowly[@]}"
same
spec "and what it has sealed since opens with it" 0 checkpoint verify points --key rotated.key
(umask 077 && head -n 1 rotated.key >newest.key)
spec "all of it: the older key may go" 0 checkpoint verify points --key newest.key --id $((16#$(ids | tail -n 1)))

# ---- damage ----
killed
flip "points/$new.pages" 300
spec "verify names a page that was changed" 77 checkpoint verify points --key k.key
err "checkpoint $new_id is not whole: page [0-9]+ of bucket [0-9]+ of .(plug|house)_load\.[a-z]+. is not what was sealed there"
out "^checkpoint $old_id is whole"
spec "the same as an object" 77 checkpoint verify points --key k.key --json
json '[c["whole"] for c in d["checkpoints"]] == [True, False] and "bucket" in d["checkpoints"][1]["why"]'
spec "verify of the older one alone" 0 checkpoint verify points --key k.key --id "$old_id"
resume 0 "a changed page makes the older checkpoint the newest whole one" "${input[@]}"
err "checkpoint $new_id is passed over: page [0-9]+ of bucket [0-9]+ of .(plug|house)_load"
err "resumed +from checkpoint $old_id,"
same
killed
rm "points/$new.pages"
spec "verify misses a file" 77 checkpoint verify points --key k.key
spec "export misses it, too" 77 checkpoint export points --key k.key
spec "and for one table" 77 checkpoint export points --key k.key --operator plug_load --structure plugs
err "checkpoint $new_id cannot be opened: page"
no_out
resume 0 "a file of pages that is not there" "${input[@]}"
err "checkpoint $new_id is passed over"
same
killed
truncate -s -1 "points/$new.manifest"
spec "ls lists a manifest that is cut short" 0 checkpoint ls points --key k.key
out "^ +$new_id +cannot be opened: its manifest "
resume 0 "a manifest that is cut short" "${input[@]}"
err "checkpoint $new_id is passed over: its manifest"
same
killed
flip "points/$new.manifest" 200
flip "points/$old.manifest" 200
cp -r results before
resume 77 "no checkpoint opens" "${input[@]}"
err 'no checkpoint in points can be resumed with this key: checkpoint .* is passed over'
expect "outputs are untouched" diff -r results before

# ---- another graph, other parameters ----
killed
spec "a folder of another graph" 77 run "$ROOT/debs14/outliers.yaml" --input meters.csv --output results "${checkpoints[@]}" \
    --resume
err 'the checkpoint is of the graph `load`, not of `outliers`'
killed
other=(--input meters.csv --set "slices=60")
resume 77 "other parameters" "${other[@]}"
err '`plug_load` \(it had other parameters\), `house_load` \(it had other parameters\).*--drop-state'
killed
resume 77 "keys in other buckets" "${input[@]}" --set bucket_by=house_id
err 'would be lost: `plug_load` \(it had other parameters\)\. --drop-state'
killed
resume 77 "one operator dropped of two" "${other[@]}" --drop-state plug_load
err 'would be lost: `house_load`'
killed
resume 0 "both dropped" "${other[@]}" --drop-state plug_load --drop-state house_load
killed
spec "a run into a folder that holds checkpoints" 77 run "$LOAD" --output results "${checkpoints[@]}" "${input[@]}"
err 'points holds checkpoints of an earlier run: go on from them with --resume'

# ---- the folder ----
if [[ $(id -u) == 0 ]]; then
    echo "root may write everywhere: a checkpoint folder that is read-only is not tried"
else
    halfway
    chmod 555 points
    resume 0 "a checkpoint folder that is read-only" "${input[@]}" "${slowly[@]}"
    err 'could not be written, the last one for: .*Permission denied'
    same
    chmod 755 points
fi

# ---- the input ----
killed
spec_shell "standard input cannot be resumed" 77 \
    "\"\$P\" run '$LOAD' --input - --output results ${checkpoints[*]} --resume ${settings[*]} <meters.csv"
err 'cannot be read again'
killed
head -c 100000 meters.csv >short.csv
resume 65 "an input that is shorter than it was" --input short.csv "${settings[@]}"
err 'short.csv is shorter than it was when the checkpoint was made'
killed
{ echo -n x && cat meters.csv; } >moved.csv
resume 65 "an input whose bytes moved" --input moved.csv "${settings[@]}"
err 'moved.csv is not what it was when the checkpoint was made: no line begins at byte'
python3 -c '
import gzip
with gzip.GzipFile("meters.csv.gz", "wb", mtime=0) as f:
    f.write(open("meters.csv", "rb").read())'
rm -rf points results
spec "a packed input" 0 run "$LOAD" --output results "${checkpoints[@]}" --input meters.csv.gz "${settings[@]}" "${slowly[@]}"
for file in results/*.csv; do mv "$file" "$file.part"; done
resume 0 "a packed input is resumed" --input meters.csv.gz "${settings[@]}"
err 'resumed +from checkpoint'
same

# ---- the outputs ----
killed
truncate -s 100 results/load_plug.csv.part
resume 74 "an output that is shorter than what was committed" "${input[@]}"
err 'load_plug.csv.part has 100 bytes, but [0-9]+ were committed: what was written is lost'
killed
rm results/load_plug.csv.part
resume 74 "an output that is not there" "${input[@]}"
err 'load_plug.csv'

killed
resume 77 "dead letters that were not written before" "${input[@]}" --dead-letter dead.csv
err 'the run that is resumed did not write dead.csv: it would lack what came before'
there results/load_plug.csv.part
{ cat meters.csv && head -n 40 meters.csv; } >late.csv
rm -rf points results
spec "dead letters under the name of an output, in another folder" 0 run "$LOAD" --output results --input late.csv \
    "${settings[@]}" "${checkpoints[@]}" "${slowly[@]}" --dead-letter load_house.csv
cp load_house.csv letters
resume 0 "and resumed" --input late.csv "${settings[@]}" --dead-letter load_house.csv
expect "the same dead letters" cmp -s letters load_house.csv
killed
sed 's/file: load_house.csv/file: houses.csv/' "$LOAD" >renamed.yaml
spec "an output under another name" 77 run renamed.yaml --output results "${checkpoints[@]}" "${input[@]}" --resume
err 'did not write houses.csv'
rm -rf points results
cp -r points.whole points
cp -r results.whole results
resume 77 "what does not fit leaves complete outputs alone" "${other[@]}"
same

# ---- what stands in the folder ----
killed
mkfifo points/00000000000000ff.manifest
resume 0 "a pipe under the name of a manifest" "${input[@]}"
err 'checkpoint 255 is passed over: its manifest is damaged'
same

# ---- an older folder ----
rm -rf points results
spec "--counter records the newest checkpoint" 0 \
    run "$LOAD" --output results "${checkpoints[@]}" "${input[@]}" "${slowly[@]}" --counter counter
expect "a number in the file" grep -qx 'penstock-counter 1 [0-9]*' counter
cp -r points older
resume 0 "a run that goes on raises it" "${input[@]}" "${slowly[@]}" --counter counter
echo 'penstock-counter 1 1000' >counter
rm -rf points
mv older points
resume 77 "an older folder in the place of a newer one" "${input[@]}" --counter counter
err 'counter records checkpoint 1000, but the newest in points that opens is [0-9]+: an older folder was put back'
echo 'something else' >counter
resume 77 "a file that holds no counter" "${input[@]}" --counter counter
err 'the counter counter cannot be read: it holds no counter'
resume 77 "a counter that a command keeps" "${input[@]}" --counter-command 'echo 1000 #'
err 'records checkpoint 1000'
resume 74 "a command that fails" "${input[@]}" --counter-command 'false #'
err 'the counter false # cannot be read'
spec "a file and a command" 2 run "$LOAD" "${checkpoints[@]}" --counter counter --counter-command true
err 'exclude one another'

# ---- nothing to go on from ----
rm -rf points results
resume 0 "a folder without a checkpoint" "${input[@]}"
err 'resumed +from the beginning of the input: the folder held no checkpoint'
same

# ---- two at once: the first one waits for its input ----
rm -rf points results
mkdir results
mkfifo pipe
exec 3<>pipe
"$P" run "$LOAD" --input pipe --output results "${settings[@]}" --checkpoint points --key k.key --quiet 3>&- &
first=$!
expect "the first one has begun" python3 "$ROOT/tests/await_file.py" results load_house.csv.part
spec "a run into files that another one writes" 77 run "$LOAD" --input half.csv --output results "${settings[@]}"
err 'another process is writing results/load_plug.csv.part: wait for its end, or name another folder'
spec "a run into a folder of checkpoints that another one has" 77 \
    run "$LOAD" --input half.csv --output others "${settings[@]}" --checkpoint points --key k.key
err 'another process writes checkpoints into points: wait for its end, or name another folder'
expect "nothing in its own folder" test ! -e others/load_plug.csv
cat meters.csv >&3
exec 3>&-
wait "$first"
expect "the first one ends well" test $? = 0
same
expect "no lock is left" test ! -e points/run.lock
spec_shell "a stream that another one makes" 77 'flock twice.csv.part "$P" gen --rows 10 --output twice.csv'
err 'another process is writing `twice.csv.part`: wait for its end, or name another file'

finish
