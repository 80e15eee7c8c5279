#!/bin/bash
# shellcheck disable=SC2317
# gen.sh - `penstock gen` as its users meet it: where the bytes go, at what pace, and what happens when they cannot.
#
#   usage: gen.sh PENSTOCK
P=$(realpath "$1")
AWAIT=$(realpath "$(dirname "$0")/../await_file.py")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export LC_ALL=C.UTF-8
failures=0

expect() { # expect "a sentence" command...
    local sentence=$1
    shift
    "$@" && return
    failures=$((failures + 1))
    echo "FAILED: $sentence ($*)" >&2
    head -c 500 err >&2
}
gen() { # gen words...: out, err, code
    "$P" gen "$@" >out 2>err
    code=$?
}
says() { grep -qE -e "$1" err; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
within() { (($1 >= $2 && $1 <= $3)); }

gen --rows 1000
expect "rows go to standard output" test $code -eq 0 -a "$(wc -l <out)" -eq 1001
expect "the header comes first" test "$(head -1 out)" = "id,timestamp,value,property,plug_id,household_id,house_id"
expect "nothing but rows is said" test ! -s err
mv out standard
gen --rows 1000 --no-header
expect "--no-header leaves the header out" cmp -s out <(tail -n +2 standard)
gen --rows 1000 --seed 2
expect "--seed changes the stream" test "$(cmp -s out standard; echo $?)" -eq 1
gen --duration 5s --start 1000000
expect "--duration and --start bound the timestamps" \
    test "$(tail -n +2 out | cut -d, -f2 | sort -u | tr '\n' ' ')" = "1000000 1000001 1000002 1000003 1000004 "

gen --rows 1000 --output file
expect "--output holds the same bytes" cmp -s file standard
expect "--output leaves standard output and no .part" test $code -eq 0 -a ! -s out -a ! -e file.part
gen --rows 1000 --output file --json
expect "--json reports what was written" grep -qE \
    '^\{"schema_version":1,"output":"file","rows":1000,"bytes":'"$(stat -c %s standard)"',"first_timestamp":1377986401,"last_timestamp":1377986401,"seconds":[0-9.]+,"rows_per_second":[0-9]+,"error":null\}$' out
gen --rows 1000 --missing 1000000 --duration 10 --output nothing --json
expect "a stream without rows has no timestamps" grep -q '"rows":0,.*"first_timestamp":null,"last_timestamp":null' out

timeout 20 "$P" gen --rows 10 --missing 1000000 >out 2>err
code=$?
expect "rows that cannot come are not waited for" test $code -eq 2 -a ! -s out
expect "the sentence says what to give instead" says '--missing 1000000 leaves no row that --rows could count: give a --duration'

gen --json --rows 5
expect "--json without --output is refused, saying why" test $code -eq 2
expect "the reason is that both would be on standard output" says 'both be on standard output'
gen --speed 60x --rate 5
expect "two paces are refused" test $code -eq 2
gen --plugs 3
expect "options without a stream are refused" test $code -eq 2
expect "the sentence names the fault" says 'each house needs a plug'
for words in "--duration 0" "--duration 5w" "--duration s" "--duration 99999999999" "--speed 0" "--speed x" "--speed 1.2345" \
    "--speed .5" "--rate 0" "--rows -1" "--late 1000001" "--start 0" "--start 4294967295 --duration 2" "--houses 0"; do
    # shellcheck disable=SC2086
    gen $words
    expect "$words is refused" test $code -eq 2 -a ! -s out
done
gen --rows 5 --output "$T"
expect "a directory is refused" test $code -eq 74
gen --rows 5 --output nowhere/file
expect "a folder that is not there is told" test $code -eq 74
expect "by its name" says 'nowhere/file'

"$P" gen --duration 30d 2>err | head -c 1000 >out
expect "a reader that leaves is no error" test "${PIPESTATUS[0]}" -eq 0 -a ! -s err
if [ -c /dev/full ]; then
    "$P" gen --rows 100000 >/dev/full 2>err
    expect "a full disk is an error" test $? -eq 74
    expect "and a sentence" says 'No space left on device'
    gen --rows 1000 --output /dev/full
    expect "a device is written to, not replaced" test $code -eq 74 -a -c /dev/full
fi
(
    ulimit -f 64
    trap '' XFSZ
    "$P" gen --rows 1000000 --output cut 2>err
)
expect "a file that does not fit is an error" test $? -eq 74
expect "and leaves nothing behind" test ! -e cut -a ! -e cut.part

"$P" gen --rate 1000 --output broken 2>err &
pid=$!
"$AWAIT" . broken.part
kill -TERM $pid
wait $pid
expect "a user who gives up gets no file" test $? -eq 1 -a ! -e broken -a ! -e broken.part

# A slow machine may be late, never early; the bounds above are wide.
before=$(now_ms)
gen --rate 20000 --rows 10000
expect "--rate takes its time" within $(($(now_ms) - before)) 490 5000
expect "--rate changes no byte" cmp -s <(head -1001 out) standard
before=$(now_ms)
gen --speed 20x --duration 10s
expect "--speed takes its time" within $(($(now_ms) - before)) 490 5000
expect "--speed changes no byte" cmp -s <(head -1001 out) standard
gen --speed max --rows 1000
expect "--speed max is no pace" cmp -s out standard
first=$("$P" gen --rate 10 --rows 1000 --no-header | head -1)
expect "a slow stream is not held back in a buffer" test "$first" = "$(sed -n 2p standard)"

echo "$failures failures"
exit $((failures != 0))
