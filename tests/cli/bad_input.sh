#!/bin/bash
# bad_input.sh - whatever is wrong with the input or the graph gets a sentence with the place and the remedy, the right exit
# code, and no file under a final name that is not whole.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

LOAD=$ROOT/debs14/load.yaml
OUTLIERS=$ROOT/debs14/outliers.yaml
HEADER=id,timestamp,value,property,plug_id,household_id,house_id

row() { echo "$1,$2,${3:-1.5},1,${4:-0},0,0"; } # row ID TIMESTAMP [VALUE [PLUG]]
good() { row 1 1378000000 1.5 && row 2 1378000010 2.5 1 && row 3 1378000050 3.5; }
good >good.csv
"$P" run "$LOAD" -i good.csv -o good -q || echo "FAILED: a good input does not run; all that follows will fail" >&2

# Runs load.yaml over a file, with a dead-letter file, into a fresh folder `results`.
run_over() { # run_over "a sentence" CODE FILE [flags...]
    local sentence=$1 wanted=$2 file=$3
    shift 3
    rm -rf results
    spec "$sentence" "$wanted" run "$LOAD" --input "$file" --output results --dead-letter results/dead.csv --json "$@"
}
# The rows that are good give what they give alone.
same_results() {
    expect "load_plug.csv as without the bad lines" cmp -s good/load_plug.csv results/load_plug.csv
    expect "load_house.csv as without the bad lines" cmp -s good/load_house.csv results/load_house.csv
    no_part results
}
dead() { expect "dead letters: $(printf %q "$1")" cmp -s <(printf '%b' "$1") results/dead.csv; }
no_part() { expect "no .part file is left in $1" test -z "$(find "$1" -name '*.part' 2>/dev/null)"; }
no_final() { # no whole results, and nothing that looks so
    expect "no file under a final name" test -z "$(find results -name '*.csv' -size +0 2>/dev/null)"
    no_part results
}

# ---- rows that do not parse: counted, named, kept apart; the others count ----
bad_row() { # bad_row "what is wrong" 'the line, with escapes of printf %b'
    { row 1 1378000000 && printf '%b\n' "$2" && row 2 1378000010 2.5 1 && row 3 1378000050 3.5; } >bad.csv
    run_over "$1" 0 bad.csv
    json 'd["rows"] == 3 and d["lines_malformed"] == 1 and d["rows_late"] == 0 and d["complete"]'
    json '[m["line"] for m in d["malformed"]] == [2] and len(d["malformed"][0]["reason"]) > 5'
    dead "$2\n"
    same_results
}
bad_row "a field too few" '9,1378000001,1.5,1,0,0'
bad_row "a field too many" '9,1378000001,1.5,1,0,0,0,0'
bad_row "a word for a number" '9,1378000001,warm,1,0,0,0'
bad_row "an empty field" '9,1378000001,,1,0,0,0'
bad_row "a sign where none belongs" '+9,1378000001,1.5,1,0,0,0'
bad_row "a space in a field" '9, 1378000001,1.5,1,0,0,0'
bad_row "a time beyond 32 bits" '9,99999999999,1.5,1,0,0,0'
bad_row "a value out of range" '9,1378000001,10000000,1,0,0,0'
bad_row "a property that is neither work nor load" '9,1378000001,1.5,2,0,0,0'
bad_row "a decimal point with nothing behind it" '9,1378000001,1.,1,0,0,0'
bad_row "an empty line" ''
bad_row "a second header" "$HEADER"
bad_row "a NUL byte" '9,1378000001,1.5\0000,1,0,0,0'
bad_row "a lone carriage return" '9,1378000001,1.5\r,1,0,0,0'
bad_row "bytes that are no text" '\0377\0376\0001\0002'
bad_row "a line of 4097 bytes" "$(printf '%04097d' 0)"

{ row 1 1378000000 && head -c 1048576 </dev/zero | tr '\0' 7 && echo && row 2 1378000010 2.5 1 && row 3 1378000050 3.5; } >bad.csv
run_over "a line of 1 MiB" 0 bad.csv
json 'd["rows"] == 3 and d["lines_malformed"] == 1 and [m["line"] for m in d["malformed"]] == [2]'
expect "the whole line in the dead letters" test "$(wc -c <results/dead.csv)" = 1048577
same_results
run_over "a line of 1 MiB over small blocks" 0 bad.csv --block-bytes 64KiB --workers 2
json 'd["rows"] == 3 and d["lines_malformed"] == 1'
same_results

