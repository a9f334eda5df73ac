#!/usr/bin/env bash
# late_mutants.sh - the tests of the late read are tested: without either half of it, exactly the test of
# that half must fail.
#
# Builds test_read from a copy of the sources, as they are and with one half at a time made false, and
# runs the case late_halves. Needs OUTBOX_TEST_DSN.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/outbox-mutants.XXXXXX")
trap 'rm -rf "$dir"' EXIT
bad=0
xip=row_of_a_transaction_in_the_xip_list_is_read_after_its_commit
xmax=row_of_a_transaction_at_or_above_xmax_is_read_after_its_commit

# verdicts NAME: builds, runs, and prints the names of the tests that failed.
verdicts() {
    make -s -C "$dir/src" O="$dir/build" "$dir/build/tests/integration/test_read" >"$dir/$1.log" 2>&1 ||
        { printf 'does not build: %s\n' "$(tail -n 3 "$dir/$1.log")"; return 0; }
    CK_RUN_CASE=late_halves CK_VERBOSITY=verbose "$dir/build/tests/integration/test_read" \
        >"$dir/$1.log" 2>&1 || true
    grep -q '^[0-9]*%: Checks: 2,' "$dir/$1.log" || printf 'did not run two checks\n'
    sed -n 's/.*:[FE]:late_halves:\([a-z_]*\):.*/\1/p' "$dir/$1.log"
}

expect_failed() {
    local name=$1 want=$2 got
    got=$(verdicts "$name" | tr '\n' ' ')
    if [[ $got == "${want:+$want }" ]]; then
        printf 'ok - %s\n' "$name"
    else
        printf 'not ok - %s: failed: %s\n' "$name" "${got:-none}"
        tail -n 5 "$dir/$name.log"
        bad=1
    fi
}

# without NAME CONDITION: sql.h with one condition that is never true.
without() {
    cp "$root/relay/source/sql.h" "$dir/src/relay/source/sql.h"
    awk -v from="$2" '{ at = index($0, from); if (at) { n++; $0 = substr($0, 1, at - 1) "false and " substr($0, at) }
        print } END { exit n != 1 }' "$root/relay/source/sql.h" >"$dir/src/relay/source/sql.h" ||
        { printf 'not ok - %s: sql.h does not have it once: %s\n' "$1" "$2"; exit 1; }
}

mkdir -p "$dir/src/tests/integration"
cp -r "$root/Makefile" "$root/include" "$root/lib" "$root/relay" "$root/pkgconfig" "$dir/src"
cp -r "$root/tests/rig" "$dir/src/tests"
cp "$root/tests/integration/test_read.c" "$dir/src/tests/integration"

expect_failed both_halves_are_there ''
without xip_half 'e.xid = any (array('
expect_failed without_the_xip_half_exactly_its_test_fails "$xip"
without xmax_half 'e.xid >= pg_snapshot_xmax($2)'
expect_failed without_the_xmax_half_exactly_its_test_fails "$xmax"
exit "$bad"
