#!/usr/bin/env bash
# soak.sh - faults in a random order that a seed decides, under a running writer, judged every so often.
#
#   SOAK_KILLS     ends after so many kills of a relay (50)      `make soak`: 1000
#   SOAK_SECONDS   ends after so long instead
#   SEED           replays a schedule; the seed is printed
# Two relays: the victim is killed, stopped and frozen; the survivor meets all the rest and is frozen now
# and then, so that both lead. The survivor must not grow: its memory and descriptors are looked at. Nor may the
# outbox: the ring of buckets turns in two seconds, what is a second old and sent leaves it, and after the
# first third of a round it is about as large as at its end, however much was written meanwhile.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
# shellcheck source=tests/faults/lib_history.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_history.sh"
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
kills=${SOAK_KILLS:-50}
seconds=${SOAK_SECONDS:-0}
events_per_round=80

own_database
own_mock --brokers 3
own_proxy
relay_dsn=$proxied_dsn
history_keep
ring_of 2000
printf '# seed %s\n' "$seed"
RANDOM=$seed # from here on nothing but the schedule draws in this shell
n_postgres=0
n_broker=0
began=$(now_ms)

victim_start() {
    log_anew victim
    relay_start victim -X lease.owner=victim -X retention=1s
}
database_again() {
    "$pg" start "$dir/pg" >/dev/null
    n_postgres=$((n_postgres + 1))
}

codes=(MSG_SIZE_TOO_LARGE OUT_OF_ORDER_SEQUENCE_NUMBER NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT NOT_ENOUGH_REPLICAS
    TOPIC_AUTHORIZATION_FAILED UNKNOWN_PRODUCER_ID INVALID_RECORD)

# event KIND NUMBER: KIND is 0 to 99; NUMBER decides the rest
event() {
    local kind=$1 n=$2
    if ((kind < 62)); then
        relay_kill victim
        pause_of $((n % 3 == 0 ? n % 400 : 0))
        victim_start
        pause_of $((n % 150))
    elif ((kind < 65)); then
        wait_said victim msg=started || true # before that its handler does not stand
        relay_signal victim TERM
        relay_end victim 30
        [[ $status == 0 ]] || not_ok "term_at_event_$n_events" "exit status $status: $(tail -n 3 "$dir/victim.log")"
        victim_start
    elif ((kind < 68)); then
        name=victim
        ((n % 2)) || name=survivor
        relay_signal "$name" STOP
        pause_of $((900 + n % 600)) # about as long as the lease
        relay_signal "$name" CONT
    elif ((kind < 73)); then
        proxy pgproxy cut
    elif ((kind < 76)); then
        sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
    elif ((kind < 79)); then
        proxy pgproxy "lose outbox_$( ((n % 2)) && echo mark || echo renew)"
    elif ((kind < 81)); then
        proxy pgproxy stall
        pause_of $((n % 500))
        proxy pgproxy resume
    elif ((kind < 83)); then
        "$pg" stop "$dir/pg" immediate
        database_again
    elif ((kind < 84)); then
        "$pg" kill "$dir/pg"
        database_again
    elif ((kind < 87)); then
        mock down
        pause_of $((n % 500))
        mock up
        n_broker=$((n_broker + 1))
    elif ((kind < 90)); then
        mock down $((n % 3 + 1))
        pause_of $((n % 300))
        mock up $((n % 3 + 1))
        n_broker=$((n_broker + 1))
    elif ((kind < 95)); then
        refuse_at $((n / 8 % 3 + 1)) "${codes[n % ${#codes[@]}]}"
    elif ((kind < 97)); then
        mock leader "$topic" $((n % 4)) $((n % 3 + 1)) 2>/dev/null || true # not there before its first row
    elif ((kind < 98)); then
        mock rtt 200
        pause_of $((n % 500))
        mock rtt 0
    else
        append 2000 "$topic-bulk" "convert_to('k' || n % 100, 'UTF8')" 2>/dev/null || true
        n_bulk=$((n_bulk + 1))
    fi
}