{ row 1 1378000000 && seq 1 25 && row 2 1378000010 2.5 1 && row 3 1378000050 3.5; } >bad.csv
run_over "of many malformed lines the first ten are named" 0 bad.csv
json 'd["lines_malformed"] == 25 and [m["line"] for m in d["malformed"]] == list(range(2, 12))'
same_results
spec "people are told, too" 0 run "$LOAD" -i bad.csv -o results
err 'malformed +25$'
err 'line 2: '
err 'line 11: '
err 'and 15 more'

run_over "--strict ends at the first malformed line" 65 bad.csv --strict
err 'penstock: error: .*bad.csv.*2.*malformed'
json 'not d["complete"] and d["error"]["exit_code"] == 65'
no_final

# ---- late rows ----
{ row 1 1378000000 && row 2 1378000010 2.5 1 && row 9 1378000009 999 && row 3 1378000050 3.5; } >late.csv
run_over "a late row is counted and changes nothing" 0 late.csv
json 'd["rows"] == 4 and d["rows_late"] == 1 and d["lines_malformed"] == 0 and d["complete"]'
dead "$(row 9 1378000009 999)\n"
same_results
run_over "--strict is about malformed lines, not late ones" 0 late.csv --strict
same_results

# ---- forms of text that are right ----
good | sed 's/$/\r/' >crlf.csv
run_over "CRLF ends a line" 0 crlf.csv
json 'd["rows"] == 3 and d["lines_malformed"] == 0'
same_results
{ printf '\357\273\277' && good; } >bom.csv
run_over "a byte order mark is skipped" 0 bom.csv
json 'd["rows"] == 3 and d["lines_malformed"] == 0'
same_results
{ printf '\357\273\277%s\r\n' "$HEADER" && good; } >bom.csv
run_over "a byte order mark, then a header" 0 bom.csv
json 'd["rows"] == 3 and d["lines_malformed"] == 0'
same_results
good | head -c -1 >open.csv
run_over "a last line without its end counts" 0 open.csv
json 'd["rows"] == 3'
same_results
good | gzip >good.csv.gz
run_over "gzip by its extension" 0 good.csv.gz
json 'd["rows"] == 3'
same_results

# ---- inputs that are hardly there ----
: >empty.csv
run_over "an empty file is an input without rows" 0 empty.csv
json 'd["rows"] == 0 and d["rows_out"] == 0 and d["complete"]'
there results/load_plug.csv
expect "its header line alone" test "$(wc -l <results/load_plug.csv)" = 1
spec "outliers of nothing" 0 run "$OUTLIERS" -i empty.csv -o results -q
expect "its header line alone" test "$(wc -l <results/outliers.csv)" = 1
echo "$HEADER" >header.csv
run_over "a header alone" 0 header.csv
json 'd["rows"] == 0 and d["lines_malformed"] == 0'
# A run that never began: it counted nothing, took no time and left nothing.
counted_nothing() {
    json 'd["rows"] == 0 and d["rows_out"] == 0 and d["seconds"] == 0 and d["rows_per_second"] == 0 and d["outputs"] == []'
    json 'not d["complete"] and d["error"]["exit_code"] == '"$code"
}
never_began() {
    counted_nothing
    expect "no file is made" test -z "$(find results -type f 2>/dev/null)"
}
run_over "a missing file" 74 none.csv
err 'penstock: error: .*none.csv.*No such file or directory'
json 'd["error"]["exit_code"] == 74 and "none.csv" in d["error"]["text"]'
never_began
mkdir -p folder
run_over "a directory" 74 folder
err 'penstock: error: .*folder.*[Dd]irectory'
never_began
head -c -6 good.csv.gz >cut.csv.gz
run_over "a gzip that is cut short" 65 cut.csv.gz
err 'penstock: error: .*cut.csv.gz'
no_final
cp good.csv plain.csv.gz
run_over "a .gz that is none" 65 plain.csv.gz
err 'penstock: error: .*plain.csv.gz'
no_final
if (($(id -u) != 0)); then
    cp good.csv secret.csv
    chmod 000 secret.csv
    run_over "an input that may not be read" 77 secret.csv
    err 'secret.csv.*Permission denied'
    never_began
fi
mkfifo fifo
rm -rf results
spec_name="a signal while a named pipe has no writer yet"
words=("run load.yaml --input fifo --json, then signals")
"$ROOT/tests/cli/interrupt_open.py" "$P" run "$LOAD" --input fifo --output results --json >.out 2>.err
code=$?
expect "exit code 1" test "$code" = 1
err 'penstock: error: '
never_began

