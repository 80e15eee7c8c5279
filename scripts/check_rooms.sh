#!/usr/bin/env bash
# Who may include, and call, whom: proves that an arrow along which a room may not look does not build.
# usage: scripts/check_rooms.sh BUILD   (a build folder of gcc, built); ends with "N passed, N failed"
#
# Each probe is a C file of one include, compiled with the very flags that the build gives to the room's own files.
set -u
cd "$(dirname "$0")/.." || exit 1
build=${1:?usage: scripts/check_rooms.sh BUILD}
probes=$(mktemp -d)
trap 'rm -rf "$probes"' EXIT
passed=0
failed=0

# The doors each room may open. What is not named here must not build.
declare -A may=(
    [base]='operators/operator.h'
    [state]='operators/operator.h base/base.h base/gcm.h'
    [migration]='operators/operator.h base/base.h state/seal.h'
    [engine]='operators/operator.h base/base.h base/narrow.h state/state.h state/pager.h state/image.h state/seal.h state/manifest.h migration/store.h migration/migration.h migration/move.h enclave_shim/attestation/evidence.h enclave_shim/enclave_shim.h enclave_shim/sealed.h'
    [enclave_shim]='operators/operator.h base/base.h base/narrow.h base/gcm.h'
    [enclave_shim/attestation]='operators/operator.h base/base.h'
    [enclave_shim/tpm]='operators/operator.h base/base.h enclave_shim/attestation/evidence.h'
    [operators]='operators/operator.h'
    [debs14]='operators/operator.h'
    [tools]='operators/operator.h engine/policy.h enclave_shim/tpm/tpm.h enclave_shim/attestation/evidence.h enclave_shim/enclave_shim.h state/seal.h migration/store.h operators/builtin.h debs14/debs14.h base/base.h engine/engine.h'
)
rooms='base state migration enclave_shim enclave_shim/attestation enclave_shim/tpm engine operators debs14 tools'
# Guests get these headers of the C standard library and of the processor, and nothing of the system.
guest_headers='stdbool.h stddef.h stdint.h stdalign.h limits.h string.h inttypes.h'
# What only a filling of struct pst_world may ask for (P7), and memory that pst_malloc() does not see (B1).
world_calls='clock_gettime gettimeofday time getrandom rand random srand open openat fopen read write pread pwrite close
    rename unlink mkdir socket connect pthread_create uv_hrtime uv_run uv_thread_create usleep nanosleep
    malloc calloc realloc posix_memalign aligned_alloc'

verdict() { # good?, sentence
    if [ "$1" = yes ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        echo "FAILED: $2"
    fi
}

# The flags of a room's files, without the file itself and its output.
flags_of() {
    python3 - "$build/compile_commands.json" "$PWD/$1/" <<'PYTHON'
import json, shlex, sys
for entry in json.load(open(sys.argv[1])):
    if entry["file"].startswith(sys.argv[2]) and "/bench/" not in entry["file"]:
        words = shlex.split(entry["command"])
        if words[0].endswith("ccache"):
            words = words[1:]
        if "-o" in words:
            at = words.index("-o")
            del words[at:at + 2]
        print("\n".join(w for w in words if w not in ("-c", entry["file"])))
        break
PYTHON
}

builds() { # flags in $flags; header
    printf '#include "%s"\n#include "%s"\nextern int probe;\n' "$1" "$1" >"$probes/probe.c"
    "${flags[@]}" -fsyntax-only "$probes/probe.c" >/dev/null 2>&1
}

headers=$(for room in $rooms; do find "$room" -maxdepth 1 -name '*.h'; done | sort)
for room in base state migration enclave_shim/attestation enclave_shim/tpm engine operators debs14 tools; do
    mapfile -t flags < <(flags_of "$room")
    if [ ${#flags[@]} -eq 0 ]; then
        verdict no "no file of $room is in $build/compile_commands.json"
        continue
    fi
    for header in $headers; do
        allowed=no
        if [ "${header%/*}" = "$room" ] || [[ " ${may[$room]} " == *" $header "* ]]; then
            allowed=yes
        fi
        if builds "$header"; then
            verdict $allowed "$room can include $header, which it must not know"
        elif [ $allowed = yes ]; then
            verdict no "$header does not compile by itself in $room"
        else
            verdict yes ''
        fi
    done
done

# The door of the room that has no code yet has to compile too.
flags=(gcc -std=c17 -Wall -Wextra -Werror -I.)
if builds enclave_shim/enclave_shim.h; then verdict yes ''; else verdict no 'enclave_shim/enclave_shim.h does not compile'; fi

# A way round the link farms.
around=$(grep -nE '#[[:space:]]*include[[:space:]]*"(\.\.?/|/)' -r base state migration enclave_shim engine operators debs14 tools \
    --include='*.[ch]')
if [ -z "$around" ]; then verdict yes ''; else verdict no "includes by path: $around"; fi

for room in operators debs14; do
    while read -r header; do
        case " $guest_headers " in
        *" $header "*) verdict yes '' ;;
        *) case $header in
            *intrin.h | arm_neon.h) verdict yes '' ;;
            *) verdict no "a guest, $room, includes <$header>" ;;
            esac ;;
        esac
    done < <(sed -nE 's/^[[:space:]]*#[[:space:]]*include[[:space:]]*<([^>]+)>.*/\1/p' "$room"/*.[ch] | sort -u)
done

# What the linker sees: guests call memory and string functions at most, other rooms reach the world by the seam alone.
undefined_of() { nm --undefined-only --just-symbol-name "$@" 2>/dev/null | grep -E '^[A-Za-z_]' | sort -u; }
defined_of() { nm --defined-only --just-symbol-name "$@" 2>/dev/null | grep -E '^[A-Za-z_]' | sort -u; }
for room in operators debs14; do
    library=$build/lib$room.a
    if [ ! -f "$library" ]; then
        verdict no "there is no $library"
        continue
    fi
    foreign=$(comm -23 <(undefined_of "$library") <(defined_of "$library") |
        grep -vE '^(mem(cpy|cmp|set|move|chr|rchr|mem)|str(n?len|n?cmp|chr)|__(builtin_)?cpu_(init|model|indicator_init|supports)|__cpu_features2?|_GLOBAL_OFFSET_TABLE_|__(u?div|u?mod)ti3|__stack_chk_fail|__mem(cpy|set|move)_chk)$' |
        tr '\n' ' ')
    if [ -z "$foreign" ]; then verdict yes ''; else verdict no "a guest, $room, calls $foreign"; fi
done
for room in state migration attestation engine; do
    foreign=$(comm -12 <(undefined_of "$build/lib$room.a") <(tr -s ' \n' '\n' <<<"$world_calls" | sort -u) | tr '\n' ' ')
    if [ -z "$foreign" ]; then verdict yes ''; else verdict no "$room goes round the seam: $foreign"; fi
done
# A worker's program has nothing of a TPM: it could not ask it, and what it does not have needs no trust.
if [ -f "$build/penstock-enclave" ]; then
    foreign=$(nm "$build/penstock-enclave" 2>/dev/null | grep -Eo '(Esys|Tss2|pst_tpm)_[A-Za-z_]+' | sort -u | tr '\n' ' ')
    if [ -z "$foreign" ]; then verdict yes ''; else verdict no "the worker's program has $foreign"; fi
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
