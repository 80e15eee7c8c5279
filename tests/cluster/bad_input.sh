#!/bin/bash
# bad_input.sh - what a cluster is given that it cannot use: a sentence, the right exit code, nothing lost. A graph runs all the time,
# and its bytes are those of `penstock run`.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

"$P" gen --houses 4 --plugs 60 --rows 400000 --seed 6 --output meters.csv --quiet
head -n 5000 meters.csv >short.csv
LOAD=$ROOT/debs14/load.yaml
sets=(--set 'slices=60,300')
"$P" run "$LOAD" --input meters.csv --output wanted/load "${sets[@]}" --quiet
for kind in authority other; do
    "$P" tls init $kind --quiet
    for name in n1 n2 n3 n4 me; do "$P" tls issue $kind $name --quiet; done
done

way n1
way n2 60000
cluster n1 n2
spec "a graph that will run through all of this" 0 submit "$LOAD" --input meters.csv "${sets[@]}"
still_runs() {
    "$P" status load >.out 2>.err
    out '^load: running, incarnation 1$'
}
node() { # node CODE "a sentence" words... : a node that does not come up
    local wanted=$1 sentence=$2
    shift 2
    SECONDS_MAX=40 spec "$sentence" "$wanted" node --name n3 --dir n3 --listen 127.0.0.1:0 "$@"
}
join=(--join "$(reach n1)" --patience 1)

# ---- usage ----
for missing in name dir listen; do
    words_given=(--name n3 --dir n3 --listen 127.0.0.1:0 --insecure-loopback)
    for i in 0 2 4; do [[ ${words_given[i]} == "--$missing" ]] && unset "words_given[i]" "words_given[i+1]"; done
    spec "a node without --$missing" 2 node "${words_given[@]}"
    err "--$missing is missing"
done
for name in '' . .n a/b 'a b' ä "$(printf 'n%.0s' {1..64})"; do
    spec "a name that is none: $name" 2 node --dir n3 --listen 127.0.0.1:0 --insecure-loopback --name "$name"
done
node 2 "without TLS and without saying so"
err '--tls FOLDER is missing'
node 2 "both" --tls authority/n3 --insecure-loopback
err 'exclude each other'
node 2 "workers: none" --insecure-loopback --workers 0
spec "an address that is none" 78 node --name n3 --dir n3 --listen nowhere --tls authority/n3
err 'cannot listen on nowhere: an address is HOST:PORT'
spec "the same as an object" 78 node --name n3 --dir n3 --listen nowhere --tls authority/n3 --json
json 'd["error"]["exit_code"] == 78'
for public in 0.0.0.0:0 192.0.2.1:7001 '[::]:0' example.com:7001 127.0.0.1.example.com:7001; do
    spec "no TLS on $public" 77 node --name n3 --dir n3 --listen $public --insecure-loopback
    err 'is no loopback address: without TLS nobody is listened to there'
done
spec "nor advertised" 77 node --name n3 --dir n3 --listen 127.0.0.1:0 --advertise 192.0.2.1:7001 --insecure-loopback
spec "nor joined" 77 node --name n3 --dir n3 --listen 127.0.0.1:0 --join 192.0.2.1:7001 --insecure-loopback
err 'is no loopback address: without TLS nobody is joined there'
spec "an address that somebody has" 77 node --name n3 --dir n3 --listen "${address[n1]}" --tls authority/n3
err 'cannot listen on .*: Address already in use'
not_there n3/results