# ---- too few descriptors: a sentence at each number of them ----
for count in 6 7 8 9 10 12 14; do
    rm -rf results
    spec_shell "$count descriptors" 74 "ulimit -n $count; exec \"\$P\" run '$LOAD' -i good.csv -o results --workers 2"
    err 'penstock: error: .*Too many open files'
    no_part results
done
rm -rf results

# ---- outputs that cannot be written ----
: >occupied
spec "a folder that is a file" 74 run "$LOAD" -i good.csv -o occupied --json
err 'penstock: error: .*occupied'
never_began
expect "the file as it was" test -f occupied -a ! -s occupied
rm -rf results
mkdir results
ln -s /dev/full results/load_plug.csv.part
spec "a full disk" 74 run "$LOAD" -i good.csv -o results
err 'penstock: error: .*results/load_plug.csv.*No space left on device'
err 'not complete'
no_final
not_there results/load_plug.csv
not_there results/load_house.csv
rm -rf results
mkdir results
echo old >results/load_plug.csv
ln -s /dev/full results/load_house.csv.part
spec "a full disk leaves results of an earlier run as they were" 74 run "$LOAD" -i good.csv -o results -q
expect "the old load_plug.csv" test "$(cat results/load_plug.csv)" = old
rm -rf results
mkdir -p results/load_plug.csv
spec "a folder where a result belongs" 74 run "$LOAD" -i good.csv -o results
err 'penstock: error: .*load_plug.csv'
rm -rf results
spec "dead letters that cannot be written" 74 run "$LOAD" -i late.csv -o results --dead-letter none/dead.csv --json
err 'penstock: error: .*none/dead.csv'
never_began
rm -rf results
mkdir -p results/load_house.csv
spec "a folder where the second result belongs" 74 run "$LOAD" -i good.csv -o results --json
err 'penstock: error: results/load_house.csv is no regular file: it cannot be replaced'
never_began

for n in {1..40}; do row "$n" $((1378000000 + n)) 1.5 "$n"; done >plugs.csv
rm -rf results
spec "a folder that nobody may make" 77 run "$LOAD" -i plugs.csv -o /sys/results
err 'cannot make the output folder /sys/results: '
spec_shell "a limit on the size of files" 74 "ulimit -f 1; exec \"\$P\" run '$LOAD' -i plugs.csv -o results"
err 'penstock: error: .*results/load_(plug|house).csv.*File too large'
err 'not complete'
no_final

# ---- outputs that would replace what is not theirs ----
# refused "a sentence" CODE 'regex' flags... : nothing is made, and what is in the folder stays as it is
refused() {
    local sentence=$1 wanted=$2 regex=$3
    shift 3
    rm -rf results
    mkdir results
    cp good.csv results/load_plug.csv
    spec "$sentence" "$wanted" run "$LOAD" -o results --json "$@"
    err "penstock: error: $regex"
    counted_nothing
    expect "the folder as it was" test "$(ls results)" = load_plug.csv
    expect "the file in it as it was" cmp -s good.csv results/load_plug.csv
}
refused "the input under the name of an output" 74 'results/load_plug.csv is the input itself: an output would replace it' \
    -i results/load_plug.csv
ln -s results/load_plug.csv link.csv
refused "the same by another name" 74 'results/load_plug.csv is the input itself' -i link.csv
refused "the input as the file of dead letters" 74 'good.csv is the input itself' -i good.csv --dead-letter good.csv
refused "an output as the file of dead letters" 78 'results/load_house.csv would be written twice: give the outputs other names' \
    -i good.csv --dead-letter results/load_house.csv
# By a link of our own: were it replaced after all, then it would be the link and not the device.
ln -s /dev/null device
refused "an output as the file of dead letters, by another way to it" 78 'results/./load_house.csv would be written twice' -i good.csv \
    --dead-letter results/./load_house.csv
refused "a device as the file of dead letters" 74 'device is no regular file' -i good.csv --dead-letter device
expect "the link as it was" test -L device

# ---- graphs ----
spec "a graph that is not there" 74 run none.yaml -i good.csv -o results
err 'penstock: error: the graph `none.yaml` cannot be read: No such file or directory'
spec "a graph that is a directory" 74 check folder
err 'the graph `folder` cannot be read: Is a directory'
spec "a graph below a file" 74 check good.csv/x.yaml
err 'cannot be read: Not a directory'
if (($(id -u) != 0)); then
    cp "$LOAD" secret.yaml
    chmod 000 secret.yaml
    spec "a graph that may not be read" 77 check secret.yaml
    err 'Permission denied'
