#!/bin/bash
# tpm.sh - a TPM's quote as its users meet it, with swtpm in the TPM's place: made, verified, each thing in it wrong once; a TPM that does not
# answer; and behind the evidence of workers that want the key for sealed rows.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

hands=$ROOT/tests/cli/tpm.py keeper=''
down() {
    local file
    for file in one/pid other/pid; do [ ! -s "$file" ] || kill "$(cat "$file")"; done
    [ -z "$keeper" ] || kill "$keeper"
    rm -rf "$T"
}
trap down EXIT
tpm() { # tpm NAME: a TPM of its own at NAME/tpm.sock; it listens when this returns
    mkdir -p "$1"
    swtpm socket --tpm2 --tpmstate "dir=$T/$1" --server "type=unixio,path=$T/$1/tpm.sock" \
        --ctrl "type=unixio,path=$T/$1/tpm.sock.ctrl" --flags startup-clear --daemon --pid "file=$T/$1/pid"
}
spec_name="a TPM for the tests" words=(swtpm)
expect "swtpm is installed (scripts/setup.sh)" command -v swtpm >/dev/null
tpm one
tpm other
one=(--tpm swtpm:path=one/tpm.sock) other=(--tpm swtpm:path=other/tpm.sock)
"$P" tls init ca --quiet
"$P" tls issue ca n1 --quiet
"$P" tls issue ca n2 --quiet