first_fds=0 first_kb=0
larger() { printf '%d\n' $(($1 > $2 ? $1 : $2)); }
first_half() {
    if ((seconds > 0)); then
        (($(now_ms) - began < seconds * 500))
    else
        ((round <= 2 || n_kills * 2 <= kills))
    fi
}
# note_size EVENT: of the events and their marks on disk, most of the first third of a round, and of the last
early=0 late=0 n_bulk=0
note_size() {
    local bytes
    bytes=$(sql "$in_ring")
    if (($1 * 3 < events_per_round)); then
        early=$(larger "$early" "$bytes")
    elif (($1 * 3 >= events_per_round * 2)); then
        late=$(larger "$late" "$bytes")
    fi
}
# Growth would have made three of one. What came in bulk may have come late: a row with its indexes and its mark
# takes 700 bytes. On a machine that is slow late in a round more is on its way: but not half of all that was
# written. A round that ended before has nothing to compare.
space_is_flat() {
    local rows
    ((late > 0)) || return 0
    rows=$(sql 'select count(*) from public.history')
    printf '# round %d: ring of %d bytes at most in the first third, %d in the last; %s rows written, %d times 2000 of them in bulk, %s left\n' \
        "$round" "$early" "$late" "$rows" "$n_bulk" "$(sql "$ring_is_empty")"
    holds "space_is_flat_in_round_$round" test "$late" -le "$(larger $((early * 2 + n_bulk * 2000 * 700)) $((rows * 350)))"
}
descriptors() { find "/proc/${relay_pid[survivor]}/fd" -mindepth 1 2>/dev/null | wc -l; }
finished() {
    if ((seconds > 0)); then
        (($(now_ms) - began >= seconds * 1000))
    else
        ((n_kills >= kills))
    fi
}

relay_start survivor -X retention=1s
first_fds=0 first_kb=0 round=0 n_events=0
until finished; do
    round=$((round + 1))
    reset
    history_anew
    early=0 late=0 n_bulk=0
    sql "update outbox.relay set owner = 'survivor', lease_expires_at = now()" # who leads first is not the schedule's
    watch_start
    writer_start
    victim_start
    for ((n = 0; n < events_per_round; n++)); do
        ! finished || break
        n_events=$((n_events + 1))
        kind=$((RANDOM % 100)) number=$RANDOM
        fault event "$kind" "$number"
        progress "seed $seed: event $n_events, $n_kills of $kills kills, round $round"
        if ((n % 20 == 19)); then must_move "moves_after_event_$n_events" survivor 40; fi
        if ((n % 5 == 4)); then note_size $n; fi
    done
    proxy pgproxy resume
    space_is_flat
    writer_stop
    holds "space_is_given_back_in_round_$round" wait_sql 60 0 "$ring_is_empty"
    wait_said victim msg=started || true
    stop_clean victim
    relay_signal survivor STOP # what is put back is old and sent
    put_back
    stream_judge "round_$round"
    relay_signal survivor CONT
    # A survivor that leads has more of both than one that stands by: the most of the first half counts.
    if first_half; then
        first_fds=$(larger "$first_fds" "$(descriptors)") first_kb=$(larger "$first_kb" "$(memory survivor VmRSS)")
    fi
    ((bad == 0)) || break
done
fds=$(descriptors) kb=$(memory survivor VmRSS)
progress ''
printf '# survivor: %d descriptors, then %d; %d KiB, then %d\n' "$first_fds" "$fds" "$first_kb" "$kb"
holds survivor_is_still_alive alive "${relay_pid[survivor]}"
holds descriptors_stay test "$fds" -le $((first_fds + 8))
holds memory_stays test "$kb" -le $((first_kb + first_kb / 4 + 4096))
stop_clean survivor
printf '# shown: events %d, kills: relay %d, postgresql %d, broker %d; seed %s\n' "$n_events" "$n_kills" "$n_postgres" "$n_broker" "$seed"
((bad == 0)) || printf '# replay with SEED=%s\n' "$seed"
n_kills=$((n_kills + n_postgres + n_broker))
finish
