#!/usr/bin/env bash
# held.sh - rows and topics that Kafka does not take: what of them is held in outbox.held, what flows past
# them, and how they go on. The mock plays the broker; kafka_held.sh has the real one.
#
#   held.sh [CASE ...]
#   HELD_KILLS   kills of a relay in the seeded case (60)
#   SEED         replays its schedule; the seed is printed
set -euo pipefail

# shellcheck source=tests/faults/lib_held.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_held.sh"

own_database
own_mock --brokers 3
note_held

# --- rows --------------------------------------------------------------------------------------------

# The whole life of a poison row: retrying, dead, its key blocked over a kill, listed, retried, gone.
case_poison_blocks_its_key() {
    local rest
    reset
    watch_start
    append 500
    fault sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', 'k5', $large_payload)"
    append 499
    append 100 "$topic-b"
    rest=$(sql "select count(*) from outbox.event where topic = '$topic' and key = 'k5' and id > 501")
    relay_start poison "${small[@]}" -X retry.attempts=4 -X retry.base=200ms -X lease.owner=poison
    wait_sql 20 t "select attempts > 0 and error_code = 'MSG_SIZE_TOO_LARGE' and error <> '' and first_error_at <= now()
        and next_attempt_at is not null and state = 'retrying' from outbox.held where id = 501" || not_ok poison_is_retried
    holds rows_of_other_keys_pass_a_poison_row wait_sql 20 "$((rest + 1))" "$unsent"
    relay_kill poison
    relay_start poison "${small[@]}" -X retry.attempts=4 -X retry.base=200ms -X lease.owner=poison
    holds poison_row_is_dead_at_last wait_sql 20 "dead 5" "select state || ' ' || attempts from outbox.held where id = 501"
    equal it_was_retried_four_times '1 2 3 4' "$(sql "select string_agg(distinct attempts::text, ' ' order by attempts::text)
        from held_log where id = 501 and state = 'retrying'")"
    fault relay_kill poison
    append 130
    append 100 "$topic-b"
    relay_start poison "${small[@]}" -X retry.attempts=4 -X retry.base=20ms -X lease.owner=poison
    rest=$((rest + 10))
    holds others_pass_the_dead_row wait_sql 20 "$((rest + 1))" "$unsent"
    holds its_key_is_blocked wait_sql 20 "$rest" "$(n_held "state = 'blocked' and topic = '$topic' and key = 'k5' and attempts = 0")"
    commanded dead_lists_it 0 '' dead --json
    equal dead_lists_all_of_it "1 501 $topic 5 MSG_SIZE_TOO_LARGE $rest t" "$(told "format('%s %s %s %s %s %s %s', j->'n',
        j->'events'->0->>'id', j->'events'->0->>'topic', j->'events'->0->>'attempts', j->'events'->0->>'error_code',
        j->'events'->0->>'waiting', (j->'events'->0->>'first_error_at')::timestamptz < now())")"
    judge nothing_of_its_key_went --deadline 20 --allow-held missing=0 unmarked=0 excused=$((rest + 1)) excused_arrived=0
    relay_kill poison
    relay_start poison -X lease.owner=poison # takes more now, but a dead row is for people
    commanded retry_takes_it 0 '^event 501' retry --id 501
    held_judge retried_row_and_its_key_arrive_in_order excused=0
    equal held_is_empty_after_the_retry 0 "$(sql "$(n_held true)")"
    stop_clean poison
}

case_poison_is_discarded() {
    reset
    watch_start
    append 3 "$topic" "'\\x6b'"
    append 1 "$topic" "'\\x6b'" "$large_payload"
    append 300 "$topic" "'\\x6b'"
    relay_start discard "${small[@]}" "${quick[@]}"
    wait_sql 20 300 "$(n_held "state = 'blocked'")" || not_ok rows_behind_it_are_blocked
    wait_sql 20 1 "$(n_held "state = 'dead'")" || not_ok it_is_dead
    fault commanded discard_gives_it_up 0 '^1 event discarded$' discard --id 4 --reason 'larger than anyone reads'
    held_judge blocked_rows_arrive_after_a_discard excused=1 excused_arrived=0 arrived=303
    equal reason_is_kept 'discarded DISCARDED larger than anyone reads' \
        "$(sql "select state || ' ' || error_code || ' ' || error from outbox.held")"
    stop_clean discard
}

