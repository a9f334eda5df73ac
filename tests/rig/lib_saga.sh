# shellcheck shell=bash
# lib_saga.sh - the order saga of lib/examples/saga as processes, and its books. Sourced after lib_relay.sh or
# lib_faults.sh: a service is a process like a relay, so relay_kill, relay_signal, wait_said and the like take
# its name.
#
#   saga_broker mock|kafka         a broker of its own, in $dir/broker
#   saga_apart=yes                 from the next saga_anew on each service has a database of its own with its outbox,
#                                  inbox and relay: saga_make_apart made them. The one of $dsn has the projection, and
#                                  what the books read is copied there
#   saga_tables [PIECES]           the schemas of all services, and so many pieces of each item (100000)
#   saga_start NAME...             services; NAME-2 is a second process of NAME. $saga_style: "" or orchestrated;
#                                  $saga_reads: the topic that they read, if it is not the one that they write to
#   saga_relays                    names of the relays; saga_relay_start NAME
#   saga_place FIRST LAST [RATE]   the shop, in the background; saga_place_end waits for it
#   saga_settled SECONDS           all orders that were placed are final, and nothing is left to consume
#   saga_books                     what does not add up; nothing when all does
#   saga_replay                    every event that was sent, once more
#   saga_stop NAME...              TERM; adds up what they say that they have done in n_applied, n_repeats

saga=${OUTBOX_SAGA:-${OUTBOX_BUILD:-$root/.build}/saga}
saga_sources=$root/lib/examples/saga
saga_dsn=$relay_dsn
saga_style=
saga_seed=${SEED:-1}
saga_services=(orders payments inventory receipts)
saga_apart=
saga_reads=
n_applied=0
n_repeats=0

# The shop ends when all is placed; nobody else may.
saga_live() {
    local name
    for name in "${!relay_pid[@]}"; do
        [[ $name == place ]] || alive "${relay_pid[$name]}" || return 1
    done
}
# shellcheck disable=SC2034 # for wait_until
late_if=saga_live

saga_broker() {
    local settings=()
    # A broker that was killed is let in again only when its old session is over.
    [[ $1 == mock ]] || settings=(broker.session.timeout.ms=2000 broker.heartbeat.interval.ms=300)
    brokers=$("$broker" start "$dir/broker" "$1" "${settings[@]}")
}

# --- databases -------------------------------------------------------------------------------------

# saga_make_apart: copies of the one in $dir/pg, to which nobody may be connected
saga_make_apart() {
    local name
    for name in "${saga_services[@]}"; do "$pg" createdb "$dir/pg" "$name" outbox >/dev/null; done
}

