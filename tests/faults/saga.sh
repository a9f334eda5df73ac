#!/usr/bin/env bash
# saga.sh - the order saga under faults in a random order that a seed decides, judged by its books alone:
# services, relays, PostgreSQL and the broker are killed, frozen and cut off while orders are placed. Meanwhile
# every event passes tests/tools/chaos.c, which lets some come late and some again, so that the events of the orders
# pass each other, by a schedule that follows from the seed as well. At the end money, goods and orders must add
# up, nothing was applied twice, and the events of each order came in their order.
#
#   SAGA_FAULTS      so many faults, in rounds of 20 (8)            `make soak SAGA=1`: 400
#   SAGA_STYLE       choreography or orchestrated: all rounds are; else they take turns
#   SAGA_DATABASES   each: every service has a database of its own, with outbox, inbox and relay; one: they share
#                    one; else two rounds so, two so
#   SAGA_BROKER      mock (default) or kafka
#   SEED             replays a schedule; the seed is printed
# The last round takes the deduplication out of the databases: books that balance then would be books that
# cannot fail.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
n_wanted=${SAGA_FAULTS:-8}
broker_kind=${SAGA_BROKER:-mock}
faults_per_round=20
rate=25             # orders a second
orders_per_fault=30 # at most: a slow machine has no more to do than another
n_partitions=8      # the mock keeps 5 MiB of each, and a service that comes last reads all
n_broker=0

own_database
own_proxy
relay_dsn=$proxied_dsn
# shellcheck source=tests/rig/lib_saga.sh
. "$root/tests/rig/lib_saga.sh"
# shellcheck source=tests/faults/lib_chaos.sh
. "$root/tests/faults/lib_chaos.sh"
saga_make_apart
saga_broker "$broker_kind"
schedule_begin
saga_seed=$seed
others=(payments payments-2 inventory inventory-2 receipts)

broker_again() {
    if [[ $broker_kind == mock ]]; then
        mock down
        pause_of "$1"
        mock up
    else
        "$broker" kill "$dir/broker"
        pause_of "$1"
        "$broker" restart "$dir/broker" >/dev/null
    fi
    n_broker=$((n_broker + 1))
}

