#!/usr/bin/env bash
# again.sh - tests/check itself, in a tree that holds nothing else: which files it runs once more and which it does
# not, and what is left when it is killed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/lib.sh
. tests/tools/lib.sh
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh

tree=$(mktemp -d "${TMPDIR:-/tmp}/outbox-again.XXXXXX")
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/tests/checks" "$tree/tests/unit" "$tree/.build/tests/unit"
cp -R tests/check tests/tools "$tree/tests/"
printf 'all: ;\n%%: ;\n' >"$tree/Makefile"

# script NAME: stdin is a test file of the stage checks; `again` holds from its second run on
script() {
    {
        printf 'set -euo pipefail\n. tests/tools/lib.sh\n. tests/tools/cases.sh\npatience=0 ample=0\n'
        printf 'echo >>ran.%s\nagain() { (($(wc -l <ran.%s) > 1)); }\n' "$1" "$1"
        cat
    } >"$tree/tests/checks/$1.sh"
}
# binary NAME: stdin is shell text that speaks as libcheck does
binary() {
    : >"$tree/tests/unit/test_$1.c"
    { printf '#!/bin/bash\necho >>ran.%s\nagain() { (($(wc -l <ran.%s) > 1)); }\n' "$1" "$1" && cat; } >"$tree/.build/tests/unit/test_$1"
    chmod +x "$tree/.build/tests/unit/test_$1"
}

script late <<<'holds it_comes wait_until 1 again; ok another; exit $bad'
script told <<<'wait_until 1 again || not_ok it_comes "what it said last"; ok it_came; exit $bad'
script ended <<<'ok first; wait_until 1 again; ok last'
script never <<<'holds it_comes wait_until 1 false; exit $bad'
script wrong <<<'wait_until 1 again || not_ok it_comes; equal it_is 1 2; exit $bad'
script passed_over <<<'wait_until 1 again || true; equal it_is 1 "$(again && echo 1)"; exit $bad'
script lost <<<'again || not_ok judged "verdict 1: missing=1"; exit $bad'
script crashed <<<'again || echo "line 1: 4711 Segmentation fault"; holds it_comes wait_until 1 again; exit $bad'
script dead <<<'late_if=false; holds it_comes wait_until 1 again; exit $bad'
binary hung <<'END'
again && { echo '100%: Checks: 2, Failures: 0, Errors: 0'; exit 0; }
echo '50%: Checks: 2, Failures: 0, Errors: 1'
echo 'tests/unit/test_hung.c:7:E:c:waits:0: (after this point) Test timeout expired'
exit 1
END
binary value <<'END'
again && { echo '100%: Checks: 3, Failures: 0, Errors: 0'; exit 0; }
echo '33%: Checks: 3, Failures: 2, Errors: 0'
echo 'tests/unit/test_value.c:7:F:c:waits:0: timed out: no event 3 in 180000 ms'
echo 'tests/unit/test_value.c:9:F:c:counts:0: Assertion '"'n == 1' failed: n == 2, 1 == 1"
exit 1
END

# check NAME=VALUE...: its output is in $tree/out
check() { (cd "$tree" && rm -f ran.* && env O="$tree/.build" JOBS=1 "$@" tests/check checks unit >out 2>&1) || true; }
runs() { (cd "$tree" && wc -l "${@/#/ran.}" | awk '{ print $1 }' | head -n $# | xargs); }

check AGAIN=22
equal what_was_late_is_run_once_more '2 2 2 2 2' "$(runs late told ended hung never)"
equal what_failed_otherwise_is_not '1 1 1 1 1 1' "$(runs wrong passed_over lost crashed dead value)"
for name in checks/late checks/told checks/ended unit/test_hung; do
    holds "it_is_named_$name" grep -q "^late once, passed alone: $name: [^ ]" "$tree/out"
done
equal the_rest_has_failed 'checks/crashed checks/dead checks/lost checks/never checks/passed_over checks/wrong unit/test_value' \
    "$(sed -n 's/^failed: //p' "$tree/out" | tr ' ' '\n' | LC_ALL=C sort | xargs)"
# the build; 2, 1, 2 and 2 of those that were late; 1 of test_value
equal it_counts_what_passed_alone '9 passed, 9 failed' "$(tail -n 1 "$tree/out")"
holds the_first_log_is_kept grep -q '^not ok - it_comes: timed out: ' "$tree/.build/late/checks_late.log"

check AGAIN=0
equal no_second_try_when_it_is_turned_off '1 1 1 1' "$(runs late told ended hung)"
equal and_all_have_failed 11 "$(sed -n 's/^failed: //p' "$tree/out" | wc -w)"

# --- killed -----------------------------------------------------------------------------------------------

# left PID: the process that a test has started, in a session of its own; its directory
rm -f "$tree"/tests/checks/*.sh
script starts <<<'setsid sleep 600 & printf "%d %s\n" $! "$TMPDIR" >left.new; mv left.new left; wait'
(cd "$tree" && exec env O="$tree/.build" tests/check checks/starts >out 2>&1) &
killed=$!
wait_until 30 test -s "$tree/left" || not_ok it_runs "$(tail -n 3 "$tree/out")"
read -r pid place <"$tree/left"
kill -KILL "$killed"
wait "$killed" 2>/dev/null || true
holds a_killed_run_leaves_no_process wait_until 30 gone "$pid"
holds nor_a_directory wait_until 30 test ! -e "$place"
exit "$bad"
