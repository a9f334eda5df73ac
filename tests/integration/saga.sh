#!/usr/bin/env bash
# saga.sh - the order saga of lib/examples/saga in both its forms, without faults: every order comes to an
# end, the books balance, the view says what waits for whom, and a fifth service that comes later builds the
# same state from the events.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_saga.sh
. "$root/tests/rig/lib_saga.sh"

# The events of the orders, with what their headers say, as a table; the marks are the test's own.
list_events() {
    sql "create table audit.events as
         select e.event_id::text as id, e.type, e.schema_version, convert_from(e.key, 'UTF8') as order_id,
                max(h ->> 1) filter (where h ->> 0 = 'correlationid') as correlation,
                max(h ->> 1) filter (where h ->> 0 = 'causationid') as causation
           from outbox.event e left join json_array_elements(e.headers) h on true where e.type <> 'test'
          group by e.event_id, e.type, e.schema_version, e.key;
         analyze audit.events"
}

# saga STYLE NAME ORDERS_SERVICE
saga() {
    saga_style=$1
    reset
    "$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" 4
    saga_anew
    relay_start relay

    # One service is not there: the view says for whom the orders wait.
    saga_start "$3" inventory receipts
    saga_place 1 100
    saga_place_end
    holds "$2_view_counts_what_waits" wait_sql 30 100 \
        "select sum(under_way) from orders.stuck where service = 'payments' having min(service) = max(service)"
    holds "$2_orders_expire" wait_sql 30 t "select count(*) > 0 from orders.orders where status = 'refunding'"
    equal "$2_view_says_that_nothing_is_stuck_yet" 0 "$(sql "select sum(stuck) from orders.stuck where since > now() - interval '8 seconds'" | sed 's/^$/0/')"
    # In one transaction: the services go on meanwhile.
    equal "$2_view_says_how_many_are_stuck_and_since_when" t \
        "$(sql "update orders.orders set changed_at = changed_at - interval '1 hour' where id between 1 and 10;
                select sum(stuck) >= 10 and min(since) < now() - interval '1 hour' from orders.stuck")"

    saga_start payments
    saga_place 101 300
    saga_place_end
    holds "$2_comes_to_an_end" saga_settled 60
    holds "$2_books_balance" saga_books_balance
    equal "$2_view_is_empty" 0 "$(sql 'select count(*) from orders.stuck')"
    equal "$2_has_both_ends" "2 300" \
        "$(sql "select count(distinct status) || ' ' || count(*) from orders.orders where status in ('completed', 'cancelled')")"
    list_events
    equal "$2_was_undone_for_each_reason" 'CardDeclined,OrderTimedOut,OutOfStock' \
        "$(sql "select string_agg(distinct e.type, ',') from audit.events e
                where e.type in ('CardDeclined', 'OutOfStock', 'OrderTimedOut') and e.id in (select causation from audit.events)")"

    # Every event has the order as its key and correlation, and the event that caused it.
    equal "$2_events_belong_to_their_order" 0 "$(sql "select count(*) from audit.events
        where correlation is distinct from order_id or schema_version <> 1 or (type = 'OrderPlaced') <> (causation is null)")"
    equal "$2_causes_are_events_of_the_same_order" 0 "$(sql "select count(*) from audit.events e where causation is not null
        and (causation, order_id) not in (select id, order_id from audit.events)")"

    holds "$2_is_sent_again" saga_replay
    holds "$2_is_consumed_again" saga_consumed 60
    holds "$2_books_balance_after_every_event_came_twice" saga_books_balance

    saga_project
    holds "$2_projection_from_the_first_event_is_the_same" wait_sql 30 0 "$projection_differs"
    saga_stop "$3" payments inventory receipts projection
    relay_signal relay TERM
    relay_end relay 20
    ((bad == 0)) || exit 1
}

# A member of a group that has joined and was never assigned anything: some versions of librdkafka would end the
# process at its end.
stopped_before_its_first_assignment() {
    local mock=("$broker" cmd "$OUTBOX_TEST_BROKER_DIR") sync_group=14
    reset
    "$broker" topic "$OUTBOX_TEST_BROKER_DIR" "$topic" 4
    # shellcheck disable=SC2046 # words
    "${mock[@]}" push-error $sync_group $(printf 'REBALANCE_IN_PROGRESS %.0s' {1..60})
    "$saga/receipts" "$saga_dsn" "$brokers" "$topic" kafka.debug=cgrp >>"$dir/early.log" 2>&1 </dev/null &
    relay_pid[early]=$!
    holds service_has_joined_and_was_not_assigned_anything wait_said early 'SyncGroup error'
    relay_signal early TERM
    relay_end early 20
    equal service_stopped_before_its_first_assignment_ends_clean 0 "$status"
    "${mock[@]}" clear-errors $sync_group
}

# Each ends by itself and says which file to apply. Without its database it waits.
starts_without_schemas() {
    local name
    reset
    sql "drop schema if exists orders, payments, inventory, receipts, audit, projection cascade"
    for name in payments orchestrator projection; do
        saga_start "$name"
        relay_end "$name" 60
        equal "${name}_without_its_schema_ends" 1 "$status"
        holds "${name}_names_the_file" grep -q "lib/examples/saga/${name/orchestrator/orders}.sql" "$dir/$name.log"
    done
    saga_place 1 1
    relay_end place 60
    equal the_shop_without_its_schema_ends 1 "$status"
    holds the_shop_names_the_file grep -q "lib/examples/saga/orders.sql" "$dir/place.log"
    saga_dsn=host=/nonexistent saga_start receipts
    holds without_its_database_it_waits wait_said receipts 'waits for the database'
    relay_signal receipts TERM
    relay_end receipts 20
    equal and_can_be_stopped 0 "$status"
}

starts_without_schemas
saga '' choreography orders
saga orchestrated orchestration orchestrator
stopped_before_its_first_assignment # last: what its group is in then is the mock's own affair
exit "$bad"
