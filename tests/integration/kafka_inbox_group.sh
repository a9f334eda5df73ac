#!/usr/bin/env bash
# kafka_inbox_group.sh - the processes of a group share what can be done: one without a database takes no partition,
# one that loses its link gives its own up, and a partition that was lost while it waited is read when it comes back.
# Needs OUTBOX_TEST_DSN and OUTBOX_TEST_KAFKA: librdkafka's mock takes session.timeout.ms of the last who joined for
# the whole group, and never answers one that has waited longer than that to join.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_inbox.sh"

session_ms=6000 # who has no link leaves after that time
stop() { worker_signal "$1" TERM; worker_end "$1" 30; }

# --- a process of the group that has no database -------------------------------------------------------------

inbox_reset
make_topic 4
: >"$dir/works.log"
worker_start works
wait_until 60 said_often works "^<6> $topic/[0-9]* is assigned here" 4 || not_ok it_has_them_all
worker_dsn="$dsn dbname=mistyped" worker_start mistyped
holds without_a_database_it_does_not_join wait_said mistyped 'has no partition of group .*: it joins when it has a link to the database' 60
lines 40 8 >"$dir/in"
send "$dir/in"
effects_are a_mistyped_database_costs_others_nothing
equal nobody_handed_one_back 0 "$(grep -c 'handed back' "$dir/works.log")"
stop mistyped
equal and_it_can_be_stopped 0 "$status"
# One that loses its link alone leaves for as long as it lasts.
socket=$(sql "select split_part(setting, ',', 1) from pg_settings where name = 'unix_socket_directories'")/.s.PGSQL.$(sql 'show port')
proxy_start link "$socket"
worker_dsn="host=127.0.0.1 port=$port user=$(sql 'select current_user') dbname=$(sql 'select current_database()') sslmode=disable" \
    worker_start cut
wait_until 60 is "select count(distinct owner) from inbox.position where consumer = '$topic'" 2 || not_ok both_have_some "$(tail -n 3 "$dir/cut.log")"
proxy link refuse
proxy link cut
holds it_leaves wait_said cut '^<4> there has been no link to the database for 6 s: it leaves group' 60
lines 40 8 | sed 's/id-/later-/' >"$dir/in"
send "$dir/in"
effects_are who_has_lost_its_database_leaves_its_partitions_to_others 60
proxy link resume
wait_until 60 is "select count(distinct owner) from inbox.position where consumer = '$topic'" 2 || not_ok it_comes_back "$(tail -n 3 "$dir/cut.log")"
lines 40 8 | sed 's/id-/last-/' >"$dir/in"
send "$dir/in"
effects_are and_works_again
stop cut
stop works

# --- a partition that is lost while it is paused, and comes back ---------------------------------------------

# What waits for the database is paused. Two processes share the partitions while nothing can be claimed; then
# one of them leaves.
inbox_reset
make_topic 4
lines 40 8 >"$dir/in"
send "$dir/in"
claims_shut
: >"$dir/stays.log"
: >"$dir/leaves.log"
assigned() { (($(grep -c "^<6> $topic/[0-9]* is assigned here" "$dir/$1.log") >= $2)); }
worker_start stays
wait_until 30 assigned stays 4 || not_ok it_waits_for_four "$(tail -n 3 "$dir/stays.log")"
worker_start leaves
wait_until 60 assigned leaves 1 || not_ok it_shares_them "$(tail -n 3 "$dir/leaves.log")"
claims_open
wait_sql 60 40 "$finished" || not_ok both_claim_what_they_have "$(tail -n 3 "$dir/stays.log")"
stop leaves
wait_until 60 assigned stays 5 || not_ok they_come_back "$(tail -n 3 "$dir/stays.log")"
lines 40 8 | sed 's/id-/later-/' >"$dir/in"
send "$dir/in"
effects_are what_comes_back_is_read_although_it_was_paused
stop stays

# --- a topic that is not there -------------------------------------------------------------------------------

there=$topic
topic=$there-mistyped worker_start nowhere
holds a_missing_topic_is_named wait_said nowhere "^<4> librdkafka: .*$there-mistyped: .*; create it, or correct the setting topics" 60
holds it_waits_for_it wait_said nowhere 'has no partition of group .*, or its topics do not exist' 60
stop nowhere

exit $bad
