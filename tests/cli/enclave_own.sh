#!/bin/bash
# enclave_own.sh - operators of one's own in enclaves: the commands of docs/operators.md on an installed penstock; the bytes of the same object
# outside, from checkpoints and in total order too; what check, the key's keeper and the worker refuse.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

build=$(dirname "$P")
if [ ! -x "$build/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi
cmake --install "$build" --prefix "$T/installed" >installing || { cat installing; exit 1; }
P=$T/installed/bin/penstock
cp "$ROOT"/examples/spike/spike.[cy]* .
"$P" gen --houses 8 --plugs 300 --duration 12m --seed 3 --late 100 --malformed 50 --quiet --output meters.csv

# ---- as the page says ----
sed -n '/^<!-- own worker -->$/,/^```$/p' "$ROOT/docs/operators.md" | grep -v '^```\|^<!--' >page
sed -i "s|^prefix=.*|prefix=$T/installed|; s|penstock run|penstock run --quiet|" page
spec_shell "the page's commands, on what is installed" 0 "PATH=$T/installed/bin:\$PATH; set -e; $(cat page)"
out 'spikes runs in enclaves'
spike=(spike.yaml --set library=spike.so --set threshold=20)
own=(--enclave spikes --enclave-program spike-enclave --epc 8MiB)
same() { expect "the bytes of the same operator outside, in $2" cmp -s "$1/$2" "results/$2"; }
"$P" run "${spike[@]}" -i meters.csv -o wanted --quiet
expect "there are jumps" test "$(wc -l <wanted/spikes.csv)" -gt 500
for word in "1 --workers 1" "2 --workers 2" "5 --frame-rows 3 --channel-frames 1"; do
    rm -rf results
    # shellcheck disable=SC2086 # words
    spec "spike inside, partitions and others: $word" 0 run "${spike[@]}" -i meters.csv -o results "${own[@]}" --set partitions=$word --json
    json '[e["operator"] for e in d["enclaves"]] == ["spikes"]'
    same wanted spikes.csv
done
sed 's/^    type: spike/&\n    enclave: true/' spike.yaml >inside.yaml
rm -rf results
spec "the graph says so" 0 run inside.yaml "${spike[@]:1}" -i meters.csv -o results "${own[@]:2}"
same wanted spikes.csv

# ---- checkpoints ----
"$P" key init k.key --quiet
points=(--checkpoint points --key k.key --every-rows 5000)
rm -rf results
mkdir points
mkfifo feed
{
    head -n 15000 meters.csv
    python3 "$ROOT/tests/await_file.py" points 0000000000000001.manifest
    sed -n 15001,30000p meters.csv
} >feed &
STDIN=feed spec "a part of the stream, with checkpoints" 0 run "${spike[@]}" "${own[@]}" "${points[@]}" -i - -o results --block-bytes 64KiB
wait $!
spec "it goes on in other partitions" 0 run "${spike[@]}" "${own[@]}" "${points[@]}" -i meters.csv -o results --resume --set partitions=3
err 'resumed +from checkpoint [0-9]+'
same wanted spikes.csv

# ---- an operator with epochs, timers and an end, in both orders ----
compile() { # compile PROGRAM flags...
    cc -O2 -fPIE -static-pie -I"$T/installed/include/penstock" -o "$1" "${@:2}" "$ROOT/tests/cli/guest.c" \
        "$T/installed/lib/penstock/libpenstock-enclave.a" -lcrypto -llz4 -lxxhash -lIPSec_MB 2>compiling || cat compiling
}
cc -O2 -fPIC -shared -I"$T/installed/include/penstock" -o guest.so "$ROOT/tests/cli/guest.c"
compile guest-enclave
cat >guest.yaml <<'G'
penstock: 1
name: guests
parameters: {partitions: 2, total: 0, epoch: 1, attempt: ""}
libraries: [guest.so]
operators:
  - id: meters
    type: csv_source
    params: {file: meters.csv}
  - id: guests
    type: guest
    inputs: [meters]
    key: [house_id]
    partitions: ${partitions}
    params: {total: ${total}, epoch: ${epoch}, attempt: "${attempt}"}
  - id: out
    type: csv_sink
    inputs: [guests]
    params: {file: out.csv, columns: [house_id, rows, kind]}
G
guest=(guest.yaml --enclave all --enclave-program guest-enclave --epc 8MiB)
awk -F, -v OFS=, 'NR > 20000 { $2 += 7200 } 1' meters.csv >gaps.csv
for word in "0 7" "1 1" "1 7"; do
    sets=(--set total="${word% *}" --set epoch="${word#* }")
    rm -rf results
    "$P" run guest.yaml -i gaps.csv -o "wanted.$word" "${sets[@]}" --quiet
    spec "total order and epoch: $word" 0 run "${guest[@]}" -i gaps.csv -o results "${sets[@]}" --set partitions=3 --frame-rows 100
    same "wanted.$word" out.csv
done
expect "rows of all three callbacks" test "$(cut -d, -f3 results/out.csv | sort -u | tr '\n' ' ')" = "1 2 3 kind "

# ---- outside of enclaves: what no operator may do, and what would be written beside by it, or hang on how rows are cut ----
for order in 0 1; do
    spec "a row of a bucket that there is not, order $order" 78 run guest.yaml -i meters.csv -o none --set attempt=beside --set total=$order
    err 'operator guests \(guest\), partition [01], has put out a row of bucket 4294967295, and it has 256: a row is of the bucket whose state made it'
done
spec "rows put out in on_frame() in epoch order" 78 run guest.yaml -i meters.csv -o none --set attempt=early
err 'operator guests \(guest\), partition [01], has put out rows in on_frame\(\): in epoch order that is for on_time\(\) and on_end\(\)'
not_there none/out.csv
spec "the same in total order" 0 run guest.yaml -i meters.csv -o none --set attempt=early --set total=1
rm -rf none

# ---- what is missing is known before a row is read ----
spec "no program" 78 check guest.yaml --enclave guests
err 'its type comes from a shared object.*link it into one of your own and name that with --enclave-program'
spec "nor for a run" 78 run inside.yaml "${spike[@]:1}" -i meters.csv -o none
err 'operator `spikes` \(spike\) cannot run in an enclave: its type comes from a shared object'
not_there none/spikes.csv
spec "those of penstock do not need one" 78 check guest.yaml --enclave all
err 'no operator of this graph can run in an enclave'
spec "the program that comes with penstock" 78 check guest.yaml --enclave guests --enclave-program "$T/installed/libexec/penstock/penstock-enclave"
err 'operator `guests` \(guest\) cannot run in an enclave: its type is not among the operators that the worker.s program has'
spec "a run with it" 78 run guest.yaml --enclave guests --enclave-program spike-enclave -i meters.csv -o none
err 'cannot start its enclave: its type is not among the operators'
not_there none/out.csv
spec "no worker at all" 74 check guest.yaml --enclave guests --enclave-program /bin/true
err 'The program that --enclave-program names has not spoken as a worker: it is none, or not linked as one, statically, with libpenstock-enclave.a'
spec "no program at all" 74 check guest.yaml --enclave guests --enclave-program guest.yaml
err 'it could not start. The program that --enclave-program names has not spoken as a worker'
spec "no file" 74 check guest.yaml --enclave guests --enclave-program nothing
err 'cannot open the worker.s program: No such file'
sed 's/{"rows", PST_U64, 0}/{"counted", PST_U64, 0}/' "$ROOT/tests/cli/guest.c" >other.c
cc -O2 -fPIE -static-pie -I"$T/installed/include/penstock" -o other-enclave other.c "$T/installed/lib/penstock/libpenstock-enclave.a" \
    -lcrypto -llz4 -lxxhash -lIPSec_MB 2>compiling
spec "another operator of that name" 78 check guest.yaml --enclave guests --enclave-program other-enclave
err 'the plan that the worker makes of the configuration is not the one that the host has made'
spec "this one" 0 check "${guest[@]:0:5}"

# ---- who gets the key ----
"$P" key init user.key --quiet
"$P" key init node.key --quiet
compile changed-enclave -DPST_CHANGED -O1
spec "what it is measured as is a policy" 0 measure "${guest[@]:0:5}" --node-key node.key
out '^  - [0-9a-f]{64} # guests'
cp .out policy.yaml
spec "another program is measured as something else" 0 measure "${guest[@]:0:3}" --enclave-program changed-enclave --node-key node.key
expect "another line" test "$(grep -c -F -f <(grep '^  - .*# guests' .out) policy.yaml)" = 0
mkfifo said
"$P" key serve user.key --policy policy.yaml --listen unix:keys.sock --allow-software 2>said &
keeper=$!
trap 'kill "$keeper"; rm -rf "$T"' EXIT
exec 7<said
read -r _ <&7 # that it listens
cat <&7 >kept &
sealed=(--sealed --epc 8MiB --keys unix:keys.sock --node-key node.key)
spec "a stream is sealed without any worker" 0 seal guest.yaml --enclave all --key user.key -i meters.csv -o guest.sealed
spec "the program of the policy gets the key" 0 run "${guest[@]:0:5}" -i guest.sealed -o results "${sealed[@]}"
spec "results open" 0 open guest.yaml results/out.csv.sealed --enclave all --key user.key --sink out -o out.csv
"$P" run guest.yaml -i meters.csv -o wanted --quiet
expect "the bytes of a run in the clear" cmp -s wanted/out.csv out.csv
spec "another one does not" 77 run "${guest[@]:0:3}" --enclave-program changed-enclave -i guest.sealed -o other "${sealed[@]}"
err 'gets no key: .* the evidence is not what the policy wants: process.measurement'
not_there other/out.csv.sealed
spec "in total order rows cannot be sealed" 78 seal guest.yaml --enclave all --set total=1 --key user.key -i meters.csv -o total.sealed
err 'takes its rows in total order, which rows that are sealed from end to end do not have'

# ---- what it may not do: each with a control, the same outside ----
for attempt in open socket mmap fork ptrace; do
    spec "outside: $attempt" 0 run guest.yaml -i meters.csv -o control --set attempt=$attempt
    spec "inside: $attempt" 74 run "${guest[@]}" -i meters.csv -o tried --set attempt=$attempt
    err 'its worker has been ended: it made a system call, which it may not \(SIGSYS\)'
    not_there tried/out.csv
done
spec "an operator of one's own makes a system call" 74 run "${guest[@]}" -i meters.csv -o tried --set attempt=open
early="-DGUEST_CONSTRUCTOR=\"$T/early\""
cc -O2 -fPIC -shared "$early" -I"$T/installed/include/penstock" -o early.so "$ROOT/tests/cli/guest.c"
sed 's/guest.so/early.so/' guest.yaml >early.yaml
printf '#include <stdio.h>\nint main(void) { return fputs("got another program\\n", stderr) < 0; }\n' >program.c
cc -O2 -static -o early.program program.c # one that needs no other file
all=("got code that it may write" "got what it has written as code" "got another program")
spec "outside: a constructor gets its file, code that it writes, and another program" 0 run early.yaml -i meters.csv -o control
there early
for word in "${all[@]}"; do err "^$word"; done
rm early
compile early-enclave "$early"
spec "a constructor gets nothing before anything is given up" 0 run "${guest[@]:0:3}" --enclave-program early-enclave --epc 8MiB -i meters.csv -o results
not_there early
for word in "${all[@]}"; do expect "not: $word" test "$(grep -c "^$word" .err)" = 0; done

finish
