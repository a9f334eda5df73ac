#!/usr/bin/env bash
# kafka_held.sh - rows and topics that a real Kafka does not take: too large for their topic, missing, not
# allowed; and a broker that is frozen, which is no topic's fault. held.sh has more of it, on the mock.
#
#   kafka_held.sh [CASE ...]
set -euo pipefail

# shellcheck source=tests/faults/lib_held.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_held.sh"
own_database
note_held
own_kafka "${with_acls[@]}"
# As large for the broker as here: it cannot be compressed.
dense_payload="(select decode(string_agg(md5(random()::text), ''), 'hex') from generate_series(1, 1250) x where n > 0)"

# --- rows --------------------------------------------------------------------------------------------

# poisoned NAME ARGUMENT...: a batch of a thousand with one row too large, until it is dead, over a kill
poisoned() {
    local name=$1
    shift
    reset
    make_topic "$topic" 3 max.message.bytes=5000
    make_topic "$topic-b" 3
    sql "insert into outbox.event (topic, type, key, payload)
         select '$topic', 'test', convert_to('k' || n % 13, 'UTF8'), case when n = 501 then $dense_payload else convert_to(n::text, 'UTF8') end
         from generate_series(1, 1000) n"
    append 200 "$topic-b"
    watch_start
    relay_start "$name" -X lease.owner="$name" -X retry.attempts=4 -X retry.base=300ms -X retry.max=600ms -X kafka.linger.ms=20 "$@"
    blocked=$(sql "select count(*) from outbox.event e where topic = '$topic' and id > 501 and key = (select key from outbox.event where id = 501)")
    holds "${name}_innocents_go" wait_sql 30 $((blocked + 1)) "$unsent"
    holds "${name}_is_retried" wait_sql 20 t "select count(*) > 0 from held_log where id = 501 and state = 'retrying' and attempts > 0
        and code = 'MSG_SIZE_TOO_LARGE'"
    fault relay_kill "$name"
    relay_start "$name" -X lease.owner="$name" -X retry.attempts=4 "$@"
    holds "${name}_is_dead_at_last" wait_sql 20 t "select state = 'dead' and attempts = 5 and error_code = 'MSG_SIZE_TOO_LARGE' and error <> ''
        and first_error_at is not null from outbox.held where id = 501"
    append 130
    append 200 "$topic-b"
    blocked=$((blocked + 10))
    holds "${name}_keeps_its_key_only" wait_sql 20 "$blocked" "$(n_held "state = 'blocked' and attempts = 0")"
    judge "${name}_and_its_key_are_not_there" --deadline 20 --allow-held missing=0 unmarked=0 excused=$((blocked + 1)) excused_arrived=0
    command_of dead --json
    equal "${name}_is_listed" "1 501 5 $blocked" "$(told "format('%s %s %s %s', j->'n', j->'events'->0->>'id', j->'events'->0->>'attempts',
        j->'events'->0->>'waiting')")"
}

case_too_large_then_retried() {
    poisoned poison
    fault "$broker" topic "$dir/broker" config "$topic" max.message.bytes=100000
    commanded poison_is_retried_by_a_person 0 '^event 501' retry --id 501
    held_judge poison_arrives_when_it_may excused=0 committed=1530
    equal held_is_empty_after_the_poison 0 "$(sql "$(n_held true)")"
    stop_clean poison
}

# Of compressed rows the broker alone is the judge.
case_too_large_compressed_then_discarded() {
    poisoned compressed -X kafka.compression.type=lz4
    commanded compressed_is_discarded 0 '^1 event discarded$' discard --id 501 --reason 'too large'
    held_judge rows_behind_a_discarded_one_arrive excused=1 excused_arrived=0 arrived=1529
    equal it_alone_is_left 'discarded' "$(sql "select string_agg(state, ' ') from outbox.held")"
    stop_clean compressed
}

# --- topics ------------------------------------------------------------------------------------------

