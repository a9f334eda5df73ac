#!/usr/bin/env bash
# examples.sh - every program of lib/examples does what it says, also when something fails. Needs
# OUTBOX_TEST_DSN; no relay runs.
set -euo pipefail

: "${OUTBOX_TEST_BROKERS:=127.0.0.1:1}" # nobody speaks with Kafka here
# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

read -ra flags < <(pkg-config --cflags libpq)
read -ra libs < <(pkg-config --libs libpq rdkafka)
build=${OUTBOX_BUILD:-$root/.build}
for source in "$root"/lib/examples/*.c; do
    name=${source##*/} name=${name%.c}
    holds "${name}_builds" "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -O1 "-I$root/include" "${flags[@]}" \
        -o "$dir/$name" "$source" "$build/libinbox.a" "$build/liboutbox.a" "${libs[@]}" -pthread
done
for source in "$root"/lib/examples/*.cc; do
    name=${source##*/} name=${name%.cc}
    holds "${name}_builds" "${CXX:-c++}" -std=c++11 -Wall -Wextra -Wpedantic -Werror -O1 "-I$root/include" "${flags[@]}" \
        -o "$dir/$name" "$source" "$build/libinbox.a" "$build/liboutbox.a" "${libs[@]}" -pthread
done
# -pthread shows what POSIX has; a plain `cc -std=c11` does not.
read -ra more_flags < <(pkg-config --cflags libpq rdkafka jansson)
for source in "$root"/lib/examples/*.c "$root"/lib/examples/saga/*.c; do
    name=${source##*/}
    holds "${name%.c}_is_c11" "${CC:-cc}" -std=c11 -Wall -Wextra -Wpedantic -Werror -fsyntax-only "-I$root/include" "${more_flags[@]}" "$source"
done
sql 'drop table if exists orders; create table orders (id bigint primary key, item text)'

# example NAME ID [DSN]: its exit status is in $status, its words in $said
example() {
    status=0
    said=$(timeout "$ample" "$dir/$1" "${3:-$dsn}" "$2" 2>&1) || status=$?
}
# stored: how many orders and events there are, and whether each has one of the other
stored() {
    sql "select count(o.id) || ' orders, ' || count(e.id) || ' events' ||
                case when count(*) = count(o.id) and count(*) = count(e.id) then '' else ', unequal' end
           from orders o full join outbox.event e on convert_from(e.key, 'UTF8') = o.id::text"
}
# does NAME STATUS WORDS STORED: of the last one
does() {
    if ((status != $2)) || ! grep -q -e "$3" <<<"$said"; then
        not_ok "$1" "exit status $status: $said"
    else
        equal "$1" "$4" "$(stored)"
    fi
}
empty() { sql 'truncate orders, outbox.event; drop sequence if exists n; create sequence n'; }

# fail WHAT [TIMES] [WHEN]: the table of orders does that, the first so many times
fail() {
    empty
    sql "create or replace function fail() returns trigger language plpgsql as \$\$ begin
             if nextval('n') > ${2:-1000000} then return new; end if;
             if '$1' = 'kill' then perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(60); end if;
             raise exception 'made to fail' using errcode = '$1'; end \$\$;
         drop trigger if exists fail on orders; drop trigger if exists fail on outbox.event;
         ${3:-create trigger fail before insert on orders for each row execute function fail()}"
}
on_event='create trigger fail before insert on outbox.event for each row execute function fail()'
on_commit='create constraint trigger fail after insert on orders deferrable initially deferred
           for each row execute function fail()'
works() { sql 'drop trigger if exists fail on orders; drop trigger if exists fail on outbox.event'; }

for name in hello pipeline event_loop retry raii; do
    works
    empty
    example $name 1
    does "${name}_stores_an_order_and_its_event" 0 '' '1 orders, 1 events'
    [[ $name != hello ]] ||
        equal hello_says_what_is_committed "order 1 and event $(sql 'select event_id from outbox.event') are committed; the relay sends the event" "$said"
    example $name 1
    does "${name}_fails_with_an_order_that_is_there" 1 'orders_pkey' '1 orders, 1 events'
    example $name 2 'host=/nonexistent'
    does "${name}_fails_without_a_server" 1 '/nonexistent' '1 orders, 1 events'
    fail 23505 1000000 "$on_event"
    example $name 3
    does "${name}_stores_no_order_without_its_event" 1 'outbox: .*23505' '0 orders, 0 events'
    fail 40001 1000000 "$on_commit"
    example $name 4
    does "${name}_stores_nothing_when_commit_fails" 1 'made to fail' '0 orders, 0 events'
    fail kill
    example $name 5
    does "${name}_stores_nothing_on_a_lost_link" 1 'terminat' '0 orders, 0 events'
done

# --- a service with several events ------------------------------------------------------------------------