# With on.poison=skip the rows behind it go, but only once it is dead.
case_poison_is_skipped() {
    reset
    watch_start
    append 50 "$topic" "'\\x6b'"
    append 1 "$topic" "'\\x6b'" "$large_payload"
    append 50 "$topic" "'\\x6b'"
    append 50 "$topic" "'\\x6c'"
    fault relay_start skip "${small[@]}" -X on.poison=skip -X retry.attempts=10000 -X lease.owner=skip
    holds other_keys_do_not_wait wait_sql 20 51 "$unsent"
    equal those_behind_it_do 51 "$(sql "$unsent and e.id between 51 and 101")"
    relay_kill skip # it must not be dead before that is seen
    relay_start skip "${small[@]}" "${quick[@]}" -X on.poison=skip -X lease.owner=skip
    holds all_but_the_dead_row_go wait_sql 20 1 "$unsent"
    append 20 "$topic" "'\\x6b'"
    held_judge later_rows_pass_a_dead_row excused=1 excused_arrived=0 arrived=170
    equal none_passed_before_it_was_dead 50 "$(sql "select count(*) from outbox.sent where id between 52 and 101
        and sent_at > (select max(at) from held_log where id = 51 and state = 'dead')")"
    commanded retry_of_a_passed_row_warns 2 'order' retry --id 51
    stop_clean skip
}

case_poison_without_a_key() {
    reset
    watch_start
    append 600 "$topic" null "case when n % 100 = 50 then $large_payload else 'p' end"
    fault relay_start free "${small[@]}" "${quick[@]}"
    holds rows_without_a_key_never_wait wait_sql 20 6 "$unsent"
    wait_sql 20 6 "$(n_held "state = 'dead'")" || not_ok free_poison_is_dead
    append 200 "$topic" null
    held_judge rows_without_a_key_pass excused=6 excused_arrived=0 arrived=794
    equal nothing_without_a_key_was_blocked 0 "$(sql "$(n_noted "state = 'blocked'")")"
    stop_clean free
}

case_fifty_poisons_at_once() {
    reset
    watch_start
    append 1500 "$topic" "convert_to('k' || n % 75, 'UTF8')" "case when n between 501 and 550 then $large_payload else 'p' end"
    fault relay_start fifty "${small[@]}" "${quick[@]}"
    holds fifty_rows_die wait_sql 30 50 "$(n_held "state = 'dead'")"
    # 50 of 75 keys, of each of which 12 to 13 rows come after the poison
    holds their_keys_are_blocked_and_no_others wait_sql 20 "$(sql "select count(*), 50
        from outbox.event e where exists (select from outbox.event p where p.key = e.key and p.id between 501 and 550 and p.id <= e.id)")" \
        "select count(*), count(distinct key) from outbox.held"
    relay_kill fifty
    relay_start fifty
    commanded all_are_retried 0 '50 events retried' retry --all --yes
    held_judge fifty_keys_drain_in_order excused=0
    equal held_is_empty_after_fifty 0 "$(sql "$(n_held true)")"
    stop_clean fifty
}