fi

# A graph to spoil. bad_graph "what is wrong" 'sed script' LINE 'regex of the sentence' : the place is in line LINE.
cat >graph.yaml <<'END'
penstock: 1
name: small
parameters: {watts: 1}
operators:
  - id: meters
    type: csv_source
    params: {file: meters.csv}
  - id: loads
    type: filter
    inputs: [meters]
    params: {where: ["property == 1", "value > ${watts}"]}
  - id: by_house
    type: aggregate
    inputs: [loads]
    key: [house_id]
    partitions: 2
    params: {window: 60, group: [house_id], aggregates: ["avg(value) as load"]}
  - id: out
    type: csv_sink
    inputs: [by_house]
    params: {file: out.csv}
END
spec "the graph before it is spoilt" 0 check graph.yaml
bad_graph() {
    sed -e "$2" graph.yaml >bad.yaml
    spec "check: $1" 78 check bad.yaml
    err "^bad.yaml:$3:[0-9]+: error: "
    err "$4"
    err '^ +\| +\^' # the caret
    no_out
    cp .err checked
    rm -rf results
    spec "run: $1" 78 run bad.yaml --input good.csv --output results
    expect "the same words as of check" cmp -s .err checked
    not_there results
    spec "check --json: $1" 78 check bad.yaml --json
    json 'not d["ok"] and d["diagnostics"] and d["error"]["exit_code"] == 78'
    json "any(re.fullmatch('$3', str(i['line'])) and i['column'] > 0 and i['file'] == 'bad.yaml' for i in d['diagnostics'])"
}
bad_graph "an unknown operator" 's/type: filter/type: fitler/' 9 'fitler'
err 'did you mean `filter`\?'
bad_graph "an unknown key" 's/partitions: 2/partitons: 2/' 16 'unknown key `partitons`'
err 'did you mean `partitions`\?'
bad_graph "an unknown key at the top" 's/^name: small/nam: small/' 2 'unknown key `nam`'
bad_graph "an unknown parameter" 's/window: 60/windw: 60/' 17 'windw'
err 'did you mean `window`\?'
bad_graph "partitions: 0" 's/partitions: 2/partitions: 0/' 16 'partitions'
bad_graph "partitions: -1" 's/partitions: 2/partitions: -1/' 16 'partitions'
bad_graph "partitions: many" 's/partitions: 2/partitions: many/' 16 'whole number'
bad_graph "more partitions than buckets" 's/partitions: 2/partitions: 300/' 16 'partitions'
bad_graph "a missing parameter" 's/window: 60, //' 17 'window'
bad_graph "a cycle" 's/inputs: \[meters\]/inputs: [by_house]/' '(10|14|8|12)' 'cycle'
bad_graph "an input that is not there" 's/inputs: \[loads\]/inputs: [load]/' 14 'no operator is called `load`'
err 'did you mean `loads`\?'
bad_graph "a field that is not there" 's/key: \[house_id\]/key: [hose_id]/' 15 'hose_id'
bad_graph "a placeholder without a parameter" 's/{watts}/{wats}/' 11 '\$\{wats\}'
bad_graph "an id twice" 's/id: loads/id: meters/' 8 'two operators have the id `meters`'
bad_graph "a key twice" 's/partitions: 2/type: aggregate/' 16 'stands here twice'
bad_graph "a bracket left open" 's/\[by_house\]/[by_house/' '(20|21|22)' 'not valid YAML'
bad_graph "a version of the future" 's/penstock: 1/penstock: 99/' 1 'version'
bad_graph "a comparison that is none" 's/property == 1/property ~ 1/' 11 'property'
bad_graph "a NUL" 's/small/sm\x00all/' 2 'NUL'
bad_graph "bytes that are not UTF-8" 's/small/sm\xffall/' 2 'UTF-8'
bad_graph "an output file in another folder" 's|file: out.csv|file: a/b.csv|' 21 'give a plain file name; the folder is named by --output'
bad_graph "an output file above the folder" 's|file: out.csv|file: ../b.csv|' 21 'plain file name'
bad_graph "an output file that is the folder" 's|file: out.csv|file: .|' 21 'plain file name'
bad_graph "an output file that is the folder above" 's|file: out.csv|file: ..|' 21 'plain file name'
bad_graph "an output file without a name" 's|file: out.csv|file: ""|' 21 'plain file name'

