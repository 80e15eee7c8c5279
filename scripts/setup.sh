#!/usr/bin/env bash
# Installs the Debian packages of scripts/packages.txt that are missing, and says so. Where none is, it does nothing and
# needs neither network nor root.
set -euo pipefail
cd "$(dirname "$0")/.."

packages() {
    local none='^$'
    [ "$(dpkg --print-architecture)" = amd64 ] || none='^$\|^libipsec-mb-dev$' # Debian has it for no other; penstock does without
    sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e "/$none/d" scripts/packages.txt
}

missing() {
    local package
    while read -r package; do
        # "ok installed" stands behind every architecture that has it.
        dpkg-query -W -f '${Status}\n' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s\n' "$package"
    done < <(packages)
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

command -v dpkg-query >/dev/null ||
    fail 'this script knows Debian 12 alone. Elsewhere, install what scripts/packages.txt names and build with' \
        'cmake --preset release && cmake --build --preset release'

mapfile -t wanted < <(missing)
if [ "${#wanted[@]}" -eq 0 ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
    fail "these packages are missing: ${wanted[*]}" 'You are not root and there is no sudo. As root:' \
        "apt-get install ${wanted[*]}"
fi

install=(apt-get install --yes --no-install-recommends "${wanted[@]}")
echo "setup: installing ${#wanted[@]} missing Debian packages: ${wanted[*]}"
if ! apt-get install --simulate --no-install-recommends "${wanted[@]}" >/dev/null 2>&1; then
    echo 'setup: apt does not know all of them yet: apt-get update'
    as_root apt-get update
fi
if ! as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}"; then
    echo 'setup: that failed; once more after apt-get update, in case the package lists are old'
    as_root apt-get update
    as_root env DEBIAN_FRONTEND=noninteractive "${install[@]}" ||
        fail 'apt-get could not install them; see its message above. Network and package sources in order?'
fi
mapfile -t wanted < <(missing)
[ "${#wanted[@]}" -eq 0 ] || fail "still missing after the installation: ${wanted[*]}"
echo 'setup: done'
