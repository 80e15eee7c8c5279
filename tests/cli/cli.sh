#!/bin/bash
# cli.sh - the grammar, the messages and the exit codes of the command line; help, man page and completion of one table.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

LOAD=$ROOT/debs14/load.yaml

# ---- verbs ----
spec "without a verb the verbs are named" 2
err 'penstock: error: a verb is missing: run, check, gen, key, checkpoint, node, tls, attest, submit, ls, status, scale, move, drain, rebalance, migration, top, results, cancel, stop, replay, seal, open, measure, doctor, bench, version or help'
no_out
spec "a verb that is mistyped is proposed" 2 chekc
err 'unknown verb `chekc`: did you mean `check`\?'
spec "a verb like nothing gets the list" 2 frobnicate
err 'unknown verb `frobnicate`: there are run, check'
spec "verbs are not abbreviated" 2 vers
spec "an empty verb is a wrong verb" 2 ''
err 'unknown verb'
spec "the verb comes first" 2 --json run
err '`--json` stands where the verb belongs'
json 'd["error"]["exit_code"] == 2 and "verb" in d["error"]["text"]'

# ---- flags ----
spec "a mistyped flag is proposed" 2 run g.yaml --inptu x
err 'unknown flag `--inptu`: did you mean `--input`\?'
err 'usage: penstock run GRAPH.yaml'
no_out
spec "a mistyped common flag is proposed" 2 version --jsn
err 'unknown flag `--jsn`: did you mean `--json`\?'
spec "a flag with one dash is proposed with two" 2 run g.yaml -input x
err 'unknown flag `-input`: did you mean `--input`\?'
spec "a flag of another verb is told so" 2 check g.yaml --dead-letter x
err '`--dead-letter`: it belongs to `penstock run`'
spec "flags are not abbreviated" 2 run g.yaml --work 2
err 'unknown flag `--work`'
spec "an unknown letter is refused" 2 run g.yaml -Z
err 'unknown flag `-Z`'
spec "letters stand alone" 2 run g.yaml -qq
err 'each letter stands alone'
spec "a value does not stick to its letter" 2 run g.yaml -oresults
err 'the value stands apart: `-o results`'
spec "a missing value at the end" 2 run g.yaml --workers
err '--workers needs a value: --workers N'
spec "a flag is not the value of the flag before it" 2 run g.yaml --input --strict
err '--input needs a value \(FILE\), but the flag `--strict` follows'
spec "an empty value is a missing one" 2 run g.yaml --input=
err '--input needs a value'
spec "a switch takes no value" 2 version --json=yes
err '--json takes no value'
spec "a flag given twice is refused" 2 run g.yaml --workers 1 -w 2
err '--workers is given twice'
spec "a number that is none" 2 run g.yaml --workers two
err '--workers `two`: a whole number from 1 to 64 is wanted'
spec "a number outside its range" 2 run g.yaml --workers 0
err 'from 1 to 64'
spec "a number beyond 64 bits" 2 run g.yaml --workers 99999999999999999999999
err 'from 1 to 64'
spec "a negative number" 2 run g.yaml --workers -1
err 'from 1 to 64'
spec "a size that is none" 2 run g.yaml --block-bytes big
err '--block-bytes `big`: a size from 64 to 1GiB'
spec "--color wants one of three words" 2 version --color blue
err 'auto, always or never'
spec "--set wants NAME=VALUE" 2 run "$LOAD" --set partitions
err '--set `partitions`: NAME=VALUE is wanted'
spec "--set wants a NAME" 2 check "$LOAD" --set =4
err 'NAME=VALUE is wanted'
spec "one name is not set twice" 2 check "$LOAD" --set partitions=1 --set partitions=2
err '--set gives `partitions` a value twice'
spec "a usage error with --json anywhere is an object, too" 2 run --bogus --json g.yaml
json 'd["error"]["exit_code"] == 2 and "--bogus" in d["error"]["text"]'
err 'unknown flag `--bogus`'