# Rows that belong together must meet: the operators of the queries say of what their keys can be made.
bad_key() { # bad_key GRAPH ID FIELDS OTHER : operator ID without a key, and with a field that its input has, too
    local graph=$1 id=$2 fields=$3 other=$4 partitions='\$\{partitions\}'
    sed -E "/- id: $id\$/,/params:/ { /key:/d; s/partitions: $partitions/partitions: 1/ }" "$graph" >bad.yaml
    spec "$id without a key" 78 run bad.yaml -i good.csv -o results
    err "^bad.yaml:[0-9]+:[0-9]+: error: operator \`$id\` \($id\) needs a \`key\`"
    err "hint: add \`key: \[$fields\]\`"
    sed -E "/- id: $id\$/,/params:/ s/key: .*/key: [$other]/" "$graph" >bad.yaml
    spec "$id with a key of another field" 78 run bad.yaml -i good.csv -o results
    err "^bad.yaml:[0-9]+:[0-9]+: error: the key of \`$id\` \($id\) can be made of $fields only"
    not_there results
}
rm -rf results
bad_key "$LOAD" plug_load 'house_id, household_id, plug_id' timestamp
bad_key "$LOAD" house_load 'house_id' flags
bad_key "$OUTLIERS" plug_above 'house_id, household_id, plug_id' timestamp
bad_key "$OUTLIERS" house_share 'house_id' window_number

sed -E -e 's/partitions: \$\{partitions\}/partitions: 320/' -e 's/buckets: 64/buckets: 512/' "$LOAD" >many.yaml
spec "more channels than there may be" 78 run many.yaml -i good.csv -o results -w 1 --channel-frames 1 --frame-rows 1
err 'penstock: error: the graph has more than 100000 channels between its partitions: give it fewer partitions or workers'
not_there results

sed 's/params: {slices: ${slices}, every: ${every}}/params: {slices: SLICES, every: 30}/' "$LOAD" |
    sed '/- id: plug_load/,/SLICES/ s/SLICES/[60, 300]/' >slices.yaml
sed 's/SLICES/[300, 60]/' slices.yaml >bad.yaml
"$P" run "$LOAD" -i good.csv -o wanted -q --set slices=60,300
spec "slices in another order for houses than for plugs" 0 run bad.yaml -i good.csv -o results
expect "the same load_house.csv" cmp -s wanted/load_house.csv results/load_house.csv
sed 's/SLICES/[60, 900]/' slices.yaml >bad.yaml
spec "other slices for houses than for plugs" 78 run bad.yaml -i good.csv -o results
err 'operator house_load .*give plug_load and house_load the same `slices`'

# ---- numbers that are too great ----
sed 's/params: {file: meters.csv}/params: {file: meters.csv, time: t, schema: ["t:u32", "house_id:u32", "value:i64", "property:u32"]}/
    s/avg(value)/sum(value)/' graph.yaml >sum.yaml
printf '%s\n' 1,7,9223372036854775807,1 2,7,2,1 >sum.csv
rm -rf results
spec "a sum beyond 64 bits is bad data" 65 run sum.yaml -i sum.csv -o results
err 'penstock: error: operator by_house \(aggregate\), .*sum\(value\) of house_id 7 .*does not fit into 64 bits'
no_final
spec "a flag beyond its range is wrong usage" 2 run sum.yaml -i sum.csv --workers 99999999999999999999

sed 's/type: filter/type: fitler/; s/partitions: 2/partitions: 0/; s/^name:/nam:/' graph.yaml >bad.yaml
spec "every error is told at once" 78 check bad.yaml
for line in 2 9 16; do err "^bad.yaml:$line:"; done
err 'penstock: error: bad.yaml: [3-9] errors'
: >empty.yaml
spec "an empty graph" 78 check empty.yaml
err 'penstock: 1'
head -c 2000000 </dev/zero >zeros.yaml
spec "zeros" 78 check zeros.yaml
echo '[1, 2]' >list.yaml
spec "a list" 78 check list.yaml
err '^list.yaml:1:1: error: '
spec "--set of a parameter that is not there" 78 check graph.yaml --set wats=3
err '^--set: error: .*wats'
err 'did you mean `watts`\?'
spec "--set partitions=0" 78 run "$LOAD" --set partitions=0 -i good.csv -o results
err 'partitions'
spec "--set with a value of the wrong kind" 78 check "$LOAD" --set slices=long
err 'slices'
spec "a slice that does not divide the day" 78 check "$LOAD" --set slices=7
err 'slices|86400'
spec "every below 1" 78 check "$LOAD" --set every=0
err 'every'
spec "a window below 1" 78 check "$OUTLIERS" --set windows=0
err 'windows'

finish