value() { python3 -c 'import json, sys; print(json.load(open(".out"))[sys.argv[1]])' "$1"; }
pcr() { python3 -c '
import json, sys
print(next(c["actual"] for c in json.load(open(".out"))["checks"] if c["name"] == "tpm.pcr" + sys.argv[1]))' "$1"; }

# ---- usage ----
spec "a quote is of a node's key" 2 attest report q "${one[@]}"
err 'needs --node-key FILE'
spec "and of the TPM, not of the kernel's folder" 2 attest report q "${one[@]}" --node-key ca/n1/node.key --tsm x
spec "flags of the other" 2 attest verify q "${one[@]}"
err '--tpm belongs to `penstock attest report`'
for list in 24 3-1 "1," -1 1-x; do
    spec "no list of PCRs: $list" 2 attest report q "${one[@]}" --node-key ca/n1/node.key "--pcrs=$list"
    err 'numbers from 0 to 23 are wanted'
done
spec "no kind of key" 2 attest report q "${one[@]}" --node-key ca/n1/node.key --tpm-key dsa
err 'ecdsa or rsa'
cp ca/n1/node.pem certificate
chmod 600 certificate
spec "a certificate is no key" 65 attest report q "${one[@]}" --node-key certificate
err 'no Ed25519 key'
spec "a run without sealed rows has no use for it" 2 run x.yaml "${one[@]}"

# ---- no TPM ----
spec "no TPM answers" 74 attest report q --tpm swtpm:path=nobody.sock --node-key ca/n1/node.key
err 'no evidence of this machine: the TPM at `swtpm:path=nobody.sock` does not answer'
not_there q
spec "nothing that is known for an address" 74 attest report q --tpm nonsense:x --node-key ca/n1/node.key
if [ ! -e /dev/tpmrm0 ]; then
    spec "and where nothing is said" 74 attest report q --node-key ca/n1/node.key
    err 'there is no TPM: no /dev/tpmrm0'
fi
"$P" doctor --tpm swtpm:path=one/tpm.sock >.out 2>.err # whose exit code is that of enclaves
out '^  tpm +yes +IBM, SWTPM, firmware [0-9a-f]{16}'
"$P" doctor --tpm swtpm:path=nobody.sock >.out 2>.err
out '^  tpm +- +the TPM at `swtpm:path=nobody.sock` does not answer'

# ---- made, and verified ----
spec "a quote" 0 attest report q "${one[@]}" --node-key ca/n1/node.key --nonce 00c0ffee --json
no_err_lines=$(grep -c 'ERROR' .err)
expect "nothing of the library's on stderr" test "$no_err_lines" = 0
key=$(value tpm_key_name) node=$(value node_key)
value tpm_key >ak.pem
policy() { printf 'penstock_policy: 1\ntpm_keys: ["%s"]\nnode_keys: ["%s"]\n%b' "$key" "$node" "$1" >policy.yaml; }
policy ''
quote=(--policy policy.yaml --nonce 00c0ffee --allow-software)
spec "is accepted as what it is" 0 attest verify q "${quote[@]}" --json
json 'd["backend"] == "tpm" and d["accepted"] and not d["hardware"]'
err "which machine and what it booted, no enclave, accepted"
pcr7=$(pcr 7)
firmware=$(python3 -c 'import json; print(next(c["actual"] for c in json.load(open(".out"))["checks"] if c["name"] == "tpm.firmware"))')
spec "and never as hardware's" 77 attest verify q --policy policy.yaml --nonce 00c0ffee
err 'hardware: expected hardware, but it is software with a TPM'
spec "nor by its kind" 77 attest verify q --policy policy.yaml --nonce 00c0ffee --kind tpm
spec "nor where nobody says whose key it is" 77 attest verify q --nonce 00c0ffee --allow-software
err "tpm.key_name: expected one of the policy's tpm_keys, which has none, or a certificate"
spec "the same key again, and a nonce of now" 0 attest report again "${one[@]}" --node-key ca/n1/node.key --nonce 01
spec "which is not that of before" 77 attest verify again "${quote[@]}"
err 'tpm.nonce: expected 00c0ffee'
spec "a key of RSA" 0 attest report rsa "${one[@]}" --node-key ca/n1/node.key --nonce 00c0ffee --tpm-key rsa --pcrs 0-7,11,23 --json
printf 'penstock_policy: 1\ntpm_keys: ["%s"]\npcr_selection: [0, 11, 23]\n' "$(value tpm_key_name)" >rsa.yaml
spec "is verified, too" 0 attest verify rsa --policy rsa.yaml --nonce 00c0ffee --allow-software
out '^passed  tpm.signature'
spec "and is another key" 77 attest verify rsa "${quote[@]}"
err 'tpm.key_name'

# ---- what is wrong ----
spec "another TPM's quote" 0 attest report theirs "${other[@]}" --node-key ca/n1/node.key --nonce 00c0ffee
spec "is refused" 77 attest verify theirs "${quote[@]}"
err 'tpm.key_name'
spec "this TPM's of another node's key" 0 attest report theirs "${one[@]}" --node-key ca/n2/node.key --nonce 00c0ffee
spec "is refused, where the policy names nodes" 77 attest verify theirs "${quote[@]}"
err 'tpm.node_key'
printf 'penstock_policy: 1\ntpm_keys: ["%s"]\n' "$key" >any.yaml
spec "a TPM quotes any key that root asks for" 0 attest verify theirs --policy any.yaml --nonce 00c0ffee --allow-software
wrong() { # wrong FIELD PART OFFSET: a byte of q is another one
    cp q changed
    python3 "$hands" flip changed "$2" "$3"
    spec "a changed byte of $2" 77 attest verify changed "${quote[@]}" --json
    json "any(c['name'] == '$1' and c['result'] == 'failed' for c in d['checks'])"
}
wrong tpm.signature signature 20
wrong tpm.magic attest 3
wrong tpm.type attest 5
wrong tpm.signature attest 50
wrong tpm.pcrs pcrs 0
wrong tpm.key_attributes public 5
head -c -1 q >cut.quote
spec "a byte less" 65 attest verify cut.quote "${quote[@]}"
err 'cut short or too long'
head -c 100 q >cut.quote
spec "its head alone" 65 attest verify cut.quote "${quote[@]}"
{ cat q && echo; } >more.quote
spec "a byte more" 65 attest verify more.quote "${quote[@]}"
policy "tpm_firmware: [\"$firmware\"]\n"
spec "its firmware" 0 attest verify q "${quote[@]}"
policy 'tpm_firmware: ["0000000000000001"]\n'
spec "other firmware" 77 attest verify q "${quote[@]}"
err "tpm.firmware: expected 0000000000000001, but it is $firmware"
policy "pcrs: {7: [\"$pcr7\"]}\n"
spec "what was booted" 0 attest verify q "${quote[@]}"
policy "pcrs: {7: [\"$pcr7\"]}\npcr_selection: [0, 11]\n"
spec "a PCR that is not quoted" 77 attest verify q "${quote[@]}"
err 'tpm.pcr_selection: expected 0, 11 at least'
policy "pcrs: {7: [\"$pcr7\"]}\n"
spec_name="the machine boots something else" words=(extend)
expect "PCR 7 is extended" python3 "$hands" extend one/tpm.sock 7
spec "a quote after it" 0 attest report after "${one[@]}" --node-key ca/n1/node.key --nonce 00c0ffee
spec "a quote of after it is refused" 77 attest verify after "${quote[@]}"
err 'tpm.pcr7: expected 0{64}, but it is [0-9a-f]{64}'

# ---- a policy that is wrong ----
policy 'pcrs: {24: []}\n'
spec "no such PCR" 78 attest verify q "${quote[@]}"
err 'policy.yaml:4:8: error: unknown key `24`'
policy 'pcrs: {7: ["00"]}\n'
spec "no value of a PCR" 78 attest verify q "${quote[@]}"
err 'an item of `pcrs` is 64 hexadecimal digits'

# ---- behind a worker's report: who gets the key for sealed rows ----
if [ ! -x "$(dirname "$P")/penstock-enclave" ]; then
    echo "not run any further: this build has no penstock-enclave"
    finish
    exit
fi
load=$ROOT/debs14/load.yaml q1=(--enclave all --set every=60)
"$P" gen --houses 2 --plugs 4 --duration 5m --seed 3 --quiet --output meters.csv
"$P" key init user.key --quiet
"$P" seal "$load" "${q1[@]}" --key user.key -i meters.csv -o load.sealed --quiet
spec "the node's key of its certificate is in a policy" 0 measure "$load" "${q1[@]}" --node-key ca/n1/node.key
out "^  - $node"
{ cat .out && printf 'tpm_keys: ["%s"]\n' "$key"; } >serve.yaml
mkfifo said
"$P" key serve user.key --policy serve.yaml --allow-software --listen unix:keys.sock 2>said &
keeper=$!
exec 7<said
read -r _ <&7 # that it listens
cat <&7 >kept &
sealed=("$load" "${q1[@]}" -i load.sealed -o results --sealed --epc 8MiB --keys unix:keys.sock --node-key ca/n1/node.key)
spec "a node without its TPM gets no key" 77 run "${sealed[@]}" --tpm none
err 'the evidence is not what the policy wants: tpm.quote is none is there'
spec "nor one with another's" 77 run "${sealed[@]}" "${other[@]}"
err 'the evidence is not what the policy wants: tpm.key_name'
spec "nor is one asked for where the TPM does not answer" 74 run "${sealed[@]}" --tpm swtpm:path=nobody.sock
err 'does not answer'
spec "the node with its TPM does" 0 run "${sealed[@]}" "${one[@]}"
there results/load_plug.csv.sealed

finish
