#!/usr/bin/env bash
# standby.sh - failover to a promoted standby, with nothing lost and with a tail lost, and a move to a new
# cluster by dump and restore.
#
# The declared behaviour when a failover loses a tail: the relay goes on from what the new primary knows,
# says that the timeline has changed, and sends nothing that the new primary has not got. What was lost
# there and had been sent stays in the topics; nothing else may be missing, wrongly marked or out of order.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"

own_mock

# cluster_pair NAME: $dir/NAME1 and a standby of it, $dir/NAME2; $both names the two for libpq
cluster_pair() {
    "$pg" start "$dir/${1}1" listen=auto >/dev/null
    "$pg" schema "$dir/${1}1"
    proxy_start "$1" "$(tcp_address "$dir/${1}1")"
    "$pg" standby "$dir/${1}2" "host=127.0.0.1 port=$port user=outbox" listen=auto >/dev/null
    dsn=$("$pg" conninfo "$dir/${1}1")
    both="host=127.0.0.1,127.0.0.1 port=$(<"$dir/${1}1/port"),$(<"$dir/${1}2/port") user=outbox dbname=outbox"
}
# caught_up: all of the primary is on the standby
caught_up="select count(*) = 1 and bool_and(replay_lsn >= pg_current_wal_lsn()) from pg_stat_replication"

# --- nothing is lost: the standby is synchronous -----------------------------------------------------------

cluster_pair sync
sql "alter system set synchronous_standby_names = '*'"
sql "select pg_reload_conf()" >/dev/null
relay_dsn=$both
# Alone, the standby is no place for a relay.
relay_start misled -X "dsn=$("$pg" conninfo "$dir/sync2")"
holds standby_is_refused wait_said misled 'cannot use PostgreSQL.*\(read-only\|read only\|standby\|recovery\)\|level=error.*\(read-only\|read only\|standby\|recovery\)'
relay_signal misled KILL 2>/dev/null || true # it may just have ended
relay_end misled 5
# To look, it is one, where there is no primary: of both a command takes that, whichever comes first.
looks_at() { "$OUTBOX_RELAY" status -X "dsn=$1" >"$dir/looked" 2>&1 && grep -q "^dsn .*, port $(<"$2/port"), " "$dir/looked"; }
reversed="host=127.0.0.1,127.0.0.1 port=$(<"$dir/sync2/port"),$(<"$dir/sync1/port") user=outbox dbname=outbox"
relay_start other
holds a_relay_leads wait_said other msg=leading
holds a_command_finds_the_primary wait_until 20 looks_at "$reversed" "$dir/sync1"
holds and_looks_at_a_standby_alone wait_until 20 looks_at "$("$pg" conninfo "$dir/sync2")" "$dir/sync2"
holds and_says_what_it_is grep -q '^server  a standby: this may lag behind' "$dir/looked"
relay_signal other TERM
relay_end other 20
# A consumer goes to the primary too, where it writes down that it is there.
"$OUTBOX_TOOLS/inbox_worker" "$reversed" "$brokers" orders group standby >"$dir/consumer.log" 2>&1 </dev/null &
relay_pid[consumer]=$!
holds a_consumer_finds_the_primary wait_sql 20 t "select exists (select from inbox.consumer where name = 'standby')"
relay_signal consumer TERM
relay_end consumer 20
# inbox_says NAME STATUS DSN PATTERN: of the first line of inbox status
inbox_says() {
    local code=0
    "$OUTBOX_RELAY" inbox status -X "dsn=$3" >"$dir/looked" 2>&1 || code=$?
    equal "$1" "$2 1" "$code $(head -n 1 "$dir/looked" | grep -c "$4")"
}
alone=$("$pg" conninfo "$dir/sync2")
inbox_says who_asks_about_consumers_finds_the_primary 0 "$reversed" '^Events are applied, but look: consumer standby has started'
inbox_says a_standby_is_named_first 69 "$alone" '^Events are not applied as they should be: this server is a standby, where no consumer can apply anything, and'
sql "insert into inbox.position (consumer, topic, kafka_partition, owner, moved_at) values ('standby', 'orders', 0, 'h/1/x', now())"
wait_until 20 is "$caught_up" t || not_ok the_standby_has_it
inbox_says of_a_primary_that_moves_it_needs_a_look 0 "$alone" '^Events are applied, but look: this server is a standby: it may lag behind'
# Nor for an application, which is told so before its first append.
cat >"$dir/asks.c" <<'END'
#include <libpq-fe.h>
#include <outbox.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    PGconn *conn = PQconnectdb(argv[argc - 1]);
    int code = outbox_check_schema(conn, &err);

    puts(err.message);
    PQfinish(conn);
    return code == OUTBOX_EDB ? 0 : 1;
}
END
# shellcheck disable=SC2046 # words
holds a_program_that_asks_can_be_built "${CC:-cc}" -o "$dir/asks" "$dir/asks.c" -I"$root/include" "$OUTBOX_BUILD/liboutbox.a" \
    $(pkg-config --cflags --libs libpq)
