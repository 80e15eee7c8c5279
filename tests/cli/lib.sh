# shellcheck shell=bash disable=SC2034
# lib.sh - what the scripts of this folder share: run penstock, look at what came out, say which expectation failed.
#
#   usage: SCRIPT PENSTOCK SOURCE_DIR
#   spec "a sentence" CODE words...   runs penstock with these words; its exit code must be CODE
#   err 'regex' / no_err              what standard error says (extended regular expression), or that it is empty
#   out 'regex' / no_out              the same for standard output
#   json 'python expression'          standard output is one object d for which the expression holds
# A failed expectation is told with what was seen, and the script goes on; finish() gives the exit code.

P=$(realpath "$1")
ROOT=$(realpath "$2")
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
cd "$T" || exit 1
export LC_ALL=C.UTF-8
unset NO_COLOR
spec_name='' words=() code=0 failures=0 expectations=0

ran() { # shows what was seen, after a failed expectation
    failures=$((failures + 1))
    {
        echo "FAILED: $spec_name"
        echo "  ran:      penstock ${words[*]}"
        echo "  expected: $1"
        echo "  exit:     $code"
        head -c 1500 "$T/.err" | sed 's/^/  stderr:   /'
        head -c 1500 "$T/.out" | sed 's/^/  stdout:   /'
        echo
    } >&2
}

expect() { # expect "what is wanted" command...
    local wanted=$1
    shift
    expectations=$((expectations + 1))
    "$@" || ran "$wanted"
}

spec() {
    spec_name=$1
    local wanted=$2
    shift 2
    words=("$@")
    timeout "${SECONDS_MAX:-60}" "$P" "$@" >"$T/.out" 2>"$T/.err" <"${STDIN:-/dev/null}"
    code=$?
    expect "exit code $wanted" test "$code" = "$wanted"
}

# For runs that spec() cannot make: the command writes .out and .err itself.
spec_shell() {
    spec_name=$1
    local wanted=$2
    words=("(in a shell: $3)")
    : >"$T/.out" 2>"$T/.err"
    P=$P timeout "${SECONDS_MAX:-60}" bash -c "$3" >"$T/.out" 2>"$T/.err" </dev/null
    code=$?
    expect "exit code $wanted" test "$code" = "$wanted"
}

err() { expect "stderr like: $1" grep -Eq -e "$1" "$T/.err"; }
out() { expect "stdout like: $1" grep -Eq -e "$1" "$T/.out"; }
no_err() { expect "nothing on stderr" test ! -s "$T/.err"; }
no_out() { expect "nothing on stdout" test ! -s "$T/.out"; }
is_json() {
    python3 -c '
import json, re, sys
d = json.load(open(sys.argv[1]))
assert isinstance(d, dict) and d["schema_version"] == 1
sys.exit(0 if eval(sys.argv[2]) else 1)' "$T/.out" "$1" 2>/dev/null
}
json() { expect "stdout is one JSON object, and $1" is_json "$1"; }
there() { expect "a file $1" test -f "$1"; }
not_there() { expect "no file $1" test ! -e "$1"; }

finish() {
    if ((failures > 0)); then
        echo "$failures of $expectations expectations failed" >&2
        exit 1
    fi
    echo "$expectations expectations hold"
}
