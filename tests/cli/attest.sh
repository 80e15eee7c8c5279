#!/bin/bash
# attest.sh - evidence through the command: exit codes, the field that failed, policies, and genuine evidence where recordings are.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

DATA=${PENSTOCK_RECORDINGS:-$ROOT/../shared}/data/attestation
CORPUS=$ROOT/tests/fuzz/corpus

policy() { printf 'penstock_policy: 1\n%b' "$1" >policy.yaml; }

# ---- usage ----
spec "what each kind protects from, in plain words" 0 attest
out '^process: software: a worker'
out '^  protects from   other processes and users, and from root without'
out '^  not from        root with these, nor from who runs the machine: no hardware'
out '^  root can still  inject code into a worker'
cp .out words
spec "by its name" 0 attest backends
expect "the same" cmp -s .out words
spec "and as an object" 0 attest --json
json '{b["name"]: (b["hardware"], b["runs_workers"]) for b in d["backends"]}["process"] == (False, True) and d["error"] is None'
json 'all(len(b[k]) > 20 for b in d["backends"] for k in ("protects_from", "not_from", "root_can"))'
json '{b["name"] for b in d["backends"]} == set("snp tdx sgx az-snp-vtpm az-tdx-vtpm process tpm process-snp process-tdx".split())'
spec "and no more" 2 attest backends x
spec "nor a flag of the others" 2 attest --policy x
err '--policy belongs to `penstock attest verify` or `report`'
spec "these are all there is to do" 2 attest verfy x
err '`verfy` is nothing to do with evidence: did you mean `verify`\?'
spec "a flag of the other" 2 attest report x --policy x
err '`penstock attest verify`'
spec "and the other way round" 2 attest verify x --tsm x
err '`penstock attest report`'
spec "evidence has to be named" 2 attest verify
err 'EVIDENCE is missing'
spec "a kind that is none" 2 attest verify x --kind sgxx
err 'did you mean `sgx`\?'
spec "a nonce that is none" 2 attest verify x --nonce 123
err 'an even number of hexadecimal digits'
spec "a nonce that is too long" 2 attest verify x --nonce "$(printf '%0130d' 0)"
spec "a time that is none" 2 attest verify x --at yesterday
err '2026-01-31T12:00:00Z is wanted'

# ---- files ----
spec "evidence that is not there" 74 attest verify none.bin
err '`none.bin` cannot be read: No such file'
spec "a folder" 74 attest verify .
: >empty
spec "an empty file" 65 attest verify empty
err '`empty` is no evidence that is known'
no_out
head -c 1048577 /dev/zero >large
spec "a file that is too large" 65 attest verify large
err 'more than 1 MiB'
spec "as an object" 65 attest verify empty --json
json 'd["error"]["exit_code"] == 65'
cp "$CORPUS/evidence/snp" report.bin
spec "certificates that are not there" 74 attest verify report.bin --certificates none.pem
spec "certificates that are none" 65 attest verify report.bin --certificates empty
err '`empty` is neither PEM nor DER'
spec "collateral that is none" 65 attest verify "$CORPUS/evidence/tdx" --collateral empty
err '`empty` is no JSON'
spec "another kind than was said" 65 attest verify report.bin --kind tdx
err 'is an attestation report of AMD SEV-SNP \(snp\), not a quote of Intel TDX \(tdx\)'

# ---- policies ----
spec "a policy that is not there" 74 attest verify report.bin --policy none.yaml
policy 'measurement: []\ndebug: yes\n'
spec "a policy that is wrong" 78 attest verify report.bin --policy policy.yaml
err '^policy.yaml:2:1: error: unknown key `measurement`'
err 'did you mean `measurements`\?'
err '^policy.yaml:3:8: error: `debug` must be true or false'
spec "as an object" 78 attest verify report.bin --policy policy.yaml --json
json 'd["error"]["exit_code"] == 78 and d["diagnostics"][0]["line"] == 2'
spec "a policy is judged before evidence is read" 78 attest verify none.bin --policy policy.yaml

# ---- evidence whose root nobody knows ----
spec "no certificate" 77 attest verify report.bin --at 2025-07-01
err 'is refused: chain.snp.vcek: expected a certificate of the VCEK'
spec "a chain of somebody's own" 77 attest verify report.bin --certificates "$CORPUS/certificates/amd.pem" --at 2025-07-01
err 'is refused: chain.snp.root: expected ARK-Milan, ARK-Genoa, ARK-Turin, by fingerprint'
out '^FAILED  chain.snp.root'
out '^passed  report.signature'
spec "which is accepted where its root is given" 0 attest verify report.bin --certificates "$CORPUS/certificates/amd.pem" \
    --roots "$CORPUS/certificates/amd.pem" --at 2025-07-01
err 'an attestation report of AMD SEV-SNP, accepted'
err '^  root can still  of the guest: read and change everything in it'
spec "as an object" 0 attest verify report.bin --certificates "$CORPUS/certificates/amd.pem" --roots "$CORPUS/certificates/amd.pem" \
    --at 2025-07-01 --json
json 'd["accepted"] and d["backend"] == "snp" and d["hardware"] and d["at"] == "2025-07-01T00:00:00Z" and d["error"] is None'
json 'all(c["result"] in ("passed", "not_checked") for c in d["checks"])'
json 'next(c for c in d["checks"] if c["name"] == "report.measurement")["actual"] == "3c" * 48'
own=(report.bin --certificates "$CORPUS/certificates/amd.pem" --roots "$CORPUS/certificates/amd.pem" --at 2025-07-01)
spec "not before its time" 77 attest verify report.bin --certificates "$CORPUS/certificates/amd.pem" --roots "$CORPUS/certificates/amd.pem" \
    --at 2024-07-01
