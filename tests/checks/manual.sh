#!/usr/bin/env bash
# manual.sh - the manual pages are well formed, and the programs that they show are those that the tests run.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh

work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-manual.XXXXXX")
trap 'rm -rf "$work"' EXIT

# In scdoc's source a backslash takes the next character as it is, between fences as well: one alone would be lost.
lone_backslashes() {
    awk '/^```/ { open = !open; next } open { gsub(/\\\\/, ""); if (/\\/) { print FILENAME ":" FNR; bad = 1 } }
        END { exit bad }' "$1"
}

# excerpts PAGE: under a heading "## ... : FILE", each block between fences is a part of lib/examples/FILE.
excerpts() {
    awk -v at="$work/block" '
        /^##? / { file = ($0 ~ /: [a-z_]+\/[A-Za-z_.]+$/) ? $NF : "" }
        /^```/  { if (open && file != "") { close(name); print file, name }
                  open = !open; n += open; name = at n; next }
        open && file != "" { gsub(/\\\\/, "\\"); print > name }' "$1"
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
        skip "$page is well formed" 'scdoc is not installed'
    fi
    check "${page##*/} loses no backslash of a program" lone_backslashes "$page"
    while read -r file block; do
        shown=$((shown + 1))
        check "${page##*/} shows what is in lib/examples/$file ($shown)" part_of "lib/examples/$file" "$block"
    done < <(excerpts "$page")
done
check 'programs are shown' test "$shown" -ge 4
# What the README shows of an append is a part of the program that the tests run.
# readme_block FIRST LAST: from the line that begins so to the one that matches
readme_block() {
    awk -v first="$1" -v last="$2" 'index($0, first) == 1 { inside = 1 } { line = $0; sub(/^    /, "", line) }
        inside { print line } inside && $0 ~ last { exit }' README.md
}
readme_block '    static int store_event(' '^    }$' >"$work/event"
readme_block '        ok = ok && run(conn, "BEGIN"' 'COMMIT"[)];$' >"$work/transaction"
check 'the event of the README is that of lib/examples/hello.c' part_of lib/examples/hello.c "$work/event"
check 'and its transaction as well' part_of lib/examples/hello.c "$work/transaction"
# The README's consumer is complete: what stands between its first line and the text behind it compiles and links.
awk '/^    \/\* billing\.c - / { inside = 1 } inside && /^[^ ]/ { exit } inside { sub(/^    /, ""); print }' README.md >"$work/billing.c"
O=${OUTBOX_BUILD:-${O:-.build}}
[[ -e $O/libinbox.a ]] || make -s O="$O" lib >&2
read -ra libs < <(pkg-config --cflags --libs libpq rdkafka)
check 'the consumer of the README compiles as it stands there' "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror \
    -Iinclude -o "$work/billing" "$work/billing.c" "$O/libinbox.a" "$O/liboutbox.a" "${libs[@]}" -pthread
# A command that is broken with a hyphen cannot be copied.
unhyphenated() { make -s O="$work/build" man >&2 && [[ $(sed -n '/^\.TH/{n;p;}' "$work/build/man/outbox.7") == .nh ]]; }
! command -v scdoc >/dev/null || check 'pages are not hyphenated' unhyphenated
named=0
# Where the demos send the reader there is such a heading.
while read -r heading; do
    check "the README has \"$heading\", which a demo names" grep -qE "^##+ $heading\$" README.md
    named=$((named + 1))
done < <(sed -nE 's/^ *(next_step )?.README\.md, "([^"]+)".*/\2/p' tests/demo/demo tests/demo/saga)
check 'demos name headings' test "$named" -ge 3
check 'it has 40 lines at most' test "$(grep -c . "$work/billing.c")" -le 40
exit "$bad"
