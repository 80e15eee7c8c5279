#!/bin/bash
# enclave_checkpoint.sh - checkpoints of operators in enclaves as their users meet them: a run goes on with the bytes of one that was never
# stopped; what is refused; a worker that is killed or stopped is started again from the last one.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

load=$ROOT/debs14/load.yaml
"$P" gen --houses 4 --plugs 60 --rows 120000 --seed 3 --late 100 --quiet --output meters.csv
head -n 60001 meters.csv >half.csv
"$P" key init k.key --quiet
"$P" key init other.key --quiet
"$P" run "$load" -i meters.csv -o wanted --set every=60 --quiet

if [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi

graph=("$load" -o results --set every=60)
inside=(--enclave all --epc 8MiB)
points=(--checkpoint points --key k.key --every-rows 5000)
slowly=(--frame-rows 2 --channel-frames 1 --block-bytes 512 -w 1) # so that there are some checkpoints, and time to kill
same() {
    for file in load_plug.csv load_house.csv; do
        expect "the bytes of a run without enclaves in $file" cmp -s "wanted/$file" "results/$file"
    done
}
mkfifo feed
fed() { # half of the stream, held back until there are two checkpoints
    head -n 20000 half.csv
    python3 "$ROOT/tests/await_file.py" points 0000000000000001.manifest
    sed -n 20001,40000p half.csv
    python3 "$ROOT/tests/await_file.py" points 0000000000000002.manifest
    sed -n '40001,$p' half.csv
}
halfway() { # as if it had been killed in the middle: the rest of the input has come since
    rm -rf points results
    mkdir points
    fed >feed &
    # In small blocks: a cut is chosen between two, and what it waits for has to come before the feed waits for it.
    STDIN=feed spec "half of the stream, $*" 0 run "${graph[@]}" "${points[@]}" -i - --block-bytes 64KiB --quiet "$@"
    wait $!
    cp -r points points.half
    cp -r results results.half
}
again() {
    rm -rf points results
    cp -r points.half points
    cp -r results.half results
}
resume() { # resume CODE "a sentence" words...
    local wanted=$1 sentence=$2
    shift 2
    spec "$sentence" "$wanted" run "${graph[@]}" -i meters.csv --resume "$@"
}
flip() { # flip FILE OFFSET: another byte there
    python3 -c '
import sys
with open(sys.argv[1], "r+b") as f:
    f.seek(int(sys.argv[2]))
    byte = f.read(1)[0]
    f.seek(int(sys.argv[2]))
    f.write(bytes([byte ^ 0x10]))' "$1" "$2"
}
newest() { find points -name "*.$1" | sort | tail -n 1; }

# ---- it goes on ----
halfway "${inside[@]}" --set partitions=2
for word in 1,1 2,2 2,5; do
    again
    resume 0 "with other workers and partitions, $word" "${points[@]}" "${inside[@]}" --workers "${word%,*}" --set "partitions=${word#*,}"
    err 'resumed +from checkpoint [0-9]+'
    same
done
spec "verify looks at what workers have sealed" 0 checkpoint verify points --key k.key
out 'is whole: 0 pages open, [0-9]+ are as enclaves have sealed them'
spec "export shows nothing of it" 0 checkpoint export points --key k.key --json
json 'd["structures"] == []'
mv k.key old.key
cat old.key >k.key
chmod 600 k.key
"$P" key rotate k.key --quiet
again
resume 0 "under a rotated key" "${points[@]}" "${inside[@]}" "${slowly[@]}" --json
json 'd["checkpoints"]["resumed_id"] > 0 and d["checkpoints"]["written"] > 0'
same
mv old.key k.key

# ---- what is refused ----
again
resume 77 "the state stays in enclaves" "${points[@]}"
err '`plug_load` \(it ran in an enclave, and nobody else can open it\)'
again
resume 77 "under another key" --checkpoint points --key other.key "${inside[@]}"
err 'does not open with this key'
again
resume 0 "without the state of the operators" "${points[@]}" --drop-state plug_load --drop-state house_load
again
flip "$(newest pages)" 70
resume 0 "a piece that was changed on the disk: the checkpoint before counts" "${points[@]}" "${inside[@]}"
err 'checkpoint [0-9]+ is passed over: (page|index) [0-9]+ of bucket [0-9]+ of `[a-z_]+` is not what was sealed there'
same
again
for file in points/*.pages; do flip "$file" 70; done
resume 77 "all that were changed" "${points[@]}" "${inside[@]}"
err 'no checkpoint in points can be resumed'
halfway "${inside[@]}" --counter counter
rm "$(newest manifest)"
resume 77 "an older folder that was put back" "${points[@]}" "${inside[@]}" --counter counter
err 'counter records checkpoint [0-9]+, but the newest in points that opens is'
halfway
resume 77 "an enclave takes nothing that it has not sealed itself" "${points[@]}" "${inside[@]}"
err '`plug_load` \(it did not run in an enclave'

# ---- a worker that dies, or hangs ----
"$P" gen --houses 4 --plugs 60 --rows 1500000 --seed 3 --late 100 --quiet --output meters.csv # long enough to be killed in
rm -rf wanted
"$P" run "$load" -i meters.csv -o wanted --set every=60 --quiet
running() { # running words...: in the background, up to its first checkpoint
    rm -rf points results
    : >.out
    "$P" run "${graph[@]}" "${points[@]}" "${inside[@]}" -i meters.csv "$@" --json >.out 2>.err &
    run=$!
    until ls points/*.manifest >/dev/null 2>&1; do kill -0 $run || break; done
}
ended() {
    wait $run
    code=$?
    expect "exit code $1" test "$code" = "$1"
}
workers() { cat "/proc/$run/task/$run/children" 2>/dev/null; }
for signal in KILL STOP; do
    spec_name="a worker gets $signal" words=(run)
    running "${slowly[@]}" --enclave-patience 1
    read -r worker _ <<<"$(workers)"
    kill "-$signal" "$worker"
    ended 0
    [ $signal = STOP ] && err 'its worker has not moved for 1 s; it is started again' || err 'has been ended by signal [0-9]+ \(.*\); it is started again'
    json 'd["enclave_restarts"] == 1 and d["complete"]'
    same
done

spec_name="a worker that is killed as soon as it is there"
rm -rf points results
"$P" run "${graph[@]}" "${points[@]}" "${inside[@]}" -i meters.csv "${slowly[@]}" --json >.out 2>.err &
run=$!
worker=''
until [ -n "$worker" ]; do read -r worker _ <<<"$(workers)"; done
kill -9 "$worker"
ended 0
json 'd["enclave_restarts"] == 1 and d["complete"]'
same

spec_name="a worker that dies each time"
rm -rf points results
"$P" run "${graph[@]}" --checkpoint points --key k.key --every-seconds 3600 "${inside[@]}" -i meters.csv "${slowly[@]}" --json >.out 2>.err &
run=$!
last=''
while kill -0 $run 2>/dev/null; do # each when it has put something out, for its run has begun a new file
    read -r worker _ <<<"$(workers)"
    [ -n "$worker" ] && [ "$worker" != "$last" ] && [ -s results/load_plug.csv.part ] || continue
    kill -9 "$worker" 2>/dev/null
    last=$worker
done
ended 74
json 'd["enclave_restarts"] == 3 and not d["complete"]'
err 'its worker has been ended by signal 9'

spec_name="without checkpoints a run ends"
rm -rf points results
"$P" run "${graph[@]}" "${inside[@]}" -i meters.csv "${slowly[@]}" --json >.out 2>.err &
run=$!
until [ "$(workers | wc -w)" -ge 2 ] && ls results/*.part >/dev/null 2>&1 && [ -s results/load_plug.csv.part ]; do kill -0 $run || break; done
read -r worker _ <<<"$(workers)"
kill -9 "$worker"
ended 74
json 'd["enclave_restarts"] == 0'
expect "what was written is NAME.failed" test -e results/load_plug.csv.failed

finish