# ---- operands ----
spec "a missing operand" 2 run
err 'GRAPH.yaml is missing'
spec "an operand too many" 2 check a.yaml b.yaml
err '`b.yaml` is one operand too many'
spec "an operand where none belongs" 2 version 1
err 'takes no operand, but `1` was given'
spec "behind -- everything is an operand" 2 check -- a.yaml --json
err '`--json` is one operand too many'
spec "a lone - is an operand" 2 version -
err 'takes no operand, but `-`'

# ---- order of words, checked with a graph that is not there: 74 says that the words were understood ----
spec "flags before the operand" 74 check --color never --json none.yaml
json 'd["file"] == "none.yaml" and d["error"]["exit_code"] == 74'
spec "flags behind the operand" 74 check none.yaml --json --color=never
json 'd["file"] == "none.yaml" and not d["ok"]'
spec "flags around the operand" 74 run -w 2 --set a=1 none.yaml -o out --set=b=2 --input=- -q
err 'the graph `none.yaml` cannot be read: No such file or directory'
not_there out
spec "an operand that begins with a dash" 74 check -- --none.yaml
err '`--none.yaml` cannot be read'

# ---- version ----
spec "penstock version" 0 version
out '^penstock [0-9]+\.[0-9]+\.[0-9]+$'
no_err
spec "penstock --version is the same" 0 --version
out '^penstock [0-9]+\.[0-9]+\.[0-9]+$'
spec "version as an object" 0 version --json
json 'd["version"].count(".") == 2 and d["compiler"]'

# ---- help ----
spec "help lists the verbs" 0 help
for verb in run check gen key checkpoint node tls attest submit ls status scale move drain rebalance migration top results cancel doctor version help; do out "^  $verb "; done
no_err
cp .out overview
spec "penstock --help is penstock help" 0 --help
expect "the text of penstock help" cmp -s .out overview
spec "penstock -h is penstock help" 0 -h
expect "the text of penstock help" cmp -s .out overview
for verb in run check gen key checkpoint node tls attest submit ls status scale move drain rebalance migration top results cancel doctor version help; do
    spec "help of $verb" 0 help "$verb"
    for part in Usage Examples Flags 'Exit codes'; do out "^$part:"; done
    out "^  penstock $verb"
    no_err
    cp .out page
    expect "at most 80 columns, but for examples" awk 'length($0) > 80 && !/^  penstock / { exit 1 }' page
    spec "$verb --help is help $verb" 0 "$verb" --help
    expect "the text of penstock help $verb" cmp -s .out page
    spec "$verb -h helps even where other words are wrong" 0 "$verb" -h --bogus
    expect "the text of penstock help $verb" cmp -s .out page
    spec "help of $verb as an object" 0 help "$verb" --json
    json 'd["topic"] and [v["name"] for v in d["verbs"]] == [d["topic"]] and d["verbs"][0]["flags"]'
done
spec "help exit-codes" 0 help exit-codes
for number in 0 1 2 65 69 74 75 77 78; do out "^  $number "; done
spec "exit codes as an object" 0 help exit-codes --json
json '[e["code"] for e in d["exit_codes"]] == [0, 1, 2, 65, 69, 74, 75, 77, 78]'
spec "help graphs" 0 help graphs
out 'penstock: 1'
out '\$\{name\}'
spec "help operators" 0 help operators --json
json 'len(d["operators"]) > 1 and all(o["type"] and o["summary"] and "params" in o for o in d["operators"])'
types=$(python3 -c 'import json, sys; print(*(o["type"] for o in json.load(sys.stdin)["operators"]))' <.out)
spec "help operators as text" 0 help operators
for type in $types; do out "^$type$"; done
cp .out operators
for type in $types; do
    spec "help of the operator $type" 0 help "$type"
    out "^$type$"
