#!/usr/bin/env bash
# saga.sh - the order saga under faults in a random order that a seed decides, judged by its books alone:
# services, relay, PostgreSQL and the broker are killed, frozen and cut off while orders are placed, and
# events come again. At the end money, goods and orders must add up, and nothing was applied twice.
#
#   SAGA_FAULTS    so many faults, in rounds of 40 (12)                `make soak SAGA=1`: 400
#   SAGA_STYLE     orchestrated: all rounds are; else every second one is
#   SAGA_BROKER    mock (default) or kafka
#   SEED           replays a schedule; the seed is printed
# The last case takes the deduplication out of the database and sends the events again: books that balance
# then would be books that cannot fail.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
seed=${SEED:-$((RANDOM * 32768 + RANDOM))}
n_wanted=${SAGA_FAULTS:-12}
broker_kind=${SAGA_BROKER:-mock}
faults_per_round=40
rate=25 # orders a second
n_servers=0

own_database
own_proxy
relay_dsn=$proxied_dsn
# shellcheck source=tests/rig/lib_saga.sh
. "$root/tests/rig/lib_saga.sh"
saga_broker "$broker_kind"
saga_seed=$seed
printf '# seed %s\n' "$seed"
RANDOM=$seed # from here on nothing but the schedule draws in this shell
others=(payments payments-2 inventory inventory-2 receipts)

database_again() {
    "$pg" start "$dir/pg" >/dev/null
    n_servers=$((n_servers + 1))
}
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
    n_servers=$((n_servers + 1))
}

# event KIND NUMBER: KIND is 0 to 99; NUMBER decides the rest
event() {
    local kind=$1 n=$2 name=${services[$2 % ${#services[@]}]}
    if ((kind < 35)); then
        relay_kill "$name"
        pause_of $((n % 3 == 0 ? n % 400 : 0))
        saga_start "$name"
    elif ((kind < 45)); then
        relay_kill relay
        relay_start relay -X lease.owner=relay
    elif ((kind < 55)); then
        relay_signal "$name" STOP
        pause_of $((n % 1500))
        relay_signal "$name" CONT
    elif ((kind < 60)); then
        wait_said "$name" linked || true # before that its handler of TERM does not stand
        saga_stop "$name"
        saga_start "$name"
    elif ((kind < 68)); then
        "$pg" stop "$dir/pg" immediate
        database_again
    elif ((kind < 72)); then
        "$pg" kill "$dir/pg"
        database_again
    elif ((kind < 78)); then
        proxy pgproxy cut
    elif ((kind < 82)); then
        proxy pgproxy 'lose COMMIT'
    elif ((kind < 86)); then
        proxy pgproxy stall
        pause_of $((n % 800))
        proxy pgproxy resume
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
    done
    proxy pgproxy resume
}

# round N: so many faults, on tables and a topic of their own
round() {
    saga_style=${SAGA_STYLE:-}
    ((n_round % 2 == 1)) || saga_style=orchestrated
    services=("$([[ -z $saga_style ]] && echo orders || echo orchestrator)" "${others[@]}")
    reset
    "$broker" topic "$dir/broker" "$topic" 4
    saga_anew
    relay_start relay -X lease.owner=relay
    saga_start "${services[@]}"
    saga_place 1 1000000 "$rate"
    wait_sql 60 t "select count(*) > 10 from orders.orders where status in ('completed', 'cancelled')" ||
        not_ok saga_begins "$(tail -n 3 "$dir/${services[0]}.log" "$dir"/{payments,inventory,receipts}.log)"
    run_faults "$1"
    relay_signal place TERM
    wait "${relay_pid[place]}" || true
    unset 'relay_pid[place]'
}

# judge_round NAME
judge_round() {
    local orders repeats
    holds "$1_ends" saga_settled 60
    holds "$1_is_sent_again" saga_replay
    holds "$1_is_consumed_again" saga_consumed 60
    holds "$1_books_balance" saga_books_balance
    saga_project
    holds "$1_projection_is_the_same" wait_sql 60 0 "$projection_differs"
    orders=$(sql 'select count(*) from orders.orders')
    n_rows=$((n_rows + $(sql 'select count(*) from audit.lines')))
    holds "$1_had_orders_of_both_ends" test "$(sql 'select count(distinct status) from orders.orders')" = 2
    repeats=$n_repeats
    saga_stop "${services[@]}" projection
    holds "$1_dropped_repeats" test "$((n_repeats - repeats))" -ge "$orders"
    printf '# %s: %d orders %s\n' "$1" "$orders" "$saga_style"
}

left=$n_wanted
for ((n_round = 1; left > 0; n_round++)); do
    round $((left < faults_per_round ? left : faults_per_round))
    left=$((left - faults_per_round))
    judge_round "round_$n_round"
    ((bad == 0)) || break
    ((left <= 0)) || stop_clean relay
done
n_duplicates=$n_repeats

# The same events once more, to services whose database remembers nothing.
if ((bad == 0)); then
    sql "create or replace function inbox.known(consumer text, event_ids text[]) returns text[]
             language sql as 'select ''{}''::text[]';
         create or replace function inbox.accept_many(consumer text, event_ids text[]) returns text[]
             language sql as 'select event_ids'"
    saga_start "${services[0]}" payments inventory receipts
    saga_replay
    holds books_do_not_balance_without_deduplication wait_sql 60 t \
        "select count(*) >= 3 from audit.books where wrong > 0 and what in ('events applied twice', 'steps done twice for an order',
             'pieces missing from the stock, or too many', 'orders of which the same is true')"
fi

printf '# shown: faults %d, kills: processes %d, servers %d; lines of the ledgers %d; repeats dropped %d; seed %s\n' \
    "$n_faults" "$n_kills" "$n_servers" "$n_rows" "$n_duplicates" "$seed"
((bad == 0)) || printf '# replay with SEED=%s\n' "$seed"
n_kills=$((n_kills + n_servers))
finish
