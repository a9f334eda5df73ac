#!/usr/bin/env bash
# takeover.sh - what a killed relay had sent and not marked: its heir finds it at the ends of the topics and
# marks it (takeover.tail=auto), or sends it once more (off). Prints the repeats of both.
#
# TAKEOVER_KILLS: kills in each loop (30).
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
kills=${TAKEOVER_KILLS:-30}
window=1000 # rows in flight, at most

own_database
own_mock --brokers 3

# --- confirmed and not marked, exactly ---------------------------------------------------------------

# reads_the_ends NAME FUNCTION ARGUMENT...: once more when the heir NAME missed the end of a topic, for it is to be
# seen what it does with one; or when the first was so slow that it came to its marks
reads_the_ends() {
    local turn
    for turn in 1 2 3 4 5; do
        log_anew "$1"
        "${@:2}"
        ((turn < 5 && marked_early + $(times_said "$1" "$end_unread") > 0)) || break
        relay_kill "$1"
        [[ -z $watch_pid ]] || watch_stop
    done
    equal "$1_came_after_one_without_a_mark" 0 "$marked_early"
}

# life_without_a_mark NAME N ARGUMENT...: until all N rows are in their topics
all_are_there() { (($(wc -l <"$dir/records") >= $1)); }
life_without_a_mark() {
    relay_start "$1" -X lease.owner="$1" "${steady[@]}" -X mark.delay=1m "${@:3}"
    wait_until 20 all_are_there "$2" || not_ok "$1_sends_all" "$(tail -n 3 "$dir/$1.log")"
    relay_kill "$1"
    marked_early=$(sql "$sent")
}
# die_unmarked NAME TAIL: all 500 rows are in their topic when the relay dies, and none is marked; an heir comes
die_unmarked() {
    reset
    watch_start
    append 400
    append 100 "$topic-b" null
    life_without_a_mark "$1" 500 -X takeover.tail="$2"
    fault relay_start "$1" -X lease.owner="$1" "${steady[@]}" -X takeover.tail="$2"
    wait_sent || not_ok "$1_marks_all"
}
died_unmarked() {
    reads_the_ends "$1" die_unmarked "$1" "$2"
    judge "$1" --deadline 30 unmarked=0 "duplicates=$3"
    watch_stop
    stop_clean "$1"
    holds "heir_says_how_many_it_found_$2" said "$1" "msg=stopped.* rows_found=$((500 - $3)) "
}
died_unmarked heir_finds_all_that_was_sent auto 0
died_unmarked heir_sends_again_what_it_does_not_look_for off 500

# With Debezium's headers key and payload tell which row a record is, whether they are empty or absent.
die_unmarked_debezium() {
    reset
    watch_start
    for bytes in null "''" "'x'"; do
        append 20 "$topic" "$bytes" null
        append 20 "$topic" "$bytes" "''"
        append 20 "$topic" "$bytes"
    done
    life_without_a_mark debezium 180 -X envelope=debezium
    fault relay_start debezium -X lease.owner=debezium "${steady[@]}" -X envelope=debezium
    wait_sent || not_ok debezium_marks_all
}
reads_the_ends debezium die_unmarked_debezium
holds heir_marks_what_has_the_headers_of_debezium wait_sql 20 180 "$sent"
watch_stop
stop_clean debezium
holds it_found_them_all said debezium 'msg=stopped.* rows_found=180 '

# Two events may have one id, if the application says so. That the first is there is not the second.
for envelope in cloudevents debezium; do
    reset
    twin="insert into outbox.event (event_id, topic, type, key, payload)
        select '0190a000-0000-7000-8000-000000000001', '$topic', 'test', 'k'"
    sql "$twin, 'first'"
    relay_start twin -X lease.owner=twin "${steady[@]}" -X envelope=$envelope
    wait_sent
    fault relay_kill twin
    sql "$twin, 'second'"
    relay_start twin -X lease.owner=twin "${steady[@]}" -X envelope=$envelope
    wait_sent
    equal "second_event_of_an_id_goes_out_too_$envelope" '0 1' \
        "$(sql "select string_agg(kafka_offset::text, ' ' order by id) from outbox.sent")"
    stop_clean twin
done

# --- by chance -----------------------------------------------------------------------------------------

# killed NAME TAIL
killed() {
    reset
    watch_start
    writer_start
    kill_loop "$1" "$kills" "${steady[@]}" -X takeover.tail="$2" -X inflight.rows=$window -X batch.rows=$((window / 2)) -X mark.delay=100ms
    heir_start "$1" "${steady[@]}" -X "lease.owner=$1" -X takeover.tail="$2"
    stream_judge "$1"
    excuse "$1"
    printf '# shown: takeover.tail=%s: %d kills, %d rows, %d repeats\n' "$2" "$kills" "$(number committed)" "$(number duplicates)"
    stop_clean "$1"
}
killed killed_with_the_tail auto
first=$(repeats)
holds fewer_than_one_repeat_in_ten_kills few_repeats "$first" "$kills"
killed killed_without_the_tail off
holds repeats_are_what_was_in_flight_at_most test "$(number duplicates)" -le $((kills * window))
holds and_there_are_some test "$(number duplicates)" -gt 0 # else the loops show nothing

# The heir is another relay, which waits; then it is its turn.
reset
watch_start
writer_start
# A lease that outlasts the moments in which a slow machine lets nobody run: a lead that ends so, with rows on their
# way, sends some of them beside the next one.
narrow=(-X lease.ttl=8s -X mark.delay=100ms -X inflight.rows=$window -X batch.rows=$((window / 2)))
relay_start even "${narrow[@]}"
wait_said even msg=leading || not_ok first_of_two_leads "$(tail -n 3 "$dir/even.log")"
leader=even follower=odd
for ((n = 1; n <= kills / 6; n++)); do
    log_anew "$follower"
    relay_start "$follower" "${narrow[@]}"
    wait_said "$follower" 'another relay leads\|msg=leading' || not_ok "standby_$n" "$(tail -n 3 "$dir/$follower.log")"
    must_move "moves_before_takeover_$n" "$leader"
    fault relay_kill "$leader"
    wait_said "$follower" msg=leading || not_ok "takeover_$n" "$(tail -n 3 "$dir/$follower.log")"
    must_move "moves_after_takeover_$n" "$follower"
    name=$leader leader=$follower follower=$name
done
stream_judge killed_with_a_standby_and_the_tail
printf '# shown: a standby takes over: %d kills, %d repeats\n' $((kills / 6)) "$(number duplicates)"
# One of the two may have met the rows of a lead that ended while it was slow, a window of them.
missed=$(cat "$dir"/even.log* "$dir"/odd.log* | grep -c "$end_unread" || true)
holds fewer_than_one_repeat_with_the_standby_too few_repeats $((first + $(repeats) - missed * window)) $((kills + kills / 6))
stop_clean "$leader"

# Where the ends cannot be read it sends: never a loss.
reset
append 200
fault mock down
relay_start blind -X lease.owner=blind
wait_said blind "$end_unread" 20 || not_ok blind_takeover_is_logged
mock up
watch_start
judge unreadable_ends_lose_nothing --deadline 30 committed=200 unmarked=0
watch_stop
stop_clean blind

finish
