#!/bin/bash
# paging.sh - runs within a state budget as their users meet them: the same bytes, the budgets that are named, what is said of
# the pages, the folder of the spill file and what stands in it, and who changes it.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

# Fewer buckets, so that pages fill with few rows: copies of the two queries.
for name in load outliers; do sed 's/buckets: [0-9][0-9]*/buckets: 8/' "$ROOT/debs14/$name.yaml" >$name.yaml; done
sed 's/buckets: 8/buckets: 1/' load.yaml >load_few.yaml
sed 's/buckets: 8/buckets: 1/' outliers.yaml >outliers_few.yaml
# Houses and households have numbers that are found again in a file: 0xdeadbe.. and 0xcafeba...
marked() { "$P" gen "$@" --quiet | awk -F, -v OFS=, 'NR > 1 { $7 = sprintf("%.0f", $7 + 3735928320); $6 = sprintf("%.0f", $6 + 3405691392) } 1'; }
marked --houses 3 --plugs 60 --duration 26h --missing 985000 --no-outages >load.csv # more than a day: history is read again
marked --houses 4 --plugs 40 --duration 12m >outliers.csv
marked --houses 20 --plugs 6000 --duration 10s >many.csv
"$P" key init k.key --quiet
load=(load.yaml --input load.csv --set "slices=60,300" --set every=300)
outliers=(outliers.yaml --input outliers.csv --set "windows=30,120,300" --frame-rows 8)
load_all=("$ROOT/debs14/load.yaml" --input many.csv --set "slices=2,5" --set every=5)
outliers_all=("$ROOT/debs14/outliers.yaml" --input many.csv --set "windows=3,6")
load_few=(load_few.yaml "${load_all[@]:1}" --set partitions=1)
outliers_few=(outliers_few.yaml "${outliers_all[@]:1}" --set partitions=1)
files_load=(load_plug.csv load_house.csv)
files_outliers=(outliers.csv)

# query NAME: sets `query` to the words of its run and `files` to its outputs; what they are to be is in wanted.NAME.
query() {
    name=$1
    local -n words_of=$1 files_of=files_${1%_*}
    query=("${words_of[@]}")
    files=("${files_of[@]}")
    rm -rf results
}
same() {
    local file
    for file in "${files[@]}"; do
        expect "the bytes of a run without a budget in $file" cmp -s "wanted.$name/$file" "results/$file"
    done
}
no_output() { # under its final name
    local file
    for file in "${files[@]}"; do not_there "results/$file"; done
}
nothing_in() { expect "no file in $1" test -z "$(find "$1" -mindepth 1 2>&1)"; }
named() { grep -Eo -e '--state-budget [0-9]+KiB' .err | tail -n 1 | sed 's/.* //'; } # the budget that standard error names
begins_with() { # these words added to the query's: the least budget
    "$P" run "${query[@]}" --output none --state-budget 1KiB "$@" 2>&1 | grep -Eo '[0-9]+KiB$'
}
is_larger() { test "${1%KiB}" -gt "${2%KiB}"; }
fewer() { echo $((${1%KiB} - 1))KiB; }

# Under the thread sanitizer the least that has all threads in it: PST_TEST_FEW.
policies=(event-time lru clock random) worker_counts=(1 2) all_runs="32 runs, the policies differ in 8" followed=(load_few outliers_few)
[[ -z ${PST_TEST_FEW:-} ]] || policies=(event-time clock) worker_counts=(2) all_runs="8 runs, the policies differ in 0" followed=()

# ---- the same bytes, whatever leaves ----
for query in load outliers load_few outliers_few load_all outliers_all; do
    query $query
    spec "$name without a budget" 0 run "${query[@]}" --output "wanted.$name" --json
    json 'd["paging"] == [] and d["state_budget_least"] == 0'
    no_err
done
declare -A begins # the least budget to begin with
figures='{"operator", "hits", "misses", "misses_prefetched", "prefetches", "evictions", "evictions_sealed",
    "sealed_for_checkpoints", "dead_inside", "dead_outside", "bytes_sealed", "bytes_opened", "bytes_in_clear_max", "bytes_needed", "waits", "wait_ns"}'
