#!/usr/bin/env bash
# soak.sh - faults in a random order that a seed decides, under a running writer, judged every so often.
#
#   SOAK_KILLS     ends after so many kills of a relay (50)      `make soak`: 1000
#   SOAK_SECONDS   ends after so long instead; a deadline that was missed does not end it, all else does
#   SOAK_BROKER    mock, or kafka: a real one                    `make soak KAFKA=1`
#   SEED           replays a schedule; the seed is printed
# Every ten seconds a line of what there is goes to soak.tsv in $OUTBOX_BUILD/soak, drawn in soak.svg at the end.
# Two relays: the victim is killed, stopped and frozen; the survivor meets all the rest and is frozen now
# and then, so that both lead. The survivor must not grow: its memory and descriptors are looked at. Nor may the
# outbox: the ring of buckets turns in two seconds, what is a second old and sent leaves it, and after the
# first third of a round it is about as large as at its end, however much was written meanwhile.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
# shellcheck source=tests/faults/lib_history.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_history.sh"
kills=${SOAK_KILLS:-50}
seconds=${SOAK_SECONDS:-0}
kind_of_broker=${SOAK_BROKER:-mock}
events_per_round=80
out=$OUTBOX_BUILD/soak
mkdir -p "$out"

own_database
own_proxy
relays=(-X retention=1s)
if [[ $kind_of_broker == kafka ]]; then
    own_kafka "${with_acls[@]}"
    relays+=("${through_proxy[@]}" -X retry.attempts=10000) # what is refused for a while must not be given up
    writer_pause=0.2
    pace=1000
else
    own_mock --brokers 3
    pace=0
fi
relay_dsn=$proxied_dsn
history_keep
ring_of 2000
schedule_begin
n_broker=0
began=$(now_ms)

victim_start() {
    log_anew victim
    relay_start victim -X lease.owner=victim "${relays[@]}"
}

codes=(MSG_SIZE_TOO_LARGE OUT_OF_ORDER_SEQUENCE_NUMBER NOT_LEADER_FOR_PARTITION REQUEST_TIMED_OUT NOT_ENOUGH_REPLICAS
    TOPIC_AUTHORIZATION_FAILED UNKNOWN_PRODUCER_ID INVALID_RECORD)

# What may befall a broker, by the same numbers as in event().
befalls_mock() {
    local kind=$1 n=$2
    if ((kind < 87)); then
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
    else
        mock rtt 200
        pause_of $((n % 500))
        mock rtt 0
    fi
}
befalls_kafka() {
    local kind=$1 n=$2 name
    name=$topic$( ((n % 2)) || echo -b)
    if ((kind < 86)); then
        "$broker" "$( ((n % 3)) && echo kill || echo stop)" "$dir/broker"
        pause_of $((n % 500))
        "$broker" restart "$dir/broker" >/dev/null
        n_broker=$((n_broker + 1))
    elif ((kind < 88)); then
        "$broker" pause "$dir/broker"
        pause_of $((n % 4000))
        "$broker" cont "$dir/broker"
    elif ((kind < 91)); then
        proxy kafka "lose ce_type" # an acknowledgement: it stands in records only
    elif ((kind < 93)); then
        proxy kafka cut
    elif ((kind < 94)); then
        proxy kafka "$( ((n % 2)) && echo stall || echo 'pieces 100 1')"
        pause_of $((n % 2000))
        proxy kafka resume
    elif ((kind < 96)); then
        "$broker" topic "$dir/broker" deny "$name"
        pause_of $((n % 1000))
        "$broker" topic "$dir/broker" allow "$name"
    else
        "$broker" topic "$dir/broker" config "$name" max.message.bytes=$((300 + n % 5 * 300))
        pause_of $((n % 2000))
        "$broker" topic "$dir/broker" config "$name" max.message.bytes=1048588
    fi
}

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
        freeze "$name" $((900 + n % 600)) # about as long as the lease
    elif ((kind < 73)); then
        proxy pgproxy cut
    elif ((kind < 76)); then
        sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
    elif ((kind < 79)); then
        proxy pgproxy "lose outbox_$( ((n % 2)) && echo mark || echo renew)"
    elif ((kind < 81)); then
        postgres_silent $((n % 500))
    elif ((kind < 83)); then
        postgres_crash immediate
    elif ((kind < 84)); then
        postgres_crash kill
    elif ((kind < 98)); then
        "befalls_$kind_of_broker" "$kind" "$n"
    else
        append 2000 "$topic-bulk" "convert_to('k' || n % 100, 'UTF8')" 2>/dev/null || true
        n_bulk=$((n_bulk + 1))
    fi
}