done
spec "help of the operator csv_source as an object" 0 help csv_source --json
json '[o["type"] for o in d["operators"]] == ["csv_source"] and d["verbs"] == []'
spec "an unknown topic gets a proposal" 2 help csv_sorce
err 'no help on `csv_sorce`: did you mean `csv_source`\?'
spec "man page and completion exclude one another" 2 help --man --bash

# The example of `help graphs` is a graph.
"$P" help graphs | sed -n 's/^    //p' >example.yaml
spec "the example of help graphs is free of errors" 0 check example.yaml
out '^example.yaml: ok: [0-9]+ operators, 1 source, 1 sink$'

# ---- man page ----
spec "help --man" 0 help --man
out '^\.TH PENSTOCK 1'
cp .out penstock.1
if command -v man >/dev/null; then
    spec_name="the man page has no warnings" words=("help --man")
    man --warnings -l penstock.1 >man.txt 2>.err </dev/null
    no_err
    for section in NAME SYNOPSIS DESCRIPTION VERBS 'EXIT STATUS' ENVIRONMENT EXAMPLES; do
        expect "a section $section" grep -q "^$section" man.txt
    done
else
    echo "no man here: the man page is not checked by it"
fi

# ---- completion ----
spec "help --bash" 0 help --bash
cp .out completion
expect "shell that bash can read" bash -n completion
mkdir files
touch files/a.yaml files/b.csv
# complete WORDS... : prints what completes the last of them
complete_words() {
    bash -c 'cd "$1" && . "$2" && shift 2 || exit 1
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _penstock
        printf "%s\n" "${COMPREPLY[*]}"' _ "$T/files" "$T/completion" "$@"
}
completes() { # completes "wanted" WORDS...
    local wanted=$1
    shift
    spec_name="completion of: $*" words=("help --bash")
    complete_words "$@" >.out 2>.err
    code=$?
    expect "$wanted" test "$(cat .out)" = "$wanted"
    no_err
}
completes 'run' penstock ru
completes 'run check gen key checkpoint node tls attest submit ls status scale move drain rebalance migration top results cancel stop replay seal open measure doctor bench version help --help --version' penstock ''
completes '--input' penstock run g.yaml --in
completes '--workers' penstock run --wo
completes 'auto always never' penstock run --color ''
completes 'auto always never' penstock version --color =
completes 'always' penstock version --color = al
completes 'a.yaml' penstock check ''
completes 'a.yaml' penstock run --strict ''
completes 'b.csv' penstock run --input b
completes 'b.csv' penstock run -i b
completes 'a.yaml' penstock run -- a
completes '' penstock run -- --in
completes '' penstock run --workers ''
completes 'graphs' penstock help gra
completes 'csv_source' penstock help csv_so
completes 'exit-codes' penstock --help exi

# ---- nothing drifts: each flag of each verb is parsed, and stands in help, man page and completion ----
"$P" help --json | python3 -c '
import json, sys
for verb in json.load(sys.stdin)["verbs"]:
    for flag in verb["flags"]:
        print(verb["name"], flag["name"], flag["letter"] or "-", "value" if flag["value"] else "switch")' >flags
expect "a table of flags" test "$(wc -l <flags)" -gt 20
while read -r verb flag letter kind; do
    spec_name="--$flag of $verb" words=(help "$verb")
    "$P" help "$verb" >.out 2>.err
    out "^  (-., )?--$flag( |$)"
    expect "--$flag in the man page" grep -q -e "\\\\-\\\\-${flag//-/\\\\-}" penstock.1
    complete_words penstock "$verb" "--$flag" >.out 2>.err
    out "(^| )--$flag( |$)"
    [[ $flag == help ]] && continue
    given=--$flag
    [[ $kind == value ]] && given=--$flag=auto
    spec "--$flag of $verb is understood, and the unknown flag behind it is not" 2 "$verb" "$given" --no-such-flag-at-all
    err 'unknown flag `--no-such-flag-at-all`'
    [[ $letter == - ]] && continue
    complete_words penstock "$verb" "-$letter" >.out 2>.err
    out "(^| )-$letter( |$)"
    given=(-"$letter")
    [[ $kind == value ]] && given+=(auto)
    spec "-$letter of $verb is understood, and the unknown flag behind it is not" 2 "$verb" "${given[@]}" --no-such-flag-at-all
    err 'unknown flag `--no-such-flag-at-all`'
