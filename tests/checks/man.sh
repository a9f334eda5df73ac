#!/usr/bin/env bash
# man.sh - every public function has its manual page: with the prototype and the codes of the header, the
# sections that all pages have, and an example that compiles. The pages pass through scdoc.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh

work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-man.XXXXXX")
trap 'rm -rf "$work"' EXIT
read -ra pq_flags < <(pkg-config --cflags libpq)

# section FILE TITLE: its lines
section() { awk -v title="# $2" '/^# / { inside = $0 == title; next } inside' "$1"; }
# literal: what stands between lines of three backquotes
literal() { awk '/^```$/ { inside = !inside; next } inside'; }
# flat: C text with single blanks, without what only compilers read
flat() { tr '\n' ' ' | sed -E -e 's/OUTBOX_(API|MUST_USE) //g' -e 's/ +/ /g'; }

# The declarations of the header, "name prototype" a line.
declarations() {
    cat include/outbox.h include/inbox.h | tr '\n' ' ' | grep -o 'OUTBOX_API [^;]*;' | while read -r line; do
        printf '%s %s\n' "$(sed -E 's/^[^(]*[ *]((outbox|inbox)_[a-z0-9_]*)\(.*/\1/' <<<"$line")" "$(flat <<<"$line")"
    done
}
# codes FUNCTION: those that the comment before its declaration lists
codes() {
    awk -v name="$1" '/^\/\*\*/ { text = "" } { text = text $0 "\n" }
        /^OUTBOX_API/ { declared = "" } { declared = declared $0 }
        index($0, name "(") && text ~ /\nOUTBOX_API/ && $0 !~ /^ \*/ { print text; exit }' include/outbox.h include/inbox.h |
        grep -E '^ \*  ' | grep -oE '(OUTBOX|INBOX)_E(INVAL|NOTXN|ABORTED|LINK|SCHEMA|DB|NOMEM|KAFKA|HANDLER)' | sort -u || true
}

declarations >"$work/declared"
sed -i "/^OUTBOX_API /d" "$work/declared" # the macro itself
[[ -s $work/declared ]] || not_ok 'the header declares functions' 'none found'
while read -r name prototype; do
    page=$(grep -lE "^([a-z_]+, )*$name(, [a-z_]+)* - " lib/man/*.3.scd || true)
    if [[ -z $page || $page == *$'\n'* ]]; then
        not_ok "$name has one page" "${page:-none}"
        continue
    fi
    if ! section "$page" SYNOPSIS | literal | flat | grep -qF -- "$(sed 's/ *;$/;/' <<<"$prototype")"; then
        not_ok "$name: the prototype is the header's" "$prototype"
        continue
    fi
    lacks=$(for code in $(codes "$name"); do
        section "$page" 'RETURN VALUE' | grep -q "$code" || printf '%s ' "$code"
    done)
    if [[ -n $lacks ]]; then not_ok "$name: the page has the codes of the header" "$lacks"; else ok "$name has its page"; fi
done <"$work/declared"
[[ $(codes outbox_append | wc -l) == 7 ]] || not_ok 'the codes are found in the header' "$(codes outbox_append)"

# The list of all functions is that of the header, in its order.
listed=$(section lib/man/liboutbox.3.scd DESCRIPTION | sed -nE 's/^\|[[ ] +\*(outbox_[a-z_]+)\*\(3\)$/\1/p')
if [[ $listed == "$(sed -n 's/^\(outbox_[a-z_]*\) .*/\1/p' "$work/declared")" ]]; then
    ok 'liboutbox(3) lists the functions in the order of the header'
else
    not_ok 'liboutbox(3) lists the functions in the order of the header' "$(tr '\n' ' ' <<<"$listed")"
fi

# finds PAGE: the page itself, or a line that refers to one that is there
finds() {
    local target
    [[ -s $work/build/man/$1 ]] || return 1
    read -r _ target < <(grep '^\.so ' "$work/build/man/$1") || return 0
    [[ -s $work/build/man/${target#man3/} ]] && ! grep -q '^\.so ' "$work/build/man/${target#man3/}"
}
if ! command -v scdoc >/dev/null; then
    skip 'man finds every function' 'scdoc is not installed'
elif ! make -s O="$work/build" man >"$work/log" 2>&1; then
    not_ok 'the pages are made' "$(tail -n 3 "$work/log")"
else
    lost=$(while read -r name _; do finds "$name.3" || printf '%s ' "$name"; done <"$work/declared")
    if [[ -n $lost ]]; then not_ok 'man finds every function' "$lost"; else ok 'man finds every function'; fi
fi

for page in lib/man/*.scd relay/man/*.scd; do
    name=$(basename "$page" .scd)
    if ! command -v scdoc >/dev/null; then
        skip "$name" 'scdoc is not installed'
    elif scdoc <"$page" >"$work/page" 2>"$work/log"; then
        ok "$name passes through scdoc"
        # Emphasis that begins or ends within a word is not taken for it, and its sign is printed.
        stray=$(grep -nE '\\fR_[A-Za-z]+_|__' "$work/page" | head -n 3 || true)
        nothing "$name prints no sign of emphasis" "$stray"
    else
        not_ok "$name passes through scdoc" "$(cat "$work/log")"
    fi
done

for page in lib/man/*.3.scd; do
    name=$(basename "$page" .3.scd)
    for title in NAME SYNOPSIS DESCRIPTION 'RETURN VALUE' LIFETIMES THREADS EXAMPLES 'SEE ALSO'; do
        case $name:$title in outbox_version_number:LIFETIMES | outbox_strerror:LIFETIMES | inbox_strerror:LIFETIMES) continue ;; esac
        [[ -n $(section "$page" "$title") ]] || not_ok "$name has all sections" "$title is missing"
    done
    for other in $(grep -oE '\*(out|in)box_[a-z_]+\*\(3\)' "$page" | grep -oE '(out|in)box_[a-z_]+' | sort -u); do
        [[ -e lib/man/$other.3.scd ]] || grep -qE "^([a-z_]+, )+$other(, [a-z_]+)* - " lib/man/*.3.scd ||
            not_ok "$name refers to pages that are there" "$other(3)"
    done
    {
        printf '#include <libpq-fe.h>\n#include <inbox.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n'
        section "$page" EXAMPLES | literal
    } >"$work/example.c"
    if "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -Iinclude "${pq_flags[@]}" -c -o "$work/example.o" "$work/example.c" \
        2>"$work/log" && nm "$work/example.o" | grep -q ' T '; then
        ok "$name: the example compiles"
    else
        not_ok "$name: the example compiles" "$(grep -m 3 -E 'error|warning' "$work/log" || echo 'it is empty')"
    fi
done
exit "$bad"
