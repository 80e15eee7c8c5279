#!/bin/bash
# machine.sh - hardware's evidence of a confidential machine as its users meet it: asked for, verified, and behind the evidence of workers that
# want the key for sealed rows. The machine is made: a folder answers as the kernel's does (tsm_kernel.c), with keys of the test's own; and with
# genuine reports where the recordings are, which are good but for the nonce.
# shellcheck source-path=SCRIPTDIR source=lib.sh disable=SC2016,SC2034
. "$(dirname "$(realpath "$0")")/lib.sh"

BUILT=$(dirname "$P")/tests/cli keeper=''
DATA=${PENSTOCK_RECORDINGS:-$ROOT/../shared}/data/attestation
down() {
    [ -z "$keeper" ] || kill "$keeper"
    rm -rf "$T"
}
trap down EXIT
mkdir tsm one other genuine
"$BUILT/made_machine" one
"$BUILT/made_machine" other
cat >on_machine <<EOS
#!/bin/sh
export ASAN_OPTIONS="\$ASAN_OPTIONS:verify_asan_link_order=0" TSM_FOLDER=tsm LD_PRELOAD="$BUILT/libtsm_kernel.so"
exec "$P" "\$@"
EOS
chmod +x on_machine
plain=$P P=$T/on_machine
export TSM_MACHINE=one
nonce=$(printf '42%.0s' {1..32})
empty() { [ -z "$(ls -A tsm)" ]; }

# ---- a machine's own evidence ----
spec "what hardware says of this machine" 0 attest report own.bin --tsm tsm --nonce "$nonce" --json
json 'd["provider"] == "sev_guest" and d["certificates"] == "own.bin.certificates"'
err '^  root can still  of the guest: read and change everything in it'
expect "the request is gone" empty
own=(own.bin --certificates own.bin.certificates --nonce "$nonce")
spec "is verified" 0 attest verify "${own[@]}" --roots one/root.pem --json
json 'd["accepted"] and d["backend"] == "snp" and d["root_can"].startswith("of the guest")'
spec "by that root" 77 attest verify "${own[@]}" --roots other/root.pem
err 'chain.snp.ask: .*certificate signature failure' # two roots of one name
spec "and for that nonce" 77 attest verify own.bin --certificates own.bin.certificates --roots one/root.pem --nonce 00
err 'report.report_data: expected 00, then zeros'

# ---- genuine reports, which the folder serves ----
genuine() { # genuine FOLDER REPORT
    mkdir -p "$1"
    cp "$DATA/$2" "$1/report.bin"
}
if [ -f "$DATA/SOURCE.md" ]; then
    genuine genuine snp/trustee/test-report.bin
    cat "$DATA/snp/trustee/test-vcek.der" >vcek.der
    openssl x509 -inform der -in vcek.der 2>.err | cat - "$DATA/snp/roots/milan_ask_ark_asvk.pem" >genuine/certificates
    TSM_MACHINE=genuine spec "a genuine report comes as it is" 0 attest report real.bin --tsm tsm --nonce "$nonce"
    expect "byte for byte" cmp -s real.bin "$DATA/snp/trustee/test-report.bin"
    real=(real.bin --certificates real.bin.certificates --at 2025-06-30)
    spec "with the certificates that came along it is genuine" 0 attest verify "${real[@]}" --json
    json 'd["accepted"] and all(c["result"] != "failed" for c in d["checks"]) and len(d["checks"]) >= 20'
    json '{"chain.snp.root", "report.signature", "report.chip_id", "report.measurement"} <= {c["name"] for c in d["checks"]}'
    spec "for another nonce than ours, and that alone is wrong" 77 attest verify "${real[@]}" --nonce "$nonce" --json
    json '[c["name"] for c in d["checks"] if c["result"] == "failed"] == ["report.report_data"]'
    genuine td tdx/dcap-qvl/tdx_quote
    TSM_MACHINE=td TSM_PROVIDER=tdx_guest spec "a genuine quote of TDX" 0 attest report td.bin --tsm tsm --nonce "$nonce" --json
    json 'd["provider"] == "tdx_guest" and d["certificates"] is None'
    real=(td.bin --collateral "$DATA/tdx/dcap-qvl/tdx_quote_collateral.json" --at 2025-06-30)
    spec "is genuine" 0 attest verify "${real[@]}"
    spec "and for another nonce" 77 attest verify "${real[@]}" --nonce "$nonce" --json
    json '[c["name"] for c in d["checks"] if c["result"] == "failed"] == ["td.report_data"]'
else
    echo "no recordings in $DATA: no genuine report is served here (PENSTOCK_RECORDINGS names another folder)"
fi
export TSM_MACHINE=one

