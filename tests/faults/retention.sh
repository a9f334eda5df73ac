#!/usr/bin/env bash
# retention.sh - buckets are emptied under running writers and relays, and nothing is lost by it.
#
# An append takes its lock on the bucket of today; the janitor asks for the lock of one that is old. So no
# append waits for it, unless a transaction is as old as the bucket: then for the 100 ms of the janitor's
# lock_timeout and the moments of its work. The longest append of the run is printed: with eight writers and
# the relays on the same processors it is mostly their doing.
#
# ROTATIONS: how often the ring of eight buckets turns (50).
set -euo pipefail

# shellcheck source=tests/faults/lib_held.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_held.sh"
# shellcheck source=tests/faults/lib_history.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_history.sh"
rotations=${ROTATIONS:-50}
short=(-X retention=300ms)

own_database
own_mock

history_keep
sql "create table public.delay (ms float8);
     create procedure public.append_until_told(topic text) language plpgsql as \$\$
     declare
         began timestamptz;
     begin
         while not exists (select from public.delay where ms < 0) loop
             began := clock_timestamp();
             insert into outbox.event (topic, type, payload) values (topic, 'test', 'timed');
             insert into public.delay values (extract(epoch from clock_timestamp() - began) * 1000);
             commit;
             perform pg_sleep(0.005); -- the pace of this writer
         end loop;
     end \$\$"

case_begin() {
    reset
    history_anew
    sql "truncate public.delay"
}

