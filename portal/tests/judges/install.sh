#!/bin/sh
# Installs the judges of the portal on a Debian machine: PHP, the official SDKs, and other
# clients, at the versions that are pinned beside this script. What is there already is left alone.
#
# Node.js (20 or later) and Python (3.9 or later, with pip) are taken from the machine; where they
# are missing, and the user may install packages, they come from Debian, too.
#
# The SDKs go below $BIZPROC_JUDGES_DIR, by default where `cargo test` looks for them.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
target=${CARGO_TARGET_DIR:-$here/../../../target}
into=${BIZPROC_JUDGES_DIR:-$target/tmp/judges}

missing=
command -v php >/dev/null || missing="$missing php-cli"
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"
command -v python3 >/dev/null || missing="$missing python3"
python3 -m pip --version >/dev/null 2>&1 || missing="$missing python3-pip"
if [ -n "$missing" ]; then
    as_root=
    [ "$(id -u)" = 0 ] || as_root=sudo
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -q
    # shellcheck disable=SC2086 # a list of names
    $as_root apt-get install -q -y --no-install-recommends $missing
fi

# Runs "$@" unless the folder $1 was made from these very files, and notes that it was.
unless_done() {
    folder=$1 pins=$2
    shift 2
    if ! cmp -s "$pins" "$folder/.made-from"; then
        rm -rf "$folder"
        mkdir -p "$folder"
        "$@"
        cp "$pins" "$folder/.made-from"
    fi
}

js() {
    cp "$here/js/package.json" "$here/js/package-lock.json" "$into/js/"
    (cd "$into/js" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}

py() {
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --root-user-action=ignore --target "$into/py" --requirement "$here/py/requirements.txt"
}

clients() {
    python3 -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
        --root-user-action=ignore --target "$into/clients" --requirement "$here/clients/requirements.txt"
}

unless_done "$into/js" "$here/js/package-lock.json" js
unless_done "$into/py" "$here/py/requirements.txt" py
unless_done "$into/clients" "$here/clients/requirements.txt" clients

echo "The judges are ready in $into"
