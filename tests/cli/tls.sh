#!/bin/bash
# tls.sh - an authority and its nodes: keys for their owner alone, nothing overwritten, certificates that others check, too.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

mode_of() { stat -c %a "$1"; }
# Another reader of the files, where there is one: the openssl command is no package that penstock needs.
checked() { # checked "what is wanted" ARGUMENTS of openssl
    command -v openssl >.which || return 0
    expect "$1" openssl "${@:2}" >.openssl 2>&1
}

# ---- init ----
spec "init makes an authority" 0 tls init authority
no_out
err '^authority: an authority until 20[0-9]{2}-[0-9]{2}-[0-9]{2}; who has `ca.key` can make nodes'
expect "two files" test "$(ls authority)" = "ca.key
ca.pem"
expect "a key for its owner alone" test "$(mode_of authority/ca.key)" = 600
expect "a certificate for everybody" test "$(mode_of authority/ca.pem)" = 644
expect "a private key" grep -qx -e '-----BEGIN PRIVATE KEY-----' authority/ca.key
expect "no key in the certificate" test -z "$(grep PRIVATE authority/ca.pem)"
cp -r authority before
spec "init does not touch an authority that is there" 77 tls init authority
err 'penstock: error: `authority/ca.key` is there already, and is not overwritten'
expect "the same files" diff -r authority before
mkdir half
: >half/ca.pem
spec "nor half of one" 77 tls init half
err '`half/ca.pem` is there already'
expect "nothing else made" test "$(ls half)" = ca.pem
spec "folders are made with their parents" 0 tls init some/where/else --quiet
no_err
there some/where/else/ca.pem
spec_shell "a generous umask opens nothing" 0 'umask 000; "$P" tls init open -q'
expect "mode 600" test "$(mode_of open/ca.key)" = 600
spec_shell "a strict umask closes nothing" 0 'umask 277; mkdir -m 700 strict; "$P" tls init strict -q'
expect "mode 644" test "$(mode_of strict/ca.pem)" = 644
spec "init as an object" 0 tls init object --json
json 'd["folder"] == "object" and d["node"] is None and d["error"] is None and re.fullmatch("20..-..-..", d["until"])'
: >plain
spec "init where a file is" 74 tls init plain
err 'the folder `plain` cannot be made: Not a directory|the folder `plain` cannot be made: File exists'
mkdir busy
: >busy/ca.key.part
spec "init while another is at work" 74 tls init busy
err '`busy/ca.key.part` is there: another `penstock tls` is at work'
there busy/ca.key.part
not_there busy/ca.pem

# ---- issue ----
spec "issue makes the files of a node" 0 tls issue authority node-1
no_out
err '^authority/node-1: the node `node-1` until 20[0-9]{2}-'
expect "three files" test "$(ls authority/node-1)" = "ca.pem
node.key
node.pem"
expect "a key for its owner alone" test "$(mode_of authority/node-1/node.key)" = 600
expect "the authority beside it" cmp -s authority/ca.pem authority/node-1/ca.pem
checked "a node of the authority" verify -x509_strict -CAfile authority/ca.pem -purpose sslserver authority/node-1/node.pem
checked "and a client" verify -x509_strict -CAfile authority/ca.pem -purpose sslclient authority/node-1/node.pem
checked "good for 365 days" x509 -in authority/node-1/node.pem -noout -checkend $((364 * 86400))
checked "its name" x509 -in authority/node-1/node.pem -noout -subject -nameopt RFC2253
[[ -s .openssl ]] && expect "CN=node-1" grep -qx 'subject=CN=node-1' .openssl
cp -r authority/node-1 before-1
spec "issue does not touch a node that is there" 77 tls issue authority node-1
err '`authority/node-1/node.key` is there already'
expect "the same files" diff -r authority/node-1 before-1
spec "issue to a folder" 0 tls issue authority node-1 --out another/place --days 1
there another/place/node.key
expect "another key" test "$(cat another/place/node.key)" != "$(cat authority/node-1/node.key)"
expect "the end of tomorrow" grep -q "$(date -u -d '+1 day' +%Y-%m-%d)" .err
spec "issue as an object" 0 tls issue authority a.b_C-9 --json --days=3650
json 'd["folder"] == "authority/a.b_C-9" and d["node"] == "a.b_C-9" and d["error"] is None'
checked "not longer than the authority" verify -CAfile authority/ca.pem authority/a.b_C-9/node.pem
name63=$(printf 'n%.0s' {1..63})
spec "a name of 63 letters" 0 tls issue authority "$name63" -q
for name in "" . .. a/b ../x 'a b' 'a*' "${name63}n" ä; do
    spec "no name of a node: $name" 2 tls issue authority "$name"
    err 'is no name of a node: it has 1 to 63 letters, digits'
done
spec "a certificate of the folder's own file name" 74 tls issue authority ca.pem
err 'the folder `authority/ca.pem` cannot be made'

# ---- authorities that are refused ----
spec "no authority" 74 tls issue nowhere node-1
err '`nowhere/ca.pem` cannot be read: No such file or directory'
not_there nowhere
for mode in 640 604 660; do
    chmod $mode open/ca.key
    spec "a key of mode $mode" 77 tls issue open node-1
    err "\`open/ca.key\` is refused: others may read or write it \(mode 0$mode\)"
    not_there open/node-1
done
chmod 600 open/ca.key
cp authority/ca.key open/ca.key
spec "the key of another authority" 65 tls issue open node-1
err 'the authority in `open` cannot be used: `ca.key` is not the key of `ca.pem`'
cp authority/ca.pem open/ca.key
spec "no key" 65 tls issue open node-1
err '`ca.key` is no private key'
cp authority/node-1/node.pem open/ca.pem
cp authority/node-1/node.key open/ca.key
spec "a node is no authority" 65 tls issue open node-2
err '`ca.pem` is not the certificate of an authority'
echo garbage >open/ca.pem
spec "garbage" 65 tls issue open node-2
err '`ca.pem` is no certificate'
rm open/ca.pem
mkfifo open/ca.pem
spec "a named pipe does not hold the command up" 77 tls issue open node-2
err '`open/ca.pem` is refused: it is not a regular file'
not_there open/node-2
if (($(id -u) == 0)); then
    chown 65534 object/ca.key
    spec "a key of another user" 77 tls issue object node-1
    err '`object/ca.key` is refused: it belongs to user 65534, not to user 0'
else
    chmod 500 object
    spec "a folder that may not be written" 77 tls issue object node-1
    chmod 700 object
fi
spec "a refusal as an object" 74 tls issue nowhere node-1 --json
json 'd["error"]["exit_code"] == 74 and "nowhere" in d["error"]["text"]'

# ---- usage ----
spec "an action is wanted" 2 tls
spec "a folder is wanted" 2 tls init
spec "a name is wanted" 2 tls issue authority
err 'the NAME of the node is missing: penstock tls issue DIR NAME'
spec "a mistyped action" 2 tls isue authority node-1
err '`isue` is nothing to do with certificates: did you mean `issue`\?'
spec "an action like nothing" 2 tls frobnicate authority
err 'there are init and issue'
spec "init takes no name" 2 tls init x node-1
err '`node-1` is too much'
spec "init takes no days" 2 tls init x --days 3
err '`--days` is too much'
not_there x
for days in 0 3651 -1 x; do spec "days: $days" 2 tls issue authority node-3 --days=$days; done
not_there authority/node-3
spec_shell "an object onto a full disk" 74 '"$P" tls issue authority node-4 --json >/dev/full'
err 'standard output could not be written'

finish
