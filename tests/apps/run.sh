#!/usr/bin/env bash
# Apps outside of the workspace, built as a user builds them, and run against a stand-in portal. Every app is
# built by itself, in one target directory, so that features of one don't reach another.
#
# - Four apps with a TLS provider each: the provider of the app and the one of this crate get on. Each calls
#   `rustls::ClientConfig::builder()`, and delivers a line by https.
# - The apps of README.md and docs/guide.md, word for word, with the dependencies that stand there. A comment
#   `<!-- app: NAME -->` marks an app.
# - The guide's service once more as `replica`: it publishes to PostgreSQL, and a relay delivers.
#
#   tests/apps/run.sh            all of them
#   tests/apps/run.sh NAME..     only these
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
only=" $* "

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

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$root/target}/apps" CARGO_PROFILE_DEV_DEBUG=0 CARGO_INCREMENTAL=0

asks() { curl --silent --noproxy '*' "$@"; }

wanted() { [ "$only" = "  " ] || [[ "$only" = *" $1 "* ]]; }

failed() {
    echo "the app $1 $2; it printed:"
    cat "$work/$1/printed"
    exit 1
}

# package NAME COMMAND <<< dependencies and features; its code stands in $work/NAME/src. All have one name, which
# the guide's filters name too.
package() {
    cp "$root/Cargo.lock" "$work/$1/"
    {
        printf '[package]\nname = "my_app"\nversion = "0.0.0"\nedition = "2024"\n\n'
        cat
        # The crates as they are here, in place of those that are published.
        printf '\n[patch.crates-io]\ntracing-bizproc = { path = "%s" }\n' "$root"
        if grep -q bizproc-portal "$work/$1/dependencies"; then
            printf 'bizproc-portal = { path = "%s/portal" }\n' "$root"
        fi
        if grep -q tracing-bizproc-relay "$work/$1/dependencies"; then
            printf 'tracing-bizproc-relay = { path = "%s/relay" }\n' "$root"
        fi
    } > "$work/$1/Cargo.toml"
    cargo "$2" --quiet --manifest-path "$work/$1/Cargo.toml"
}

# runs NAME: the built app, in its folder. It has to end well.
runs() {
    (cd "$work/$1" && "$CARGO_TARGET_DIR/debug/my_app" > printed 2>&1) || failed "$1" "failed"
}

# tls NAME "what the error before `install_default` has to say" <<< dependencies and features
tls() {
    wanted "$1" || return 0
    mkdir -p "$work/$1/src"
    cp "$root/tests/apps/tls.rs" "$work/$1/src/main.rs"
    cat > "$work/$1/dependencies"
    package "$1" build < "$work/$1/dependencies"
    new_portal https
    runs "$1"
    [ "$(tail -n 1 "$work/$1/printed")" = "acknowledged=1 pending=0 lost=0" ] ||
        failed "$1" "did not deliver"
    [ -z "${2:-}" ] || grep -q "$2" "$work/$1/printed" || failed "$1" "did not say: $2"
    echo "app $1 ok"
}

# built PAGE NAME COMMAND: builds the app that stands on a page.
built() {
    wanted "$2" || return 1
    mkdir -p "$work/$2/src"
    awk -v app="$2" -v folder="$work/$2" -f "$root/tests/apps/docs.awk" "$1"
    if grep -q '^\(async \)\?fn main' "$work/$2/code.rs"; then
        mv "$work/$2/code.rs" "$work/$2/src/main.rs"
    else
        mv "$work/$2/code.rs" "$work/$2/src/lib.rs"
    fi
    package "$2" "$3" < "$work/$2/dependencies" > "$work/$2/printed" 2>&1 || failed "$2" "was not built"
}

# page PAGE NAME "pattern of a line in the log".. "!pattern that is in no line": builds and runs an app, and looks at the portal's log.
page() {
    built "$1" "$2" build || return 0
    new_portal webhook
    runs "$2"
    logged "${@:2}"
    echo "app $2 ok"
}

logged() {
    local name=$1 id
    shift
    id=$(asks "$(said page)api/state" | grep -o '"id":"[^"]*"' | head -n 1 | cut -d '"' -f 4)
    asks "$(said page)api/workflows/$id" > "$work/$name/log"
    for pattern in "$@"; do
        case "$pattern" in
            !*) ! grep -qE -- "${pattern#!}" "$work/$name/log" ;;
            *) grep -qE -- "$pattern" "$work/$name/log" ;;
        esac || {
            cat "$work/$name/log"
            failed "$name" "has not logged as it should: $pattern"
        }
    done
}

free_port() {
    local port
    until port=$((20000 + RANDOM % 12000)) && ! (: < "/dev/tcp/127.0.0.1/$port") 2>/dev/null; do :; done
    echo "$port"
}

# soon COMMAND..: waits until it succeeds.
soon() {
    for _ in $(seq 200); do
        ! "$@" || return 0
        sleep 0.05
    done
    return 1
}

tls rustls-default <<TOML
[dependencies]
rustls = "0.23"
tracing = "0.1"
tracing-bizproc = "0.1"
tracing-subscriber = "0.3"

[features]
installs = []
reqwest = []
TOML

