#!/usr/bin/env bash
# clang-tidy over the product's own files, with the checks of .clang-tidy; usage: scripts/check_tidy.sh BUILD [--quick]
# BUILD is a build folder of clang: its compile_commands.json says how each file is compiled. The analyzer gives a function up at 225000 states
# that it may be in; --quick: at 50000, which takes a quarter of the time.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: scripts/check_tidy.sh BUILD [--quick]}
bound=()
[ "${2:-}" != --quick ] || bound=(--extra-arg={-Xclang,-analyzer-config,-Xclang,max-nodes=50000})
find base state migration enclave_shim engine operators debs14 tools -name '*.c' -print0 | sort -z |
    xargs -0 -P "$(nproc)" -n 1 clang-tidy --quiet -p "$build" ${bound[@]+"${bound[@]}"} \
        2> >(grep -vE '^[0-9]+ warnings? generated' >&2)
