#!/usr/bin/env bash
# oracle.sh - the judge of all other tests is judged: each kind of fault alone must be found, and a
# clean run must be clean. First `check` on crafted record files, then `watch` on a broker.
# shellcheck disable=SC2016,SC2317 # awk programs; functions that trap and wait_until call
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck source=tests/tools/lib.sh
. "$root/tests/tools/lib.sh"
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
oracle=$OUTBOX_TOOLS/oracle
broker=$root/tests/tools/broker
dir=$(mktemp -d /tmp/outbox-oracle.XXXXXX)
watch_pid=

cleanup() {
    end_process "$watch_pid"
    [[ ! -d $dir/broker ]] || "$broker" remove "$dir/broker"
    rm -rf "$dir"
}
trap cleanup EXIT

sql() { psql -XqAt -v ON_ERROR_STOP=1 -d "$OUTBOX_TEST_DSN" -c "$1"; }

id_of() { printf '00000000-0000-7000-8000-%012d\n' "$1"; }

# Six events: key a three times, key b, no key, and a tombstone for key c. All are marked.
reset() {
    sql "truncate outbox.event, outbox.sent, outbox.held restart identity" >/dev/null
    sql "insert into outbox.event (event_id, topic, key, type, payload)
         select ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, 'orders', key, 't',
             payload
         from (values (1, 'a'::bytea, 'one'::bytea), (2, 'b', 'two'), (3, 'a', ''),
                      (4, null, 'four'), (5, 'a', E'\\\\x0009ff'::bytea), (6, 'c', null))
              v (n, key, payload) order by n;
         insert into outbox.sent (bucket, id, kafka_partition, kafka_offset)
         select bucket, id, 0, id - 1 from outbox.event"
    sql "select format(E'%s\t0\t%s\t1700000000000\t%s\t%s\t%s\t0000000000000001', topic, id - 1,
             coalesce(encode(key, 'hex'), '-'), event_id,
             coalesce(length(payload) || ':' || left(encode(sha256(payload), 'hex'), 32), 'null'))
         from outbox.event order by id" >"$dir/records"
}

check() {
    "$oracle" check --dsn "$OUTBOX_TEST_DSN" --records "$dir/records" "$@" \
        >"$dir/numbers" 2>"$dir/examples"
}

# expect NAME STATUS "key=value ..." [argument ...]: the verdict; faults that are not named are 0.
expect() {
    local name=$1 want_status=$2 want=$3 status=0 key
    shift 3
    check "$@" || status=$?
    for key in missing phantom altered reordered split false_marks unmarked gaps; do
        [[ " $want" == *" $key="* ]] || want+=" $key=0"
    done
    for key in $want; do
        if ! grep -qxF "$key" "$dir/numbers"; then
            not_ok "$name" "wanted $key, got: $(cat "$dir/numbers" "$dir/examples" | tr '\n' ' ')"
            return 0
        fi
    done
    if ((status != want_status)); then
        not_ok "$name" "exit status $status: $(tr '\n' ' ' <"$dir/examples")"
    elif ((status == 1)) && [[ ! -s $dir/examples ]]; then
        not_ok "$name" "no example was printed"
    else
        ok "$name"
    fi
}

# record N OFFSET: the line of event N at another place
record() {
    awk -v n="$1" -v off="$2" -F'\t' -v OFS='\t' 'NR == n { $3 = off; print }' "$dir/records"
}
edit() { awk -F'\t' -v OFS='\t' "$1" "$dir/records" >"$dir/new" && mv "$dir/new" "$dir/records"; }

reset
expect clean_run_is_good 0 "committed=6 arrived=6 duplicates=0 marks=6 verdict=good"

reset
record 2 6 >>"$dir/records"
record 4 7 >>"$dir/records"
expect duplicates_are_counted_and_allowed 0 "duplicates=2 arrived=6 verdict=good"

