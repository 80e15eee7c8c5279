#!/usr/bin/env bash
# The byte gate: both queries on pinned streams and on recordings must give exactly the known bytes.
#
#   tests/golden/golden.sh PENSTOCK MODEL [--long | --quick]
#
# Every stream of streams.txt runs on 1, 2 and 4 workers with two numbers of partitions each, all of 1..16 in turn; with
# --long on each of 1..16; with --quick (slow builds) once. The recordings are checked where the folder named by
# PENSTOCK_RECORDINGS, or ../shared beside the tree, is there. Outputs of a failed check are kept, and named.
set -u
[ $# -ge 2 ] || { sed -n '4s/^# *//p' "$0" >&2; exit 2; }
penstock=$(realpath "$1")
model=$(realpath "$2")
mode=${3:-}
case $mode in '' | --long | --quick) ;; *) echo "golden.sh: unknown argument: $mode" >&2 && exit 2 ;; esac
root=$(cd "$(dirname "$0")/../.." && pwd)
recordings=${PENSTOCK_RECORDINGS:-$root/../shared}
seconds_max=${GOLDEN_SECONDS_MAX:-300} # of one run: a deadlock (which SIGTERM may not end) is a failure, not a wait
scratch=$(mktemp -d)
passed=0
failed=0

digest() { sha256sum <"$1" | cut -d ' ' -f 1; }
ok() {
    echo "ok $1"
    passed=$((passed + 1))
}
bad() {
    echo "FAILED $1"
    failed=$((failed + 1))
}

# What is right for the stream at hand: a digest by the name of the file, and (to show a difference) the file itself.
declare -A right=()
right_folder=''

graph_file() { [ "$1" = load ] && echo "$root/debs14/load.yaml" || echo "$root/debs14/outliers.yaml"; }
graph_outputs() { [ "$1" = load ] && echo load_house.csv load_plug.csv || echo outliers.csv; }

# Prints what is wrong with the outputs of graph $1 in folder $2; nothing where all is right.
wrong_outputs() {
    local name line names
    names=$(cd "$2" && shopt -s nullglob && echo *)
    [ "$names" = "$(graph_outputs "$1")" ] || echo "files: ${names:-none}; "
    for name in $(graph_outputs "$1"); do
        [ -f "$2/$name" ] || continue
        [ "$(digest "$2/$name")" != "${right[$name]}" ] || continue
        echo "$name differs"
        if [ -f "$right_folder/$name" ]; then
            line=$(cmp "$2/$name" "$right_folder/$name" 2>&1 | sed -E 's/.*(line [0-9]+|EOF.*)$/\1/')
            echo "at $line from $right_folder/$name"
        fi
        echo '; '
    done
}

# The stream's parameters that the graph has, as flags.
graph_settings() {
    local word
    for word in $set; do
        case $1-$word in load-slices=* | load-every=* | outliers-windows=*) printf '%s\n' --set "$word" ;; esac
    done
}

# Of a run: $label, $graph, $folder, $status, and what is in $scratch/stderr.
judge() {
    local wrong
    wrong=$(wrong_outputs "$graph" "$folder" | tr '\n' ' ')
    if [ $status -ne 0 ]; then
        wrong="exit status $status: $(tail -n 3 "$scratch/stderr" | tr '\n' ' '); $wrong"
    fi
    if [ -n "${right[dead]:-}" ] && [ "$(digest "$scratch/dead" 2>/dev/null)" != "${right[dead]}" ]; then
        wrong="$wrong the dead-letter file differs"
    fi
    if [ -z "$wrong" ]; then
        ok "$label $graph"
        return
    fi
    mkdir -p "$scratch/kept"
    mv "$folder" "$scratch/kept/$failed"
    [ ! -f "$scratch/dead" ] || mv "$scratch/dead" "$scratch/kept/$failed/"
    bad "$label $graph: $wrong (kept in $scratch/kept/$failed)"
}

# One run: run_graph LABEL GRAPH FLAGS...; standard input is the run's. The stream's parameters are in `set`: each graph
# gets those that it has.
run_graph() {
    local label=$1 graph=$2 folder flags=() status
    shift 2
    folder=$scratch/run
    rm -rf "$folder"
    mkdir "$folder"
    [ -z "${right[dead]:-}" ] || flags=(--dead-letter "$scratch/dead")
    mapfile -t -O "${#flags[@]}" flags < <(graph_settings "$graph")
    rm -f "$scratch/dead"
    timeout --kill-after=5 "$seconds_max" "$penstock" run "$(graph_file "$graph")" --output "$folder" ${flags[@]+"${flags[@]}"} "$@" \
        >"$scratch/stdout" 2>"$scratch/stderr"
    status=$?
    judge
}