works
empty
example order_service 1
equal order_service_places_pays_and_ships '0 shipped' "$status $(sql 'select string_agg(item, $$ $$) from orders')"
equal order_service_tells_each_step_in_order \
    'orders placed 0, mails wanted 0, orders paid 1, orders shipped 2' \
    "$(sql "select string_agg(topic || ' ' || regexp_replace(type, '.*\.', '') || ' ' ||
                coalesce((select h ->> 1 from json_array_elements(headers) h where h ->> 0 = 'hops'), '0'), ', ' order by id)
              from outbox.event")"
equal order_service_carries_its_correlation_on 't 2' \
    "$(sql "select bool_and(h ->> 1 = (select event_id::text from outbox.event where type like '%placed')) || ' ' || count(*)
              from outbox.event, json_array_elements(headers) h where h ->> 0 = 'correlationid'" | sed 's/true/t/')"
example order_service 1
equal order_service_places_no_order_twice '1 4' "$status $(sql 'select count(*) from outbox.event')"
fail 23505 1000000 "$on_event"
example order_service 2
does order_service_stores_no_order_without_its_events 1 'outbox: .*23505' '0 orders, 0 events'

# --- until it is done ---------------------------------------------------------------------------------

# retried NAME WHAT WHEN: three times, then it works
retried() {
    fail "$2" 3 "${3-}"
    example retry 7
    does "$1" 0 '' '1 orders, 1 events'
    equal "$1_after_three_tries" 4 "$(sql "select last_value from n")"
}
retried serialization_failure_is_tried_again 40001
retried deadlock_is_tried_again 40P01
retried deadlock_in_the_append_is_tried_again 40P01 "$on_event"
retried killed_session_is_tried_again kill
retried session_killed_in_the_append_is_tried_again kill "$on_event"
retried serialization_failure_in_commit_is_tried_again 40001 "$on_commit"
retried session_killed_in_commit_is_tried_again kill "$on_commit"
fail 23514 3
example retry 7
does what_would_fail_again_is_not_tried_again 1 23514 '0 orders, 0 events'
equal it_was_tried_once 1 "$(sql "select last_value from n")"

# A COMMIT that was done and whose answer was lost: it must not be done twice, nor given up.
works
empty
socket=$(sql "select split_part(setting, ',', 1) from pg_settings where name = 'unix_socket_directories'")/.s.PGSQL.$(sql 'show port')
proxy_start link "$socket"
proxied="host=127.0.0.1 port=$port user=$(sql 'select current_user') dbname=$(sql 'select current_database()') sslmode=disable"
proxy link 'lose COMMIT'
example retry 8 "$proxied"
does lost_answer_of_commit_is_asked_for 0 'no answer' '1 orders, 1 events'
equal the_answer_was_really_lost 1 "$(grep -c '^lost' "$dir/link.log")"
# As a standby that was promoted without it would say: its number has committed, and the order is not there.
works
empty
sql 'create function forget() returns trigger language plpgsql as $$ begin
         if nextval($q$n$q$) = 1 then delete from orders; delete from outbox.event; end if; return null; end $$;
     create constraint trigger forget after insert on orders deferrable initially deferred
         for each row execute function forget()'
proxy link 'lose COMMIT'
example retry 9 "$proxied"
does what_a_failover_has_lost_is_done_again 0 'no answer' '1 orders, 1 events'
equal the_answer_was_lost_again 2 "$(grep -c '^lost' "$dir/link.log")"
# As one that has not come to its number yet.
empty
sql 'create schema early; create function early.pg_xact_status(xid8) returns text language plpgsql as $$ begin
         raise exception $q$transaction ID is in the future$q$ using errcode = $q$22023$q$; end $$'
proxy link 'lose COMMIT'
example retry 9 "$proxied options='-csearch_path=early,pg_catalog,public'"
does what_a_failover_has_lost_with_its_number_is_done_again 0 'no answer' '1 orders, 1 events'
equal the_answer_was_lost_once_more 3 "$(grep -c '^lost' "$dir/link.log")"
# A standby that is only late says the same, and knows nothing.
empty
sql 'create function early.pg_is_in_recovery() returns bool language sql as $$ select true $$'
proxy link 'lose COMMIT'
example retry 9 "$proxied options='-csearch_path=early,pg_catalog,public'"
does what_a_late_standby_has_not_heard_of_is_not_denied 1 'order 9 may have been placed' '0 orders, 0 events'
sql 'drop function forget() cascade; drop schema early cascade' 2>/dev/null
# Those that do not ask say that they do not know.
for name in pipeline event_loop; do
    works
    empty
    proxy link 'lose COMMIT'
    example $name 10 "$proxied"
    does "${name}_does_not_deny_a_commit_without_answer" 1 'order 10 may have been placed' '1 orders, 1 events'
done

exit "$bad"