first_fds=0 first_kb=0
larger() { printf '%d\n' $(($1 > $2 ? $1 : $2)); }
first_half() {
    if ((seconds > 0)); then
        ((round == 1 || $(now_ms) - began < seconds * 500))
    else
        ((round <= 2 || n_kills * 2 <= kills))
    fi
}
# note_size EVENT: of the events and their marks on disk, most of the first third of a round, and of the last;
# without the rows that wait, which are many after a broker was away
early=0 late=0 n_bulk=0
note_size() {
    local bytes
    bytes=$(sql "select greatest(0, ($in_ring) - $bytes_of_row * ($unsent))")
    if (($1 * 3 < events_per_round)); then
        early=$(larger "$early" "$bytes")
    elif (($1 * 3 >= events_per_round * 2)); then
        late=$(larger "$late" "$bytes")
    fi
}
bytes_of_row=700 # with its indexes and its mark
# Growth would have made three of one. What came in bulk may have come late. On a machine that is slow late in a
# round more is on its way: but not half of all that was written. A round that ended before has nothing to compare.
space_is_flat() {
    local rows
    ((late > 0)) || return 0
    rows=$(sql 'select count(*) from public.history')
    printf '# round %d: ring of %d bytes at most in the first third, %d in the last; %s rows written, %d times 2000 of them in bulk, %s left\n' \
        "$round" "$early" "$late" "$rows" "$n_bulk" "$(sql "$ring_is_empty")"
    holds "space_is_flat_in_round_$round" test "$late" -le "$(larger $((early * 2 + n_bulk * 2000 * bytes_of_row)) $((rows * 350)))"
}

# What is said every ten seconds: the survivor's memory and descriptors, bytes on disk (of the ring, and of the
# database without what the judge keeps), rows written and marked, and the kills, all since the beginning.
sampled=0
sample_header() {
    printf '# seed %s, broker %s\n' "$seed" "$kind_of_broker"
    printf 'seconds\trss_kib\tdescriptors\tring_bytes\tdatabase_bytes\twritten\tmarked\trelay_kills\tpostgresql_kills\tbroker_kills\tfaults\tround\n'
}
sample() {
    local now numbers
    now=$(($(now_ms) - began))
    numbers=$(sql "select concat_ws(e'\t', ($in_ring), pg_database_size(current_database())
        - pg_total_relation_size('public.history') - pg_total_relation_size('public.history_sent'),
        $n_rows + (select count(*) from public.history), $n_rows + (select count(*) from public.history_sent))")
    printf '%d.%d\t%d\t%d\t%s\t%d\t%d\t%d\t%d\t%d\n' $((now / 1000)) $((now % 1000 / 100)) \
        "$(memory survivor VmRSS)" "$(descriptors)" "$numbers" $n_kills $n_postgres $n_broker $n_faults $round >>"$out/soak.tsv"
    sampled=$now
}
sample_now_and_then() { (($(now_ms) - began - sampled < 10000)) || sample; }

# A survivor that leads has more of both than one that stands by: the most of the first half counts.
note_survivor() {
    first_half || return 0
    first_fds=$(larger "$first_fds" "$(descriptors)") first_kb=$(larger "$first_kb" "$(memory survivor VmRSS)")
}
descriptors() { find "/proc/${relay_pid[survivor]}/fd" -mindepth 1 2>/dev/null | wc -l; }
finished() {
    if ((seconds > 0)); then
        (($(now_ms) - began >= seconds * 1000))
    else
        ((n_kills >= kills))
    fi
}

sample_header >"$out/soak.tsv"
relay_start survivor "${relays[@]}"
round=0 n_events=0
until finished; do
    round=$((round + 1))
    reset
    history_anew
    early=0 late=0 n_bulk=0
    sql "update outbox.relay set owner = 'survivor', lease_expires_at = now()" # who leads first is not the schedule's
    [[ $kind_of_broker == mock ]] || for name in "$topic" "$topic-b" "$topic-bulk"; do make_topic "$name" 4; done
    watch_start
    writer_start
    victim_start
    sample
    for ((n = 0; n < events_per_round; n++)); do
        ! finished || break
        n_events=$((n_events + 1))
        kind=$((RANDOM % 100)) number=$RANDOM
        fault event "$kind" "$number"
        ((pace == 0)) || pause_of $((number % pace))
        progress "seed $seed: event $n_events, $n_kills of $kills kills, round $round"
        if ((n % 20 == 19)); then must_move "moves_after_event_$n_events" survivor 40; fi
        if ((n % 5 == 4)); then
            note_size $n
            note_survivor
        fi
        sample_now_and_then
    done
    proxy pgproxy resume
    space_is_flat
    writer_stop
    holds "space_is_given_back_in_round_$round" wait_sql 60 0 "$ring_is_empty"
    sample
    wait_said victim msg=started || true
    stop_clean victim
    relay_signal survivor STOP # what is put back is old and sent
    put_back
    stream_judge "round_$round"
    relay_signal survivor CONT
    [[ $kind_of_broker == mock ]] || for name in "$topic" "$topic-b" "$topic-bulk"; do make_topic delete "$name" || true; done
    note_survivor
    ((bad == 0 || (seconds > 0 && wrong == 0))) || break
done
fds=$(descriptors) kb=$(memory survivor VmRSS)
progress ''
awk -f "${BASH_SOURCE[0]%.sh}.awk" "$out/soak.tsv" >"$out/soak.svg"
printf '# drawn: %s, from soak.tsv beside it\n' "$out/soak.svg"
printf '# survivor: %d descriptors, then %d; %d KiB, then %d\n' "$first_fds" "$fds" "$first_kb" "$kb"
holds survivor_is_still_alive alive "${relay_pid[survivor]}"
holds descriptors_stay test "$fds" -le $((first_fds + 8))
holds memory_stays test "$kb" -le $((first_kb + first_kb / 4 + 4096))
stop_clean survivor
printf '# shown: events %d, kills: relay %d, postgresql %d, broker %d; seed %s\n' "$n_events" "$n_kills" "$n_postgres" "$n_broker" "$seed"
schedule_end
n_kills=$((n_kills + n_postgres + n_broker))
finish