for query in load outliers; do
    query $query
    rm -rf results
    spec "a budget in which $name cannot begin" 78 run "${query[@]}" --output results --state-budget 1KiB
    err 'a state budget of 1 KiB is too small for the [0-9]+ partitions .*: --state-budget [0-9]+KiB'
    no_output
    begins[$name]=$(named)
    spec "a little less than is named, for $name" 78 run "${query[@]}" --output results --state-budget "$(fewer "${begins[$name]}")"
    err "too small for the .*: --state-budget ${begins[$name]}"
    for policy in "${policies[@]}"; do
        for workers in "${worker_counts[@]}"; do
            for prefetch in '' --no-prefetch; do
                rm -rf results
                spec "$name within ${begins[$name]}: $policy, $workers workers $prefetch" 0 run "${query[@]}" --output results \
                    --state-budget "${begins[$name]}" --evict $policy --workers $workers $prefetch --json
                same
                condition='of("misses") > 100 and of("evictions") > 100'
                if [[ -n $prefetch ]]; then
                    condition+=' and of("prefetches") == of("misses_prefetched") == 0'
                elif [[ $policy == event-time ]]; then
                    condition+=' and of("prefetches") > 0 and of("misses_prefetched") > 0'
                fi
                # Pages that are only read leave without a seal.
                [[ $policy == event-time ]] || condition+=' and of("evictions") - of("evictions_sealed") > 100'
                { echo "$spec_name: $condition" && cat .out; } >>cells
            done
        done
    done
done
spec_name='the figures of all these runs' words=()
python3 -c '
import json
lines = open("cells").read().splitlines()
evictions = set()
for says, told in zip(lines[::2], lines[1::2]):
    d = json.loads(told)
    of = lambda figure: sum(p[figure] for p in d["paging"])
    if not eval(says.split(": ")[-1], {"of": of}):
        print(says, d["paging"])
    if "1 workers " in says and "no-prefetch" not in says:
        evictions.add((d["graph"], of("evictions")))
print(len(lines) // 2, "runs, the policies differ in", len(evictions))' >.out 2>.err
expect "all hold" test "$(cat .out)" = "$all_runs"

# ---- what is said of the pages ----
declare -A stateful=([load]='["plug_load", "house_load"]' [outliers]='["median_all", "plug_above", "house_share"]')
for query in load outliers; do
    query $query
    budget=$((${begins[$name]%KiB} * 1024))
    spec "figures of $name" 0 run "${query[@]}" --output results --state-budget "${begins[$name]}" --set partitions=1 --json
    json "[p['operator'] for p in d['paging']] == ${stateful[$name]} and all(set(p) == $figures for p in d['paging'])"
    # With one partition each the largest is of one moment.
    json "all(0 < p['hits'] < 10**9 and 0 < p['bytes_needed'] < d['state_budget_least'] and
        p['misses_prefetched'] <= min(p['misses'], p['prefetches']) and p['evictions_sealed'] <= p['evictions'] and p['sealed_for_checkpoints'] == 0 and
        p['waits'] <= p['misses'] and (p['wait_ns'] > 0) == (p['waits'] > 0) and
        (p['bytes_sealed'] > 0) == (p['evictions_sealed'] > 0) and (p['bytes_opened'] > 0) == (p['misses'] > 0) and
        0 < p['bytes_in_clear_max'] <= $budget and p['bytes_in_clear_max'] % 16384 == 0 for p in d['paging'])"
    spec "$name within a budget, told to people" 0 run "${query[@]}" --output results --state-budget "${begins[$name]}"
    same
    size='[0-9.]+ (B|KiB|MiB)' count='[0-9,]+'
    err "^  paging +[a-z_]+: $size in clear at most; $count pages fetched \($count waited for, [0-9.]+ s\), $count sealed, $count dropped clean, $count dead\$"
    for operator in $(tr -d '[],"' <<<"${stateful[$name]}"); do
        expect "a line for $operator" test "$(grep -Ec "^ +(paging +)?$operator: .* in clear at most; .* sealed, " .err)" = 1
    done
    err "^ +--state-budget [0-9]+KiB is surely enough\$"
    err "^  memory +$size at most; $size of state, in memory and in the spill file\$"
done
query outliers
spec "a run without a budget says nothing of pages" 0 run "${query[@]}" --output results
expect "no line of it" test "$(grep -Ec 'paging|in clear|state-budget|spill' .err)" = 0
err "^  memory +$size at most, $size of it state\$"
spec "a budget that nothing exceeds" 0 run "${query[@]}" --output results --state-budget 1GiB --json
same
json 'all(p["misses"] == p["evictions"] == p["bytes_sealed"] == 0 for p in d["paging"]) and d["paging"][1]["dead_inside"] > 0'