case_missing_then_created() {
    reset
    make_topic "$topic" 4
    make_topic "$topic-b" 4
    watch_start
    append 3000 "$topic-gone" "convert_to('g' || n % 100, 'UTF8')"
    writer_start
    fault relay_start gone -X lease.owner=gone -X kafka.topic.metadata.propagation.max.ms=500
    holds rows_of_a_missing_topic_are_paused wait_sql 30 3000 "$(n_held "state = 'paused' and attempts = 0 and error_code ~ 'UNKNOWN_TOPIC'
        and error <> '' and next_attempt_at is null")"
    must_move others_flow_past_it gone
    fault relay_kill gone
    relay_start gone -X lease.owner=gone -X kafka.topic.metadata.propagation.max.ms=500
    must_move others_flow_after_a_restart gone
    make_topic "$topic-gone" 4
    for _ in {1..20}; do append 20 "$topic-gone" "convert_to('g' || n % 100, 'UTF8')"; done
    held_judge topic_was_created excused=0
    equal held_is_empty_after_the_creation 0 "$(sql "$(n_held true)")"
    equal only_the_missing_topic_was_held "$topic-gone" "$(sql "select string_agg(distinct topic, ' ') from held_log")"
    stop_clean gone
}

# Denied and allowed in mid-stream, each topic in its turn, under kills.
case_denied_in_mid_stream() {
    local n name
    reset
    for name in "$topic" "$topic-b"; do make_topic "$name" 4; done
    watch_start
    writer_start
    for n in 1 2 3 4; do
        name=$topic$( ((n % 2)) || echo -b)
        relay_start denied -X lease.owner=denied
        moving || not_ok "moves_before_the_denial_$n" "$(tail -n 3 "$dir/denied.log")"
        fault "$broker" topic "$dir/broker" deny "$name"
        holds "denied_topic_is_paused_$n" wait_sql 20 t "select count(*) > 0 from outbox.held where topic = '$name' and state = 'paused'
            and error_code = 'TOPIC_AUTHORIZATION_FAILED'"
        must_move "others_flow_past_the_denied_$n" denied
        ((n % 2)) || fault relay_kill denied
        "$broker" topic "$dir/broker" allow "$name"
        ((n % 2 == 0)) || { holds "allowed_topic_flows_$n" wait_sql 40 0 "$(n_held true)"; stop_clean denied; }
    done
    relay_start denied -X lease.owner=denied
    held_judge topics_denied_in_mid_stream excused=0
    equal held_is_empty_after_the_denials 0 "$(sql "$(n_held true)")"
    stop_clean denied
}

# --- the broker ----------------------------------------------------------------------------------------

case_frozen_broker() {
    local before name
    reset
    for name in "$topic" "$topic-b"; do make_topic "$name" 4; done
    watch_start
    writer_start
    # longer than a slow machine takes for a row that moves; what is asked every few seconds is a line of debug
    relay_start frozen -X stall.timeout=8s -X log.level=debug "${steady[@]}"
    wait_until 20 grows 100 || not_ok frozen_starts
    fault "$broker" pause "$dir/broker"
    wait_until 20 said_often frozen 'no broker answers' 1 || not_ok frozen_broker_is_noticed "$(tail -n 3 "$dir/frozen.log")"
    before=$(memory frozen VmRSS)
    wait_until 40 said_often frozen 'asked whether a broker answers".* answers=no' 8 || not_ok frozen_broker_is_asked_again
    holds memory_is_flat_with_a_frozen_broker test "$(memory frozen VmRSS)" -le $((before + 8192))
    "$broker" cont "$dir/broker"
    must_move moves_after_the_freeze frozen 40
    held_judge broker_was_frozen excused=0
    equal nothing_was_paused_for_a_frozen_broker 0 "$(sql "select count(*) from held_log")"
    equal lead_was_kept_beside_a_frozen_broker 1 "$(times_said frozen msg=leading)"
    stop_clean frozen
}

# --- killed, with the ends of the topics read ----------------------------------------------------------

case_killed_with_the_tail() {
    local kills=20 name
    reset
    for name in "$topic" "$topic-b"; do make_topic "$name" 4; done
    watch_start
    writer_start
    kill_loop tail $kills "${steady[@]}" -X mark.delay=100ms
    heir_start tail "${steady[@]}" -X lease.owner=tail
    held_judge killed_beside_a_real_kafka excused=0
    excuse tail
    printf '# shown: takeover.tail=auto on a real Kafka: %d kills, %d rows, %d repeats\n' $kills "$(number committed)" "$(number duplicates)"
    holds fewer_than_one_repeat_in_ten_kills few_repeats "$(repeats)" $kills
    stop_clean tail
}

run_cases "$@"
skip topic_without_enough_replicas "a broker alone takes min.insync.replicas for the number of replicas"
finish
