#!/bin/bash
# enclave.sh - operators in enclaves as their users meet them: the bytes of a run without any, for many numbers of partitions and
# workers; an EPC that state does not fit; what is refused, and what is said; a worker that is killed.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

load=$ROOT/debs14/load.yaml outliers=$ROOT/debs14/outliers.yaml
"$P" gen --houses 8 --plugs 300 --duration 30m --seed 3 --late 200 --malformed 100 --quiet --output meters.csv
"$P" run "$load" -i meters.csv -o wanted --set every=60 --quiet
"$P" run "$outliers" -i meters.csv -o wanted --set windows=60,300 --quiet

if [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi

same() {
    local file
    for file in "$@"; do expect "the bytes of a run without enclaves in $file" cmp -s "wanted/$file" "results/$file"; done
}

# ---- the same bytes ----
spec "one operator of Query 1 inside" 0 run "$load" -i meters.csv -o results --set every=60 --enclave plug_load
same load_plug.csv load_house.csv
err 'enclaves   plug_load: 2 workers \(process\)'
err 'protects from other processes and users, and from root without CAP_SYS_PTRACE and CAP_SYS_ADMIN'
err 'not from root with these, nor from who runs the machine: no hardware vouches for it\.$'
err 'Before and behind them rows are in the clear in this process'
for word in 1,1 1,3 2,2 2,5 4,16; do
    set -- --workers "${word%,*}" --set partitions="${word#*,}" --enclave all --epc 8MiB
    rm -rf results
    spec "Query 1 inside, workers and partitions $word" 0 run "$load" -i meters.csv -o results --set every=60 "$@"
    same load_plug.csv load_house.csv
    spec "Query 2 inside, workers and partitions $word" 0 run "$outliers" -i meters.csv -o results --set windows=60,300 "$@"
    same outliers.csv
done
spec "in the smallest frames" 0 run "$load" -i meters.csv -o results --set every=60 --enclave all --epc 8MiB --frame-rows 3 --channel-frames 1
same load_plug.csv load_house.csv

# ---- operators without state: by name, or as the graph says; `all` leaves them where they are ----
for partitions in 1 3; do
    rm -rf results
    set -- --set partitions=$partitions --enclave loads --epc 8MiB
    spec "Query 1 behind a filter inside, $partitions partitions" 0 run "$load" -i meters.csv -o results --set every=60 "$@" --json
    json '[(e["operator"], e["workers"]) for e in d["enclaves"]] == [("loads", 1)]'
    same load_plug.csv load_house.csv
    spec "Query 2 with its filter inside, too, $partitions partitions" 0 run "$outliers" -i meters.csv -o results --set windows=60,300 "$@" --enclave all --json
    json '[e["operator"] for e in d["enclaves"]] == ["loads", "median_all", "plug_above", "house_share"]'
    same outliers.csv
done
cat >chain.yaml <<'EOG'
penstock: 1
name: chain
operators:
  - id: meters
    type: csv_source
    params: {file: meters.csv}
  - {id: loads, type: filter, inputs: [meters], params: {where: ["property == 1", "value > 20"]}}
  - {id: few, type: select, inputs: [loads], params: {fields: [value as watts, house_id as house, timestamp, plug_id]}}
  - id: by_house
    type: aggregate
    inputs: [few]
    key: [house]
    partitions: 3
    params: {window: 60, group: [house], aggregates: [count as readings, max(watts) as most]}
  - {id: high, type: filter, inputs: [by_house], params: {where: ["readings > 100"]}}
  - {id: most, type: select, inputs: [high], params: {fields: [most, window_end, house]}}
  - {id: rows, type: csv_sink, inputs: [few], params: {file: rows.csv, columns: [timestamp, house, plug_id, watts], order: [timestamp, house, plug_id]}}
  - {id: out, type: csv_sink, inputs: [most], params: {file: most.csv, columns: [window_end, house, most], order: [window_end, house]}}
EOG
"$P" run chain.yaml -o wanted --quiet
inside=()
for id in loads few high most; do inside+=(--enclave "$id"); done
for words in "${inside[*]}" "${inside[*]} --enclave all" "--enclave few" "--enclave high --frame-rows 3 --channel-frames 1"; do
    rm -rf results
    # shellcheck disable=SC2086 # words
    spec "one behind the other: $words" 0 run chain.yaml -o results $words --epc 8MiB
    same rows.csv most.csv
done
rm -rf results points
"$P" key init chain.key --quiet
spec "with checkpoints" 0 run chain.yaml -o results "${inside[@]}" --epc 8MiB --checkpoint points --key chain.key --every-rows 20000
same rows.csv most.csv
sed -E 's/(id: (loads|few|high|most), )/\1enclave: true, epc: 8MiB, /' chain.yaml >chained.yaml
spec "the graph says so" 0 check chained.yaml
out 'few runs in enclaves with an EPC of 8192 KiB each'
rm -rf results
spec "and it runs by itself" 0 run chained.yaml -o results
same rows.csv most.csv
spec "sealed rows have no total order" 78 seal "$load" --enclave loads --enclave all --set every=60 --key chain.key -i meters.csv -o x.sealed
err 'loads'

# ---- times are asked for ahead, but not over a timer ----
awk -F, -v OFS=, 'NR > 60000 { $2 += 7200 } NR > 120000 { $2 += 200000 } NR > 120200 { $2 += 45 } 1' meters.csv >gaps.csv
rm -rf wanted2 results
"$P" run "$load" -i gaps.csv -o wanted2 --set every=30 --quiet
"$P" run "$outliers" -i gaps.csv -o wanted2 --set windows=60,300 --quiet
for partitions in 1 3; do
    spec "Query 1 over gaps, $partitions partitions" 0 run "$load" -i gaps.csv -o results --set every=30 --set partitions=$partitions --enclave all --epc 8MiB
    for file in load_plug.csv load_house.csv; do expect "the bytes of a run without enclaves in $file" cmp -s wanted2/$file results/$file; done
    spec "Query 2 over gaps, $partitions partitions" 0 run "$outliers" -i gaps.csv -o results --set windows=60,300 --set partitions=$partitions --enclave all --epc 8MiB
    expect "the bytes of a run without enclaves in outliers.csv" cmp -s wanted2/outliers.csv results/outliers.csv
done

# ---- the graph says so ----
sed 's/^  - id: plug_load/&\n    enclave: true\n    epc: 8.5MiB/' "$load" >inside.yaml
spec "check names what runs in enclaves" 0 check inside.yaml
out 'plug_load runs in enclaves with an EPC of 8704 KiB each'
spec "and as an object" 0 check inside.yaml --json
json '[o["epc_bytes"] for o in d["operators"] if o["enclave"]] == [8912896]'
rm -rf results
spec "a graph with enclaves runs by itself" 0 run inside.yaml -i meters.csv -o results --set every=60 --json
json '[e["operator"] for e in d["enclaves"]] == ["plug_load"] and d["enclaves"][0]["epc_bytes"] == 8912896'
json 'not d["enclaves"][0]["hardware_attested"] and not d["enclaves"][0]["protects_from_root"] and len(d["enclaves"][0]["measurement"]) == 64'
json '"seccomp" in d["enclaves"][0]["facts"] and d["enclaves"][0]["epc_used_max"] <= 8912896'
# Of a short file nothing is touched ahead; where there is no secret memory the kernel gives all of it at once.
json 'd["enclaves"][0]["epc_touched_max"] in (d["enclaves"][0]["epc_used_max"], d["enclaves"][0]["epc_bytes"])'
same load_plug.csv
measured=$(python3 -c 'import json; print(json.load(open(".out"))["enclaves"][0]["measurement"])')
spec "a measurement does not depend on partitions and workers" 0 run inside.yaml -i meters.csv -o results --set every=60 --set partitions=5 -w 1 --json
json 'd["enclaves"][0]["measurement"] == "'"$measured"'" and d["enclaves"][0]["workers"] == 5'
spec "and does depend on what changes results" 0 run inside.yaml -i meters.csv -o results --set every=120 --json
json 'd["enclaves"][0]["measurement"] != "'"$measured"'"'
spec "a run without enclaves has none in its object" 0 run "$load" -i meters.csv -o results --set every=60 --json
json 'd["enclaves"] == []'

# ---- what it would cost elsewhere ----
rm -rf results
spec "a model changes no byte and is no measurement" 0 run inside.yaml -i meters.csv -o results --set every=60 --epc-model sgx1 --json
json '[e["model"]["measured"] for e in d["enclaves"]] == [False] and d["enclaves"][0]["model"]["name"] == "sgx1"'
json '(lambda e: abs(e["model"]["leave_seconds"] - e["leaves"] * e["model"]["leave_cycles"] / e["model"]["hertz"]) < 1e-5)(d["enclaves"][0])'
json '(lambda e: e["leaves"] > 0 and e["messages"] > e["leaves"] and e["model"]["call_seconds"] > e["model"]["leave_seconds"])(d["enclaves"][0])'
same load_plug.csv load_house.csv
spec "without one there is none" 0 run inside.yaml -i meters.csv -o results --set every=60 --json
json '"model" not in d["enclaves"][0]'
spec "to people it is said to be computed" 0 run inside.yaml -i meters.csv -o results --set every=60 --epc-model snp
err 'model snp, computed and not measured: [0-9,]+ times left, [0-9.]+ s; were each of [0-9,]+ messages a call, [0-9.]+ s$'
spec "a model that there is not" 2 run inside.yaml -i meters.csv -o results --epc-model sgx
err 'sgx1, sgx2 or snp is wanted'

# ---- state that an EPC has no room for ----
sed 's/buckets: [0-9][0-9]*/buckets: 8/' "$outliers" >few.yaml
"$P" gen --houses 20 --plugs 2000 --duration 10m --seed 3 --quiet --output many.csv
few=(run few.yaml -i many.csv -o results --set "windows=120,300" --set partitions=1)
rm -rf wanted results
"$P" run few.yaml -i many.csv -o wanted --set windows=120,300 --set partitions=1 --quiet
least=1024
for _ in 1 2 3 4 5 6 7 8; do # another callback may need more; each time the least so far is named
    more=$("$P" "${few[@]}" --enclave plug_above --epc "${least}KiB" 2>&1 | sed -n 's/.*so far it takes \([0-9]*\) KiB.*/\1/p')
    [ -n "$more" ] || break
    least=$more
done
rm -rf results
spec "with the least EPC that was named the bytes are the same" 0 "${few[@]}" --enclave plug_above --epc "${least}KiB" --json
json 'd["enclaves"][0]["evictions_sealed"] > 0 and d["enclaves"][0]["misses"] > 0'
same outliers.csv
rm -rf results
spec "and with another policy" 0 "${few[@]}" --enclave plug_above --epc "${least}KiB" --evict lru --json
json 'd["enclaves"][0]["evictions_sealed"] > 0'
same outliers.csv
spec "an EPC that is too small names one" 78 run "$load" -i meters.csv -o small --enclave all --epc 2MiB
err 'an EPC of 2048 KiB is too small: so far it takes [0-9]+ KiB at least'
no_file() { [ ! -e "$1" ]; }
expect "no output under its final name" no_file small/load_plug.csv

# ---- what is refused ----
spec "an operator that is not there" 78 run "$load" -i meters.csv -o results --enclave plug
err 'the graph has no operator of this id'
spec "a source" 78 run "$load" -i meters.csv -o results --enclave meters
err 'it is a source, and reads a file'
spec "a sink" 78 run "$load" -i meters.csv -o results --enclave load_plug
err 'it is a sink, and writes a file'
spec "an EPC that is no size" 2 run "$load" -i meters.csv -o results --enclave all --epc much
spec "an EPC that is none" 2 run "$load" -i meters.csv -o results --enclave all --epc 0.5MiB

# ---- memory that may not be locked ----
limited() { # as without CAP_IPC_LOCK, which root would have
    local wrap=()
    [ "$(id -u)" -ne 0 ] || wrap=(setpriv --bounding-set -ipc_lock --inh-caps -ipc_lock)
    spec_name=$1
    words=("${@:3}")
    (ulimit -l 1024 && exec timeout 60 "${wrap[@]}" "$P" "${@:3}") >"$T/.out" 2>"$T/.err"
    code=$?
    expect "exit code $2" [ "$code" -eq "$2" ]
}
limited "too low a limit is refused with the remedy" 77 run "$load" -i meters.csv -o locked --enclave plug_load
err 'of memory cannot be locked: this process may lock 1024 KiB. Raise the limit \(`ulimit -l 95744`'
expect "no output under its final name" no_file locked/load_plug.csv
limited "doctor says so before" 78 doctor --json
json 'not d["enclaves_can_run"] and [f["there"] for f in d["findings"] if f["name"] == "memlock"] == ["no"]'
spec "doctor" 0 doctor
out '^  seccomp +yes'
out '^  protects from   other processes and users, and from root without'
out '^  not from        root with these, nor from who runs the machine: no hardware'
out '^  root can still  inject code into a worker'

# ---- too few descriptors: whoever runs out of them says so ----
for count in 40 48 56 64; do
    spec_shell "$count descriptors" 74 \
        "ulimit -n $count; exec \"\$P\" run '$load' -i meters.csv -o few --enclave all --epc 5MiB --set partitions=32 --workers 2"
    err 'no file descriptor was left for it: raise the limit|Too many open files'
done
rm -rf few

# ---- no memory that the kernel has no mapping of ----
cat >lacking <<EOS
#!/bin/sh
exec python3 "$ROOT/tests/cli/without.py" 447 "$P" "\$@" # memfd_secret
EOS
chmod +x lacking
whole=$P P=$T/lacking
rm -rf wanted results
"$whole" run "$load" -i meters.csv -o wanted --set every=60 --quiet
spec "without memfd_secret an enclave runs, and a warning says what it is worth" 0 run "$load" -i meters.csv -o results --set every=60 --enclave plug_load --epc 8MiB
same load_plug.csv load_house.csv
expect "before the first row, so as the first line" test "$(head -n 1 .err)" = \
    'penstock: warning: operator plug_load runs in an enclave that protects from nobody for certain: without secret-memory (`penstock doctor` says what to do)'
expect "once, for all of its workers" test "$(grep -c 'warning' .err)" = 1
err '^             protects from nobody for certain, without secret-memory$'
spec "an object says the same" 0 run "$load" -i meters.csv -o results --set every=60 --enclave plug_load --epc 8MiB --json
json 'not d["enclaves"][0]["protects_from_users"] and "secret-memory" not in d["enclaves"][0]["facts"] and "seccomp" in d["enclaves"][0]["facts"]'
spec "doctor says what to do" 0 doctor
out '^  memfd-secret +partly +missing: a worker.s pool is locked memory, which root can read'
out 'Linux 5.14 or newer'
P=$whole
"$P" doctor --json >.out
if grep -q '"name":"memfd-secret","there":"yes"' .out; then
    spec "where it is there nothing is warned of" 0 run "$load" -i meters.csv -o results --set every=60 --enclave plug_load --epc 8MiB --json
    expect "no warning" test "$(grep -c 'warning' .err)" = 0
    json 'd["enclaves"][0]["protects_from_users"] and "secret-memory" in d["enclaves"][0]["facts"]'
else
    echo "not run: with memfd_secret, which this kernel has not"
fi

# ---- a worker that is killed ----
mkfifo feed
spec_name="a worker that is killed is told"
words=(run "$load" --input - --enclave plug_load)
"$P" run "$load" --input - -o killed --enclave plug_load --epc 8MiB --set every=60 -w 1 <feed >.out 2>.err &
run=$!
exec 9>feed
head -n 20000 meters.csv >&9
worker=''
until [ -n "$worker" ]; do read -r worker _ <"/proc/$run/task/$run/children"; done
kill -9 "$worker"
tail -n +20001 meters.csv >&9 2>/dev/null
exec 9>&-
wait "$run"
code=$?
expect "exit code 74" [ "$code" -eq 74 ]
err 'operator plug_load \(plug_load\), partition [0-9]+, in its enclave: its worker has been ended by signal 9'
expect "what was written is NAME.failed" [ -e killed/load_plug.csv.failed ]

# ---- memory before rows ----
spec_name="with --preheat an enclave has all of its memory before the first row comes"
words=(run "$load" --input - --enclave plug_load --epc 8MiB --preheat)
"$P" run "$load" --input - -o preheated --enclave plug_load --epc 8MiB --preheat --set every=60 -w 1 --json <feed >.out 2>.err &
run=$!
exec 9>feed
kib=0
for _ in $(seq 1000000); do
    worker=''
    read -r worker _ <"/proc/$run/task/$run/children"
    [ -n "$worker" ] && kib=$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$worker/status")
    [ "${kib:-0}" -ge 8192 ] && break
done
expect "it has" [ "${kib:-0}" -ge 8192 ]
cat meters.csv >&9
exec 9>&-
wait "$run"
code=$?
expect "exit code 0" [ "$code" -eq 0 ]
json 'd["enclaves"][0]["epc_touched_max"] == 8388608 and d["enclaves"][0]["epc_used_max"] < 8388608'
spec "without it" 0 run "$load" -i meters.csv -o cold --enclave plug_load --epc 8MiB --set every=60
expect "the bytes are the same" cmp preheated/load_plug.csv cold/load_plug.csv
spec "--preheat of nothing" 2 run "$load" -i meters.csv -o results --preheat
err 'preheat means something where operators run in enclaves'

# ---- an engine that is killed ----
"$P" run "$load" --input - -o killed2 --enclave plug_load --epc 8MiB -w 1 <feed >/dev/null 2>&1 &
run=$!
exec 9>feed
head -n 1000 meters.csv >&9
worker=''
until [ -n "$worker" ]; do read -r worker _ <"/proc/$run/task/$run/children"; done
kill -9 "$run"
wait "$run" 2>.err
exec 9>&-
gone=''
for _ in $(seq 1000000); do
    if ! grep -qs '^Name:.penstock-enclav' "/proc/$worker/status"; then
        gone=yes
        break
    fi
done
spec_name="workers die with the engine"
expect "no process $worker" [ -n "$gone" ]

finish
