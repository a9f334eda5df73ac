#!/usr/bin/env bash
# manual.sh - the manual pages are well formed, and the programs that they show are those that the tests run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-manual.XXXXXX")
trap 'rm -rf "$work"' EXIT
failed=0

# check NAME COMMAND...: ok when the command succeeds; the last lines of its output when not.
check() {
    local name=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        printf 'ok - %s\n' "$name"
    else
        printf 'not ok - %s: %s\n' "$name" "$(tail -n 3 "$work/log" | tr '\n' ' ')"
        failed=1
    fi
}

# excerpts PAGE: under a heading "## ... : FILE", each block between fences is a part of lib/examples/FILE.
excerpts() {
    awk -v at="$work/block" '
        /^##? / { file = ($0 ~ /: [a-z_]+\/[A-Za-z_.]+$/) ? $NF : "" }
        /^```/  { if (open && file != "") { close(name); print file, name }
                  open = !open; n += open; name = at n; next }
        open && file != "" { print > name }' "$1"
}

# part_of FILE BLOCK: the block's lines follow each other in the file
part_of() {
    local text block
    text=$(<"$1")
    block=$(<"$2")
    [[ -n $block && $text == *"$block"* ]] || { printf '%s does not hold: %s\n' "$1" "$(head -n 2 "$2")"; return 1; }
}

shown=0
for page in lib/man/*.scd relay/man/*.scd; do
    [[ -e $page ]] || continue
    if command -v scdoc >/dev/null; then
        check "$page is well formed" bash -c 'scdoc <"$1" >/dev/null' _ "$page"
    else
        printf 'ok - %s is well formed # skip scdoc is not installed\n' "$page"
    fi
    while read -r file block; do
        shown=$((shown + 1))
        check "${page##*/} shows what is in lib/examples/$file ($shown)" part_of "lib/examples/$file" "$block"
    done < <(excerpts "$page")
done
check 'programs are shown' test "$shown" -ge 4
# The README's consumer is complete: what stands between its first line and the text behind it compiles and links.
awk '/^    \/\* billing\.c - / { inside = 1 } inside && /^[^ ]/ { exit } inside { sub(/^    /, ""); print }' README.md >"$work/billing.c"
O=${OUTBOX_BUILD:-${O:-.build}}
[[ -e $O/libinbox.a ]] || make -s O="$O" lib >&2
read -ra libs < <(pkg-config --cflags --libs libpq rdkafka)
check 'the consumer of the README compiles as it stands there' "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror \
    -Iinclude -o "$work/billing" "$work/billing.c" "$O/libinbox.a" "$O/liboutbox.a" "${libs[@]}" -pthread
check 'it has about 40 lines' test "$(wc -l <"$work/billing.c")" -le 50
exit "$failed"