reset
edit 'NR != 6'
expect missing_event_is_found 1 "missing=1 arrived=5 false_marks=1 verdict=bad"
sql "delete from outbox.sent where id = 6"
expect missing_event_without_mark_is_found 1 "missing=1 unmarked=1"
expect missing_event_is_found_when_pending_is_allowed 1 "missing=1 unmarked=1" --allow-pending

reset
printf 'orders\t0\t6\t0\t61\t%s\t3:00\t1\n' "$(id_of 77)" >>"$dir/records"
expect phantom_event_is_found 1 "phantom=1 arrived=6"

reset
printf 'orders\t0\t6\t0\t61\t-\t3:00\t1\n' >>"$dir/records"
expect record_without_id_is_a_phantom 1 "phantom=1"

reset
edit 'NR == 1 { $7 = "3:" substr($7, 3, 31) "x" } { print }'
expect altered_payload_is_found 1 "altered=1"
reset
edit 'NR == 3 { $7 = "null" } { print }'
expect empty_payload_turned_to_null_is_found 1 "altered=1"
reset
edit 'NR == 6 { $7 = "0:e3b0c44298fc1c149afbf4c8996fb924" } { print }'
expect null_payload_turned_to_empty_is_found 1 "altered=1"
reset
edit 'NR == 2 { $5 = "62ff" } { print }'
expect altered_key_is_found 1 "altered=1"
reset
edit 'NR == 4 { $5 = "" } { print }'
expect missing_key_turned_to_empty_is_found 1 "altered=1"
reset
edit 'NR == 4 { $1 = "payments" } { print }'
expect wrong_topic_is_found 1 "altered=1 false_marks=1"
reset
record 2 6 | sed 's/0001$/0002/' >>"$dir/records"
expect copies_with_other_headers_are_found 1 "altered=1 duplicates=1"

# Events 1 and 3 have the same key. The marks follow the records, so that only the order is wrong.
reset
edit 'NR == 1 { $3 = 2 } NR == 3 { $3 = 0 } { print }'
sql "update outbox.sent set kafka_offset = 2 - kafka_offset where id in (1, 3)"
expect reordered_key_is_found 1 "reordered=1"

# A repeat of an earlier event after a later one is the usual trace of a crash, no wrong order.
reset
record 1 6 >>"$dir/records"
expect repeat_after_a_later_event_is_not_reordered 0 "duplicates=1 reordered=0"

# The order of keys among each other is free.
reset
edit 'NR == 1 { $3 = 1 } NR == 2 { $3 = 0 } { print }'
sql "update outbox.sent set kafka_offset = 1 - kafka_offset where id in (1, 2)"
expect order_between_keys_is_free 0 "reordered=0"

reset
edit 'NR == 3 { $2 = 1 } { print }'
sql "update outbox.sent set kafka_partition = 1 where id = 3"
expect key_in_two_partitions_is_found 1 "split=1"

reset
sql "update outbox.sent set kafka_offset = 4 where id = 1"
expect mark_with_wrong_offset_is_found 1 "false_marks=1"
reset
sql "update outbox.sent set kafka_partition = 1 where id = 1"
expect mark_with_wrong_partition_is_found 1 "false_marks=1"
reset
sql "insert into outbox.sent (bucket, id, kafka_partition, kafka_offset) values (0, 99, 0, 3)"
expect mark_without_event_is_found 1 "false_marks=1 marks=7"
reset
sql "update outbox.sent set kafka_offset = null, kafka_partition = null where id = 1"
expect mark_without_offset_of_an_arrived_event_is_fine 0 "false_marks=0"
edit 'NR != 1'
expect mark_without_offset_of_a_missing_event_is_found 1 "false_marks=1 missing=1"

reset
sql "delete from outbox.sent where id = 2"
expect unmarked_event_is_found 1 "unmarked=1 marks=5"
expect unmarked_event_may_be_allowed 0 "unmarked=1" --allow-pending

