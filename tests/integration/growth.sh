#!/usr/bin/env bash
# growth.sh - what the header promises of its structs: a program that was built with an older header
# works with a newer library, and a newer program is refused by an older library, with words.
#
# The newer one is today's with a field more in each struct that may grow. Needs OUTBOX_TEST_DSN.
set -euo pipefail

: "${OUTBOX_TEST_BROKERS:=127.0.0.1:1}" # nobody speaks with Kafka here
# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

read -ra flags < <(pkg-config --cflags libpq)
read -ra libs < <(pkg-config --libs libpq rdkafka)

# library TREE: its shared library into TREE/out
library() { make -s -C "$1" O="$1/out" CFLAGS="${2-}" lib; }
# program TREE NAME SOURCE [LIBRARY]: by TREE's header
program() {
    "${CC:-cc}" -I"$1/include" "${flags[@]}" -o "$dir/$2" "$root/$3.c" "$1/out/${4-liboutbox}.so" "${libs[@]}"
}

for age in today newer; do
    mkdir "$dir/$age"
    cp -R "$root/Makefile" "$root/include" "$root/lib" "$root/pkgconfig" "$dir/$age/"
done
may_grow='(outbox_(event|error|cause)|inbox_(message|stats));'
headers=("$dir"/newer/include/{outbox,inbox}.h)
structs=$(cat "${headers[@]}" | grep -cE "^} $may_grow")
sed -i -E "s/^\} $may_grow/    uint64_t grown[4];\n&/" "${headers[@]}"
# A release that lets the event grow names the size that it had; here in place of the one before.
sed -i 's/offsetof(outbox_event, max_event_bytes)/offsetof(outbox_event, grown)/' "$dir/newer/lib/outbox/checks.h"
equal structs_that_may_grow "5 $structs" "$structs $(cat "${headers[@]}" | grep -c 'uint64_t grown')"
holds library_of_today_builds library "$dir/today"
holds library_with_larger_structs_builds library "$dir/newer" -Wno-missing-field-initializers
# The second has arrays of events, and events with a cause.
holds program_of_today_builds program "$dir/today" old_program lib/examples/hello
holds program_with_larger_structs_builds program "$dir/newer" new_program lib/examples/hello
holds service_of_today_builds program "$dir/today" old_service lib/examples/order_service
holds service_with_larger_structs_builds program "$dir/newer" new_service lib/examples/order_service
holds consumer_of_today_builds program "$dir/today" old_consumer tests/integration/growth_inbox libinbox
holds consumer_with_larger_structs_builds program "$dir/newer" new_consumer tests/integration/growth_inbox libinbox
((bad == 0)) || exit 1

sql 'drop table if exists orders; create table orders (id bigint primary key, item text)'
# run PROGRAM LIBRARY ID: its exit status is in $status, its words in $said
run() {
    status=0
    said=$(LD_LIBRARY_PATH=$dir/$2/out timeout "$ample" "$dir/$1" "$dsn" "$3" 2>&1) || status=$?
}
stored() { sql "select (select count(*) from orders) || ' orders, ' || (select count(*) from outbox.event) || ' events'"; }

run old_program newer 1
equal old_program_works_with_a_newer_library "0, 1 orders, 1 events" "$status, $(stored)"
run new_program newer 2
equal new_program_works_with_its_library "0, 2 orders, 2 events" "$status, $(stored)"
run new_program today 3
equal new_program_is_refused_by_an_older_library "1, 2 orders, 2 events" "$status, $(stored)"
holds the_refusal_names_the_struct grep -q 'struct_size' <<<"$said"
run old_service newer 4
equal old_service_works_with_a_newer_library "0, 3 orders, 6 events" "$status, $(stored)"
run new_service newer 5
equal new_service_works_with_its_library "0, 4 orders, 10 events" "$status, $(stored)"
run new_service today 6
equal new_service_is_refused_by_an_older_library "1, 4 orders, 10 events" "$status, $(stored)"

run old_consumer newer c1
equal old_consumer_works_with_a_newer_library "0, " "$status, $said"
run new_consumer newer c2
equal new_consumer_works_with_its_library "0, " "$status, $said"
run new_consumer today c3
equal new_consumer_is_refused_by_an_older_library 1 "$status"
holds the_refusal_names_the_message grep -q 'msg.struct_size' <<<"$said"
equal what_was_refused_is_not_stored 2 "$(sql "select count(*) from inbox.seen where consumer = 'growth'")"
exit $bad