# ---- certificates ----
node 74 "no certificates" --tls nowhere "${join[@]}"
err '--tls nowhere: .ca.pem. cannot be read'
node 77 "certificates of another authority" --tls other/n3 "${join[@]}"
err 'cannot join at .*: the certificate of the other side is refused: '
mkdir mixed old
cp other/n3/* mixed
cp authority/ca.pem mixed
node 65 "a certificate that its authority has not made" --tls mixed "${join[@]}"
err 'node.pem.* is refused'
node 77 "another node's certificate" --tls authority/n4 "${join[@]}"
err 'the certificate is of `n4`, and the name that was said is `n3`: --name and --tls do not belong together'
expect "no node n3" test -z "$("$P" ls | grep n3)"
if command -v openssl >.which; then
    cp authority/n3/* old
    openssl req -new -key old/node.key -subj /CN=n3 -out old.req 2>.openssl
    openssl x509 -req -in old.req -CA authority/ca.pem -CAkey authority/ca.key -CAcreateserial -days -1 -out old/node.pem 2>.openssl
    node 65 "an expired certificate" --tls old "${join[@]}"
    err 'is refused: certificate has expired; `penstock tls issue` makes a new one'
    spec_name="a stranger with an expired one"
    python3 "$HERE/strangers.py" "${address[n1]}" certified old >.out 2>.err
    code=$?
    expect "it is refused" test $code = 0
    await n1.err 'refused.*: the certificate of the other side is refused: certificate has expired'
fi
spec "a command with another authority's certificates" 77 status --node "${address[n1]}" --tls other/me
err 'cannot reach .*: the certificate of the other side is refused'
spec "a command without" 69 status --node "${address[n1]}"
err '(no answer from|lost the connection to) .*: ([Tt]he other side has closed|Connection reset)'
spec "and as an object" 77 status --node "${address[n1]}" --tls other/me --json
json 'd["error"]["exit_code"] == 77'

# ---- strangers ----
for kind in empty garbage http tls "long authority/me" "nonsense authority/me" "newer authority/me" "twohellos authority/me"; do
    spec_name="a stranger: $kind" words=("(strangers.py $kind)")
    # shellcheck disable=SC2086 # words
    timeout 60 python3 "$HERE/strangers.py" "${address[n1]}" $kind >.out 2>.err
    code=$?
    expect "the node hangs up" test $code = 0
    case $kind in newer*) out 'version is more than one away' ;; nonsense*) out 'not a message that a node understands' ;; esac
done
for i in {1..40}; do python3 "$HERE/strangers.py" "${address[n1]}" garbage & done >.strangers 2>&1
wait_all=$(jobs -p)
for one in $wait_all; do [[ " ${pid[*]} ${relay_pid[*]} " == *" $one "* ]] || wait "$one"; done
python3 "$HERE/strangers.py" "${address[n1]}" silence >.silence 2>&1 &
silence=$!
expect "their lines in the log are few" test "$(grep -c 'a connection was refused' n1.err)" -lt 20
still_runs

# ---- names ----
spec "a second node of a name" 77 node --name n2 --dir another --listen 127.0.0.1:0 --tls authority/n2 "${join[@]}"
err 'there is a node of the name `n2` already, at '
spec "the coordinator's" 77 node --name n1 --dir another --listen 127.0.0.1:0 --tls authority/n1 "${join[@]}"
err 'the name `n1` is the coordinator.s'
spec "a folder that another process has" 77 node --name n2 --dir n2 --listen 127.0.0.1:0 --tls authority/n2 "${join[@]}"
err 'another process has the folder n2'
spec "the coordinator's" 77 node --name n1 --dir n1 --listen 127.0.0.1:0 --tls authority/n1
err 'another process has the folder n1'
expect "both nodes know their cluster" cmp -s n1/cluster n2/cluster
mkdir elsewhere
printf '%032d\n' 7 >elsewhere/cluster
spec "a folder of another cluster" 77 node --name n3 --dir elsewhere --listen 127.0.0.1:0 --tls authority/n3 "${join[@]}"
err 'the folder of node `n3` belongs to another cluster'
spec "and to begin one" 77 node --name n3 --dir elsewhere --listen 127.0.0.1:0 --tls authority/n3
err 'the folder elsewhere belongs to another cluster than the coordination store'
: >plain
spec "a folder that is a file" 74 node --name n3 --dir plain --listen 127.0.0.1:0 --tls authority/n3
err 'cannot make the folder plain: (File exists|Not a directory)'
mkdir broken
"$P" key init broken/store.key --quiet
mkdir broken/store
cp n1/store/store-*.log broken/store
spec "a store under another key" 77 node --name n3 --dir broken --listen 127.0.0.1:0 --tls authority/n3
cp n1/store.key broken
chmod 600 broken/store.key
python3 -c '
import glob
path = glob.glob("broken/store/store-*.log")[0]
data = bytearray(open(path, "rb").read())
data[len(data) // 2] ^= 1
open(path, "wb").write(data)'
spec "a store that was changed" 77 node --name n3 --dir broken --listen 127.0.0.1:0 --tls authority/n3
still_runs

# ---- nobody, or somebody else, where the cluster should be ----
node 69 "nobody" --tls authority/n3 --join 127.0.0.1:1 --patience 1
err 'penstock: cannot reach a node at 127.0.0.1:1: Connection refused; tries again'
err 'error: cannot join at 127.0.0.1:1: Connection refused'
node 78 "an address that is none" --tls authority/n3 --join nowhere
err 'cannot join at nowhere: an address is HOST:PORT'
node 69 "a host that is not known" --tls authority/n3 --join nowhere.invalid:7001 --patience 1
err 'cannot join at nowhere.invalid:7001: '
python3 - >else.out 2>else.err <<'END' &
import http.server, socket
silent = socket.create_server(("127.0.0.1", 0))
server = http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler)
print("http", server.server_port, "silent", silent.getsockname()[1], flush=True)
server.serve_forever()
END
relay_pid[else]=$!
await else.out '^http'
read -r _ http _ silent <.awaited
node 77 "a web server" --tls authority/n3 --join "127.0.0.1:$http" --patience 5
err 'cannot join at .*: the other side does not speak TLS 1.3 as a node does'
node 77 "a web server, without TLS" --insecure-loopback --join "127.0.0.1:$http" --patience 5
err 'cannot join at .*: a message of the other side is empty or above the limit'
node 69 "somebody who says nothing" --tls authority/n3 --join "127.0.0.1:$silent" --patience 1
err 'cannot join at .*: it (is silent|does not answer)'
spec "a command to a web server" 77 status --node "127.0.0.1:$http" --tls authority/me
spec "a command to nobody" 69 status --node 127.0.0.1:1 --tls authority/me
err 'cannot reach 127.0.0.1:1: Connection refused'
spec "to a socket that is not there" 69 status --node unix:nowhere
err 'cannot reach unix:nowhere'
spec "as an object" 69 ls --node unix:nowhere --json
json 'd["error"]["exit_code"] == 69'
spec_shell "no address at all" 2 'unset PENSTOCK_NODE; "$P" status'
err '--node ADDRESS is missing, and PENSTOCK_NODE is not set'
spec_shell "an empty one" 2 'PENSTOCK_NODE= "$P" status'
err '--node ADDRESS is missing, and PENSTOCK_NODE is not set'
spec "a node with certificates, asked without" 69 status --node "${address[n1]}"
err "no answer from ${address[n1]}: the other side has closed the connection; a node that has certificates is asked with --tls FOLDER"
spec_shell "a command that is interrupted" 1 'timeout --preserve-status --signal INT 2 "$P" results load/load_plug --follow'
err '^penstock: error: interrupted before there was an answer; what was asked for may go on$'
spec "a graph that is not there" 74 submit nothing.yaml
err 'the graph `nothing.yaml` cannot be read: No such file or directory'
spec "a folder" 74 submit "$T"
err 'cannot be read: Is a directory'
spec "something without an end" 78 submit /dev/zero
err 'the graph `/dev/zero` is larger than 1 MiB, the most there may be'
spec "a stream that is not there" 74 replay nothing.csv --to load/meters
err 'nothing.csv cannot be read: No such file or directory'
still_runs

# ---- graphs ----
sed -e 's/^name: load/name: bad/' -e 's/type: house_load/type: house_lood/' "$LOAD" >bad.yaml
spec "a graph with an error" 78 submit bad.yaml --input meters.csv
err '^bad.yaml:[0-9]+:[0-9]+: error: .*house_lood'
err 'did you mean|house_load'
spec "as an object" 78 submit bad.yaml --input meters.csv --json
json 'd["error"]["exit_code"] == 78 and re.search(r"bad.yaml:\d+:\d+: ", d["error"]["text"])'
spec "a parameter that it has not" 78 submit "$LOAD" --set nothing=1
err 'nothing'
spec "a setting that is none" 78 submit "$LOAD" --set nothing
spec "no such file" 74 submit nowhere.yaml
err 'the graph `nowhere.yaml` cannot be read'
spec "a source on no node" 77 submit "$LOAD" --source n9 --input meters.csv
err 'there is no node `n9` that could read the input'
spec "an unknown graph" 77 status nothing
err 'there is no graph `nothing`'
spec "as an object" 77 status nothing --json
json 'd["error"]["exit_code"] == 77'
spec "cancelled" 77 cancel nothing
err 'there is no graph `nothing`'
sed -e 's/^name: load/name: other/' "$LOAD" >other.yaml
spec "an input that is not there" 74 submit other.yaml --input nowhere.csv
err 'node n1: .*nowhere.csv.*: No such file or directory'
spec "it has failed" 0 status other
out '^other: failed, incarnation 1: node n1: .*nowhere.csv'
spec "an input that is not on another node" 74 submit other.yaml --input nowhere.csv --source n2 --json
json 'd["error"]["exit_code"] == 74 and "node n2" in d["error"]["text"]'
spec "the next try has the next incarnation" 0 submit other.yaml --input short.csv
out 'other: (running|done), incarnation 3$'
await n1.err 'graph other, incarnation 3: done'
printf '1,1378000000,1.5,1,0,0,0\nnonsense\n' >bad.csv
spec_name="malformed lines, with --strict"
"$P" submit other.yaml --input bad.csv --strict >.out 2>.err
await n1.err 'graph other, incarnation 4: failed: node n1: .*bad.csv:2'
mkdir -p n2/results
: >n2/results/third
sed -e 's/^name: load/name: third/' "$LOAD" >third.yaml
spec_name="results that cannot be written"
"$P" submit third.yaml --input short.csv >.out 2>.err
await n1.err 'graph third, incarnation 1: failed: node n2: .*third'
sed -e 's/^name: load/name: fourth/' "$LOAD" >fourth.yaml
mkdir -p n2/results/fourth
ln -s /dev/full n2/results/fourth/load_house.csv.part
spec_name="a full disk below the results"
"$P" submit fourth.yaml --input short.csv >.out 2>.err
await n1.err 'graph fourth, incarnation 1: failed: node n2: .*load_house.csv.*No space left on device'
still_runs

# ---- all the while ----
wait "$silence"
expect "who says nothing is sent away" test -s .silence
kill -USR2 "${relay_pid[n2]}"
await n1.err 'graph load, incarnation 1: (done|failed)'
expect "it is done" grep -q 'graph load, incarnation 1: done' n1.err
same load
if prlimit --version >.which 2>&1; then
    spec_name="a store that cannot grow"
    prlimit --fsize=1:unlimited --pid "${pid[n1]}"
    spec "what cannot be kept is not begun" 74 submit other.yaml --input short.csv
    err 'the coordination store did not take it'
    spec "others are still told" 0 status other
    out 'other: failed'
fi
expect "never a private key, nor the store's, in a log" test -z "$(grep -hE 'PRIVATE|[0-9a-f]{64}' n?.err)"
down

# ---- a node that nobody finds where it says that it is ----
cluster n1
up n2 --workers 1 --join "$(reach n1)" --advertise 127.0.0.1:1
await n1.err 'node n2 has joined, at 127.0.0.1:1'
spec "a graph that cannot get on" 0 submit "$LOAD" --input short.csv "${sets[@]}"
await n1.err 'graph load, incarnation 1: no connection to node n2 at 127.0.0.1:1 can be made: Connection refused; tries again'
kill_node n2 KILL
up n2 --workers 1 --join "$(reach n1)"
await n1.err 'graph load, incarnation [0-9]+: done'
finish
