#!/usr/bin/env bash
# Apps outside of the workspace, each with the features that it says: a TLS provider of the app's and
# the one of this crate get on. Every app is built by itself, in one target directory, so that features
# of one don't reach another. Each calls `rustls::ClientConfig::builder()` and delivers a line by https.
# After them, the README's apps, as they stand there.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD

cargo build --quiet --package bizproc-portal --features cli
portal=${CARGO_TARGET_DIR:-$root/target}/debug/bizproc-portal

work=$(mktemp -d)
pid=
end_portal() { [ -z "$pid" ] || kill "$pid"; pid=; }
trap 'end_portal; rm -rf "$work"' EXIT

# A new portal, with a workflow that waits at an activity, and what an app has to know of them.
said() { sed -n "s/^$1  *//p" "$work/portal"; }
new_portal() {
    end_portal
    : > "$work/portal"
    "$portal" > "$work/portal" &
    pid=$!
    until grep -q '^curl ' "$work/portal"; do
        kill -0 "$pid"
        sleep 0.1
    done
    export BITRIX24_WEBHOOK_URL BITRIX24_CA_FILE EVENT_TOKEN
    BITRIX24_WEBHOOK_URL=$(said "$1")
    BITRIX24_CA_FILE=$(said 'ca file')
    EVENT_TOKEN=$(sed -n "s/^curl -d 'EVENT_TOKEN=\([^']*\)'.*/\1/p" "$work/portal")
}

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}/apps" CARGO_PROFILE_DEV_DEBUG=0

# package NAME <<< dependencies and features; its code stands in $work/NAME/src/main.rs.
package() {
    cp "$root/Cargo.lock" "$work/$1/"
    {
        printf '[package]\nname = "app-%s"\nversion = "0.0.0"\nedition = "2024"\n\n' "$1"
        printf '[dependencies]\ntracing = "0.1"\ntracing-subscriber = "0.3"\n'
        cat
    } > "$work/$1/Cargo.toml"
    cargo build --quiet --manifest-path "$work/$1/Cargo.toml"
}

# runs NAME: the built app, which has to end well.
runs() {
    "$CARGO_TARGET_DIR/debug/app-$1" > "$work/$1/printed" 2>&1 || failed "$1" "failed"
}

failed() {
    echo "the app $1 $2; it printed:"
    cat "$work/$1/printed"
    exit 1
}

# app NAME "what the error before `install_default` has to say" <<< dependencies and features
app() {
    mkdir -p "$work/$1/src"
    cp "$root/tests/apps/src/main.rs" "$work/$1/src/"
    package "$1"
    new_portal https
    runs "$1"
    [ "$(tail -n 1 "$work/$1/printed")" = "acknowledged=1 pending=0 lost=0" ] ||
        failed "$1" "did not deliver"
    [ -z "${2:-}" ] || grep -q "$2" "$work/$1/printed" || failed "$1" "did not say: $2"
    echo "app $1 ok"
}

# readme NAME "words of the snippet" "line in the log".. <<< dependencies: the README's code, word by
# word, and what stands in the portal's log then.
readme() {
    local name=$1 words=$2
    shift 2
    mkdir -p "$work/$name/src"
    awk -v words="$words" '
        /^```rust/ { inside = 1; text = ""; next }
        /^```$/ { if (inside && index(text, words)) printf "%s", text; inside = 0 }
        inside { text = text $0 "\n" }
    ' README.md > "$work/$name/src/main.rs"
    package "$name"
    new_portal webhook
    runs "$name"
    local page id
    page=$(said page)
    id=$(curl --silent --noproxy '*' "${page}api/state" | grep -o '"id":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
    curl --silent --noproxy '*' "${page}api/workflows/$id" > "$work/$name/log"
    for line in "$@"; do
        grep -qF "$line" "$work/$name/log" || {
            cat "$work/$name/log"
            failed "$name" "has not logged: $line"
        }
    done
    echo "readme $name ok"
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

readme tracing "info_span!(\"activity\"" "Card charged (amount=99.5)" <<TOML
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
tracing-bizproc = { path = "$root" }
TOML

readme log "build_logger" "Card charged (amount=99.5)" "Handed to the carrier" "Receipt sent" <<TOML
env_logger = "0.11"
log = { version = "0.4", features = ["kv"] }
tokio = { version = "1", features = ["macros", "rt-multi-thread"] }
tracing-bizproc = { path = "$root", features = ["log"] }
TOML
