# shellcheck shell=bash
# lib_chaos.sh - between the relays and the services of the saga: tests/tools/chaos.c, which carries every event
# on, some late and some again, by a schedule of its own; and what the two topics say of it. Sourced after
# lib_faults.sh and lib_saga.sh.
#
#   chaos_start SEED PARTITIONS   from $topic to a second topic, which the services read from now on
#   chaos_consumed SECONDS        all that was sent has come, and has been consumed
#   chaos_end NAME                every event has come, those of a key in their order. A chaos that did nothing fails as
#                                 well: keys must have passed each other, some by a second, and events come again
# Adds up in n_events, n_passed, n_passed_by_long, n_again.

n_events=0 n_passed=0 n_passed_by_long=0 n_again=0
chaos_said=

chaos_start() {
    saga_reads=$topic-late
    "$broker" topic "$dir/broker" "$topic" "$2"
    "$broker" topic "$dir/broker" "$saga_reads" "$2"
    watch_start
    rm -f "$dir/chaos.in" "$dir/chaos.out"
    mkfifo "$dir/chaos.in" "$dir/chaos.out"
    "$OUTBOX_TOOLS/chaos" "$brokers" "$topic" "$saga_reads" "$1" 0<>"$dir/chaos.in" 1<>"$dir/chaos.out" 2>>"$dir/chaos.log" &
    relay_pid[chaos]=$!
}

# chaos_where: "left N late N again N ends OFFSET ..." in chaos_said
chaos_where() {
    alive "${relay_pid[chaos]}" || die "the chaos ended by itself: $(tail -n 3 "$dir/chaos.log")"
    printf 'where\n' 1<>"$dir/chaos.in"
    read -r -t "$ample" chaos_said <>"$dir/chaos.out" || die "the chaos does not answer"
}
chaos_number() { sed -n "s/.*\b$1 \([0-9-]*\).*/\1/p" <<<"$chaos_said"; }
chaos_has_passed_all() {
    chaos_where
    [[ $(chaos_number left) == 0 ]]
}

# Partitions of consumers whose position is not at the ends that chaos_said.
chaos_behind() {
    local end n=0 ends=
    for end in ${chaos_said##* ends }; do
        ends+="${ends:+, }($n, $end)"
        n=$((n + 1))
    done
    printf "select count(*) from inbox.consumer c cross join (values %s) k (kafka_partition, ends)
        left join inbox.position p on p.consumer = c.name and p.topic = '%s' and p.kafka_partition = k.kafka_partition
        where coalesce(p.next_offset, 0) < k.ends" "$ends" "$saga_reads"
}
chaos_consumed() {
    saga_sent "$1" && wait_until "$1" chaos_has_passed_all || return # with the status of the wait
    saga_everywhere wait_sql "$1" 0 "$(chaos_behind)"
}

# What one writer wrote for an order is in the order of its ids: where each service has an outbox of its own it is one
# writer, for one process at a time handles an order there; else what one transaction wrote.
chaos_list_events() {
    local writer=xid::text
    [[ -z $saga_apart ]] || writer="'$OUTBOX_RELAY_SOURCE'"
    sql "copy (select $writer, id, event_id, available_at is not null from outbox.event where topic = '$topic') to stdout" >>"$dir/events"
}

# chaos_numbers: from what was watched; first appearances are meant but in "again"
chaos_numbers() {
    psql -XqAt -v ON_ERROR_STOP=1 -d "$dsn" <<SQL
create temp table record (topic text, part int, place bigint, at_ms bigint, key text, event_id text, payload text, headers text);
\copy record from '$dir/records'
create temp table event (writer text, id bigint, event_id text, scheduled boolean);
\copy event from '$dir/events'
create temp table first as
    select topic, part, key, event_id, min(place) as place, min(at_ms) as at_ms, count(*) as times
      from record where event_id <> '-' group by topic, part, key, event_id;
create temp table way as
    select event_id, part, key, s.place as sent, c.place as came, s.at_ms, c.times - s.times as again, e.writer, e.id, e.scheduled
      from (select * from first where topic = '$topic') s
      full join (select * from first where topic = '$saga_reads') c using (event_id, part, key)
      left join event e using (event_id);
create temp view seen as
    select *, max(sent) over of_part as part_sent, max(at_ms) over of_part as part_at_ms, max(sent) over of_key as key_sent,
           max(id) filter (where not scheduled) over of_writer as writer_id
      from way
    window of_part as (partition by part order by came rows between unbounded preceding and 1 preceding),
           of_key as (partition by part, key order by came rows between unbounded preceding and 1 preceding),
           of_writer as (partition by part, key, writer order by sent rows between unbounded preceding and 1 preceding);
select 'events=' || count(sent)
    || E'\nlost=' || count(*) filter (where came is null) + (select count(*) from record where payload like 'gap:%')
    || E'\nunknown=' || count(*) filter (where sent is null or id is null)
    || E'\nout_of_order=' || count(*) filter (where key_sent > sent)
    || E'\nsent_out_of_order=' || count(*) filter (where writer_id > id and not scheduled)
    || E'\npassed=' || count(*) filter (where part_sent > sent)
    || E'\npassed_by_long=' || count(*) filter (where part_sent > sent and part_at_ms >= at_ms + 1000 and not scheduled)
    || E'\nagain=' || sum(again)
  from seen;
SQL
}

# more NAME N LEAST: that many at least, and some
more() { if (($2 >= $3 && $2 > 0)); then ok "$1"; else not_ok "$1" "$2, wanted $3 or more: $chaos_said"; fi; }
chaos_judge() {
    equal "$1_all_events_came" 'lost 0 unknown 0' "lost $(number lost) unknown $(number unknown)"
    equal "$1_order_of_each_key_is_kept" 0 "$(number out_of_order)"
    equal "$1_relays_kept_the_order_of_their_writers" 0 "$(number sent_out_of_order)"
    more "$1_events_came_again" "$(number again)" "$(chaos_number again)"
    more "$1_events_were_late" "$(chaos_number late)" 1
    more "$1_keys_passed_each_other" "$(number passed)" 1
    more "$1_keys_passed_each_other_by_long" "$(number passed_by_long)" 1
}
# chaos_end NAME: nobody may send any more
chaos_end() {
    holds "$1_chaos_has_passed_all" wait_until 60 chaos_has_passed_all
    chaos_where
    relay_signal chaos TERM
    relay_end chaos 20
    equal "$1_chaos_ends_clean" 0 "$status"
    watch_stop
    : >"$dir/events"
    saga_everywhere chaos_list_events
    chaos_numbers >"$dir/numbers"
    chaos_judge "$1"
    n_events=$((n_events + $(number events)))
    n_passed=$((n_passed + $(number passed)))
    n_passed_by_long=$((n_passed_by_long + $(number passed_by_long)))
    n_again=$((n_again + $(number again)))
}
