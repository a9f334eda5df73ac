#!/usr/bin/env bash
# inbox_crash.sh - events whose handler kills its process: how often the group dies of one, and that all others
# take effect once. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_inbox.sh"

# worker_deaths WANTED SETTING...: starts one after the other until WANTED have been killed
worker_deaths() {
    local wanted=$1
    shift
    for ((deaths = 0; deaths < wanted; deaths++)); do
        worker_start w "$@"
        worker_end w 60
        [[ $status == 137 ]] || break
    done
}
# The same, with a session that ends soon after its process; its broker lets a group wait for 3 s.
session=(kafka.session.timeout.ms 4000)

# --- an event that kills, among others of its batch ---------------------------------------------------------

inbox_reset
make_topic 2
{
    lines 40 8
    printf 'k3\tkiller\tkill=1000000 dead\n'
    lines 100 8 | sed 's/id-/later-/'
} >"$dir/in"
send "$dir/in"
# The first start dies in a batch, the next two know of what: then its attempts are used up.
worker_deaths 3 retry.attempts 2 "${session[@]}"
equal it_kills_until_its_attempts_are_used_up 3 "$deaths"
equal each_was_written_down_before_it_began "2|t" "$(sql "select attempts, begun_by is not null from inbox.attempt where event_id like '%killer'")"
worker_start w retry.attempts 2 "${session[@]}"
effects_are all_others_take_effect_once_in_order 60
equal the_event_is_dead_and_says_why "attempts|2|its process ended, or lost the partition, while the handler worked" \
    "$(sql 'select reason, attempts, error from inbox.dead')"
equal nothing_stays_of_it_in_attempt 0 "$(sql 'select count(*) from inbox.attempt')"

# --- a dead letter that kills when it is sent back ------------------------------------------------------------

sql "update inbox.dead set state = 'retry'"
worker_end w 60
equal sent_back_it_kills_once_more 137 "$status"
worker_start w "${session[@]}"
wait_sql 150 'dead|3|its process ended while the handler worked' 'select state, attempts, error from inbox.dead' ||
    not_ok and_is_dead_again "$(sql 'select state, attempts, error from inbox.dead')"
worker_signal w TERM
worker_end w 30
equal the_next_process_lives 0 "$status"

# --- what is counted goes on over clean restarts ----------------------------------------------------------------

inbox_reset
make_topic 1
printf 'a\ta1\tfail=1000000 dead\na\ta2\tp\nb\tb1\tp\n' >"$dir/in"
send "$dir/in"
worker_start w retry.attempts 1000 retry.max 20ms
wait_sql 30 t 'select bool_or(attempts >= 4) from inbox.attempt' || not_ok later_calls_are_written_down "$(tail -n 3 "$dir/w.log")"
worker_signal w TERM
worker_end w 30
equal a_clean_end_accuses_nobody 0 "$(sql 'select count(begun_by) from inbox.attempt')"
calls=$(sql 'select attempts from inbox.attempt')
worker_start w retry.attempts $((calls + 2)) retry.max 20ms
effects_are attempts_are_counted_over_restarts
equal and_no_more_than_allowed $((calls + 2)) "$(sql 'select attempts from inbox.dead')"
worker_signal w TERM
worker_end w 30

# --- nothing is written where nothing is suspected ---------------------------------------------------------------

inbox_reset
make_topic 2
lines 300 10 >"$dir/in"
send "$dir/in"
sql "create or replace function public.nobody_writes() returns trigger language plpgsql as
     \$\$ begin raise exception 'inbox.attempt is written'; end \$\$;
     create trigger nobody_writes before insert on inbox.attempt execute function public.nobody_writes()"
worker_start w
effects_are no_attempt_is_written_without_a_failure
worker_signal w TERM
worker_end w 30
equal and_it_ends_clean 0 "$status"
sql 'drop trigger nobody_writes on inbox.attempt'
exit $bad
