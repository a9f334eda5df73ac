#!/usr/bin/env bash
# hops.sh - events that cause each other in a circle come to an end: hops.max. Needs OUTBOX_TEST_DSN and
# OUTBOX_TEST_BROKERS (a mock broker does).
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

# hop N TYPE [KEY]: an event with so many hops
hop() { sql "insert into outbox.event (topic, type, key, headers) values ('$topic', '$2', ${3:-null}, '[[\"hops\", \"$1\"]]')"; }
circle="select coalesce(string_agg(e.type || ' ' || e.state || coalesce(' ' || h.error_code || ' ' || h.attempts, ''), ', ' order by e.id), '')
        from outbox.event_status e left join outbox.held h using (id)"
reset
hop 2 in "'k'"
hop 3 over "'k'"
hop 1 behind "'k'"
hop 99999999999999999999 far
hop words odd
relay_once circle -X hops.max=2
equal once_with_a_dead_row_ends_with_69 69 "$status"
equal more_hops_than_hops_max_are_a_dead_row 'in sent, over dead HOPS_EXCEEDED 0, behind blocked, far dead HOPS_EXCEEDED 0, odd sent' \
    "$(sql "$circle" | sed 's/blocked [^,]*/blocked/')"
equal the_dead_row_says_so 'the event has 3 hops, hops.max is 2: events cause each other in a circle' \
    "$(sql "select error from outbox.held h join outbox.event e using (id) where e.type = 'over'")"
holds and_the_log_too said circle 'a row is dead.*HOPS_EXCEEDED.*hops.max is 2'
sql "update outbox.held set state = 'retrying', next_attempt_at = now() where state = 'dead'"
relay_once circle_off -X hops.max=0
equal hops_max_0_lets_all_pass 0:0 "$status:$(sql "$unsent")"
hop 32 default_in
hop 33 default_over
relay_once circle_default
equal hops_max_is_32_unless_set 'default_in sent, default_over dead' \
    "$(sql "select string_agg(type || ' ' || state, ', ' order by id) from outbox.event_status where type like 'default%'")"

exit "$bad"