# Excused on request: dead, discarded, and what is blocked behind a dead one of its key; nothing else.
# held STATE N...
held() {
    local state=$1
    shift
    sql "insert into outbox.held (id, bucket, topic, key, state) select id, bucket, topic, key, '$state'
         from outbox.event where id in ($(printf '%d, ' "$@")0)"
}
# never_sent N...: all but these were
never_sent() {
    reset
    sql "delete from outbox.sent where id in ($(printf '%d, ' "$@")0)"
    sed -i "$(printf '%dd;' "$@")" "$dir/records"
}
never_sent 1 3 5
held dead 1
held blocked 3 5
expect dead_and_blocked_are_missing_unless_allowed 1 "missing=3 unmarked=3 excused=0"
expect dead_and_blocked_may_be_allowed 0 "missing=0 unmarked=0 excused=3 arrived=3" --allow-held
expect allowed_ones_are_not_waited_for 0 "excused=3" --allow-held --deadline 20
sql "update outbox.held set state = 'discarded' where id = 1"
expect blocked_behind_nothing_is_missing 1 "missing=2 unmarked=2 excused=1" --allow-held
sql "update outbox.held set state = 'blocked' where id = 1; update outbox.held set state = 'dead' where id = 5"
expect blocked_before_the_dead_is_missing 1 "missing=2 unmarked=2 excused=1" --allow-held
never_sent 2 3
held dead 2
held blocked 3
expect blocked_behind_the_dead_of_another_key_is_missing 1 "missing=1 unmarked=1 excused=1" --allow-held
for state in retrying paused scheduled; do
    never_sent 1
    held $state 1
    expect "${state}_is_missing" 1 "missing=1 unmarked=1 excused=0" --allow-held
done
reset
held dead 1
expect sent_counts_as_sent_whatever_held_says 0 "excused=0 arrived=6" --allow-held
sql "delete from outbox.sent where id = 1"
expect excused_event_that_came_is_counted 0 "excused=1 excused_arrived=1 arrived=6" --allow-held

# A scheduled event comes after later ones of its key, and may come after later scheduled ones.
reset
edit 'NR == 1 { $3 = 2 } NR == 3 { $3 = 0 } { print }'
sql "update outbox.sent set kafka_offset = 2 - kafka_offset where id in (1, 3);
     update outbox.event set available_at = created_at + interval '1 s' where id = 1"
expect scheduled_event_has_no_place_in_the_order 0 "reordered=0"
sql "update outbox.event set available_at = created_at where id = 1"
expect event_that_was_available_at_once_has 1 "reordered=1"

reset
printf 'orders\t1\t0\t0\t-\t-\tgap:17\t-\n' >>"$dir/records"
expect gap_is_shown_and_is_no_phantom 0 "gaps=17"

# The application's own table is the truth, whatever the outbox says.
reset
sql "create table ledger as select event_id from outbox.event"
ledger=(--ledger "select event_id from ledger")
expect ledger_agrees 0 "committed=6" "${ledger[@]}"
sql "delete from ledger where event_id::text like '%2'"
expect event_not_in_the_ledger_is_a_phantom 1 "committed=5 phantom=1" "${ledger[@]}"
sql "insert into ledger values ('$(id_of 2)'), ('$(id_of 88)')"
expect event_that_the_outbox_lost_is_missing 1 "committed=7 missing=1" "${ledger[@]}"

# A line that is still being written is not there yet.
reset
printf 'orders\t0\t6\t0\t61\t%s' "$(id_of 77)" >>"$dir/records"
expect incomplete_last_line_is_not_read 0 "arrived=6"