# ---- the budget that would do ----
# follow ONE_SENTENCE words...: from a budget that is too small by those that are named. `tries`, `budget`.
follow() {
    local sentence=$1
    shift
    budget=1KiB tries=0 callbacks=0
    while ((++tries <= 12)); do
        "$P" run "$@" --output results --state-budget "$budget" --json >.out 2>.err </dev/null
        code=$? spec_name="$sentence, within $budget" words=(run "$@")
        ((code == 78)) || break
        no_output
        out '"complete":false,.*"error":\{"exit_code":78,'
        if ! grep -q 'too small for the' .err; then
            callbacks=$((callbacks + 1))
            err 'operator [a-z_]+ \([a-z_]+\), partition [0-9]+, its state: one callback needs [0-9]+ KiB of pages .*: --state-budget [0-9]+KiB'
        fi
        expect "a larger budget is named" is_larger "$(named)" "$budget"
        budget=$(named)
    done
    expect "exit code 0 after $tries tries" test $code = 0
}
would() { python3 -c 'import json; print(json.load(open(".out"))["state_budget_least"])'; }
for query in "${followed[@]}"; do
    query $query
    for workers in 1 2; do
        rm -rf results
        follow "$name, $workers workers" "${query[@]}" --workers $workers
        expect "a callback that needed more" test $callbacks -gt 0
        same
    done
    # What a run that ended well says is enough, is.
    least=$(would)
    rm -rf results
    spec "$name within what is enough" 0 run "${query[@]}" --output results --state-budget "$least" --workers 1 --json
    same
    json "d['state_budget_least'] <= $least"
    spec "$name within a budget that nothing exceeds" 0 run "${query[@]}" --output results --state-budget 1GiB --json
    least=$(would)
    rm -rf results
    spec "$name within what that says is enough" 0 run "${query[@]}" --output results --state-budget "$least" --workers 1
    same
done
for query in load_all outliers_all; do
    query $query
    follow "$name" "${query[@]}" --set partitions=3
    same
    json 'sum(p["misses"] for p in d["paging"]) > 0 and sum(p["evictions"] for p in d["paging"]) > 0'
done

# ---- usage ----
query outliers
rm -rf results
for size in 0 0KiB -1 abc 1.5.5MiB 64mib 99999999999999999999; do
    spec "a budget of $size" 2 run "${query[@]}" --output results --state-budget $size
    err "\`$size\`: a size is wanted, as 64MiB"
done
spec "an empty budget" 2 run "${query[@]}" --output results --state-budget ''
spec "a policy that is mistyped" 2 run "${query[@]}" --output results --state-budget 1GiB --evict lruu
err 'event-time, lru, clock or random is wanted; did you mean `lru`\?'
spec "another" 2 run "${query[@]}" --output results --state-budget 1GiB --evict event_time
err 'did you mean `event-time`\?'
spec "a policy like nothing" 2 run "${query[@]}" --output results --state-budget 1GiB --evict oldest-of-all
err '`oldest-of-all`: event-time, lru, clock or random is wanted$'
for alone in "--evict lru" "--spill spill" --no-prefetch; do
    # shellcheck disable=SC2086
    spec "$alone without a budget" 2 run "${query[@]}" --output results $alone
    err 'means? something with --state-budget'
done
spec "as an object" 2 run "${query[@]}" --output results --state-budget 0 --json
json 'd["error"]["exit_code"] == 2'
not_there results

# ---- the folder of the spill file ----
query outliers_all
budget=(--state-budget "$(begins_with)")
spec "a spill folder that is not there is made" 0 run "${query[@]}" "${budget[@]}" --output results --spill new/deep --quiet
same
expect "a folder" test -d new/deep
nothing_in new/deep
expect "nothing but outputs in theirs" test "$(ls -A results)" = outliers.csv
spec "without one the file is in the output folder" 0 run "${query[@]}" "${budget[@]}" --output results --quiet
expect "where nothing is left of it" test "$(ls -A results)" = outliers.csv
rm -rf results
echo x >file
spec "a spill folder that is a file" 74 run "${query[@]}" "${budget[@]}" --output results --spill file
err 'cannot make a spill file in file: it is a file, and a folder is wanted$'
no_output
expect "the file is as it was" test "$(cat file)" = x
spec "a spill folder below a file" 74 run "${query[@]}" "${budget[@]}" --output results --spill file/spill
err 'cannot make a spill file in file/spill: '
no_output
if [[ $(id -u) == 0 ]]; then
    echo "root may write everywhere: a spill folder that is read-only is not tried"
