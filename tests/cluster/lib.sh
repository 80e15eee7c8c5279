# shellcheck shell=bash disable=SC2034
# lib.sh - clusters for the scripts of this folder, on top of tests/cli/lib.sh. A node NAME has the folder NAME, its log is NAME.err.
#
#   up NAME flags...          starts a node and waits until it listens; again at the address that it had before
#   way NAME [BYTES_PER_S]    from now on others reach NAME through a relay, slow or not
#   await FILE 'regex' [N]    waits until the file has so many lines like this
#   kill_node NAME SIGNAL     and waits for its end, where the signal ends it
#   down                      ends all nodes and relays
#   feed                      meters.csv goes into the pipe `stream` until there is a file `enough`, then its rest at once; $feeder does it
#   shared_same GRAPH         each file of wanted/GRAPH/ lies in shared/GRAPH/results/, with the same bytes
#   same GRAPH                each file of wanted/GRAPH/ lies whole, with the same bytes, on exactly one node or more
. "$(dirname "${BASH_SOURCE[0]}")/../cli/lib.sh"
HERE=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
declare -A pid address relay_pid relay
protect=() every_node=() spec_name="" # every_node: flags that each has, too
trap 'down; rm -rf "$T"' EXIT

await() {
    expectations=$((expectations + 1))
    python3 "$HERE/await_line.py" "$@" >.awaited && return
    failures=$((failures + 1))
    echo "FAILED: $spec_name: no line like '$2' (${3:-1}) in $1, which ends with" >&2
    tail -n 15 "$1" >&2
}
way() {
    : >"$1.way"
    python3 "$HERE/relay.py" "$1.target" ${2:+"$2"} >"$1.way" 2>"$1.way.err" &
    relay_pid[$1]=$!
    await "$1.way" '^listens on'
    relay[$1]=$(sed 's/^listens on //' .awaited)
}
# Flags that say how NAME is protected.
protected() { if [[ ${#protect[@]} -gt 0 ]]; then echo "${protect[@]}"; else echo --tls "authority/$1"; fi; }
up() {
    local name=$1
    shift
    : >"$name.out"
    # shellcheck disable=SC2046 # words
    "$P" node --name "$name" --dir "$name" --listen "${address[$name]:-127.0.0.1:0}" $(protected "$name") \
        ${relay[$name]:+--advertise "${relay[$name]}"} "${every_node[@]}" "$@" >>"$name.out" 2>>"$name.err" &
    pid[$name]=$!
    await "$name.out" '^listens on'
    address[$name]=$(sed 's/^listens on //' .awaited)
    echo "${address[$name]}" >"$name.target"
}
reach() { echo "${relay[$1]:-${address[$1]}}"; }
kill_node() {
    kill "-$2" "${pid[$1]}"
    [[ $2 == STOP || $2 == CONT ]] || { wait "${pid[$1]}" && node_code=0 || node_code=$?; unset "pid[$1]"; } 2>/dev/null
}
down() {
    local all=("${pid[@]}" "${relay_pid[@]}")
    ((${#all[@]} == 0)) || { kill -CONT "${all[@]}" && kill -9 "${all[@]}" && wait "${all[@]}"; } 2>/dev/null
    pid=() relay_pid=() relay=() address=()
    rm -f ./*.target
}
# A cluster of nodes NAME...: the first coordinates.
cluster() {
    local first=$1 name
    rm -rf n[1-9] n[1-9].err n[1-9].out
    up "$first" --workers 1
    shift
    for name in "$@"; do up "$name" --workers 1 --join "$(reach "$first")"; done
    for name in "$@"; do await "$first.err" "node $name has joined"; done
    export PENSTOCK_NODE=unix:$first/admin.sock
}
feed() {
    rm -f enough
    python3 "$HERE/feed.py" meters.csv stream enough 2>.feed &
    feeder=$!
}
shared_same() {
    local file
    for file in "wanted/$1"/*; do
        expect "the bytes of penstock run in ${file##*/}" cmp "$file" "shared/$1/results/${file##*/}"
    done
}
same() {
    local file node found
    for file in "wanted/$1"/*; do
        found=0
        for node in n[1-9]; do
            [[ -f $node/results/$1/${file##*/} ]] || continue
            found=$((found + 1))
            expect "the bytes of penstock run in $node/results/$1/${file##*/}" cmp -s "$file" "$node/results/$1/${file##*/}"
        done
        expect "${file##*/} of $1 on some node" test $found -ge 1
    done
}