done <flags

# ---- colours ----
escape=$(printf '\033')
no_colour() { expect "no colour" test -z "$(grep -F "$escape" .out .err)"; }
spec "no colours where no terminal is" 2 run --bogus
no_colour
spec "colours where they are asked for" 2 run --bogus --color always
err "$escape"
spec "the same for data" 0 help --color=always
out "$escape"
spec "JSON is never coloured" 0 help --color=always --json
no_colour
# in_terminal WORDS... : stderr (and stdout) of penstock on a terminal, to .out
in_terminal() {
    python3 - "$P" "$@" >.out 2>.err <<'END'
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
while True:
    try:
        seen = os.read(terminal, 65536)
    except OSError:
        break
    if not seen:
        break
    os.write(1, seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
END
    code=$?
}
spec_name="colours on a terminal" words=("run --bogus, on a terminal")
TERM=xterm in_terminal run --bogus
out "$escape"
spec_name="NO_COLOR on a terminal" words=("NO_COLOR=1 penstock run --bogus, on a terminal")
TERM=xterm NO_COLOR=1 in_terminal run --bogus
out 'unknown flag'
no_colour
spec_name="an empty NO_COLOR is none"
TERM=xterm NO_COLOR='' in_terminal run --bogus
out "$escape"
spec_name="a dumb terminal"
TERM=dumb in_terminal run --bogus
no_colour
spec_name="--color always beats NO_COLOR"
TERM=xterm NO_COLOR=1 in_terminal run --bogus --color always
out "$escape"

# ---- standard output that cannot be written ----
for words_given in 'help' 'version' 'version --json' 'help --man' 'help operators --json' "check $LOAD" "check $LOAD --json"; do
    spec_shell "penstock $words_given onto a full disk" 74 "\"\$P\" $words_given >/dev/full"
    err 'standard output could not be written: No space left on device'
    spec_shell "penstock $words_given with standard output closed" 74 "\"\$P\" $words_given >&-"
    err 'standard output could not be written'
done
spec_shell "a closed standard error does not change the answer" 0 '"$P" version 2>&-'
out '^penstock '
spec_shell "all three streams closed" 74 '"$P" version <&- >&- 2>&-'
spec_shell "an error keeps its own exit code on a full disk" 2 '"$P" run --bogus --json >/dev/full'

# ---- check ----
for graph in load outliers; do
    spec "check $graph.yaml" 0 check "$ROOT/debs14/$graph.yaml"
    out "/debs14/$graph.yaml: ok: [0-9]+ operators, 1 source, [12] sinks?$"
    out '^ +id +type +partitions +buckets'
    no_err
    spec "check $graph.yaml as an object" 0 check "$ROOT/debs14/$graph.yaml" --json --set partitions=4
    json 'd["ok"] and d["error"] is None and d["diagnostics"] == []'
    json 'len(d["operators"]) >= 3 and any(o["partitions"] == 4 for o in d["operators"])'
    json 'all(o["id"] and o["type"] and o["buckets"] >= o["partitions"] for o in d["operators"])'
    no_err
    spec "check --quiet says nothing where nothing is wrong" 0 check "$ROOT/debs14/$graph.yaml" --quiet
    no_out
    no_err
done

# ---- run ----
printf '%s\n' 1,1378000000,1.5,1,0,0,0 2,1378000001,2.5,1,1,0,0 3,1378000002,3.5,1,0,0,1 >small.csv
spec "a run tells rows, time and outputs on stderr" 0 run "$LOAD" --input small.csv --output results
no_out
for line in 'load.yaml: complete' 'rows +3 in' 'late +0' 'malformed +0' 'time .* rows/s, [0-9]+ worker' 'memory +[0-9.]+ MiB' \
    'results/load_house.csv'; do err "$line"; done
there results/load_house.csv
there results/load_plug.csv
spec "a run as an object" 0 run --json --workers=2 --input small.csv "$LOAD" --output results2
json 'd["rows"] == 3 and d["rows_late"] == 0 and d["lines_malformed"] == 0 and d["malformed"] == []'
json 'd["complete"] is True and d["error"] is None and d["workers"] == 2 and d["graph"].endswith("load.yaml")'
json 'd["seconds"] >= 0 and d["rows_per_second"] >= 0 and d["peak_memory_bytes"] > 100000 and d["state_bytes_max"] >= 0'
json 'sorted(o.split("/")[-1] for o in d["outputs"]) == ["load_house.csv", "load_plug.csv"]'
json 'd["rows_out"] == sum(len(open(o).readlines()) - 1 for o in d["outputs"])'
no_err
expect "the same results" cmp -s results/load_plug.csv results2/load_plug.csv
spec "--quiet runs without a word" 0 run "$LOAD" --input small.csv -o results3 -q
no_out
no_err
spec_shell "from standard input" 0 "\"\$P\" run '$LOAD' --input - --output results4 -q <small.csv"
expect "the same results" cmp -s results/load_plug.csv results4/load_plug.csv
spec "values for tuning change no result" 0 run "$LOAD" -i small.csv -o results5 --frame-rows 1 --channel-frames 1 --block-bytes 64 -q
expect "the same results" cmp -s results/load_plug.csv results5/load_plug.csv
spec_shell "a run whose object cannot be written" 74 "\"\$P\" run '$LOAD' -i small.csv -o results6 --json >/dev/full"
there results6/load_plug.csv

# ---- signals: an input that pauses ----
# interrupted SIGNAL[,SIGNAL] : sends them to a run that has read small.csv and waits for more
interrupted() {
    rm -rf partial
    words=("run load.yaml --input - --json, then signals $1")
    "$ROOT/tests/cli/interrupt.py" small.csv "$1" "$P" run "$LOAD" --input - --output partial --json >.out 2>.err
    code=$?
}
for signal in INT TERM; do
    spec_name="SIG$signal drains and keeps the partial output under a name that says so"
    interrupted "$signal"
    expect "exit code 1" test "$code" = 1
    json 'd["complete"] is False and d["error"]["exit_code"] == 1 and d["rows"] == 3'
    json 'len(d["outputs"]) == 2 and all(o.endswith(".csv.partial") for o in d["outputs"])'
    err 'penstock: error: .*partial/load_(house|plug).csv.partial'
    there partial/load_plug.csv.partial
    not_there partial/load_plug.csv
    not_there partial/load_plug.csv.part
done
spec_name="a second signal stops at once"
interrupted TERM,INT
expect "exit code 1" test "$code" = 1
not_there partial/load_plug.csv

# ---- progress ----
head -c 200000 </dev/zero | tr '\0' '\n' | awk '{ printf "%d,%d,1.5,1,%d,0,0\n", NR, 1378000000 + int(NR / 50), NR % 40 }' >longer.csv
spec_name="a terminal shows progress in one line, and clears it" words=("run load.yaml, on a terminal")
TERM=xterm in_terminal run "$LOAD" --input longer.csv --output results7
expect "exit code 0" test "$code" = 0
out 'complete'
spec "no progress where no terminal is" 0 run "$LOAD" --input longer.csv --output results8
expect "no carriage return" test -z "$(grep -F $'\r' .err)"

finish