both_graphs() {
    local label=$1 graph
    shift
    for graph in load outliers; do
        run_graph "$label" "$graph" "$@" </dev/null
    done
}

# Workers and partitions of stream number $1, a pair a line. Two steps of 6 in 16 for each worker count: over eight streams
# every worker count meets every number of partitions.
pairs() {
    local workers p
    if [ "$mode" = --quick ]; then
        echo "$((1 << $1 % 3)) $(($1 * 5 % 16 + 1))"
        return
    fi
    for workers in 1 2 4; do
        if [ "$mode" = --long ]; then
            for p in {1..16}; do echo "$workers $p"; done
        else
            p=$((($1 * 3 + workers / 2) * 2 % 16 + 1))
            echo "$workers $p"
            echo "$workers $((p + 1))"
        fi
    done
}

# The same with rows that are sealed from end to end: run_sealed LABEL GRAPH FILE
run_sealed() {
    local label=$1 graph=$2 file=$3 folder=$scratch/run sealed=$scratch/sealed flags=(--enclave all --set partitions=3)
    local yaml keeper output status
    yaml=$(graph_file "$graph")
    mapfile -t -O "${#flags[@]}" flags < <(graph_settings "$graph")
    rm -rf "$folder" "$sealed" "$scratch/dead"
    mkdir "$folder" "$sealed"
    mkfifo "$sealed/said"
    (
        set -e
        "$penstock" key init "$sealed/user"
        "$penstock" key init "$sealed/node"
        "$penstock" measure "$yaml" "${flags[@]}" --node-key "$sealed/node" >"$sealed/policy"
        "$penstock" seal "$yaml" "${flags[@]}" --key "$sealed/user" --input "$file" --output "$sealed/rows" --dead-letter "$scratch/dead"
        "$penstock" key serve "$sealed/user" --policy "$sealed/policy" --allow-software --listen "unix:$sealed/keys" 2>"$sealed/said" &
        keeper=$!
        exec 7<"$sealed/said"
        read -r _ <&7 # that it listens
        timeout --kill-after=5 "$seconds_max" "$penstock" run "$yaml" "${flags[@]}" --sealed --input "$sealed/rows" --output "$sealed/out" \
            --keys "unix:$sealed/keys" --node-key "$sealed/node" --epc 16MiB || { kill "$keeper"; exit 1; }
        kill "$keeper"
        for output in $(graph_outputs "$graph"); do
            "$penstock" open "$yaml" "$sealed/out/$output.sealed" "${flags[@]}" --key "$sealed/user" --sink "$output" --output "$folder/$output"
        done
    ) >"$scratch/stdout" 2>"$scratch/stderr" </dev/null
    status=$?
    judge
}

# ---- pinned streams ----

name='' gen='' set='' input='' number=0
check_stream() {
    [ -n "$name" ] || return 0
    local file=$scratch/input.csv folder=$scratch/model flags=() word workers partitions
    for word in $set; do
        flags+=("--${word%%=*}" "${word#*=}")
    done
    # shellcheck disable=SC2086 # the flags are words
    if ! "$penstock" gen $gen >"$file" 2>"$scratch/stderr"; then
        bad "$name: penstock gen $gen: $(cat "$scratch/stderr")"
        return
    fi
    if [ "$(digest "$file")" != "$input" ]; then
        bad "$name: penstock gen $gen gives other bytes than it did"
        return
    fi
    ok "$name input"
    check_model "$file" "$folder" ${flags[@]+"${flags[@]}"}
    while read -r workers partitions; do
        both_graphs "$name workers=$workers partitions=$partitions" --input "$file" --workers "$workers" \
            --set "partitions=$partitions"
    done < <(pairs "$number")
    if [ -n "${right[dead]:-}" ]; then
        check_ways_in "$file"
    fi
    number=$((number + 1))
}

# The model still gives what is pinned.
check_model() {
    local file=$1 folder=$2 output wrong=''
    shift 2
    rm -rf "$folder"
    "$model" both "$file" "$folder" --dead-letter "$scratch/model-dead" "$@" >/dev/null
    for output in load_plug.csv load_house.csv outliers.csv; do
        [ "$(digest "$folder/$output")" = "${right[$output]}" ] || wrong="$wrong $output"
    done
    if [ -n "${right[dead]:-}" ] && [ "$(digest "$scratch/model-dead")" != "${right[dead]}" ]; then
        wrong="$wrong dead-letter"
    fi
    right_folder=$folder
    if [ -n "$wrong" ]; then bad "$name model:$wrong"; else ok "$name model"; fi
}

