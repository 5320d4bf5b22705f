#!/usr/bin/env bash
# Apps outside of the workspace, each with the features that it says: a TLS provider of the app's and
# the one of this crate get on. Every app is built by itself, in one target directory, so that features
# of one don't reach another. Each calls `rustls::ClientConfig::builder()` and delivers a line by https.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD

cargo build --quiet --package bizproc-portal
portal=${CARGO_TARGET_DIR:-$root/target}/debug/bizproc-portal

work=$(mktemp -d)
"$portal" > "$work/portal" &
pid=$!
trap 'kill "$pid"; rm -rf "$work"' EXIT
until grep -q '^curl ' "$work/portal"; do
    kill -0 "$pid"
    sleep 0.1
done
said() { sed -n "s/^$1  *//p" "$work/portal"; }
export BITRIX24_WEBHOOK_URL BITRIX24_CA_FILE EVENT_TOKEN
BITRIX24_WEBHOOK_URL=$(said https)
BITRIX24_CA_FILE=$(said 'ca file')
EVENT_TOKEN=$(sed -n "s/^curl -d 'EVENT_TOKEN=\([^']*\)'.*/\1/p" "$work/portal")

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}/apps" CARGO_PROFILE_DEV_DEBUG=0

# app NAME "what the error before `install_default` has to say" <<< dependencies and features
app() {
    mkdir -p "$work/$1/src"
    cp "$root/tests/apps/src/main.rs" "$work/$1/src/"
    cp "$root/Cargo.lock" "$work/$1/"
    {
        printf '[package]\nname = "app-%s"\nversion = "0.0.0"\nedition = "2024"\n\n' "$1"
        printf '[dependencies]\ntracing = "0.1"\ntracing-subscriber = "0.3"\n'
        cat
    } > "$work/$1/Cargo.toml"
    cargo build --quiet --manifest-path "$work/$1/Cargo.toml"
    "$CARGO_TARGET_DIR/debug/app-$1" > "$work/$1/printed" 2>&1 || { cat "$work/$1/printed"; exit 1; }
    [ "$(tail -n 1 "$work/$1/printed")" = "acknowledged=1 pending=0 lost=0" ] || {
        echo "the app $1 printed:"
        cat "$work/$1/printed"
        exit 1
    }
    if [ -n "${2:-}" ] && ! grep -q "$2" "$work/$1/printed"; then
        echo "the app $1 did not say: $2"
        cat "$work/$1/printed"
        exit 1
    fi
    echo "app $1 ok"
}

app rustls-default <<TOML
rustls = "0.23"
tracing-bizproc = { path = "$root" }

[features]
installs = []
reqwest = []
TOML

app reqwest-default <<TOML
reqwest = "0.13"
rustls = { version = "0.23", default-features = false, features = ["std"] }
tracing-bizproc = { path = "$root" }

[features]
default = ["reqwest"]
installs = []
reqwest = []
TOML

app ring <<TOML
rustls = { version = "0.23", default-features = false, features = ["ring", "std", "tls12"] }
tracing-bizproc = { path = "$root", default-features = false, features = ["ring"] }

[features]
installs = []
reqwest = []
TOML

app installs "there is no TLS provider" <<TOML
rustls = { version = "0.23", default-features = false, features = ["ring", "std", "tls12"] }
tracing-bizproc = { path = "$root", default-features = false }

[features]
default = ["installs"]
installs = []
reqwest = []
TOML