else
    mkdir -m 555 locked
    spec "a spill folder that is read-only" 77 run "${query[@]}" "${budget[@]}" --output results --spill locked
    err 'cannot make a spill file in locked: Permission denied'
    no_output
fi
mkdir spill
for where in "--spill spill" ''; do
    spec_shell "a limit on the size of files, ${where:-in the output folder}" 74 \
        "ulimit -f 32; exec \"\$P\" run ${query[*]} ${budget[*]} --output results $where"
    err 'operator [a-z_]+ \([a-z_]+\), partition [01], its state: the spill file in (spill|results): File too large'
    no_output
    there results/outliers.csv.failed
    expect "nothing but that" test "$(ls -A results)" = outliers.csv.failed
    nothing_in spill
    rm -rf results
done
spec_shell "the same as an object" 74 "ulimit -f 32; exec \"\$P\" run ${query[*]} ${budget[*]} --output results --spill spill --json"
json 'd["error"]["exit_code"] == 74 and not d["complete"] and "spill file in spill" in d["error"]["text"]'
small='mkdir -p small && mount -t tmpfs -o size=64k none small'
if unshare --map-root-user --mount sh -c "$small" 2>/dev/null; then
    rm -rf results
    spec_shell "a disk that is full" 74 "unshare --map-root-user --mount sh -c '$small
        \"\$P\" run ${query[*]} ${budget[*]} --output results --spill small
        code=\$?; ls -A small >left; exit \$code'"
    err 'its state: the spill file in small: No space left on device'
    no_output
    expect "nothing is left there" test ! -s left
else
    echo "no file system can be mounted here: a disk that is full is not tried"
fi
rm -rf results
spec "a callback that needs more than the budget" 78 run "${outliers_few[@]}" --output results --spill spill \
    --state-budget "$("$P" run "${outliers_few[@]}" --output results --state-budget 1KiB 2>&1 | grep -Eo '[0-9]+KiB$')"
nothing_in spill

# ---- in the file ----
export AWAIT=$ROOT/tests/await_file.py
cat >stopped.py <<'EOP'
"""Runs a command on a pipe, stops it when it has taken some of a file from the pipe, does something to its spill files, and has
it go on to the end of the file.

usage: stopped.py ACTION FILE BYTES[,BYTES] COMMAND...

A pipe of one page takes more bytes only when its reader has emptied it: what is in flight in the command is little. BYTES,BYTES:
the action begins after the first and ends after the second. Exit code: the command's, 124 where it does not end, 125 where there
is no spill file. Prints what it found.
"""
import fcntl
import glob
import os
import re
import select
import signal
import struct
import subprocess
import sys

SECONDS_MAX = 60
CLEAR = re.compile(rb".\xbe\xad\xde.\xba\xfe\xca", re.S)  # a key: house and household


def pieces(content):
    """Where sealed pieces begin, and their headers (state/seal.h)."""
    for found in re.finditer(b"PSTS\x01\x00", content):
        at = found.start()
        if at + 64 <= len(content):
            structure, kind, number, version = struct.unpack_from("<HHQQ", content, at + 12)
            yield at, structure, kind, number, version, struct.unpack_from("<I", content, at + 48)[0]


def look(files):
    every = [piece for content in files.values() for piece in pieces(content)]
    print("files", len(files), "pieces", len(every), "kinds", *sorted({piece[2] for piece in every}),
          "pages", sum(content.count(b"PSTP\x01\x00") for content in files.values()),
          "keys", sum(len(CLEAR.findall(content)) for content in files.values()))