said=$("$dir/asks" "$("$pg" conninfo "$dir/sync2")") || said="answers $said"
equal the_library_says_what_a_standby_is 'this server is a standby, where nothing can be appended; connect to the primary server' "$said"

writer_dsn="$both target_session_attrs=read-write"
stream_start failover
fault "$pg" kill "$dir/sync1"
# All that the dsn names was tried: to name more is not what helps.
no_primary() { ! "$OUTBOX_RELAY" "$1" -X "dsn=$both" -X "kafka.bootstrap.servers=$brokers" >"$dir/looked" 2>&1 && grep -q "$2" "$dir/looked"; }
holds status_says_that_there_is_no_primary wait_until 20 no_primary status '^Events do not flow: no server that the dsn names can be written to'
holds and_what_to_do grep -q '^ *Promote a standby or bring the primary back;' "$dir/looked"
holds that_nobody_leads_is_said_as_well wait_until 40 no_primary status 'can be written to (this one is a standby), and none leads'
holds doctor_says_what_to_do wait_until 20 no_primary doctor 'do: let the dsn name the primary, or all servers; where none of them is a primary, promote a standby'
equal and_not_to_start_a_relay 0 "$(grep -c 'do: start a relay' "$dir/looked" || true)"
inbox_says without_a_primary_that_is_said_first 69 "$both" '^Events are not applied as they should be: no server of the dsn is a primary'
holds and_what_consumers_need grep -q 'do: promote a standby, or bring the primary back' "$dir/looked"
"$pg" promote "$dir/sync2"
dsn=$("$pg" conninfo "$dir/sync2")
sql "alter system set synchronous_standby_names = ''"
sql "select pg_reload_conf()" >/dev/null
must_move moves_on_the_promoted_standby failover 40
holds changed_timeline_is_logged wait_said failover 'another cluster or timeline'
stream_judge failover_to_a_synchronous_standby
stop_clean failover

# --- a tail is lost ------------------------------------------------------------------------------------------

# judge_but NAME KEY=VALUE ...: these numbers, which may be of faults, and no other fault but phantoms
judge_but() {
    local name=$1 fault_kind
    shift
    "$oracle" check --dsn "$dsn" --records "$dir/records" --deadline "$ample" >"$dir/numbers" 2>"$dir/examples" || true
    add_up
    for fault_kind in missing phantom altered reordered split false_marks unmarked; do
        [[ " $* " == *" $fault_kind="* || $fault_kind == phantom ]] || set -- "$@" "$fault_kind=0"
    done
    for pair in "$@"; do
        grep -qxF "$pair" "$dir/numbers" || { not_ok "$name" "wanted $pair: $(tr '\n' ' ' <"$dir/numbers") $(head -n 3 "$dir/examples")"; return 0; }
    done
    ok "$name"
}

