#!/usr/bin/env bash
# man_relay.sh - the relay's manual pages say what the program has: every setting, option, command and alert.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh
relay=${OUTBOX_RELAY:-.build/outbox-relay}
[[ -x $relay ]] || { echo "not ok - relay_is_built: $relay"; exit 1; }
# undocumented PAGE PATTERN: the words of stdin that do not stand in the page; %s is the word
undocumented() {
    local word pattern
    while read -r word; do
        # shellcheck disable=SC2059 # the pattern is ours
        printf -v pattern "$2" "$word"
        grep -q -e "$pattern" "$1" || printf '%s\n' "$word"
    done
}

nothing settings_page_is_that_of_the_table \
    "$(diff <("$relay" --settings-man) relay/man/outbox-relay.conf.5.scd |
        head -n 5 || true; true)"
nothing metrics_page_is_that_of_the_table \
    "$(diff <("$relay" --metrics-help) <(sed -n '/^```$/,/^```$/{/^```$/!p}' relay/man/outbox-relay-metrics.7.scd) |
        head -n 5 || true; true)"
nothing every_option_is_documented \
    "$("$relay" --help | sed -n '/^Usage/,/^Commands/s/^ .* --\([a-z-]*\).*/\1/p' |
        undocumented relay/man/outbox-relay.1.scd '\*--%s\*')"
nothing every_command_is_documented \
    "$("$relay" --help | sed -n '/^Commands/,/^Examples/s/^  \([a-z][a-z]*\)  .*/\1/p' |
        undocumented relay/man/outbox-relay.1.scd '^\*%s\*$')"
nothing every_alert_has_a_runbook \
    "$(sed -n 's/.*alert: //p' relay/contrib/prometheus/outbox-relay.rules.yml |
        undocumented relay/man/outbox.7.scd '^## %s$')"
nothing every_runbook_has_an_alert \
    "$(sed -n 's/^## \(Outbox.*\)/\1/p' relay/man/outbox.7.scd |
        undocumented relay/contrib/prometheus/outbox-relay.rules.yml 'alert: %s$')"
nothing settings_named_in_the_pages_exist \
    "$(grep -ohE '\*(retry|stall|lease|drain|inflight|takeover|log|on|hops|http|batch|poll|mark)\.[a-z.]+' relay/man/*.scd |
        tr -d '*' | sort -u | while read -r key; do
            "$relay" --print-config | grep -q "^$key =" || printf '%s\n' "$key"; done)"
exit "$bad"
