#!/usr/bin/env bash
# kafka_inbox.sh - libinbox between a real Kafka and a database: rebalances, owners that are none any more,
# backpressure, lost links, what it refuses. What a mock broker serves for is in inbox.sh. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_inbox.sh"

# --- a key that fails ---------------------------------------------------------------------------------

# A key that fails for long holds back itself alone; a restart repeats nothing.
inbox_reset
make_topic 1
{ printf 'bad\tb1\tfail=1000000\nbad\tb2\tafter\n'; lines 200 7; } >"$dir/in"
send "$dir/in"
worker_start w retry.attempts 0 retry.total 1h
wait_sql 30 200 'select count(*) from public.effect' || not_ok others_pass_a_key_that_fails "$(tail -n 3 "$dir/w.log")"
equal the_position_stays_at_it 0 "$(sql "$finished")"
worker_kill w
sql "create function forgive() returns trigger language plpgsql as \$\$ begin new.payload := new.payload; return new; end \$\$"
worker_start w retry.attempts 2
sed -i 's/fail=1000000/fail=1000000 dead/' "$dir/sent"
effects_are what_passed_it_is_not_repeated
equal later_ones_of_its_key_go_on_after_it after "$(sql "select payload from public.effect where key = 'bad'")"
worker_signal w TERM
worker_end w 20

# COMMIT itself refuses one of many: only that one fails.
inbox_reset
make_topic
lines 100 10 'n == 50 ? "late dead" : n == 61 ? "sql=99 dead" : "p" n' >"$dir/in"
send "$dir/in"
worker_start w retry.attempts 2
effects_are an_event_that_commit_refuses_fails_alone
equal it_says_so 1 "$(sql "select count(*) from inbox.dead where error like 'at COMMIT:%child_id_fkey%'")"
equal errors_have_their_code_and_no_more_than_the_first_words '22012|division by zero|23503' \
    "$(sql "select string_agg(concat_ws('|', error_code, case when error not like 'at COMMIT%' then error end), '|' order by error_code)
        from inbox.dead where died_at >= first_error_at")"
worker_signal w TERM
worker_end w 20

# --- rebalances ------------------------------------------------------------------------------------

inbox_reset
make_topic 6
lines 3000 60 '"sleep=1"' >"$dir/in"
send "$dir/in"
worker_start r1
wait_until 30 is "select count(*) > 100 from public.effect" t || not_ok r1_works "$(tail -n 3 "$dir/r1.log")"
worker_start r2
wait_until 30 is "select count(distinct owner) from inbox.position" 2 || not_ok r2_joins "$(tail -n 3 "$dir/r2.log")"
worker_start r3
wait_until 30 is "select count(distinct owner) from inbox.position" 3 || not_ok r3_joins "$(tail -n 3 "$dir/r3.log")"
worker_signal r1 TERM
worker_end r1 30
equal leaving_the_group_is_clean 0 "$status"
effects_are rebalances_lose_and_repeat_nothing 60
worker_signal r2 TERM
worker_end r2 20
worker_signal r3 TERM
worker_end r3 20

# --- an owner that does not know that it is none any more -------------------------------------------------

inbox_reset
make_topic 1
lines 40 4 'n == 20 ? "gate" : "p" n' >"$dir/in"
send "$dir/in"
worker_start w worker.metrics "$dir/metrics" batch.rows 1
wait_sql 30 19 'select count(*) from public.effect' || not_ok w_works "$(tail -n 3 "$dir/w.log")"
fence
wait_until 30 metric_is fenced_total 1 || not_ok a_transaction_without_its_owner_rolls_back "$(metric fenced_total)"
equal what_it_did_is_undone 19 "$(sql "select count(*) from public.effect where n <= $fenced_to")"
effects_are a_partition_that_is_ours_after_all_goes_on 60
worker_signal w TERM
worker_end w 20

# --- a topic that is made anew ---------------------------------------------------------------------------

# With nobody there, and longer than it was.
inbox_reset
make_topic 1
lines 5 2 >"$dir/in"
send "$dir/in"
worker_start w
effects_are the_old_topic_is_applied 60
worker_signal w TERM
worker_end w 20
"$OUTBOX_TOOLS/topic" "$brokers" delete "$topic"
make_topic 1
: >"$dir/sent"
sql 'truncate public.effect'
lines 9 2 | sed 's/id-/anew-/' >"$dir/in"
send "$dir/in"
worker_start w
effects_are a_topic_made_anew_is_applied_from_its_beginning 60
worker_signal w TERM
worker_end w 20

