#!/bin/sh
# test_spike.sh PENSTOCK SPIKE.so WRONG_ABI.so SPIKE.yaml - the example operator, run by the command from its shared object, on
# twenty rows whose jumps were found by hand; and the refusal of one that was built for another penstock.
set -eu
penstock=$1 spike=$2 wrong=$3 graph=$4
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fail() {
    echo "test_spike: $*" >&2
    exit 1
}

cat >"$work/meters.csv" <<'ROWS'
1,100,50.000,1,0,0,0
2,100,1.500,0,0,0,0
3,100,700.5,1,1,0,0
4,100,0,1,0,0,1
5,101,551,1,0,0,0
6,101,200.5,1,1,0,0
7,101,500.001,1,0,0,1
8,102,550,1,0,0,0
9,102,9000,0,0,0,0
10,102,1300,1,1,0,0
11,102,100,1,1,0,0
12,103,-1.5,1,0,0,1
13,103,1050.001,1,0,0,0
14,103,100,1,1,0,0
15,101,5000,1,1,0,0
16,104,many,1,1,0,0
17,104,498.5,1,0,0,1
18,104,800,1,0,7,0
19,105,0,1,0,7,0
20,105,1550.001,1,0,0,0
ROWS
# 2 and 9 are work; 15 is late; 16 is malformed; 6, 17 and 20 change by 500 W and no more; 3, 4 and 18 are a plug's first.
cat >"$work/expected.csv" <<'ROWS'
timestamp,house_id,household_id,plug_id,before,after
101,0,0,0,50.000,551.000
101,1,0,0,0.000,500.001
102,0,0,1,200.500,1300.000
102,0,0,1,1300.000,100.000
103,0,0,0,550.000,1050.001
103,1,0,0,500.001,-1.500
105,0,7,0,800.000,0.000
ROWS

for partitions in 1 3; do
    for workers in 1 2; do
        "$penstock" run "$graph" --input "$work/meters.csv" --output "$work/out" --workers "$workers" \
            --set "partitions=$partitions" --set "library=$spike" >"$work/report" 2>&1 ||
            fail "the run failed: $(cat "$work/report")"
        diff -u "$work/expected.csv" "$work/out/spikes.csv" ||
            fail "wrong rows with $partitions partitions on $workers workers"
        rm -r "$work/out"
    done
done

code=0
"$penstock" run "$graph" --input "$work/meters.csv" --output "$work/out" --set "library=$wrong" >"$work/report" 2>&1 || code=$?
[ "$code" -eq 78 ] || fail "a shared object for another version ended with $code, not 78: $(cat "$work/report")"
grep -q "version [0-9]* of the operator interface" "$work/report" || fail "no sentence about the version: $(cat "$work/report")"
[ ! -e "$work/out/spikes.csv" ] || fail "a refused graph has left a result"
echo "test_spike: as expected"