# With a deadline it waits for what is under way.
reset
tail -n 3 "$dir/records" >"$dir/late"
edit 'NR <= 3'
oracle_has_looked() {
    [[ -n $(sql "select 1 from pg_stat_activity where datname = current_database()
                 and query like 'copy record%' and state = 'idle'") ]]
}
{ wait_until 20 oracle_has_looked && cat "$dir/late" >>"$dir/records"; } &
late_pid=$!
expect deadline_waits_for_late_records 0 "arrived=6" --deadline "$ample"
wait "$late_pid"

# --- watch ---

start_watch() {
    "$oracle" watch --brokers "$bootstrap" --out "$dir/watched" "$@" 2>"$dir/watch.log" &
    watch_pid=$!
}

lines() { [[ $(wc -l <"$dir/watched") -ge $1 ]]; }

stop_watch() {
    local status=0
    kill -TERM "$watch_pid"
    wait "$watch_pid" || status=$?
    watch_pid=
    return "$status"
}

bootstrap=$("$broker" start "$dir/broker")
"$broker" topic "$dir/broker" orders 3
start_watch --topics 'orders,pay*'
wait_until 20 test -e "$dir/watched"
{
    printf 'orders\ta\tce_id=%s\tone\n' "$(id_of 1)"
    printf 'orders\ta\tid=%s\t\n' "$(id_of 2)"
    printf 'orders\t\tce_id=%s\t-\n' "$(id_of 3)"
    printf 'orders\t-\tother=x\tabc\n'
} | "$OUTBOX_TOOLS/produce" "$bootstrap"
wait_until 20 lines 4 || not_ok watch_reads_while_it_runs "$(cat "$dir/watched" "$dir/watch.log")"
"$broker" topic "$dir/broker" payments 2
"$broker" topic "$dir/broker" unwatched 1
for n in {1..500}; do
    printf 'payments\tk%d\tce_id=%s\t%d\n' "$((n % 7))" "$(id_of "$((n + 1000))")" "$n"
    printf 'unwatched\t-\t-\tx\n'
done | "$OUTBOX_TOOLS/produce" "$bootstrap"
# judge NAME WHY COMMAND...: ok when the command succeeds
judge() { if "${@:3}"; then ok "$1"; else not_ok "$1" "$2"; fi; }

judge watch_ends_on_term "see $dir/watch.log" stop_watch

# has NAME PATTERN: the line is among the watched ones
has() { judge "$1" "$(head -n 6 "$dir/watched")" grep -q -P "$2" "$dir/watched"; }
hash_of_one=$(sql "select left(encode(sha256('one'), 'hex'), 32)")
has watch_hashes_payload_as_postgres_does \
    "^orders\t\d\t\d+\t\d{13}\t61\t$(id_of 1)\t3:$hash_of_one\t"
has watch_reads_debezium_id_and_empty_payload \
    "^orders\t.*\t61\t$(id_of 2)\t0:e3b0c44298fc1c149afbf4c8996fb924\t"
has watch_tells_empty_key_and_null_payload "^orders\t\d\t\d+\t\d+\t\t$(id_of 3)\tnull\t"
has watch_tells_null_key_and_no_id "^orders\t\d\t\d+\t\d+\t-\t-\t3:"
n=$(grep -c '^payments' "$dir/watched" || true)
judge watch_reads_topics_that_appear_later_to_their_end "$n of 500" test "$n" = 500
n=$(grep -c '^unwatched' "$dir/watched" || true)
judge watch_leaves_other_topics_alone "$n lines" test "$n" = 0

# A payload of every length around the hash's block boundaries, judged end to end.
sql "truncate outbox.event, outbox.sent restart identity"
sql "insert into outbox.event (topic, key, type, payload)
     select 'pay-lengths', 'k', 't', repeat('z', n)::bytea from generate_series(0, 200) n"
"$broker" topic "$dir/broker" pay-lengths 1
sql "select format(E'%s\tk\tce_id=%s\t%s', topic, event_id, convert_from(payload, 'UTF8'))
     from outbox.event order by id" |
    "$OUTBOX_TOOLS/produce" "$bootstrap"
"$oracle" watch --brokers "$bootstrap" --out "$dir/records" --topics pay-lengths --to-end
expect watched_records_are_judged 0 "committed=201 arrived=201 unmarked=201" --allow-pending

exit "$bad"