emptied() { cat "$dir"/*.log | grep -c 'msg="a bucket was emptied"' || true; }
emptied_reaches() { (($(emptied) >= $1)); }

# writer NUMBER: keys of its own; some transactions roll back, some stay open beyond their bucket's time, some
# events are for later
write_as() {
    local n=0 k end pause
    while [[ ! -e $dir/writers_stop ]]; do
        n=$((n + 1)) k=$((n % 5)) end=commit pause=0
        ((n % 7 != 0)) || end=rollback
        ((n % 11 != 0)) || pause=0.$((RANDOM % 9))
        printf "begin; insert into outbox.event (topic, type, key, payload)
                    select '%s', 'test', 'w%d-%d', convert_to('%d.' || i, 'UTF8') from generate_series(1, 5) i;
                select pg_sleep(%s);
                insert into outbox.event (topic, type, key, payload) values ('%s', 'test', 'w%d-%d', '%d.last'); %s;\n" \
            "$topic" "$1" "$k" "$n" "$pause" "$topic" "$1" "$k" "$n" "$end"
        ((n % 13 != 0)) || printf "insert into outbox.event (topic, type, payload, available_at)
                    values ('%s', 'test', 'later', now() + interval '2 s');\n" "$topic"
        printf 'select pg_sleep(0.02);\n'
    done | psql -XqAt -v ON_ERROR_STOP=1 -d "$dsn" >/dev/null
}

# --- 8 writers, 50 rotations ------------------------------------------------------------------------

case_rotations() {
    local writers=() i pid size_early size_late
    case_begin
    ring_of 1200
    rm -f "$dir/writers_stop"
    watch_start
    for i in 1 2 3 4 5 6 7 8; do
        write_as $i &
        writers+=($!)
        proxy_pids+=($!)
    done
    psql -Xq -d "$dsn" -c "call public.append_until_told('$topic')" >/dev/null &
    writers+=($!)
    relay_start rotating "${short[@]}"
    relay_start standby "${short[@]}"
    wait_until 60 emptied_reaches $((rotations * 8 / 5)) || not_ok rotations_begin "$(emptied) buckets were emptied"
    size_early=$(sql "$in_ring")
    for i in 2 3 4 5; do # the leader dies, in the midst of whatever it does, and the other one takes over
        fault relay_kill rotating
        relay_start rotating "${short[@]}"
        wait_until 60 emptied_reaches $((rotations * 8 * i / 5)) ||
            not_ok "rotations_go_on_$i" "$(emptied) buckets were emptied: $(tail -n 3 "$dir/rotating.log")"
    done
    size_late=$(sql "$in_ring")
    holds rotations_of_the_ring test "$(emptied)" -ge $((rotations * 8))
    printf '# %s buckets emptied, ring of %s bytes early and %s late\n' "$(emptied)" "$size_early" "$size_late"
    holds most_of_what_was_written_is_gone is "select (select count(*) from outbox.event) * 3 < (select count(*) from history)" t
    : >"$dir/writers_stop"
    sql "insert into public.delay values (-1)"
    for pid in "${writers[@]}"; do wait "$pid" || not_ok writer_ends "exit status $?"; done
    holds all_is_sent_in_the_end wait_sent
    printf '# appends: %s\n' "$(sql "select count(*) || ', the longest took ' || round(max(ms)) || ' ms, 99 of 100 at most ' ||
        round(percentile_disc(0.99) within group (order by ms)) || ' ms' from public.delay")"
    holds space_is_given_back_to_the_last_event wait_sql 60 0 "$ring_is_empty"
    holds events_for_later_were_kept grep -q 'msg="kept events left' "$dir/rotating.log" "$dir/standby.log"
    stop_clean rotating
    stop_clean standby
    sql "select outbox.set_bucket_period('1 day')" >/dev/null
    put_back
    judge rotations_lose_nothing --deadline 60 unmarked=0
    watch_stop
}

# --- who is in the way -------------------------------------------------------------------------------

# old_events N [TOPIC]: in another bucket than today's
old_events() {
    sql "insert into outbox.event (bucket, created_at, topic, type, key, payload)
         select $old_bucket, now() - interval '1 hour', '${2:-$topic}', 'test', convert_to('k' || n % 3, 'UTF8'), convert_to(n::text, 'UTF8')
           from generate_series(1, $1) n"
}

case_locked() {
    local reader
    case_begin
    watch_start
    old_events 50
    session_start dump "$dsn application_name=pg_dump"
    session dump "begin; select count(*) from outbox.event; select pg_backend_pid()"
    reader=$(tail -n 2 "$dir/dump.out" | head -n 1)
    relay_start locked "${short[@]}" "${steady[@]}" # each lead says it once
    holds names_the_process_in_the_way wait_said locked "msg=\"a bucket is not emptied: it is locked\".* pid=$reader application=pg_dump age_s="
    holds goes_on_marking wait_sent
    append 50
    holds goes_on_marking_what_is_new wait_sent
    equal nothing_is_emptied_meanwhile 100 "$(sql "$ring_is_empty")"
    equal says_it_once_of_each_bucket '' "$(grep -oE "locked\" component=janitor bucket=. pid=$reader" "$dir/locked.log" | sort | uniq -d)"
    session dump "commit"
    holds empties_when_the_way_is_free wait_sql 30 0 "$ring_is_empty"
    stop_clean locked
    put_back
    judge locked_loses_nothing --deadline 30 unmarked=0
    watch_stop
}

case_off() {
    case_begin
    watch_start
    old_events 50
    relay_start off -X retention=off
    wait_sent || not_ok off_marks
    # those of the relay before may be there for a moment yet
    holds no_third_connection_is_opened wait_sql 20 2 "select count(*) from pg_stat_activity where application_name = 'outbox-relay'"
    stop_clean off
    equal nothing_is_emptied 50 "$(sql "$ring_is_empty")"
    judge off_keeps_all --deadline 30 unmarked=0
    watch_stop
}

# --- what a person has to decide ---------------------------------------------------------------------

case_dead() {
    local id
    case_begin
    watch_start
    sql "insert into outbox.event (bucket, created_at, topic, type, key, payload)
         select $old_bucket, now() - interval '1 hour', '$topic', 'test', convert_to(key, 'UTF8'), convert_to(payload, 'UTF8') from (values
             ('a', 'good'), ('a', repeat('x', 3000)), ('a', 'behind'), ('b', repeat('x', 3001)), ('c', 'good')) v (key, payload)"
    relay_start dead "${short[@]}" "${small[@]}" "${quick[@]}"
    holds dead_and_blocked_are_kept wait_sql 30 'dead -1,blocked -1,dead -1' \
        "select string_agg(state || ' ' || bucket, ',' order by id) from outbox.event_status"
    wait_said dead 'a bucket was emptied' || not_ok dead_says_so
    id=$(sql "select event_id from outbox.event_status where key = 'b'")
    commanded discard_of_a_kept_event 0 . discard "$id" --reason "too large for ever"
    holds discarded_leaves_when_old wait_sql 30 2 "$ring_is_empty"
    equal its_row_in_held_goes_too 2 "$(sql 'select count(*) from outbox.held')"
    stop_clean dead
    relay_start wider "${short[@]}" # takes what the other one refused
    commanded retry_of_a_kept_event 0 . retry --all --yes
    holds retried_and_what_was_behind_it_are_sent_and_leave wait_sql 30 0 "$ring_is_empty"
    equal nothing_is_held_any_more 0 "$(sql 'select count(*) from outbox.held')"
    stop_clean wider
    put_back
    sql "delete from outbox.event where key = 'b'" # discarded
    judge dead_ones_arrive_when_they_are_retried --deadline 30 unmarked=0 committed=4
    watch_stop
}

# --- a transaction of before -------------------------------------------------------------------------

case_late() {
    case_begin
    watch_start
    old_events 20
    session_start late
    session late "begin; insert into outbox.event (bucket, created_at, topic, type, key)
                  values ($old_bucket, now() - interval '1 hour', '$topic', 'test', 'late')"
    relay_start late "${short[@]}"
    holds an_open_transaction_is_in_the_way wait_said late 'it is locked'
    equal its_bucket_stays 20 "$(sql "$ring_is_empty")"
    session late commit
    holds and_goes_when_that_is_sent wait_sql 30 0 "$ring_is_empty"
    session late "begin; insert into outbox.event (bucket, created_at, topic, type, key)
                  values ($old_bucket, now() - interval '1 hour', '$topic', 'test', 'late');
                  prepare transaction 'late'"
    old_events 5
    holds a_prepared_one_too wait_said late 'it is locked.* prepared=late'
    session late "commit prepared 'late'"
    holds and_its_event_is_sent_as_well wait_sql 30 27 'select count(*) from history_sent'
    wait_sql 30 0 "$ring_is_empty" || not_ok late_bucket_goes
    stop_clean late
    put_back
    judge late_loses_nothing --deadline 30 unmarked=0 committed=27
    watch_stop
}

run_cases "$@"
finish
