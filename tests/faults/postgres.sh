#!/usr/bin/env bash
# postgres.sh - PostgreSQL fails: the link to it, the server, its disk, the rights to write; and what other
# sessions do to the relay: late commits, held snapshots, locks, a migration.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"

own_database
own_mock
own_proxy
direct_dsn=$dsn

# --- the link --------------------------------------------------------------------------------------

relay_dsn=$proxied_dsn
stream_start cut
pid=${relay_pid[cut]}
for _ in {1..4}; do
    fault proxy pgproxy cut
    must_move moves_after_a_cut cut
    fault sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
    must_move moves_after_terminate cut
done
fault proxy pgproxy refuse
proxy pgproxy cut
wait_said cut 'cannot use PostgreSQL' || not_ok refusal_is_logged
said cut 'msg="no longer leading".*because="PostgreSQL was lost"' || not_ok end_of_lead_is_logged
proxy pgproxy resume
stream_judge connections_cut_and_backends_terminated
equal it_is_the_same_process "$pid" "${relay_pid[cut]}"
stop_clean cut

stream_start silent -X statement.timeout=2s
fault proxy pgproxy stall-down
holds silent_database_is_noticed_while_it_is_silent wait_said silent 'no answer from PostgreSQL within the deadline'
proxy pgproxy cut
proxy pgproxy resume
must_move moves_after_silence silent
fault proxy pgproxy stall
wait_said silent 'cannot use PostgreSQL.*failed: no answer within 2 s"' || not_ok both_directions_silent
said silent 'msg="lost PostgreSQL".* error="no answer within 2 s"' || not_ok silence_is_the_reason
proxy pgproxy resume
stream_judge silent_database
stop_clean silent

stream_start slow -X statement.timeout=3m
fault proxy pgproxy "pieces 1"
must_move moves_byte_by_byte slow 60
proxy pgproxy resume
fault proxy pgproxy "pieces 300 5" # 60 kB/s
must_move moves_on_a_slow_link slow 60
proxy pgproxy resume
stream_judge bytewise_and_slow_link
equal a_slow_link_is_not_a_lost_one 0 "$(times_said slow 'lost PostgreSQL')"
stop_clean slow

# Answers that are lost: what was asked for has happened and the relay cannot know. Another owner takes
# the lease for a moment, so that the relay asks for it on a connection that is already set up.
take_lease() { sql "update outbox.relay set owner = 'somebody', epoch = epoch + 1, lease_expires_at = now() + '300 ms'"; }
stream_start unanswered
for statement in outbox_mark outbox_renew outbox_read outbox_acquire outbox_catch_up; do
    for _ in 1 2 3; do
        before=$(times_lost pgproxy)
        fault proxy pgproxy "lose $statement"
        [[ $statement != outbox_acquire && $statement != outbox_catch_up ]] || take_lease
        wait_until 10 lost_more_than pgproxy "$before" || not_ok "answer_to_${statement}_is_lost" "$(tail -n 3 "$dir/unanswered.log")"
        must_move "moves_after_the_lost_answer_to_$statement" unanswered
    done
done
fault proxy pgproxy "lose outbox_mark"
fault relay_signal unanswered TERM
relay_end unanswered 20
holds term_with_a_lost_answer_ends test "$status" != still_running
relay_start unanswered
stream_judge answers_lost_after_the_statement_was_sent
stop_clean unanswered
relay_dsn=$direct_dsn

# --- the server --------------------------------------------------------------------------------------

stream_start crashed
for _ in {1..6}; do
    fault postgres_crash immediate
    must_move moves_after_a_crash_of_the_database crashed
done
fault postgres_crash kill
must_move moves_after_the_postmaster_was_killed crashed
stream_judge database_crashed_in_a_loop
stop_clean crashed

stream_start readonly
fault sql "alter system set default_transaction_read_only = on"
sql "select pg_reload_conf()" >/dev/null
wait_said readonly 'sqlstate=25006\|read-only\|read only' || not_ok read_only_is_logged "$(tail -n 3 "$dir/readonly.log")"
holds relay_outlives_a_read_only_server alive "${relay_pid[readonly]}"
writable() { PGOPTIONS='-c default_transaction_read_only=off' psql -XqAt -d "$dsn" "$@" >/dev/null; }
# What the remedy says, and no more: it reaches new sessions alone.
holds its_remedy_is_told wait_said readonly 'remedy=".*set default_transaction_read_only to off for the role of the dsn'
writable -c 'alter role current_user set default_transaction_read_only = off'
must_move moves_after_read_only readonly 40
stream_judge server_was_read_only
stop_clean readonly
writable -c "alter system reset default_transaction_read_only" -c "select pg_reload_conf()" -c 'alter role current_user reset default_transaction_read_only'

# --- its disk ------------------------------------------------------------------------------------------