# --- memory ----------------------------------------------------------------------------------------

inbox_reset
make_topic 2
{ printf 'bad\tb\tfail=12\n'; lines 400 1 | sed 's/^k0/bad/'; lines 400 50 | sed 's/id-/o-/'; } >"$dir/in"
send "$dir/in"
worker_start w inflight.rows 100 retry.attempts 20 worker.metrics "$dir/metrics"
effects_are much_behind_a_failing_event_pauses_and_goes_on
holds it_said_so grep -q 'a key that is held back: its fetching pauses' "$dir/w.log"
worker_signal w TERM
worker_end w 20

# --- of other types ----------------------------------------------------------------------------------

inbox_reset
make_topic
lines 50 5 '"reject"' >"$dir/in"
send "$dir/in"
worker_start w worker.type another worker.metrics "$dir/metrics"
effects_are types_without_a_handler_are_passed_by
wait_until 20 metric_is ignored_total 50 || not_ok they_are_counted "$(metric ignored_total)"
equal they_leave_no_trace 0 "$(sql 'select count(*) from inbox.seen')"
worker_signal w TERM
worker_end w 20

# --- the database goes and comes ------------------------------------------------------------------------

inbox_reset
make_topic
lines 1000 30 '"sleep=1"' >"$dir/in"
send "$dir/in"
worker_start w
for n in 100 400 700; do
    wait_until 30 is "select count(*) > $n from public.effect" t || not_ok "w_works_$n" "$(tail -n 3 "$dir/w.log")"
    sql "select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = current_database() and application_name like 'inbox %'" >/dev/null
done
effects_are links_cut_lose_and_repeat_nothing
worker_signal w TERM
worker_end w 20
equal it_ends_clean_all_the_same 0 "$status"

# --- what it refuses at its start -------------------------------------------------------------------------

# refuses NAME WORDS SETTING VALUE
refuses() {
    worker_start bad "${@:3}"
    worker_end bad 20
    if [[ $status == 1 ]] && grep -q -e "$2" "$dir/bad.log"; then ok "$1"; else not_ok "$1" "$status: $(tail -n 1 "$dir/bad.log")"; fi
    : >"$dir/bad.log"
}
refuses an_unknown_setting 'setting "colour" is unknown; there are dsn' colour 1
refuses a_misspelt_setting 'setting "retry.attempt" is unknown; did you mean retry.attempts?' retry.attempt 1
refuses a_setting_without_its_prefix 'did you mean kafka.bootstrap.servers?' bootstrap.servers x
refuses a_size_in_units_that_there_are_not 'it may be 1KiB to 1024GiB, with a unit: B, KiB, MiB or GiB' inflight.bytes 64MB
refuses a_dsn_that_cannot_be_read 'dsn: libpq cannot read it' dsn 'dbname=x pasword=s3cret'
refuses a_dsn_without_showing_it 'dsn: [^3]*$' dsn 'dbname=x pasword=s3cret'
refuses a_number_out_of_its_range 'batch.rows: "65" is not allowed; it may be 1 to 64' batch.rows 65
refuses a_duration_without_unit 'retry.base: "5" is not allowed' retry.base 5
refuses auto_commit 'kafka.enable.auto.commit cannot be set: it is always off' kafka.enable.auto.commit true
refuses another_strategy 'kafka.partition.assignment.strategy cannot be set' kafka.partition.assignment.strategy range
refuses read_uncommitted 'kafka.isolation.level cannot be' kafka.isolation.level read_uncommitted
refuses an_unknown_property 'kafka.no.such: No such configuration property' kafka.no.such 1
refuses ids_that_leave_too_soon 'h, longer than half of dedupe.keep' dedupe.keep 1m retry.attempts 1000 retry.total 1h
refuses a_topic_that_is_none 'topics: "a b" is not the name' topics 'a b'
refuses an_empty_group 'group: it may be 1 to 249 bytes' group ''
sql 'update inbox.schema_version set version = 1'
refuses an_older_schema 'has version 1, too old' batch.rows 1
sql 'update inbox.schema_version set version = 3'
refuses a_newer_schema 'has version 3, too new' batch.rows 1
sql 'update inbox.schema_version set version = 2'
exit $bad
