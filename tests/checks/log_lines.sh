#!/usr/bin/env bash
# log_lines.sh - every warning and error of the relay stands in outbox(7), and what stands there is said by the relay.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh
page=relay/man/outbox.7.scd

# said: the messages of warnings and errors, as they stand in the code: the first text behind the component, both of
# "a ? b : c", and those of the tables that such a call takes its message from.
said() {
    cat relay/*.c relay/*/*.c | tr '\n' ' ' | sed -E 's/"[[:space:]]+"//g; s/log_(error|warn|write)\(/\n&/g' |
        grep -E '^log_(error|warn)\(|^log_write\([^"]*LOG_LEVEL_WARN' |
        sed -nE 's/^log_[a-z]+\([^"]*"[a-z]+",([^":?]*\?)? *"([^"]*)"( *: *"([^"]*)")?.*/\2\n\4/p'
    sed -nE 's/.*\[(REQUEST|ASIDE)_[A-Z_]+\] = \{ ([A-Z_]+, )?"([^"]+)".*/\3/p' relay/source/source.c relay/source/aside.c
    sed -nE 's/.*tell\(s, ([^"]*\? )?"([^"]+)".*/\2/p' relay/source/isolate.c
}
# Of a message the part in front of what it means. One is a warning or, when all is well, for debugging only.
messages=$(said | sed -E 's/[;:].*//; /^$/d; /^the end of a topic was read$/d' | sort -u)
lines=$(sed -n '/^# LOG LINES/,/^# WHAT DOES/p' "$page")

missing=
while read -r message; do
    grep -qF "_$message" <<<"$lines" || missing+=" \"$message\""
done <<<"$messages"
nothing every_warning_has_its_line "$missing"
check 'the code was understood' test "$(grep -c . <<<"$messages")" -ge 45

# What stands in front of an explanation, between underscores; not the names of codes.
unsaid=
while read -r message; do
    grep -rqF --include='*.c' "\"$message" relay || unsaid+=" \"$message\""
done < <(grep '^_' <<<"$lines" | sed -E 's/_\\_[A-Z_]+_//g' | grep -oE '_[^_]+_' | tr -d _ | sort -u)
nothing every_line_is_said "$unsaid"
exit "$bad"