# ---- behind workers that want the key for sealed rows ----
if [ ! -x "$(dirname "$plain")/penstock-enclave" ]; then
    echo "not run any further: this build has no penstock-enclave"
    finish
    exit
fi
load=$ROOT/debs14/load.yaml q1=(--enclave all --set every=60)
"$plain" gen --houses 2 --plugs 4 --duration 5m --seed 3 --quiet --output meters.csv
"$plain" key init user.key --quiet
"$plain" key init node.key --quiet
"$plain" seal "$load" "${q1[@]}" --key user.key -i meters.csv -o load.sealed --quiet
"$plain" measure "$load" "${q1[@]}" --node-key node.key >workers.yaml
machine=$(printf '3c%.0s' {1..48}) # as made_machine says
serve() { # serve POLICY flags...: listens when this returns
    [ -z "$keeper" ] || { kill "$keeper" && wait "$keeper"; }
    rm -f said keys.sock
    mkfifo said
    "$plain" key serve user.key --policy "$1" --listen unix:keys.sock "${@:2}" 2>said &
    keeper=$!
    exec 7<said
    read -r _ <&7
    cat <&7 >>kept &
}
sealed=("$load" "${q1[@]}" -i load.sealed --sealed --epc 8MiB --keys unix:keys.sock --node-key node.key --tpm none)
sed "s/^backends: .*/backends: [process-snp]/; s/^measurements:/&\n  - $machine/" workers.yaml >machine.yaml
spec "--tsm means something with --sealed" 2 run "$load" -i meters.csv --tsm tsm
spec "roots of the keeper that are none" 65 key serve user.key --policy machine.yaml --listen unix:no.sock --roots meters.csv
err '`meters.csv` is neither PEM nor DER'
spec "and collateral that is none" 65 key serve user.key --policy machine.yaml --listen unix:no.sock --collateral meters.csv
err '`meters.csv` is no JSON'
serve machine.yaml --roots one/root.pem
spec "a policy that wants hardware refuses software" 77 run "${sealed[@]}" -o results --tsm none
err 'the evidence is not what the policy wants: backend is process, not process-snp'
not_there results/load_plug.csv.sealed
if [ ! -d /sys/kernel/config/tsm/report ]; then
    spec "and where nothing is said there is none here" 77 run "${sealed[@]}" -o results
fi
spec "a worker on that machine gets the key, and no --allow-software is needed" 0 run "${sealed[@]}" -o results --tsm tsm
there results/load_plug.csv.sealed
expect "each request is gone" empty
expect "the keeper says whose it was" grep -q 'released to a worker of measurement [0-9a-f]* (process-snp)' kept
"$plain" run "$load" --set every=60 -i meters.csv -o clear --quiet
spec "its results" 0 open "$load" results/load_plug.csv.sealed "${q1[@]}" --key user.key --sink load_plug --output opened.csv
expect "are those of a run in the clear" cmp -s opened.csv clear/load_plug.csv
TSM_MACHINE=other spec "a machine whose maker nobody knows" 77 run "${sealed[@]}" -o results2 --tsm tsm
err 'the evidence is not what the policy wants: chain.snp.ask is .*certificate signature failure'
spec "a folder that is none ends the run" 74 run "${sealed[@]}" -o results2 --tsm nowhere
err "no hardware's evidence of this machine: \`nowhere\`: there is no such folder"
serve workers.yaml --roots one/root.pem --allow-software
spec "a policy that names process alone refuses the pair, too" 77 run "${sealed[@]}" -o results2 --tsm tsm
err 'backend is process-snp, not process'
sed "s/^backends: .*/backends: [process-snp]/" workers.yaml >no_machine.yaml
serve no_machine.yaml --roots one/root.pem
spec "a policy without the machine's measurement refuses it" 77 run "${sealed[@]}" -o results2 --tsm tsm
err 'report.measurement is 3c3c'
if [ ! -f genuine/report.bin ] || ! openssl x509 -checkend 0 -noout -in genuine/certificates >.out; then
    echo "no genuine report is shown to a keeper: there is none, or its certificate has expired"
else
    genuine_machine=$(od -An -v -tx1 -j144 -N48 genuine/report.bin | tr -d ' \n')
    sed "s/^backends: .*/backends: [process-snp]/; s/^measurements:/&\n  - $genuine_machine/" workers.yaml >genuine.yaml
    serve genuine.yaml
    TSM_MACHINE=genuine spec "a genuine report, with its chain and measurement, that was made for another worker" 77 run "${sealed[@]}" -o results2 --tsm tsm
    err 'the evidence is not what the policy wants: report.report_data is [0-9a-f]+, not SHA-512 of the worker'
fi

finish
