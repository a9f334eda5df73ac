#!/usr/bin/env bash
# helps.sh - what the tests' own programs say when they are asked for help, or not used as they want to be.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-helps.XXXXXX")
trap 'rm -rf "$work"' EXIT

# From another directory, and by a path from there: the head of the script is to be found again.
mkdir "$work/here"
ln -s "$root" "$work/tree"
cd "$work/here"
for script in check mutants/run bench/bench demo/demo demo/saga tools/pg tools/broker; do
    code=0
    timeout 60 "../tree/tests/$script" --help >"$work/out" 2>"$work/err" </dev/null || code=$?
    equal "help_of_$script" "0 ${script##*/} - 0" "$code $(head -n 1 "$work/out" | cut -d' ' -f1,2) $(wc -c <"$work/err")"
done

topic=$(realpath -m "${OUTBOX_TOOLS:-$root/.build/tools}")/topic
[[ -x $topic ]] || make -s -C "$root" O="$(realpath -m "${topic%/*}/..")" "$topic"
code=0
"$topic" 127.0.0.1:1 orders config x=y >"$work/out" 2>&1 || code=$?
equal topic_that_is_not_understood_tells_the_usage '64 1' "$code $(grep -c 'topic BOOTSTRAP config NAME config=value' "$work/out" || true)"
exit "$bad"