def change(files):
    for path, content in files.items():
        changed = bytearray(content)
        for at, *_, size in pieces(content):
            changed[at + 64 + size // 2] ^= 0x10
        write(path, changed)


def header(files):  # of another page
    for path, content in files.items():
        changed = bytearray(content)
        for at, *_ in pieces(content):
            changed[at + 16] ^= 1
        write(path, changed)


def move(files):  # each to the place of another, of the same size where there is one
    for path, content in files.items():
        changed = bytearray(content)
        by_size = sorted((size, at) for at, *_, size in pieces(content))
        for (size, here), (_, there) in zip(by_size, by_size[1:] + by_size[:1]):
            changed[there:there + 64 + size + 16] = content[here:here + 64 + size + 16]
        write(path, changed)


def wipe(files):
    for path, content in files.items():
        write(path, bytes(len(content)))


def cut(files):
    for path in files:
        os.truncate(path, 0)


def older(now, before):  # of the same page and size: only its version tells
    count = 0
    for path, content in now.items():
        changed, then = bytearray(content), before.get(path, b"")
        for at, *_, size in pieces(content):
            end = at + 64 + size + 16
            same = then[at:at + 24] == content[at:at + 24] and then[at + 40:at + 52] == content[at + 40:at + 52]
            if same and then[at:end] != content[at:end]:
                changed[at:end] = then[at:end]
                count += 1
        write(path, changed)
    if count == 0:
        print("stopped.py: there is no older page of the same size", file=sys.stderr)


def write(path, content):
    with open(path, "r+b", buffering=0) as file:
        file.write(content)


class Run:
    def __init__(self, path, command):
        with open(path, "rb") as file:
            self.rows = file.read()
        self.given = 0
        reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        self.process = subprocess.Popen(command, stdin=reader)
        os.close(reader)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)

    def give(self, until):
        try:
            while self.given < until:
                self.given += os.write(self.writer, self.rows[self.given:min(until, self.given + 65536)])
        except BrokenPipeError:
            return  # it has ended: its exit code says why
        emptied = select.poll()
        emptied.register(self.writer, select.POLLOUT)
        if not emptied.poll(SECONDS_MAX * 1000):
            print("stopped.py: the command does not read", file=sys.stderr)

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def spill_files(self):
        files = {}
        for path in glob.glob(f"/proc/{self.process.pid}/fd/*"):
            if os.readlink(path).endswith(" (deleted)"):
                with open(path, "rb") as file:
                    content = file.read()
                if content:
                    files[path] = content
        return files

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.give(len(self.rows))
        os.close(self.writer)
        try:
            return self.process.wait(SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return 124


def await_checkpoint(folder):
    subprocess.run([sys.executable, os.environ["AWAIT"], folder, "0000000000000001.manifest"], check=True)


def main():
    action, path, places = sys.argv[1], sys.argv[2], [int(word) for word in sys.argv[3].split(",")]
    run = Run(path, sys.argv[4:])
    run.give(places[0])
    if action == "kill":  # a checkpoint has been written, and some of the stream has passed since
        await_checkpoint("points")
        run.give(places[1])
    run.stop()
    files = run.spill_files()
    if action == "kill":
        look(files)
        run.process.kill()
        run.process.wait()
        return 137
    if not files:
        run.process.kill()
        return 125
    if action == "older":
        run.process.send_signal(signal.SIGCONT)
        run.give(places[1])
        run.stop()
        older(run.spill_files(), files)
    else:
        {"look": look, "change": change, "header": header, "move": move, "wipe": wipe, "cut": cut}[action](files)
    return run.end()


sys.exit(main())
EOP
# stopped "a sentence" CODE ACTION BYTES words...: what is added to the query's words. Its standard input is the pipe.
stopped() {
    spec_name=$1
    local wanted=$2 action=$3 bytes=$4
    shift 4
    words=("${query[@]}" "$@")
    local stream=${query[2]}
    timeout "${SECONDS_MAX:-60}" python3 stopped.py "$action" "$stream" "$bytes" "$P" run "${query[0]}" "${query[@]:3}" \
        --input - --output results --channel-frames 2 --block-bytes 1KiB "$@" >.out 2>.err
    code=$?
    # shellcheck disable=SC2053
    [[ $code == $wanted ]]
    expect "exit code $wanted" test $? = 0
}
for query in load_all outliers_all; do
    query $query
    bytes=$(stat -c %s many.csv)
    place=$((bytes / 2)) later=$((bytes * 3 / 4))
    within=(--set partitions=1 --state-budget "$(begins_with --set partitions=1)" --spill spill)
    for policy in event-time random; do
        rm -rf results
        stopped "what stands in the file, $name, $policy" 0 look $place "${within[@]}" --evict $policy --quiet
        out '^files [1-9]'
        # More than can be on their way out or in, so that some of those that are changed below come back from the file.
        expect "sealed pages" test "$(sed 's/.* pieces \([0-9]*\) .*/\1/' .out)" -gt 64
        [[ $policy == event-time ]] || out ' kinds 1 2 ' # tables and logs
        out ' pages 0 keys 0$'
        same
        nothing_in spill
    done
    for how in change "header --no-prefetch" move "wipe --no-prefetch" older "older --no-prefetch"; do
        rm -rf results
        read -r action prefetch <<<"$how"
        # shellcheck disable=SC2086
        stopped "somebody changes the file, $name ($how)" 77 $action $place,$later "${within[@]}" $prefetch
        err 'operator [a-z_]+ \([a-z_]+\), partition 0, its state: the spill file was changed by somebody else: page [0-9]+ of `[a-z]+`, bucket [0-9]+, is not what was put there'
        no_output
        for file in "${files[@]}"; do there "results/$file.failed"; done
        nothing_in spill
    done
    # It is too short, or has a hole where something is written behind the end.
    rm -rf results
    stopped "somebody cuts the file off, $name" 7[47] cut $place "${within[@]}"
    err 'its state: (the spill file in spill: |the spill file was changed by somebody else: page )'
    no_output
    rm -rf results
    stopped "and a change" 77 change $place "${within[@]}" --json
    json 'd["error"]["exit_code"] == 77 and "changed by somebody else" in d["error"]["text"]'
done

# ---- with checkpoints ----
# What leaves its slots for a checkpoint, and comes back into a budget, or none; and a kill -9 leaves nothing in the spill folder.
rows_of() { wc -l <"$1"; }
killed() {
    rm -rf points results
    cp -r points.whole points
    cp -r results.killed results
}
for query in load outliers; do
    query $query
    bytes=$(stat -c %s "${query[2]}")
    points=(--checkpoint points --key k.key --every-rows $(($(rows_of "${query[2]}") / 5)))
    within=(--state-budget "${begins[$name]}" --spill spill)
    for killed_within in yes no; do
        rm -rf points results
        more=()
        [[ $killed_within == yes ]] && more=("${within[@]}")
        # One checkpoint is due in the first third, and some more until it is killed.
        stopped "$name is killed, within a budget: $killed_within" 137 kill $((bytes / 3)),$((bytes * 3 / 4)) "${points[@]}" "${more[@]}"
        [[ $killed_within == no ]] || expect "with pages outside" grep -q 'files [1-9] pieces [1-9][0-9]* .* pages 0 keys 0' .out
        nothing_in spill
        no_output
        rm -rf points.whole results.killed
        mv points points.whole
        mv results results.killed
        spec "what it has sealed opens" 0 checkpoint verify points.whole --key k.key
        killed
        spec "$name goes on within the same budget" 0 run "${query[@]}" --output results "${points[@]}" --resume "${within[@]}" --json
        json '(d["checkpoints"]["resumed_id"] >= 1 and d["checkpoints"]["dropped"] == 0 and sum(p["misses"] for p in d["paging"]) > 0 and
            sum(p["sealed_for_checkpoints"] for p in d["paging"]) > 0)'
        same
        spec "its last checkpoints are whole" 0 checkpoint verify points --key k.key
        killed
        spec "$name goes on within another budget, by another policy" 0 run "${query[@]}" --output results "${points[@]}" --resume \
            --state-budget "$(begins_with --set partitions=5)" --set partitions=5 --workers 3 --evict random --no-prefetch --json
        json 'd["checkpoints"]["resumed_id"] >= 1 and d["checkpoints"]["dropped"] == 0'
        same
        killed
        small=$(begins_with --set partitions=1)
        spec "$name goes on within a budget, in one partition" 0 run "${query[@]}" --output results "${points[@]}" --resume \
            --state-budget "$small" --set partitions=1 --workers 1 --json
        json "(d['checkpoints']['resumed_id'] >= 1 and d['checkpoints']['dropped'] == 0 and
            sum(p['misses'] for p in d['paging']) > 0 and
            all(p['bytes_in_clear_max'] <= $((${small%KiB} * 1024)) for p in d['paging']))"
        same
        if [[ $killed_within == yes ]]; then
            killed
            spec "$name goes on without a budget" 0 run "${query[@]}" --output results "${points[@]}" --resume --workers 1 --json
            json 'd["checkpoints"]["resumed_id"] >= 1 and d["checkpoints"]["dropped"] == 0 and d["paging"] == []'
            same
            killed
            spec "$name within a budget in which it cannot begin" 78 run "${query[@]}" --output results "${points[@]}" --resume \
                --state-budget 1KiB
            expect "outputs are untouched" diff -r results results.killed
            spec "and then in one in which it can" 0 run "${query[@]}" --output results "${points[@]}" --resume "${within[@]}"
            err ' dropped clean, [0-9,]+ dead; [0-9,]+ sealed for checkpoints$'
            same
        fi
    done
done

finish
