#!/usr/bin/env bash
# inbox.sh - libinbox between a broker and a database: repeats, order over retries, dead letters, handlers that end
# their transaction. More is in kafka_inbox.sh. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_inbox.sh"

# --- repeats ---------------------------------------------------------------------------------------

inbox_reset
make_topic
lines 500 20 >"$dir/in"
{ cat "$dir/in"; tail -n 100 "$dir/in"; head -n 50 "$dir/in"; } >"$dir/in2"
send "$dir/in2"
worker_start w worker.metrics "$dir/metrics"
effects_are repeats_are_dropped
((bad == 0)) || exit $bad # all that follows rests on it
wait_until 20 metric_is duplicates_total 150 || not_ok duplicates_are_counted "$(metric duplicates_total)"
equal applied_are_counted 500 "$(metric applied_total)"
worker_signal w TERM
worker_end w 20
equal ends_clean 0 "$status"
equal a_clean_end_leaves_no_owner 0 "$(sql 'select count(owner) from inbox.position')"
# Another process of the group goes on where the first was; a repeat that comes now is known to the table only.
send "$dir/in"
lines 50 20 '"more" n' | sed 's/id-/new-/' >"$dir/in3"
send "$dir/in3"
worker_start w2
effects_are repeats_of_an_earlier_process_are_dropped
# The position set back by hand: all of it comes again, and nothing happens.
worker_signal w2 TERM
worker_end w2 20
sql 'update inbox.position set next_offset = 0'
worker_start w3 worker.metrics "$dir/metrics3"
effects_are everything_once_more_is_dropped
worker_signal w3 TERM
worker_end w3 20

# Records without an id count by their place.
inbox_reset
make_topic
for n in 1 2 3 3; do printf 'k\t-\tnone %d\n' "$n"; done >"$dir/in"
send "$dir/in"
worker_start w
effects_are records_without_an_id_are_applied_each
equal their_place_is_their_id "$topic" "$(sql "select distinct split_part(event_id, '/', 1) from inbox.seen")"
worker_signal w TERM
worker_end w 20

# --- failures --------------------------------------------------------------------------------------

inbox_reset
make_topic
lines 300 12 'n == 25 ? "fail=3" : n == 40 ? "sql=2" : n == 60 ? "reject" : n == 61 ? "fail=99 dead" : "p" n' >"$dir/in"
send "$dir/in"
worker_start w retry.attempts 4
effects_are order_of_keys_holds_over_retries
equal dead_letters_say_why "attempts|4|the handler asked for another try, and did not say why with inbox_fail(),rejected|1|the payload says so" \
    "$(sql "select string_agg(format('%s|%s|%s', reason, attempts, error), ',' order by reason) from inbox.dead")"
equal dead_letters_are_whole "id-60|test|k0|reject|{ce_id,ce_type,ce_source}" \
    "$(sql "select split_part(event_id, ' ', 2), type, convert_from(key, 'UTF8'), convert_from(payload, 'UTF8'), header_names from inbox.dead where reason = 'rejected'")"
equal attempts_are_numbered 4 "$(sql "select attempt from public.effect where payload = 'fail=3'")"
worker_signal w TERM
worker_end w 20

# --- dead letters that are sent back -------------------------------------------------------------------

# The first fails again; the second has been mended by then, as far as the handler is concerned.
worker_start w retry.attempts 4
sql "update inbox.dead set state = 'retry'"
wait_sql 30 "dead 2,dead 5" "select string_agg(state || ' ' || attempts, ',' order by attempts) from inbox.dead" ||
    not_ok a_dead_letter_that_fails_again_is_dead_again "$(tail -n 3 "$dir/w.log")"
# Their ids have left inbox.seen, as after dedupe.keep, and their producer sends them once more.
sql 'truncate inbox.seen'
printf 'k0\tid-60\tagain\nk1\tid-61\tagain\n' >"$dir/in"
send "$dir/in"
wait_sql 30 "$n_sent" "$finished" || not_ok a_repeat_of_a_dead_letter_is_finished "$(tail -n 3 "$dir/w.log")"
equal and_dropped_however_old_it_is 0 "$(sql "select count(*) from public.effect where payload = 'again'")"
sql "update inbox.dead set state = 'retry', payload = 'mended'"
wait_sql 30 0 'select count(*) from inbox.dead' || not_ok dead_letters_that_succeed_go "$(tail -n 3 "$dir/w.log")"
equal a_redriven_event_takes_effect_once 'id-60 k0,id-61 k1' \
    "$(sql "select string_agg(event_id || ' ' || key, ',' order by event_id) from public.effect where payload = 'mended'")"
send "$dir/in"
wait_sql 30 "$n_sent" "$finished" || not_ok a_repeat_of_a_redriven_event_is_finished "$(tail -n 3 "$dir/w.log")"
equal and_dropped_as_well 0 "$(sql "select count(*) from public.effect where payload = 'again'")"
worker_signal w TERM
worker_end w 20

# --- a partition that cannot be claimed -----------------------------------------------------------------

# It stays with the process, and its events wait: the log says for what, and it goes on when that has ended.
inbox_reset
make_topic 1
lines 20 3 >"$dir/in"
send "$dir/in"
claims_shut
: >"$dir/w.log"
worker_start w
waits_for() { grep -q "^<4> $topic/0 cannot be claimed yet, and its events wait: .*; $1.*it goes on by itself\$" "$dir/w.log"; }
wait_until 30 waits_for 'some transaction has inbox.position locked (its pid is in pg_locks)' ||
    not_ok the_log_says_that_a_lock_is_in_the_way "$(tail -n 3 "$dir/w.log")"
claims_open
effects_are it_goes_on_when_the_lock_is_gone
worker_signal w TERM
worker_end w 20

inbox_reset
make_topic 1
lines 20 3 >"$dir/in"
send "$dir/in"
sql "drop role if exists inbox_claims_not; create role inbox_claims_not login;
     grant usage on schema inbox to inbox_claims_not; grant all on all tables in schema inbox, public to inbox_claims_not;
     grant execute on all functions in schema inbox to inbox_claims_not; revoke update on inbox.position from inbox_claims_not"
: >"$dir/w.log"
worker_dsn="$dsn user=inbox_claims_not" worker_start w
wait_until 30 waits_for 'grant this role inbox_consumer, see sql/inbox_roles.sql (run it again if 002_inbox was taken down and up)' ||
    not_ok the_log_says_which_right_is_missing "$(tail -n 3 "$dir/w.log")"
sql 'grant update on inbox.position to inbox_claims_not'
effects_are it_goes_on_with_the_right
worker_signal w TERM
worker_end w 20
sql 'drop owned by inbox_claims_not; drop role inbox_claims_not'

# --- a handler that ends its transaction ----------------------------------------------------------------

for payload in commit 'commit begin'; do
    inbox_reset
    make_topic 1
    { lines 3 1; printf 'k\tc\t%s\n' "$payload"; lines 3 1 | sed 's/id-/after-/'; } >"$dir/in"
    send "$dir/in"
    worker_start w
    worker_end w 30
    equal "handler_that_does_${payload/ /_and_}_ends_the_run" 1 "$status"
    holds "and_is_told_${payload/ /_and_}" grep -q '^inbox_worker: -33 .*ended the transaction' "$dir/w.log"
    equal "nothing_after_it_is_called_seen_${payload/ /_and_}" 0 "$(sql "select count(*) from inbox.seen where event_id like '%after%'")"
    : >"$dir/w.log"
done
exit $bad