# The same bytes through a pipe, compressed, in the smallest pieces, with all operators in enclaves while these have checkpoints, and
# sealed from end to end.
check_ways_in() {
    local file=$1 graph
    for graph in load outliers; do
        # shellcheck disable=SC2002 # a pipe is the point
        run_graph "$name from a pipe" "$graph" --input - --workers 2 --set partitions=3 < <(cat "$file")
        gzip -c -1 "$file" >"$file.gz"
        run_graph "$name gzip" "$graph" --input "$file.gz" --workers 2 --set partitions=5 </dev/null
        run_graph "$name tiny frames" "$graph" --input "$file" --workers 4 --set partitions=7 --frame-rows 7 \
            --channel-frames 1 --block-bytes 4096 </dev/null
        if [ -x "$(dirname "$penstock")/penstock-enclave" ]; then # sanitizers' builds have none
            rm -rf "$scratch/points"
            run_graph "$name in enclaves" "$graph" --input "$file" --workers 2 --set partitions=3 --enclave all --epc 32MiB \
                --checkpoint "$scratch/points" --every-rows 10000 </dev/null
            run_graph "$name in enclaves, its filter too, partitions=1" "$graph" --input "$file" --workers 1 --set partitions=1 \
                --enclave all --enclave loads --epc 32MiB </dev/null
            run_sealed "$name sealed" "$graph" "$file"
        fi
    done
    rm -f "$file.gz"
}

check_streams() {
    local word rest
    while read -r word rest; do
        case $word in
        stream)
            check_stream
            name=$rest gen='' set='' input=''
            right=()
            ;;
        gen) gen=$rest ;;
        set) set=$rest ;;
        input) input=$rest ;;
        output) right[${rest% *}]=${rest#* } ;;
        dead) right[dead]=$rest ;;
        esac
    done <"$root/tests/golden/streams.txt"
    check_stream
}

# ---- recordings ----

check_recording() {
    local label=$1 file=$2 workers partitions graph
    shift 2
    while read -r workers partitions; do
        both_graphs "$label workers=$workers partitions=$partitions" --input "$file" --workers "$workers" \
            --set "partitions=$partitions"
    done
    if [ -x "$(dirname "$penstock")/penstock-enclave" ]; then
        for graph in load outliers; do run_sealed "$label sealed" "$graph" "$file"; done
    fi
}

# What is right stands in a folder, plain or compressed.
right_from_folder() {
    local output
    right=()
    right_folder=$scratch/right
    rm -rf "$right_folder"
    mkdir "$right_folder"
    for output in load_plug.csv load_house.csv outliers.csv; do
        if [ -f "$1/$output" ]; then
            cp "$1/$output" "$right_folder/$output"
        else
            gzip -dc "$1/$output.gz" >"$right_folder/$output"
        fi
        right[$output]=$(digest "$right_folder/$output")
    done
}

# tracebase_input FILE DIGEST FLAGS...: makes the recorded stream.
tracebase_input() {
    local file=$1 wanted=$2
    shift 2
    if python3 "$recordings/data/tracebase/to_debs14.py" "$@" >"$file" && [ "$(digest "$file")" = "$wanted" ]; then
        ok "tracebase input $*"
    else
        bad "tracebase input $*: not the bytes of sha256 $wanted"
        return 1
    fi
}

check_tracebase_all() {
    local sum output
    tracebase_input "$scratch/input.csv" 66b5cceb4c29017c90c57168e95fd8708263fd79f57f4654a41caa3a3aca2d6d || return
    right=()
    right_folder=''
    while read -r sum output; do
        right[$output]=$sum
    done <"$recordings/golden/tracebase-all.sha256"
    check_recording tracebase-all "$scratch/input.csv" <<<$'1 1\n2 4\n4 16'
}

check_recordings() {
    set='' # the graphs' own parameters
    if [ ! -d "$recordings/golden" ] || [ ! -d "$recordings/data" ]; then
        echo "the recordings are not here (no $recordings/golden and data): not checked"
        return
    fi
    right_from_folder "$recordings/golden/first5000"
    check_recording first5000 "$recordings/data/debs14/first5000-all-houses.csv" < <(pairs 0)
    if tracebase_input "$scratch/input.csv" 994f33349c8d04298f0e315c884b0636c92c279d161203ee515c874de0bb556b --plugs 6; then
        right_from_folder "$recordings/golden/tracebase-6plugs"
        check_recording tracebase-6plugs "$scratch/input.csv" < <(pairs 2)
    fi
    if [ "$mode" = --long ]; then
        check_tracebase_all
    fi
}

check_streams
check_recordings
if [ -d "$scratch/kept" ]; then
    rm -f "$scratch/input.csv"
else
    rm -rf "$scratch"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