# serves: the server answers, started where it could not go on; it may just be about to end.
serves() { sql 'select' >/dev/null 2>&1 || { "$pg" start "$small" && sql 'select'; } >/dev/null 2>&1; }
# The whole cluster on a small file system, which then has no room.
disk_full() {
    local small=$dir/small
    mkdir "$small"
    if ! mount -t tmpfs -o size=160m,mode=0711 tmpfs "$small" 2>"$dir/mount.log"; then
        skip disk_full "no tmpfs can be mounted: $(tail -n 1 "$dir/mount.log")"
        return
    fi
    mounts+=("$small")
    "$pg" start "$small" min_wal_size=32MB max_wal_size=64MB >/dev/null
    "$pg" schema "$small"
    dsn=$("$pg" conninfo "$small") relay_dsn=$dsn
    stream_start full
    # What waits for its mark stands in the outbox before there is no room.
    mock down
    append 20000 "$topic-d"
    fault dd if=/dev/zero of="$small/ballast" bs=64k 2>/dev/null || true
    mock up
    wait_said full 'sqlstate=53100\|lost PostgreSQL\|cannot use PostgreSQL' 60 ||
        not_ok full_disk_is_logged "$(tail -n 3 "$dir/full.log")"
    holds relay_outlives_a_full_disk alive "${relay_pid[full]}"
    rm "$small/ballast"
    wait_until 60 serves || not_ok server_goes_on_with_room "$(tail -n 3 "$small/log")"
    must_move moves_after_room_was_made full 60
    stream_judge disk_was_full
    stop_clean full
    "$pg" stop "$small" immediate
    wait_until 60 umount "$small" 2>/dev/null # a process that has just ended may hold it for a moment
    mounts=()
    dsn=$direct_dsn relay_dsn=$direct_dsn
}
disk_full

# --- other sessions --------------------------------------------------------------------------------------

# insert_late N: rows with keys of their own, so that the order of ids in each key is that of commits
insert_late() { printf "insert into outbox.event (topic, type, key) select '%s', '%s', convert_to('%s' || n, 'UTF8') from generate_series(1, %d) n" "$topic" "${2:-late}" "$1" 20; }
stream_start others
session_start holder
session holder "begin isolation level repeatable read; select count(*) from outbox.event"
session_start elsewhere "$("$pg" conninfo "$dir/pg" | sed 's/dbname=.*/dbname=postgres/')"
session elsewhere "create table busy (i int); begin; insert into busy values (1)"
fault sql "begin; $(insert_late prepared); prepare transaction 'late'"
session_start late
session late "begin; $(insert_late low)"
fault must_move moves_beside_open_transactions others
for _ in 1 2 3; do must_move goes_on_beside_open_transactions others; done
session late "savepoint s; $(insert_late high); rollback to s; $(insert_late mid); commit"
must_move moves_after_a_late_commit others
fault postgres_crash immediate # a prepared transaction outlives it
must_move moves_beside_a_prepared_transaction others
sql "commit prepared 'late'"
# drawn ids, stalled before the row is there
sql "create function outbox.stall() returns trigger language plpgsql as
         'begin perform pg_advisory_xact_lock(4711); return new; end';
     create trigger stall before insert on outbox.event for each row when (new.type = 'stalled') execute function outbox.stall()"
session_start gate
session gate "begin; select pg_advisory_xact_lock(4711)"
session_start stalled
session_send stalled "$(insert_late stalled stalled)"
wait_sql 10 1 "select count(*) from pg_locks where locktype = 'advisory' and not granted" || not_ok insert_is_stalled
fault must_move moves_beside_a_stalled_insert others
session gate "commit"
wait_sql 10 20 "select count(*) from outbox.event where type = 'stalled'" || not_ok stalled_insert_commits
# a snapshot held since the beginning holds up nothing: what is appended now is marked all the same
session_start old_snapshot
session old_snapshot "begin isolation level repeatable read; select count(*) from outbox.event"
append 20000 "$topic-bulk"
wait_sent 30 || true
sql "insert into outbox.event (topic, type) values ('$topic', 'probe')"
holds row_beside_a_held_snapshot_is_marked wait_sql 20 1 "select count(*) from outbox.event_status where type = 'probe' and sent_at is not null"
stream_judge late_commits_held_snapshots_and_stalled_inserts
equal late_rows_all_came 80 "$(sql "select count(*) from outbox.event_status where type in ('late', 'stalled') and sent_at is not null")"
stop_clean others
for name in holder old_snapshot; do session "$name" commit; done
sql "drop trigger stall on outbox.event; drop function outbox.stall()"

# A lock that stands in the way of marks, and one in the way of reads. (The lock_timeout of the relay is a second.)
stream_start locked -X statement.timeout=800ms
for table in sent event relay; do
    session_start "locker_$table"
    n=$(times_said locked 'no answer from PostgreSQL within the deadline')
    fault session "locker_$table" "begin; lock table outbox.$table in access exclusive mode"
    wait_until 20 said_often locked 'no answer from PostgreSQL within the deadline' $((n + 1)) || not_ok "lock_on_${table}_is_noticed"
    session "locker_$table" "commit"
    must_move "moves_after_the_lock_on_$table" locked
done
stream_judge tables_were_locked
stop_clean locked

# While it runs, the schema becomes one that it does not know.
reset
relay_start upgraded
wait_said upgraded msg=leading || not_ok upgraded_leads
fault sql "insert into outbox.schema_version values (1000, '99.0.0', true)"
append 10
holds works_on_while_it_is_connected wait_sent
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
relay_end upgraded 20
equal refuses_a_schema_it_does_not_know 78 "$status"
sql "delete from outbox.schema_version where version = 1000"

finish