err 'not yet valid'
spec "nor when its issuer is revoked" 77 attest verify "${own[@]}" --crl "$CORPUS/certificates/crl.der"
err 'chain.snp.ask: .*certificate revoked'
spec "nor for another nonce" 77 attest verify "${own[@]}" --nonce 00
err 'report.report_data: expected 00, then zeros'
spec "but for its own" 0 attest verify "${own[@]}" --nonce "$(printf '5a%.0s' {1..64})"
policy "measurements: [$(printf '3d%.0s' {1..48})]\n"
spec "nor with another measurement" 77 attest verify "${own[@]}" --policy policy.yaml --json
json 'd["error"]["exit_code"] == 77 and not d["accepted"] and [c["name"] for c in d["checks"] if c["result"] == "failed"] == ["report.measurement"]'
policy "measurements: [$(printf '3d%.0s' {1..48}), $(printf '3c%.0s' {1..48})]\nminimum_tcb: {snp: 22}\nnonce: true\n"
spec "nor without a nonce where a policy wants one" 77 attest verify "${own[@]}" --policy policy.yaml
spec "either measurement will do" 0 attest verify "${own[@]}" --policy policy.yaml --nonce "$(printf '5a%.0s' {1..64})" --quiet
no_err
policy "minimum_tcb: {snp: 23}\n"
spec "an old platform" 77 attest verify "${own[@]}" --policy policy.yaml
err 'tcb.snp: expected at least 23, but it is 22'

# ---- software ----
node_key=$(od -An -v -tx1 -j160 -N32 "$CORPUS/evidence/process" | tr -d ' \n')
spec "software evidence" 77 attest verify "$CORPUS/evidence/process"
err 'hardware: expected hardware, but it is software'
policy "node_keys: [\"$node_key\"]\n"
spec "a policy does not make it hardware's" 77 attest verify "$CORPUS/evidence/process" --policy policy.yaml
spec "it is nobody's word without a key" 77 attest verify "$CORPUS/evidence/process" --allow-software
err 'process.node_key'
spec "it is accepted where both say so" 0 attest verify "$CORPUS/evidence/process" --policy policy.yaml --allow-software --json
json 'd["backend"] == "process" and d["accepted"] and not d["hardware"] and d["root_can"].startswith("inject code")'

# ---- this machine's own: a folder that is no kernel's gives nothing, and keeps nothing ----
spec "no such folder" 74 attest report own.bin --tsm none
err 'no evidence of this machine: `none`: there is no such folder'
not_there none
not_there own.bin
spec "the standard folder, where there is no such kernel" "$([ -d /sys/kernel/config/tsm/report ] && echo 0 || echo 74)" attest report own.bin

# ---- the page, the help and the table say the same ----
spec "help policy" 0 help policy
keys=$(sed -nE '/^Keys:/,$ s/^  ([a-z_0-9]+) .*/\1/p' .out)
expect "every key is in the page" test "$keys" = "$(sed -nE '/^## The policy/,/^## Software/ s/^\| `([a-z_0-9]+)` \|.*/\1/p' "$ROOT/docs/attestation.md")"

# ---- evidence of real machines ----
if [ ! -f "$DATA/SOURCE.md" ]; then
    echo "no recordings in $DATA: genuine evidence is not verified here (PENSTOCK_RECORDINGS names another folder)"
    finish
    exit
fi
snp=("$DATA/snp/trustee/test-report.bin" --certificates "$DATA/snp/roots/milan_ask_ark_asvk.pem" --at 2025-06-30)
spec "a genuine report of SEV-SNP" 0 attest verify "${snp[@]}" --certificates "$DATA/snp/trustee/test-vcek.der" --json
json 'd["accepted"] and d["collateral"] is None'
for forged in legacy new; do
    spec "a VCEK that was tampered with" 77 attest verify "${snp[@]}" --certificates "$DATA/snp/trustee/test-vcek-invalid-$forged.der"
    err 'chain.snp.vcek: .*certificate signature failure'
done
spec "a genuine quote of TDX" 0 attest verify "$DATA/tdx/dcap-qvl/tdx_quote" --collateral "$DATA/tdx/dcap-qvl/tdx_quote_collateral.json" \
    --at 2025-06-30
out '^collateral of 2025-06-19T10:16:03Z, 10 days old, good until 2025-07-19T'
spec "its collateral, too old by policy" 77 attest verify "$DATA/tdx/dcap-qvl/tdx_quote" --at 2025-07-10 --json \
    --collateral "$DATA/tdx/dcap-qvl/tdx_quote_collateral.json" --policy <(printf 'penstock_policy: 1\nmaximum_collateral_age: 20\n')
json 'd["collateral"]["age_days"] == 20'
spec "a platform that is out of date" 77 attest verify "$DATA/tdx/dcap-qvl/tdx_quote_outdated" --at 2026-02-28 \
    --collateral "$DATA/tdx/dcap-qvl/tdx_quote_outdated_collateral.json"
err 'tcb.status: expected UpToDate, but it is NotSupported'
policy 'tcb_statuses: [NoCollateral]\n'
debug=("$DATA/sgx/openenclave/sgx_quote" --policy policy.yaml --at 2025-06-30)
spec "an enclave in debug mode" 77 attest verify "${debug[@]}"
err 'enclave.attributes.debug: expected off, but it is on'
spec "an enclave in debug mode, allowed" 0 attest verify "${debug[@]}" --allow-debug
spec "evidence of Azure" 0 attest verify "$DATA/az-snp-vtpm/evidence-v1.json" --certificates "$DATA/snp/roots/milan_ask_ark_asvk.pem" \
    --at 2025-06-30 --nonce "$(printf challenge | od -An -v -tx1 | tr -d ' \n')"

finish
