#!/bin/sh
# Counts the instructions that an event needs on the caller's thread, and compares them with
# benches/instructions.budget: a count that is more than 5 % over its budget fails. Unlike times, these counts
# are the same in each run.
#
#   benches/instructions.sh           checks
#   benches/instructions.sh --accept  writes the counts as the new budget
#
# A count is the difference between 4,000 and 2,000 events, on the caller's thread alone. Needs valgrind.
# A budget is valid for one compiler, which the first line of the file names. If rustup has this compiler, it is
# used. Otherwise nothing is counted, and this is a failure if BIZPROC_REQUIRE_INSTRUCTIONS is set. `--accept`
# counts with the compiler that is in use.
set -eu
cd "$(dirname "$0")/.."
budget=benches/instructions.budget

# Counts of different compilers cannot be compared.
compiler=$(rustc --version | cut -d ' ' -f 1-2)
counted_with=$(sed -n 's/^# //p' "$budget")
if [ "$compiler" != "$counted_with" ] && [ "${1:-}" != --accept ]; then
    version=${counted_with#rustc }
    if rustup run "$version" rustc --version >/dev/null 2>&1; then
        export RUSTUP_TOOLCHAIN="$version"
    else
        echo "SKIPPED: the budget was counted with $counted_with, and this is $compiler"
        [ -z "${BIZPROC_REQUIRE_INSTRUCTIONS:-}" ] || exit 1
        exit 0
    fi
fi
command -v valgrind >/dev/null || {
    echo "SKIPPED: there is no valgrind"
    [ -z "${BIZPROC_REQUIRE_INSTRUCTIONS:-}" ] || exit 1
    exit 0
}

bench=$(cargo bench --bench caller --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*caller-[^"]*\)".*/\1/p' | tail -n 1)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# Instructions on the first thread for this number of events.
total() {
    rm -f "$scratch"/*
    valgrind --quiet --tool=callgrind --separate-threads=yes --callgrind-out-file="$scratch/out" \
        "$bench" count "$1" "$2" "$3" >"$scratch/log" 2>&1 || {
        cat "$scratch/log" >&2
        exit 2
    }
    sed -n 's/^\(summary\|totals\): *//p' "$scratch/out-01" | tail -n 1
}

per_event() {
    few=$(total "$1" "$2" 2000)
    many=$(total "$1" "$2" 4000)
    echo $(((many - few) / 2000))
}

failed=0
counts=
while read -r candidate work allowed; do
    count=$(per_event "$candidate" "$work")
    counts="$counts$candidate $work $count
"
    limit=$((allowed + allowed / 20))
    verdict=ok
    [ "$count" -le "$limit" ] || { verdict=OVER; failed=1; }
    echo "$candidate $work: $count instructions (budget $allowed, at most $limit) $verdict"
    case "$candidate $work" in
    "no-op-filtered untagged") idle=$count ;;
    "bizproc untagged")
        over=$((count - idle))
        echo "figure untagged event, instructions over a no-op layer = $over (target <= 20)"
        [ "$over" -le 20 ] || failed=1
        ;;
    "bizproc message")
        echo "figure tagged event, message only, instructions = $count (target <= 950)"
        [ "$count" -le 950 ] || failed=1
        ;;
    "bizproc others-depth-1")
        echo "figure untagged event, others alive, instructions = $count (target <= 300)"
        [ "$count" -le 300 ] || failed=1
        ;;
    esac
done <<EOF_BUDGET
$(grep -v '^#' "$budget")
EOF_BUDGET

if [ "${1:-}" = --accept ]; then
    printf '# %s\n%s' "$compiler" "$counts" >"$budget"
    exit 0
fi
exit "$failed"
