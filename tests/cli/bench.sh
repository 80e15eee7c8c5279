#!/bin/bash
# bench.sh - what is measured of enclaves, as short as can be: each gives its figures. How good they are is not judged here: that is for a
# machine that does nothing else.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

if [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run: this build has no penstock-enclave"
    exit 0
fi
spec "the border" 0 bench border --quick --json
json 'any(row["what"] == "through and back" and row["figure"] > 0.1 for row in d["benchmarks"]["border"])'
spec "both queries against each backend" 0 bench tee --quick --json
json '{row["figure"] for row in d["benchmarks"]["tee"] if row["what"].endswith("results")} == {"identical"}'
json 'len([row for row in d["benchmarks"]["tee"] if "process / native, rows/s" in row["what"]]) == 4'
json 'len([row for row in d["benchmarks"]["tee"] if "process, sealed / native, rows/s" in row["what"]]) == 4'
json 'len([row for row in d["benchmarks"]["tee"] if "behind the first" in row["what"]]) == 8'
json 'len([row for row in d["benchmarks"]["tee"] if row["what"].endswith("process, sealed, results")]) == 2'
json 'len([row for row in d["benchmarks"]["tee"] if row["what"].endswith(("p50", "p99")) and row["figure"] > 0]) == 12'
json 'all(one["backends"][name]["loading_seconds"] > 0 and one["backends"][name]["peak_memory_bytes"] > 1 << 20 for one in d["details"]["tee"] if "backends" in one for name in ("process", "process, sealed"))'
json 'all(one["users_side"][name]["rows_per_second"] > 0 for one in d["details"]["tee"] if "backends" in one for name in ("seal", "open"))'
json 'all(one["latency"]["process, sealed"]["complete"] and one["latency"]["process, sealed"]["ticks"] > 0 for one in d["details"]["tee"] if "latency" in one)'
spec "more state than an EPC has room for" 0 bench epc --quick --json
json 'sum(" page-ins" in row["remark"] for row in d["benchmarks"]["epc"]) == 4'
spec "where no folder can be made" 74 bench border --quick --json --dir "$T/none"
err '^bench: no folder can be made in .*/none: No such file or directory$'
json 'd["error"]["exit_code"] == 74'
spec "what cannot be measured" 2 bench tea
err "invalid choice: 'tea'"
finish
