#!/bin/bash
# key.sh - key files: made for their owner alone, shown without the keys, never lost, refused where others could have had them.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

mode_of() { stat -c %a "$1"; }
id_of() { # id_of HEX : by sha256sum, which knows nothing of penstock
    python3 -c 'import sys; sys.stdout.buffer.write(b"penstock key id 1" + bytes.fromhex(sys.argv[1]))' "$1" |
        sha256sum | cut -c 1-16
}
digits_of() { sed -n "$2s/^penstock-key 1 //p" "$1"; } # digits_of FILE LINE
nothing_told() { # no digits of any key of FILE in what was printed
    local digits
    for digits in $(sed 's/.* //' "$1"); do
        expect "no key among what was printed" test -z "$(cat .out .err | grep -iF "${digits:0:20}")"
    done
}

# ---- init ----
spec "init makes a key file" 0 key init a.key
err '^a.key: the newest key is [0-9a-f]{16}$'
no_out
expect "mode 600" test "$(mode_of a.key)" = 600
expect "one line of the format" grep -Eqx 'penstock-key 1 [0-9a-f]{64}' a.key
expect "one line in all" test "$(wc -l <a.key)" = 1
expect "the id is that of the key" grep -q "$(id_of "$(digits_of a.key 1)")" .err
nothing_told a.key
not_there a.key.part
cp a.key before.key
spec "init does not touch a file that is there" 77 key init a.key
err 'penstock: error: `a.key` is there already.*penstock key rotate'
expect "the same file" cmp -s a.key before.key
not_there a.key.part
ln -s nowhere dangling.key
spec "init does not touch a symbolic link that leads nowhere" 77 key init dangling.key
not_there nowhere
spec "another key is another one" 0 key init b.key --quiet
no_err
no_out
expect "two keys" test "$(cat a.key)" != "$(cat b.key)"
spec_shell "a generous umask opens nothing" 0 'umask 000; "$P" key init open.key -q'
expect "mode 600" test "$(mode_of open.key)" = 600
spec_shell "a strict umask closes nothing" 0 'umask 777; "$P" key init strict.key -q'
expect "mode 600" test "$(mode_of strict.key)" = 600
spec "init as an object" 0 key init c.key --json
json 'd["file"] == "c.key" and d["error"] is None and [k["newest"] for k in d["keys"]] == [True]'
json 're.fullmatch("[0-9a-f]{16}", d["keys"][0]["id"])'
nothing_told c.key
spec "init in a folder that is not there" 74 key init none/a.key
err 'none/a.key.part. cannot be made: No such file or directory'
: >d.key.part
spec "a change that is under way is not disturbed" 74 key init d.key
err '`d.key.part` is there: another `penstock key` is changing the file'
there d.key.part
not_there d.key

# ---- show ----
spec "show names the key" 0 key show a.key
out "^$(id_of "$(digits_of a.key 1)") newest$"
expect "one line" test "$(wc -l <.out)" = 1
nothing_told a.key
spec "show as an object" 0 key show a.key --json
json "d['keys'] == [{'id': '$(id_of "$(digits_of a.key 1)")', 'newest': True}] and d['error'] is None"
nothing_told a.key

# ---- rotate ----
first=$(digits_of a.key 1)
spec "rotate puts a new key in front" 0 key rotate a.key
expect "two lines" test "$(wc -l <a.key)" = 2
expect "the old key behind the new one" test "$(digits_of a.key 2)" = "$first"
expect "a new key" test "$(digits_of a.key 1)" != "$first"
expect "mode 600" test "$(mode_of a.key)" = 600
err "the newest key is $(id_of "$(digits_of a.key 1)")$"
nothing_told a.key
not_there a.key.part
spec "show names both, the newest first" 0 key show a.key
expect "two ids" test "$(cat .out)" = "$(id_of "$(digits_of a.key 1)") newest
$(id_of "$first")"
spec "rotate as an object" 0 key rotate a.key --json
json '[k["newest"] for k in d["keys"]] == [True, False, False] and len({k["id"] for k in d["keys"]}) == 3'
mkdir folder
ln -s ../a.key folder/link.key
spec "rotate follows a symbolic link" 0 key rotate folder/link.key -q
expect "the link is one still" test -L folder/link.key
expect "four lines" test "$(wc -l <a.key)" = 4
while (($(wc -l <a.key) < 16)); do "$P" key rotate a.key -q || break; done
cp a.key before.key
spec "sixteen keys are the most" 77 key rotate a.key
err '`a.key` holds 16 keys'
expect "the same file" cmp -s a.key before.key
not_there a.key.part
spec "sixteen keys are shown" 0 key show a.key --json
json 'len(d["keys"]) == 16 and [k["newest"] for k in d["keys"]] == [True] + [False] * 15'
spec "rotate of a file that is not there" 74 key rotate none.key
err '`none.key` cannot be read: No such file or directory'
not_there none.key
not_there none.key.part

