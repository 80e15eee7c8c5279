#!/usr/bin/env bash
# clang-tidy over the product's own files, with the checks of .clang-tidy; usage: scripts/check_tidy.sh BUILD
# BUILD is a build folder of clang: its compile_commands.json says how each file is compiled.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:?usage: scripts/check_tidy.sh BUILD}
find base state migration enclave_shim engine operators debs14 tools -name '*.c' -print0 | sort -z |
    xargs -0 -P "$(nproc)" -n 1 clang-tidy --quiet -p "$build" \
        2> >(grep -vE '^[0-9]+ warnings? generated' >&2)
