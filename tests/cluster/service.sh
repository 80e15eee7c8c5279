#!/bin/bash
# service.sh - a node under a service manager: what it tells it, how it ends, what it prints.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

protect=(--insecure-loopback)
heard() {
    spec_name="$1, by a socket: $2" words=("(notified.py $2)")
    timeout 60 python3 "$HERE/notified.py" "$2" "$P" node --name n1 --dir n1 --listen 127.0.0.1:0 --insecure-loopback >.out 2>.err
    code=$?
    expect "exit code 0" test $code = 0
}
for kind in file abstract; do
    heard "ready, alive, stopping" $kind
    out '^READY=1$'
    out '^WATCHDOG=1$'
    out '^exit code 0$'
    expect "STOPPING=1 is the last but the exit code, or the watchdog is" test "$(grep -v WATCHDOG .out | tr '\n' ' ')" = 'READY=1 STOPPING=1 exit code 0 '
done
heard "no watchdog for another process" strange
expect "none" test -z "$(grep WATCHDOG .out)"
for bogus in /nowhere/at/all relative @ ''; do
    export NOTIFY_SOCKET=$bogus
    up n1
    kill_node n1 TERM
    spec_name="a notify socket that is none: $bogus"
    expect "exit code 0" test "$node_code" = 0
done
unset NOTIFY_SOCKET

# ---- signals ----
for signal in TERM INT; do
    up n1
    kill_node n1 $signal
    spec_name="SIG$signal ends a node" words=(node)
    expect "exit code 0" test "$node_code" = 0
    await n1.err 'stops: it was told to'
    not_there n1/admin.sock
done

# ---- output ----
# With --json and --quiet standard output is one object, and standard error is silent.
address[n1]=127.0.0.1:0
"$P" node --name n1 --dir n1 --listen 127.0.0.1:0 --insecure-loopback --json --quiet >.out 2>.err &
pid[n1]=$!
await .out listens_on
kill_node n1 TERM
spec_name="where it listens, as an object" words=(node --json)
json 'd["node"] == "n1" and re.fullmatch("127.0.0.1:[0-9]+", d["listens_on"]) and d["error"] is None'
no_err
expect "key and store for their owner alone" test "$(stat -c %a n1/store.key)" = 600

# ---- the unit and the container ----
if command -v systemd-analyze >.which; then
    mkdir unit
    sed -e "s#/usr/bin/penstock#$P#" "$ROOT/tools/penstock-node.service" >unit/penstock-node.service
    spec_name="systemd understands the unit" words=("(systemd-analyze verify)")
    systemd-analyze verify --man=no unit/penstock-node.service >.out 2>&1
    cp .out .err
    expect "nothing to complain of in it" test -z "$(grep -i penstock-node.service .out | grep -v 'EnvironmentFile\|user.*penstock')"
fi
spec_name="the container's image knows every folder that is built" words=("(Containerfile)")
for folder in $(sed -n 's/^  *\(add_subdirectory\|pst_room\)(\([a-z0-9_]*\).*/\2/p; s/^\(add_subdirectory\|pst_room\)(\([a-z0-9_]*\).*/\2/p' "$ROOT/CMakeLists.txt"); do
    expect "$folder" grep -q "^COPY $folder $folder$" "$ROOT/tools/Containerfile"
done

finish