writer_dsn=
cluster_pair tail
relay_dsn=$both
reset
watch_start
append 500
relay_start lossy
wait_sent || not_ok all_goes_before_the_failover
wait_sql 20 t "$caught_up" || not_ok standby_follows
fault proxy tail stall
append 300 # the standby never hears of these
wait_sent || not_ok tail_is_sent_and_marked
"$pg" kill "$dir/tail1"
proxy tail cut
"$pg" promote "$dir/tail2"
dsn=$("$pg" conninfo "$dir/tail2")
equal the_new_primary_lacks_the_tail 500 "$(sql "select count(*) from outbox.event")"
append 700 # some get ids that the lost ones had
holds relay_goes_on_without_the_tail wait_sent 40
holds changed_timeline_is_logged_again wait_said lossy 'another cluster or timeline'
judge_but failover_that_lost_a_tail committed=1200 phantom=300
watch_stop
stop_clean lossy

# The same, while marks of the tail are on their way: Kafka confirmed rows that the new primary has not got,
# and their ids are given to other rows there, before the relay is back or after.
marks_under_way() {
    local name=$1
    cluster_pair "$name"
    relay_dsn=$both
    reset
    watch_start
    append 500
    relay_start "$name"
    wait_sent || not_ok "${name}_all_goes_before_the_failover"
    wait_sql 20 t "$caught_up" || not_ok "${name}_standby_follows"
    fault proxy "$name" stall
    session_start "$name"
    session "$name" "begin; lock table outbox.sent in exclusive mode"
    append 300
    wait_sql 20 t "select count(*) > 0 from pg_locks where not granted" || not_ok "${name}_marks_wait"
    [[ $name == before ]] || relay_signal "$name" STOP
    "$pg" kill "$dir/${name}1"
    proxy "$name" cut
    "$pg" promote "$dir/${name}2"
    dsn=$("$pg" conninfo "$dir/${name}2")
    [[ $name == after ]] || wait_sql 20 t "select epoch > 1 from outbox.relay" || not_ok "${name}_leads_again"
    append 700
    [[ $name == before ]] || relay_signal "$name" CONT
    holds "goes_on_without_the_tail_when_ids_are_used_again_$name" wait_sent 40
    judge_but "failover_with_marks_under_way_$name" committed=1200
    equal "no_more_is_in_the_topic_than_the_lost_tail_$name" t "$(phantoms_up_to 300)"
    watch_stop
    stop_clean "$name"
}
phantoms_up_to() { if (($(number phantom) <= $1)); then echo t; else number phantom; fi; }
marks_under_way before
marks_under_way after

# --- another cluster -------------------------------------------------------------------------------------------

# Of young transaction ids: what comes from the old cluster is ahead of it.
cluster_pair old
"$pg" stop "$dir/old2" immediate
relay_dsn=$dsn
reset
watch_start
writer_start
relay_start mover "${steady[@]}"
moving || not_ok moves_in_the_old_cluster
writer_stop
stop_clean mover
append 500 # not sent when the dump is taken
fault "$pg" start "$dir/new" >/dev/null
pg_dumpall -d "$dsn" --roles-only | psql -Xq -d "$("$pg" conninfo "$dir/new")" >/dev/null 2>&1 # one of them is there
pg_dump -d "$dsn" | psql -XqAt -v ON_ERROR_STOP=1 -d "$("$pg" conninfo "$dir/new")" >/dev/null 2>"$dir/restore.log" ||
    not_ok restore "$(tail -n 3 "$dir/restore.log")"
dsn=$("$pg" conninfo "$dir/new") relay_dsn=$("$pg" conninfo "$dir/new")
relay_start mover "${steady[@]}"
holds changed_cluster_is_logged wait_said mover 'another cluster or timeline'
append 500
writer_start
moving || not_ok moves_in_the_new_cluster
stream_judge dump_and_restore_into_another_cluster duplicates=0
stop_clean mover

finish
