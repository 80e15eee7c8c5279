#!/usr/bin/env bash
# Is every C file laid out as .clang-format says? `scripts/check_format.sh --fix` makes it so.
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(find base state migration enclave_shim engine operators debs14 tools tests docs examples -name '*.[ch]' | sort)
if [ "${1:-}" = --fix ]; then
    exec clang-format -i "${files[@]}"
fi
clang-format --dry-run -Werror "${files[@]}"