# As many blocked rows as are not read at once, drained while the same key goes on being written.
case_long_key_drains_under_a_writer() {
    local n
    reset
    watch_start
    append 1 "$topic" "'\\x6b'" "$large_payload"
    append 5000 "$topic" "'\\x6b'"
    relay_start long "${small[@]}" "${quick[@]}"
    holds five_thousand_are_blocked wait_sql 30 5000 "$(n_held "state = 'blocked'")"
    wait_sql 20 1 "$(n_held "state = 'dead'")" || not_ok first_of_the_long_key_is_dead
    rm -f "$dir/writer_stop"
    while [[ ! -e $dir/writer_stop ]]; do append 20 "$topic" "'\\x6b'"; done &
    writer_pid=$!
    fault commanded first_of_the_long_key_is_discarded 0 '^1 event discarded$' discard --id 1 --reason 'a test'
    holds backlog_of_a_key_ends_under_a_writer wait_sql 40 0 "$(n_held "state <> 'discarded'")"
    # The key is on the direct way again: what comes is not held any more, all at once or soon.
    n=$(sql "select count(*) from held_log")
    wait_until 20 settled_key || not_ok key_goes_the_direct_way_again "$(sql "select count(*) - $n from held_log") rows were held after it had drained"
    alive "$writer_pid" || not_ok writer_of_the_long_key_lives
    held_judge long_key_arrives_in_order excused=1 excused_arrived=0
    stop_clean long
}
# settled_key: 400 rows went by and none of them was held
settled_key() {
    local noted from
    noted=$(sql "select count(*) from held_log")
    from=$(sql "$sent")
    wait_until 10 grows $((from + 400)) && is "select count(*) from held_log" "$noted"
}

# --- topics ------------------------------------------------------------------------------------------

