#!/usr/bin/env bash
# Does the manual page set without a warning? usage: scripts/check_manual.sh PAGE
set -euo pipefail
page=${1:?usage: scripts/check_manual.sh PAGE}
warnings=$(LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page" 2>&1 >/dev/null)
if [ -n "$warnings" ]; then
    printf '%s\n' "$warnings"
    exit 1
fi
for section in NAME SYNOPSIS DESCRIPTION; do
    grep -q "^\.SH.*$section" "$page" || {
        echo "$page has no section $section"
        exit 1
    }
done
