#!/usr/bin/env bash
# map.sh - the maps in relay/README.md and lib/README.md name every source file, and none that is not there.
#
# A row's first cell names files between backquotes; one without a directory stands in that of the name before
# it. A header is on the map with the .c of its name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh
work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-map.XXXXXX")
trap 'rm -rf "$work"' EXIT
# named MAP: the names of its rows, as patterns, each with its directory
named() {
    awk -F '|' '/^\| `/ {
        n = split($2, part, "`"); directory = ""
        for (i = 2; i <= n; i += 2) {
            if (part[i] ~ /\//) { directory = part[i]; sub(/[^\/]*$/, "", directory); print part[i] }
            else print directory part[i]
        } }' "$1"
}
# files ROOT MAP: those that the map's names stand for
files() {
    local name
    while read -r name; do
        # shellcheck disable=SC2086 # it may be a pattern
        (cd "$1" && ls -d $name 2>/dev/null) || echo "$name" >>"$work/nothing"
    done < <(named "$2")
}
for root in relay lib; do
    : >"$work/nothing"
    files "$root" "$root/README.md" | sort -u >"$work/on"
    sed -n 's/\.c$/.h/p' "$work/on" >>"$work/on"
    (cd "$root" && find . -name examples -prune -o -name '*.[ch]' -print -o -name '*.def' -print) | sed 's|^\./||' |
        sort >"$work/there"
    nothing "${root}_has_files_and_a_map" "$([[ -s $work/there && -s $work/on ]] || echo 'nothing was found')"
    nothing "every_file_of_${root}_is_on_its_map" "$(sort -u "$work/on" | comm -13 - "$work/there")"
    nothing "every_name_on_the_map_of_${root}_is_there" "$(cat "$work/nothing")"
done
exit "$bad"