# saga_home NAME: the database of a service, the shop or a relay; nothing: the one of $dsn
saga_home() {
    local name=${1#relay-}
    name=${name%-2}
    [[ $name != orchestrator && $name != place ]] || name=orders
    [[ -z $saga_apart || $name == projection || $name == relay ]] || printf '%s\n' "$name"
}
# in_home NAME COMMAND...: with the database of NAME for the one of $dsn. Relays and replays there have its source.
in_home() {
    local home
    home=$(saga_home "$1")
    shift
    if [[ -z $home ]]; then
        "$@"
        return
    fi
    local dsn=${dsn%dbname=*}dbname=$home relay_dsn=${relay_dsn%dbname=*}dbname=$home
    local saga_dsn=${saga_dsn%dbname=*}dbname=$home
    local -x OUTBOX_RELAY_SOURCE=/shop/$home
    "$@"
}
# saga_everywhere COMMAND...: in each database that has an outbox of the saga
saga_everywhere() {
    local name
    if [[ -z $saga_apart ]]; then
        "$@"
        return
    fi
    for name in "${saga_services[@]}"; do in_home "$name" "$@" || return; done
}

saga_apply() { psql -XqAt -v ON_ERROR_STOP=1 -1 -d "$dsn" -f "$saga_sources/$1.sql"; }
saga_tables() {
    local name
    for name in "${saga_services[@]}"; do
        saga_apply "$name"
        [[ -z $saga_apart ]] || in_home "$name" saga_apply "$name"
    done
    saga_apply books
    in_home inventory sql "insert into inventory.stock (item, received, on_hand)
         select item, pieces, pieces from (values ('book', ${1:-100000}), ('lamp', ${1:-100000}), ('chair', ${1:-100000}), ('globe', 20)) t (item, pieces)"
}
saga_empty() {
    sql "drop schema if exists orders, payments, inventory, receipts, audit, projection cascade;
         truncate inbox.seen, inbox.position, inbox.attempt, inbox.dead, inbox.consumer"
}
saga_empty_apart() {
    saga_empty
    outbox_anew
}
# saga_anew: as if there had been none
saga_anew() {
    saga_empty
    [[ -z $saga_apart ]] || saga_everywhere saga_empty_apart
    saga_tables "$@"
}

# --- processes -------------------------------------------------------------------------------------

saga_relays() {
    if [[ -z $saga_apart ]]; then printf 'relay\n'; else printf 'relay-%s\n' "${saga_services[@]}"; fi
}
saga_relay_start() { in_home "$1" relay_start "$1" -X "lease.owner=$1"; }

saga_run() {
    local name=$1 args=("$saga_dsn" "$brokers" "$topic")
    [[ -z $saga_style ]] || args+=("$saga_style")
    [[ -z $saga_reads ]] || args+=("topics=$saga_reads")
    # A process that was killed keeps its partitions until its session is over. (The mock lets a group wait
    # for 3 s before it assigns anything; a session must last longer.)
    args+=(kafka.session.timeout.ms=6000 kafka.heartbeat.interval.ms=500 retry.base=50ms retry.max=1s
        "kafka.client.id=$name")
    log_anew "$name" # what an earlier process of the name has said is not said by this one
    "$saga/${name%-2}" "${args[@]}" >>"$dir/$name.log" 2>&1 </dev/null &
    relay_pid[$name]=$!
}
saga_start() {
    local name
    for name in "$@"; do in_home "$name" saga_run "$name"; done
}

# What a process that ended by itself has to say.
saga_stop() {
    local name words
    for name in "$@"; do relay_signal "$name" TERM; done
    for name in "$@"; do
        relay_end "$name" 20
        [[ $status == 0 ]] || not_ok "${name}_ends_clean" "exit status $status: $(tail -n 3 "$dir/$name.log")"
        words=$(grep -E '^[a-z]+ applied=' "$dir/$name.log" | tail -n 1) || true
        n_applied=$((n_applied + $(sed 's/.*applied=\([0-9]*\).*/\1/' <<<"${words:-applied=0}")))
        n_repeats=$((n_repeats + $(sed 's/.*duplicates=\([0-9]*\).*/\1/' <<<"${words:-duplicates=0}")))
    done
}

saga_run_shop() {
    : >>"$dir/place.log"
    "$saga/place" "$saga_dsn" "$topic" "$1" "$2" "${3:-0}" "$saga_seed" >>"$dir/place.log" 2>&1 </dev/null &
    relay_pid[place]=$!
}
saga_place() { in_home place saga_run_shop "$@"; }
saga_place_end() {
    relay_end place 120
    [[ $status == 0 ]] || not_ok orders_are_placed "exit status $status: $(tail -n 3 "$dir/place.log")"
}

# --- the end ---------------------------------------------------------------------------------------

not_final="select count(*) from orders.orders where status not in ('completed', 'cancelled')"
# Positions of consumers that are not behind the last event that the relay has sent.
behind_sent="select count(*) from inbox.consumer c
    cross join (select s.kafka_partition, max(s.kafka_offset) as last from outbox.sent s
                  join outbox.event e on e.id = s.id where e.topic = '%s' group by 1) k
      left join inbox.position p on p.consumer = c.name and p.topic = '%s' and p.kafka_partition = k.kafka_partition
     where coalesce(p.next_offset, 0) <= k.last"

saga_final() { in_home orders wait_sql "$1" 0 "$not_final"; }
# But for what is for later: those orders are final without it.
saga_sent() { saga_everywhere wait_sql "$1" 0 "$unsent and e.topic = '$topic' and e.available_at is null"; }
# A mark of no meaning for every partition: what was in the topic before it has been consumed when it has.
saga_consumed() {
    local query
    # shellcheck disable=SC2059 # the query is a format
    printf -v query "$behind_sent" "$topic" "$topic"
    append 40 "$topic" "convert_to('mark ' || n, 'UTF8')"
    saga_sent "$1" && wait_sql "$1" 0 "$query"
}
saga_settled() { saga_final "$1" && saga_consumed "$1"; }

# saga_copy NAME TABLE: from the database of the service into that of the books
saga_copy() {
    in_home "$1" sql "copy $2 to stdout" >"$dir/copied" && sql "truncate $2; copy $2 from stdin" <"$dir/copied"
}
saga_gather() {
    saga_copy orders orders.orders && saga_copy payments payments.ledger && saga_copy inventory inventory.stock &&
        saga_copy inventory inventory.ledger && saga_copy receipts receipts.ledger
}
saga_dead="select 'dead letters: ' || count(*) from inbox.dead where consumer like 'saga-%' having count(*) > 0"
saga_books() {
    [[ -z $saga_apart ]] || { saga_gather && saga_everywhere sql "$saga_dead"; } || return
    sql "select what || ': ' || wrong from audit.books where wrong <> 0"
}
saga_books_balance() {
    local said
    said=$(saga_books) || return
    [[ -z $said ]] || { printf '%s\n' "$said"; return 1; }
}

saga_replay_here() {
    "$OUTBOX_RELAY" replay --topic "$topic" --since 1d --yes -X "dsn=$dsn" -X "kafka.bootstrap.servers=$brokers" >>"$dir/replay.log" 2>&1 ||
        { tail -n 3 "$dir/replay.log"; return 1; }
}
saga_replay() { saga_everywhere saga_replay_here; }

# Orders of which the fifth service has another picture than the ledgers of the others.
projection_differs="select count(*) from audit.orders a full join projection.orders p using (id)
    where (a.status, a.item, a.charged, a.refunded, a.reserved, a.released, a.receipts)
          is distinct from (p.status, p.item, p.charged, p.refunded, p.reserved, p.released, p.receipts)"
saga_project() {
    saga_apply projection
    saga_start projection
}