# event KIND NUMBER: KIND is 0 to 99; NUMBER decides the rest
event() {
    local kind=$1 n=$2 name=${services[$2 % ${#services[@]}]} relay=${relays[$2 % ${#relays[@]}]}
    if ((kind < 35)); then
        relay_kill "$name"
        pause_of $((n % 3 == 0 ? n % 400 : 0))
        saga_start "$name"
    elif ((kind < 45)); then
        relay_kill "$relay"
        saga_relay_start "$relay"
    elif ((kind < 55)); then
        freeze "$name" $((n % 1500))
    elif ((kind < 60)); then
        wait_said "$name" linked || true # before that its handler of TERM does not stand
        saga_stop "$name"
        saga_start "$name"
    elif ((kind < 68)); then
        postgres_crash immediate
    elif ((kind < 72)); then
        postgres_crash kill
    elif ((kind < 78)); then
        proxy pgproxy cut
    elif ((kind < 82)); then
        proxy pgproxy 'lose COMMIT'
    elif ((kind < 86)); then
        postgres_silent $((n % 800))
    elif ((kind < 92)); then
        broker_again $((n % 800))
    else
        saga_replay || true # another fault may be in its way
    fi
}

run_faults() {
    local n
    for ((n = 0; n < $1; n++)); do
        pause_of $((RANDOM % 1000))
        fault event $((RANDOM % 100)) "$RANDOM"
        progress "seed $seed: fault $n_faults of $n_wanted, $n_kills processes and $((n_postgres + n_broker)) servers killed, round $n_round"
    done
    proxy pgproxy resume
}

# takes_turns CHOICE OTHER N: is it the turn of the other, which changes every N rounds? A choice decides for all.
takes_turns() {
    if [[ -n $1 ]]; then [[ $1 == "$2" ]]; else (((n_round - 1) / $3 % 2 == 1)); fi
}
# form_of_round: which saga, in how many databases
form_of_round() {
    saga_style='' saga_apart=yes
    ! takes_turns "${SAGA_STYLE-}" orchestrated 1 || saga_style=orchestrated
    ! takes_turns "${SAGA_DATABASES-}" one 2 || saga_apart=''
    form="${saga_style:-choreography}, $([[ -z $saga_apart ]] && echo one database || echo a database each)"
    services=("$([[ -z $saga_style ]] && echo orders || echo orchestrator)" "${others[@]}")
    mapfile -t relays < <(saga_relays)
}

# round_begin ORDERS [SQL]: on tables and topics of their own. SQL: for the databases, before anybody uses them
round_begin() {
    local name
    reset
    saga_anew
    chaos_start "$seed" "$n_partitions"
    [[ -z ${2-} ]] || saga_everywhere sql "$2"
    for name in "${relays[@]}"; do saga_relay_start "$name"; done
    saga_start "${services[@]}"
    saga_place 1 "$1" "$rate"
    in_home orders wait_sql 60 t "select count(*) > 10 from orders.orders where status in ('completed', 'cancelled')" ||
        not_ok saga_begins "$(tail -n 3 "$dir/${services[0]}.log" "$dir"/{payments,inventory,receipts}.log)"
}
shop_closes() {
    ! alive "${relay_pid[place]}" || relay_signal place TERM 2>/dev/null || true # it may end just then
    wait "${relay_pid[place]}" || true
    unset 'relay_pid[place]'
}

# round NAME FAULTS
round() {
    local orders name repeats=$n_repeats
    round_begin $(($2 * orders_per_fault))
    run_faults "$2"
    shop_closes
    progress "seed $seed: round $n_round is judged"
    holds "$1_ends" saga_final 60
    holds "$1_is_sent_again" saga_replay
    holds "$1_is_consumed" chaos_consumed 60
    holds "$1_books_balance" saga_books_balance
    saga_project
    holds "$1_projection_is_the_same" wait_sql 60 0 "$projection_differs"
    orders=$(sql 'select count(*) from orders.orders')
    n_rows=$((n_rows + $(sql 'select count(*) from audit.lines')))
    holds "$1_had_orders_of_both_ends" test "$(sql 'select count(distinct status) from orders.orders')" = 2
    saga_stop "${services[@]}" projection
    holds "$1_dropped_repeats" test "$((n_repeats - repeats))" -ge "$orders"
    for name in "${relays[@]}"; do stop_clean "$name"; done
    chaos_end "$1"
    printf '# %s: %d orders, %s: %s\n' "$1" "$orders" "$form" "$(tr '\n' ' ' <"$dir/numbers")"
}

forget="create or replace function inbox.known(consumer text, event_ids text[]) returns text[]
            language sql as 'select ''{}''::text[]';
        create or replace function inbox.accept_many(consumer text, event_ids text[]) returns text[]
            language sql as 'select event_ids'"
books_are_wrong() {
    { [[ -z $saga_apart ]] || saga_gather; } && is "select count(*) >= 3 from audit.books where wrong > 0 and
        what in ('events applied twice', 'steps done twice for an order', 'pieces missing from the stock, or too many',
                 'orders of which the same is true')" t
}
# No fault, and databases that remember nothing: all that comes again is what the chaos sends.
round_without_deduplication() {
    round_begin 100 "$forget"
    holds books_do_not_balance_without_deduplication wait_until 60 books_are_wrong
}

left=$n_wanted
for ((n_round = 1; left > 0; n_round++)); do
    form_of_round
    round "round_$n_round" $((left < faults_per_round ? left : faults_per_round))
    left=$((left - faults_per_round))
    ((bad == 0)) || break
done
n_duplicates=$n_repeats
((bad != 0)) || round_without_deduplication

progress ''
printf '# shown: faults %d, kills: processes %d, servers %d; lines of the ledgers %d; events %d: %d passed by another key, %d of them by more than a second, %d came again; repeats dropped %d; seed %s\n' \
    "$n_faults" "$n_kills" $((n_postgres + n_broker)) "$n_rows" "$n_events" "$n_passed" "$n_passed_by_long" "$n_again" "$n_duplicates" "$seed"
schedule_end
n_kills=$((n_kills + n_postgres + n_broker))
finish
