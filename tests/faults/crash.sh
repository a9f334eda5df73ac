#!/usr/bin/env bash
# crash.sh - the relay dies, or is told to stop, at each named crash point of its sources.
#
# CRASH_ROUNDS: how often it dies at each point (4): at the first pass, then at later ones by chance.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
rounds=${CRASH_ROUNDS:-4}
OUTBOX_RELAY=$OUTBOX_CRASH_RELAY

own_database
own_mock

mapfile -t points < <(grep -rhoE 'CRASH_POINT\("[^"]+"\)' "$root/relay" --include='*.c' | cut -d '"' -f 2 | sort)
equal each_crash_point_has_a_name_of_its_own '' "$(printf '%s\n' "${points[@]}" | uniq -d)"
holds there_are_crash_points test "${#points[@]}" -ge 15

# pass_of POINT ROUND: what a life passes often is hit at a later pass as well
pass_of() {
    case $1 in
    source.connected | *empt* | source.acquire* | *resign* | sink.before_end | *reset* | *producer*) echo 1 ;;
    *.renew* | *_renew) echo $(($2 == 1 ? 1 : 1 + RANDOM % 2)) ;;
    source.*) echo $(($2 == 1 ? 1 : 1 + RANDOM % 6)) ;;
    *) echo $(($2 == 1 ? 1 : 1 + RANDOM % 400)) ;;
    esac
}

# Without keys: the judge knows no order among them. Its time must not have come before a slow relay has read it, or
# it is not held.
schedule_one_more() {
    sql "insert into outbox.event (topic, type, payload, available_at)
         values ('$topic', 'test', 'later', now() + interval '3 s')"
    gone "${relay_pid[crash]}"
}

# Of another topic, which the judge does not look at: what is emptied is gone.
empty_one_more() {
    sql "insert into outbox.event (bucket, created_at, topic, type)
         values ($old_bucket, now() - interval '1 hour', 'emptied', 'test')"
    gone "${relay_pid[crash]}"
}
# Whole or gone: no mark without its event. The server still writes what the relay had sent before it was killed.
emptied_whole() {
    holds "server_is_done_with_$1" wait_sql 120 0 \
        "select count(*) from pg_stat_activity where application_name = 'outbox-relay'"
    equal "bucket_is_whole_or_gone_$1" 0 "$(sql "select count(*) from outbox.sent s where not exists
        (select from outbox.event e where e.bucket = s.bucket and e.id = s.id)")"
    sql "delete from outbox.sent where id in (select id from outbox.event where topic = 'emptied');
         delete from outbox.event where topic = 'emptied'"
}

# live_to POINT PASS SIGNAL [ARGUMENT ...]: one life, until it ends; $status as relay_end leaves it
live_to() {
    local args=("${@:4}")
    [[ $1 != *empt* ]] || args+=(-X retention=10s)
    log_anew crash
    OUTBOX_CRASH_AT=$1:$2 OUTBOX_CRASH_SIGNAL=$3 relay_start crash -X lease.owner=crash "${args[@]}"
    case $1 in
    *resign* | sink.before_end) # on its way out
        wait_said crash msg=leading || true
        relay_signal crash TERM
        ;;
    *reset* | *producer*) # when a producer is replaced
        wait_said crash msg=leading || true
        refuse_at 1 OUT_OF_ORDER_SEQUENCE_NUMBER # what is left of it meets the next life
        ;;
    *empt*) # when a bucket is emptied
        wait_said crash msg=leading || true # else a slow start takes the time for these
        wait_until 20 empty_one_more || true
        ;;
    *hold*) # when a row is put into outbox.held, such as a scheduled one
        wait_said crash msg=leading || true
        wait_until 20 schedule_one_more || true
        ;;
    esac
    fault relay_end crash 20 2>/dev/null # bash has a word for each that was killed
    [[ $1 != *empt* ]] || emptied_whole "$1_$2_$3"
}

for ((round = 1; round <= rounds; round++)); do
    reset
    watch_start
    writer_start
    for point in "${points[@]}"; do
        pass=$(pass_of "$point" "$round")
        live_to "$point" "$pass" 9
        n_kills=$((n_kills + 1))
        [[ $status == 137 ]] || not_ok "dies_at_${point}_$pass" "exit status $status: $(tail -n 3 "$dir/crash.log")"
    done
    relay_start crash -X lease.owner=crash
    stream_judge "died_at_each_point_$round"
    stop_clean crash
done

# The same places, but TERM: it must not leave anything half done.
reset
watch_start
writer_start
for point in "${points[@]}"; do
    [[ $point != *resign* && $point != sink.before_end ]] || continue # a second TERM, which ends at once
    pass=$(pass_of "$point" 2)
    live_to "$point" "$pass" 15 "${steady[@]}"
    [[ $status == 0 ]] || not_ok "stops_at_${point}_$pass" "exit status $status: $(tail -n 3 "$dir/crash.log")"
    is "select owner is null from outbox.relay" t || not_ok "gives_the_lease_back_at_${point}_$pass"
done
writer_stop
watch_stop
judge all_that_was_confirmed_was_marked_before_the_end --ledger "$marked" --allow-pending duplicates=0
watch_start
relay_start crash "${steady[@]}"
stream_judge the_rest_comes_later duplicates=0
stop_clean crash

finish