# topics_led_by TOPIC BROKER ...: all their partitions
topics_led_by() {
    local p
    for ((; $# > 1; )); do
        mock topic "$1" 4
        for p in 0 1 2 3; do mock leader "$1" "$p" "$2"; done
        shift 2
    done
}

case_missing_topic() {
    local kib
    reset
    mock topic "$topic-gone" 4
    fault mock topic-error "$topic-gone" UNKNOWN_TOPIC_OR_PART
    watch_start
    append 20000 "$topic-gone" "convert_to('g' || n % 100, 'UTF8')"
    writer_start
    relay_start gone -X kafka.topic.metadata.propagation.max.ms=200 -X lease.owner=gone
    holds rows_of_a_missing_topic_are_paused wait_sql 40 20000 "$(n_held "state = 'paused' and attempts = 0 and error_code ~ 'UNKNOWN_TOPIC'
        and error <> '' and next_attempt_at is null")"
    must_move others_flow_past_a_missing_topic gone
    kib=$(memory gone VmHWM)
    printf '# %d KiB with 20000 rows of a missing topic\n' "$kib"
    holds memory_is_bounded_with_a_missing_topic test "$kib" -lt $((64 * 1024))
    fault relay_kill gone
    relay_start gone -X kafka.topic.metadata.propagation.max.ms=200 -X lease.owner=gone
    must_move others_flow_after_a_restart gone
    append 500 "$topic-gone" "convert_to('g' || n % 100, 'UTF8')"
    holds later_rows_of_it_are_paused_too wait_sql 20 20500 "$(n_held "state = 'paused'")"
    equal none_of_it_is_marked 0 "$(sql "$(n_sent "topic = '$topic-gone'")")"
    equal only_it_is_paused "$topic-gone" "$(sql "select string_agg(distinct topic, ' ') from held_log")"
    mock topic-error "$topic-gone" 0
    for _ in {1..20}; do append 50 "$topic-gone" "convert_to('g' || n % 100, 'UTF8')"; done
    holds held_rows_of_a_topic_end wait_sql 40 0 "$(n_held true)"
    held_judge topic_is_there_again excused=0
    equal its_rows_spent_no_attempts 0 "$(sql "$(n_noted "attempts > 0")")"
    holds others_flowed_while_it_drained test "$(sql "select count(*) from outbox.sent s join outbox.event e using (bucket, id)
        where topic like '$topic%' and topic <> '$topic-gone' and sent_at between (select min(at) from held_log where state is null)
        and (select max(at) from held_log where state is null)")" -gt 0
    stop_clean gone
}

# VACUUM FULL of outbox.held, say, while a topic is paused: twice the window of its rows cannot be held.
case_held_is_locked() {
    reset
    mock topic "$topic-gone" 4
    watch_start
    writer_start
    relay_start locked -X kafka.topic.metadata.propagation.max.ms=200 "${steady[@]}"
    wait_until 60 grows 100 || not_ok it_leads "$(tail -n 3 "$dir/locked.log")"
    fault mock topic-error "$topic-gone" UNKNOWN_TOPIC_OR_PART
    session_start locks
    session locks "begin; lock table outbox.held in access exclusive mode"
    append 20000 "$topic-gone" "convert_to('g' || n % 100, 'UTF8')"
    holds what_cannot_be_held_is_given_up wait_said locked "rows that cannot be held are given up" 120
    must_move others_flow_while_held_is_locked locked 60
    session locks rollback
    holds it_is_held_in_the_end wait_sql 120 20000 "$(n_held "state = 'paused'")"
    holds it_is_read_again wait_said locked "what was given up is read again" 120
    mock topic-error "$topic-gone" 0
    judge_deadline=120 held_judge what_was_given_up_goes_in_order excused=0
    equal the_lock_spent_no_attempts 0 "$(sql "$(n_noted "attempts > 0")")"
    stop_clean locked
}

# A broker that leads this topic only refuses some writes, then takes them.
case_topic_not_authorised() {
    local codes=()
    reset
    topics_led_by "$topic" 1 "$topic-no" 2
    for _ in {1..6}; do codes+=(TOPIC_AUTHORIZATION_FAILED); done
    fault mock push-error-at 2 0 "${codes[@]}"
    watch_start
    append 300 "$topic-no"
    append 300
    relay_start denied "${steady[@]}"
    held_judge denied_topic_is_allowed excused=0 duplicates=0
    equal rows_of_a_denied_topic_were_paused 300 "$(sql "select count(distinct id) from held_log
        where state = 'paused' and code = 'TOPIC_AUTHORIZATION_FAILED' and topic = '$topic-no' and attempts = 0")"
    equal others_flowed_past_a_denied_topic 300 "$(sql "select count(*) from outbox.sent join outbox.event e using (bucket, id)
        where topic = '$topic' and sent_at < (select min(at) from held_log where state is null)")"
    equal only_the_denied_topic_was_paused "$topic-no" "$(sql "select string_agg(distinct topic, ' ') from held_log")"
    holds pause_is_logged said denied "topic is paused.*topic=$topic-no code=TOPIC_AUTHORIZATION_FAILED"
    holds end_of_the_pause_is_logged wait_said denied "no row of the topic is paused any more.*topic=$topic-no"
    stop_clean denied
}

# Broken in mid-stream by losing their leaders, at different times and under kills; the metadata is read often.
case_topics_break_and_heal_under_kills() {
    local n name
    reset
    for name in "$topic" "$topic-b"; do mock topic "$name" 4; done
    watch_start
    writer_start
    for n in {1..8}; do
        name=$topic$( ((n % 2)) || echo -b)
        relay_start heal -X lease.owner=heal -X stall.timeout=400ms -X drain.timeout=3s \
            -X kafka.topic.metadata.refresh.interval.ms=100
        moving || not_ok "moves_in_life_$n" "$(tail -n 3 "$dir/heal.log")"
        for p in 0 1 2 3; do fault mock leader "$name" $p none; done
        wait_sql 20 t "select count(*) > 0 from outbox.held where topic = '$name' and state = 'paused'" ||
            not_ok "topic_without_leader_is_paused_$n" "$(tail -n 3 "$dir/heal.log")"
        must_move "others_flow_$n" heal
        ((n % 3 == 0)) || fault relay_kill heal
        ((n % 3 != 0)) || stop_clean heal
        for p in 0 1 2 3; do mock leader "$name" $p $((p % 3 + 1)); done
    done
    relay_start heal -X lease.owner=heal
    held_judge topics_broke_and_healed excused=0
    equal held_is_empty_after_the_healing 0 "$(sql "$(n_held true)")"
    stop_clean heal
}

# --- time --------------------------------------------------------------------------------------------

case_scheduled() {
    local ids id
    reset
    watch_start
    append 10
    sql "insert into outbox.event (topic, type, key, payload, available_at)
        select '$topic', 's', convert_to('k' || n, 'UTF8'), 'later', now() + interval '1 h' from generate_series(1, 5) n"
    sql "insert into outbox.event (topic, type, key, payload, available_at) values ('$topic', 's', 'k1', 'past', now() - interval '1 s')"
    append 50
    relay_start time -X lease.owner=time
    holds rows_of_later_wait_as_scheduled wait_sql 20 5 "$(n_held "state = 'scheduled' and next_attempt_at > now() and attempts = 0")"
    holds later_rows_do_not_wait_for_them wait_sql 20 5 "$unsent"
    fault relay_kill time
    relay_start time -X lease.owner=time
    append 50
    holds nor_do_those_that_come_after_a_restart wait_sql 20 5 "$unsent"
    equal they_wait_on 5 "$(sql "$(n_held "state = 'scheduled' and attempts = 0")")"
    # Their hour comes in two seconds; two more are written for then.
    sql "with soon as (update outbox.event set available_at = now() + interval '2 s' where payload = 'later' returning id, available_at)
        update outbox.held h set next_attempt_at = soon.available_at from soon where h.id = soon.id"
    ids=$(sql "insert into outbox.event (topic, type, key, payload, available_at)
        select '$topic', 's', convert_to('k' || n, 'UTF8'), 'soon', now() + interval '2 s' from generate_series(1, 2) n returning event_id")
    ids+=" $(sql "select event_id from outbox.event where payload = 'later'")"
    for id in $ids; do
        wait_until 20 grep -q "$id" "$dir/records" || not_ok scheduled_row_arrives "$id"
        is "select clock_timestamp() >= available_at from outbox.event where event_id = '$id'" t || not_ok scheduled_row_is_not_early "$id"
    done
    held_judge scheduled_rows_arrive excused=0 arrived=118
    equal no_scheduled_row_is_early 0 "$(sql "select count(*) from outbox.event e join outbox.sent s using (bucket, id) where s.sent_at < available_at")"
    stop_clean time
}

# --- brokers -------------------------------------------------------------------------------------------

# Nothing answers: that is no topic's fault, and nothing is put aside.
case_no_broker_at_all() {
    local before
    # longer than a slow machine takes for a row that moves; what is asked every few seconds is a line of debug
    stream_start alone -X stall.timeout=8s -X log.level=debug "${steady[@]}"
    fault mock down
    append 12000 "$topic-c"
    wait_sql 20 t "$at_rest" || not_ok it_comes_to_rest
    wait_until 20 said_often alone 'no broker answers' 1 || not_ok nobody_answers_is_said
    before=$(memory alone VmRSS)
    wait_until 40 said_often alone 'asked whether a broker answers".* answers=no' 5 || not_ok it_is_asked_again
    equal nothing_is_held_without_a_broker 0 "$(sql "select count(*) from held_log")"
    holds memory_is_flat_without_a_broker test "$(memory alone VmRSS)" -le $((before + 4096))
    mock up
    must_move goes_on_with_the_brokers alone
    equal lead_is_kept_without_a_broker 1 "$(times_said alone msg=leading)"
    held_judge no_broker_at_all excused=0
    stop_clean alone
}

# One broker takes requests and does not answer; the topics that it leads stop, the others go on. What was on
# its way may be there.
case_stalled_topic() {
    local flagged
    reset
    topics_led_by "$topic" 1 "$topic-b" 2
    watch_start
    writer_start
    relay_start stall -X stall.timeout=8s # longer than a slow machine takes for a row that moves
    wait_until 20 grows 100 || not_ok stall_starts "$(tail -n 3 "$dir/stall.log")"
    fault mock rtt 60000 2
    holds stalled_topic_is_paused wait_sql 20 t "select count(*) > 0 from outbox.held where state = 'paused' and topic = '$topic-b'"
    must_move others_flow_past_a_stalled_topic stall
    equal it_is_held_for_the_stall NO_PROGRESS "$(sql "select string_agg(distinct error_code, ' ') from outbox.held where state = 'paused'")"
    equal only_the_stalled_topic_is_paused "$topic-b" "$(sql "select string_agg(distinct topic, ' ') from held_log")"
    flagged=$(sql "$(n_held maybe_delivered)")
    holds maybe_delivered_is_flagged test "$flagged" -gt 0
    mock rtt 0 2
    mock down 2 # forgets the answers that it had put off
    mock up 2
    held_judge stalled_topic_resumes_in_order excused=0
    relay_signal stall TERM
    relay_end stall 20
    equal stall_ends_clean 0 "$status"
    holds maybe_delivered_is_counted test "$(sed -n 's/.*msg=stopped.* maybe_delivered=\([0-9]*\).*/\1/p' "$dir/stall.log")" -ge "$flagged"
}

# The producer breaks while rows are held of every kind.
case_producer_breaks_while_rows_are_held() {
    local n before
    reset
    mock topic "$topic-no" 2
    fault mock topic-error "$topic-no" UNKNOWN_TOPIC_OR_PART
    watch_start
    append 1 "$topic" "'\\x6b'" "$large_payload"
    append 200 "$topic" "'\\x6b'"
    append 200 "$topic-no"
    sql "insert into outbox.event (topic, type, key, payload, available_at) values ('$topic', 'x', 'k', 'p', now() + interval '1 h')"
    writer_start
    relay_start fatal "${small[@]}" "${quick[@]}" -X kafka.topic.metadata.propagation.max.ms=200
    wait_sql 20 402 "$(n_held true)" || not_ok rows_are_held
    wait_sql 20 1 "$(n_held "state = 'dead'")" || not_ok one_is_dead
    before=$(sql "select string_agg(id || state, ' ' order by id) from outbox.held")
    for n in 1 2 3; do
        fault refuse fatal OUT_OF_ORDER_SEQUENCE_NUMBER
        must_move "moves_after_the_producer_broke_$n" fatal
    done
    # a topic that has cost one producer after the other is paused for a moment
    holds held_is_as_it_was wait_sql 20 "$before" "select string_agg(id || state, ' ' order by id) from outbox.held"
    mock topic-error "$topic-no" 0
    sql "update outbox.held set next_attempt_at = now() where state = 'scheduled'" # its hour has come
    commanded dead_row_is_discarded 0 '^1 event discarded$' discard --all --yes --reason 'a test'
    held_judge producer_broke_while_rows_were_held excused=1
    stop_clean fatal
}

# --- all of it, by chance --------------------------------------------------------------------------------

# Two relays, of which one or the other takes larger rows for a while; topics that break and heal; people
# who retry and discard; kills. A row is poison, or scheduled, now and then.
chaos_topics() { printf '%s\n' "$topic"-{0..3}; }
write_chaos() {
    local n=0 text
    while [[ ! -e $dir/writer_stop ]]; do
        text=
        for _ in 1 2 3 4; do
            n=$((n + 1))
            text+="begin; insert into outbox.event (topic, type, key, payload, available_at)
                select '$topic-$((n % 4))', 'test', case when random() < 0.2 then null else convert_to('k' || (random() * 10)::int, 'UTF8') end,
                    case when random() < 0.004 then $large_payload else convert_to('$n.' || n, 'UTF8') end,
                    case when random() < 0.01 then now() + random() * interval '1 s' end
                from generate_series(1, 1 + (random() * 30)::int) n; $( ((n % 7)) && echo commit || echo rollback);"
        done
        psql -XqAt -v ON_ERROR_STOP=1 -d "$dsn" <<<"$text" >/dev/null 2>&1 || true
        sleep 0.05 # its pace
    done
}
# chaos_start NAME NUMBER: of four, one takes large rows
chaos_start() {
    local limit=("${small[@]}")
    (($2 % 4 != 0)) || limit=()
    relay_start "$1" "${limit[@]}" -X "lease.owner=$1" -X retry.attempts=3 -X stall.timeout=400ms -X drain.timeout=500ms \
        -X kafka.topic.metadata.refresh.interval.ms=100 -X kafka.topic.metadata.propagation.max.ms=200
}
# leaders TOPIC none | some: of its partitions
leaders() {
    local p
    for p in 0 1 2 3; do mock leader "$1" $p "$([[ $2 == none ]] && echo none || echo $((p % 3 + 1)))"; done
}
chaos_codes=(MSG_SIZE_TOO_LARGE OUT_OF_ORDER_SEQUENCE_NUMBER TOPIC_AUTHORIZATION_FAILED INVALID_RECORD NOT_ENOUGH_REPLICAS UNKNOWN_TOPIC_OR_PART)
# chaos KIND NUMBER
chaos() {
    local kind=$1 n=$2 name id
    name=$( ((n % 2)) && echo one || echo two)
    if ((kind < 60)); then
        log_anew "$name"
        relay_kill "$name"
        chaos_start "$name" "$n"
    elif ((kind < 68)); then
        leaders "$topic-$((n % 4))" none
    elif ((kind < 78)); then
        leaders "$topic-$((n % 4))" some
    elif ((kind < 83)); then
        refuse_at $((n % 3 + 1)) "${chaos_codes[n % 6]}" "${chaos_codes[n % 5]}"
    elif ((kind < 86)); then
        mock topic-error "$topic-$((n % 4))" $( ((n % 3)) && echo 0 || echo UNKNOWN_TOPIC_OR_PART)
    elif ((kind < 92)); then
        command_of retry --all --yes
        ((code < 2)) || not_ok "retry_by_chance" "exit status $code: $said"
    elif ((kind < 97)); then
        id=$(sql "select id from outbox.held where state in ('dead', 'retrying') order by id offset $((n % 3)) limit 1")
        [[ -z $id ]] || command_of discard --id "$id" --retrying --reason 'by chance'
        ((code < 2)) || not_ok "discard_by_chance" "exit status $code: $said"
    else
        freeze "$name" $((900 + n % 400)) # about as long as the lease
    fi
}
# Behind a poison row that is given up the next one may come.
all_given_up() {
    command_of discard --all --yes --reason 'the end'
    is "$(n_held "state <> 'discarded'")" 0
}
case_seeded() {
    local kills=${HELD_KILLS:-60} n=0 kind number was=$n_kills name
    schedule_begin
    reset
    for name in $(chaos_topics); do mock topic "$name" 4; done
    watch_start
    rm -f "$dir/writer_stop"
    write_chaos &
    writer_pid=$!
    chaos_start one 1
    chaos_start two 1
    while ((n_kills - was < kills)); do
        n=$((n + 1)) kind=$((RANDOM % 100)) number=$RANDOM
        fault chaos "$kind" "$number"
        pause_of $((number % 3 == 0 ? number % 500 : number % 60))
    done
    for name in $(chaos_topics); do
        leaders "$name" some
        mock topic-error "$name" 0
    done
    for name in one two; do
        relay_kill $name
        chaos_start $name 1
    done
    held_judge every_row_went_or_is_held_for_a_person
    printf '# %s rows, %s repeats; of them noted in held: %s\n' "$(number committed)" "$(number duplicates)" \
        "$(sql "select string_agg(state || ' ' || n, ', ') from (select state, count(distinct id) as n from held_log where state is not null group by 1) x")"
    printf '# left: %s\n' "$(sql "select string_agg(state || ' ' || n, ', ') from (select state, count(*) as n from outbox.held group by 1) x")"
    watch_start
    wait_until 60 all_given_up || not_ok discard_at_the_end "$said $(sql "select string_agg(distinct state, ' ') from outbox.held")"
    held_judge what_was_blocked_goes_at_last "excused=$(sql "$(n_held "state = 'discarded'")")"
    schedule_end
    stop_clean one
    stop_clean two
}

run_cases "$@"
finish