tls reqwest-default <<TOML
[dependencies]
reqwest = "0.13"
rustls = { version = "0.23", default-features = false, features = ["std"] }
tracing = "0.1"
tracing-bizproc = "0.1"
tracing-subscriber = "0.3"

[features]
default = ["reqwest"]
installs = []
reqwest = []
TOML

tls ring <<TOML
[dependencies]
rustls = { version = "0.23", default-features = false, features = ["ring", "std", "tls12"] }
tracing = "0.1"
tracing-bizproc = { version = "0.1", default-features = false, features = ["ring"] }
tracing-subscriber = "0.3"

[features]
installs = []
reqwest = []
TOML

tls installs "there is no TLS provider" <<TOML
[dependencies]
rustls = { version = "0.23", default-features = false, features = ["ring", "std", "tls12"] }
tracing = "0.1"
tracing-bizproc = { version = "0.1", default-features = false }
tracing-subscriber = "0.3"

[features]
default = ["installs"]
installs = []
reqwest = []
TOML

page README.md tracing 'Card charged \(amount=99.5\)'
page README.md log 'Card charged \(amount=99.5\)' 'Handed to the carrier' 'Receipt sent'
page docs/guide.md cli 'Import finished \(rows=1200\)'
page docs/guide.md selecting 'Order received \(order=1042\)' 'Card charged \(amount=99.5\)' '!Reserved'
! wanted selecting || grep -q Reserved "$work/selecting/printed" || failed selecting "has not printed: Reserved"
# The hour in Moscow, and the next one, which may have come when the line is logged.
hour=$(TZ=UTC-3 date +%H)
next=$(printf %02d $(((10#$hour + 1) % 24)))
page docs/guide.md moscow \
    "• ($hour|$next):[0-9:]{5} \+03:00 Заказ 1042 принят" \
    '• [0-9:]{8} \+03:00 ВНИМАНИЕ: Шнур питания: остался последний' '!order=' '!sku='
page docs/guide.md options 'shop: Order received \(comment=Please ring twice' '!4242' '!hard to hear'

if built docs/guide.md metrics build; then
    new_portal webhook
    export APP_ADDRESS
    APP_ADDRESS=127.0.0.1:$(free_port)
    "$CARGO_TARGET_DIR/debug/my_app" > "$work/metrics/printed" 2>&1 &
    watched=$!
    counted() { asks "http://$APP_ADDRESS/metrics" | grep -qx 'bizproc_lines_acknowledged_total 1'; }
    soon counted || { kill "$watched"; failed metrics "has not counted its line"; }
    [ "$(asks "http://$APP_ADDRESS/health")" = ready ] || failed metrics "is not ready"
    kill -INT "$watched"
    wait "$watched" || failed metrics "failed"
    logged metrics 'Order received \(order=1042\)'
    echo "app metrics ok"
fi

# portals NAME RELAY..: two portals call the built service, and stop it while it works.
portals() {
    local name=$1
    shift
    mkdir -p "$work/portals/src"
    cp tests/apps/portals.rs "$work/portals/src/main.rs"
    cp "$CARGO_TARGET_DIR/debug/my_app" "$work/$name/service"
    printf '[dependencies]\nbizproc-portal = "0.1"\nbizproc-test-postgres = { path = "%s/relay/testing" }\n' \
        "$root" > "$work/portals/dependencies"
    package portals build < "$work/portals/dependencies"
    (cd "$work/$name" && "$CARGO_TARGET_DIR/debug/my_app" ./service "$@" > printed 2>&1) || failed "$name" "failed"
    if grep -q 'skipped' "$work/$name/printed"; then
        cat "$work/$name/printed"
        return
    fi
    grep -q 'pending=0 lost=0' "$work/$name/printed" || failed "$name" "has not said that all was delivered"
    echo "app $name ok"
}

if built docs/guide.md service build; then
    portals service
fi

# The service with the code of the chapter "Publish to a relay" in place of its store and its builder.
if wanted replica; then
    mkdir -p "$work/replica/src"
    awk -v app=service -v folder="$work/replica" -f tests/apps/docs.awk docs/guide.md
    awk '/^```rust,ignore$/ { block = ""; within = 1; next }
        /^```$/ { if (within && block ~ /publish_to/) printf "%s", block; within = 0; next }
        within { block = block $0 "\n" }' docs/guide.md > "$work/replica/publishing"
    awk -v publishing="$work/replica/publishing" '/let store = FileStore::new/ {
            while ((getline line < publishing) > 0) print line
            within = 1
        }
        !within
        within && /\.build\(\)\?;$/ { within = 0 }' "$work/replica/code.rs" > "$work/replica/src/main.rs"
    grep -q publish_to "$work/replica/src/main.rs" && ! grep -q FileStore::new "$work/replica/src/main.rs"
    echo 'tracing-bizproc-relay = "0.1"' >> "$work/replica/dependencies"
    package replica build < "$work/replica/dependencies" > "$work/replica/printed" 2>&1 || failed replica "was not built"
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR%/apps}" cargo build --quiet --package tracing-bizproc-relay --features cli
    portals replica "${CARGO_TARGET_DIR%/apps}/debug/bizproc-relay"
fi

if built docs/guide.md handler test; then
    echo "app handler ok"
fi