# ---- files that are refused ----
for mode in 640 620 604 602 666; do
    cp b.key bad.key
    chmod "$mode" bad.key
    for action in show rotate; do
        spec "mode $mode: $action" 77 key "$action" bad.key
        err "penstock: error: the key file .bad.key. is refused: others may read or write it \(mode 0$mode\)"
        no_out
        expect "the same file" cmp -s b.key bad.key
        not_there bad.key.part
    done
done
spec "a refusal as an object" 77 key show bad.key --json
json 'd["error"]["exit_code"] == 77 and "bad.key" in d["error"]["text"]'
ln -s bad.key link_to_bad.key
spec "a link to a file that others may read" 77 key show link_to_bad.key
ln -s b.key link_to_good.key
spec "a link to a good file" 0 key show link_to_good.key
chmod 400 b.key
spec "a file that may only be read" 0 key show b.key
chmod 600 b.key
spec "a folder" 77 key show folder
err '`folder` is refused: it is not a regular file'
mkfifo -m 600 pipe.key
spec "a named pipe does not hold the command up" 77 key show pipe.key
err 'not a regular file'
spec "a device" 77 key show /dev/null
spec "a file that is not there" 74 key show none.key
err 'the key file `none.key` cannot be read: No such file or directory'
if (($(id -u) == 0)); then
    cp b.key foreign.key
    chown 65534 foreign.key
    spec "a file of another user" 77 key show foreign.key
    err 'is refused: it belongs to user 65534, not to user 0'
else
    spec "a file of another user" 77 key show /etc/passwd
    err 'is refused: it belongs to user 0'
    chmod 000 b.key
    spec "a file that may not be read" 77 key show b.key
    err 'Permission denied'
    chmod 600 b.key
fi

# ---- bad content ----
good=$(cat b.key)
bad_content() { # bad_content "what is wrong" LINE 'regex of the sentence' 'content, with escapes of printf %b'
    printf '%b' "$4" >bad.key
    chmod 600 bad.key
    cp bad.key before.key
    for action in show rotate; do
        spec "$1: $action" 65 key "$action" bad.key
        err "penstock: error: bad.key:$2: .*$3"
        no_out
        nothing_told b.key
        expect "the same file" cmp -s bad.key before.key
        not_there bad.key.part
    done
}
bad_content "an empty file" 1 'empty' ''
bad_content "no key file" 1 '`penstock-key 1` and 64' 'id,timestamp,value\n'
bad_content "an empty line" 2 '`penstock-key 1` and 64' "$good\n\n"
bad_content "a newer line" 1 'newer penstock' "${good/key 1/key 2}\n"
bad_content "a digit too few" 1 '64 hexadecimal digits' "${good%?}\n"
bad_content "a digit too many" 1 '64 hexadecimal digits' "${good}0\n"
bad_content "a space behind the digits" 1 'nothing follows' "$good \n"
bad_content "a carriage return" 1 'nothing follows' "$good\r\n"
bad_content "no digit" 1 'digits 0-9 and a-f' "${good%?}g\n"
bad_content "a NUL" 1 'digits 0-9 and a-f' "${good%?}\0000\n"
bad_content "a key twice" 2 'twice' "$good\n$good\n"
bad_content "a bad second line" 2 '64' "$good\npenstock-key\n"
{ cat a.key && echo "$good"; } >bad.key
spec "seventeen keys" 65 key show bad.key
err 'bad.key:17: there are more than 16 keys'
head -c 5000 </dev/zero >bad.key
spec "a long file" 65 key show bad.key
err '`bad.key` is no key file: it is longer than 4096 bytes'
printf %s "$good" >bad.key
spec "a last line without its end" 0 key show bad.key

# ---- usage ----
spec "an action is wanted" 2 key
err 'init\|show\|rotate\|serve FILE is missing'
spec "a file is wanted" 2 key show
spec "one file" 2 key show a b
spec "a mistyped action" 2 key rotat a.key
err '`rotat` is nothing to do with keys: did you mean `rotate`\?'
spec "an action like nothing" 2 key frobnicate a.key
err 'there are init, show, rotate and serve'
spec_shell "ids onto a full disk" 74 '"$P" key show b.key >/dev/full'
err 'standard output could not be written'

finish
