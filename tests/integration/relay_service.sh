#!/usr/bin/env bash
# relay_service.sh - the relay as a service: settings loaded again with SIGHUP, what the service manager is
# told, secrets handed over in files.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

# --- SIGHUP --------------------------------------------------------------------------------------------

conf=$dir/relay.conf
nl=$'\n'
printf 'log.level = info\npoll.max = 20ms\n' >"$conf"
reset
append 10
relay_start reload --config "$conf"
holds starts wait_sent
reloaded() { (($(times_said reload 'the settings were loaded again') >= $1)); }

printf 'log.level = debug\npoll.max = 30ms\nbatch.rows = 50\n' >"$conf"
relay_signal reload HUP
holds reload_is_said wait_until 20 reloaded 1
equal what_changed_is_said 'batch.rows was=1000 value=50 log.level was=info value=debug poll.max was=20ms value=30ms' \
    "$(sed -n 's/.*msg="a setting has changed".* setting=//p' "$dir/reload.log" | sort | xargs)"
append 200
holds new_level_is_in_force wait_said reload 'level=debug'
holds rows_flow_with_the_new_settings wait_sent

printf 'pool.max = 30ms\n' >"$conf"
relay_signal reload HUP
holds bad_file_is_refused wait_said reload 'the settings were not reloaded; those in force stay.*relay.conf:1: pool.max: there is no such setting'
printf 'batch.rows = 9000\n' >"$conf"
relay_signal reload HUP
holds values_that_do_not_go_together_are_refused wait_said reload 'not reloaded.*inflight.rows = 10000.*at least twice batch.rows = 9000'
# What --check-config refuses is refused whole: a restart, which would end with 78, is not advised.
for refused in 'kafka.lnger.ms = 7' 'kafka.linger.ms = 7ms' \
    "kafka.security.protocol = sasl_plaintext${nl}kafka.sasl.mechanism = PLAIN${nl}kafka.sasl.username = u"; do
    name=$(tr -c 'a-z0-9\n' _ <<<"${refused%%$nl*}")
    times=$(times_said reload 'not reloaded')
    refused_again() { (($(times_said reload 'not reloaded') > times)); }
    printf 'log.level = debug\npoll.max = 60ms\n%s\n' "$refused" >"$conf"
    relay_signal reload HUP
    holds "refused_whole_$name" wait_until 20 refused_again
done
equal nothing_of_a_refused_file_is_taken '' "$(grep 'needs a restart\|setting=poll.max.*value=60ms' "$dir/reload.log" || true)"
holds the_mistake_is_named wait_said reload 'relay.conf:3: kafka.linger.ms = 7ms'
append 10
holds rows_flow_after_bad_files wait_sent

printf 'log.level = debug\npoll.max = 30ms\nbatch.rows = 50\nenvelope = plain\nlease.ttl = 7s\nkafka.client.id = x\n' >"$conf"
relay_signal reload HUP
holds restart_is_asked_for wait_said reload 'needs a restart.* setting=envelope in_force=cloudevents value=plain'
holds what_was_not_set_is_said_as_well wait_said reload 'needs a restart.* setting=kafka.client.id in_force="(not set)" value=x'
rm "$conf"
relay_signal reload HUP
holds missing_file_is_refused wait_said reload 'not reloaded.*relay.conf: cannot be opened'
relay_signal reload TERM
relay_end reload 20
equal ends_clean 0 "$status"

# --- the allocator -------------------------------------------------------------------------------------

relay_start piecemeal
holds a_relay_with_jemalloc_leads wait_said piecemeal 'msg=leading'
holds memory_comes_from_jemalloc grep -q libjemalloc "/proc/${relay_pid[piecemeal]}/maps"
relay_signal piecemeal TERM
relay_end piecemeal 20
equal ends_clean_with_jemalloc 0 "$status"
# With confirm_conf it says what it was told, the program's and the environment's.
MALLOC_CONF=confirm_conf:true,narenas:3 "$OUTBOX_RELAY" --version >"$dir/told.version" 2>&1
holds jemalloc_takes_our_settings grep -q 'narenas:2,.*dirty_decay_ms' "$dir/told.version"
holds what_the_user_chose_goes_over_them grep -q 'narenas: 3\|narenas:3' "$dir/told.version"

# --- the service manager -----------------------------------------------------------------------------

"$OUTBOX_TOOLS/datagrams" "$dir/notify" >>"$dir/told" & # appends, for the file is emptied in between
proxy_pids+=("$!") # ended with the others
wait_until 20 test -S "$dir/notify" || not_ok listener_is_there
told() { grep -q -e "$1" "$dir/told"; }
export NOTIFY_SOCKET=$dir/notify WATCHDOG_USEC=200000
relay_dsn="host=127.0.0.1 port=1"
relay_start early --config /dev/null
wait_said early 'cannot use PostgreSQL.*remedy="mend the server .*correct dsn and restart it' || not_ok no_database_is_said
holds the_watchdog_is_fed_meanwhile wait_until 20 told '^WATCHDOG=1$'
relay_signal early HUP
holds early_is_reloaded wait_said early 'the settings were loaded again'
holds not_ready_without_a_database eval '! told "READY=1\|RELOADING"'
relay_signal early TERM
relay_end early 20
holds stopping_is_said said early 'msg="stopping: .*rows_out=0 .*drain_timeout_ms=[0-9]'
# A server of another locale speaks before it knows of UTF-8.
if command -v python3 >/dev/null; then
    python3 "$root/tests/rig/latin1_server.py" >"$dir/latin1.port" &
    proxy_pids+=("$!")
    wait_until 20 test -s "$dir/latin1.port"
    relay_dsn="host=127.0.0.1 port=$(<"$dir/latin1.port") user=u"
    relay_start foreign
    holds what_is_told_is_utf8 wait_until 30 told '^STATUS=.* f\\xfcr Benutzer'
    relay_signal foreign TERM
    relay_end foreign 20
    for command in status doctor; do
        "$OUTBOX_RELAY" "$command" --json -X "dsn=$relay_dsn" >"$dir/foreign.json" 2>&1 || true
        holds "json_of_${command}_is_utf8" grep -q ' f\\\\xfcr Benutzer' "$dir/foreign.json"
    done
else
    skip what_is_told_is_utf8 'python3 is not installed'
fi
relay_dsn=$dsn
: >"$dir/told"
relay_start notify
holds ready_with_a_database wait_until 20 told '^READY=1$'
holds status_is_told wait_until 30 told '^STATUS=Events flow: every committed event is published\.$'
relay_signal notify HUP
holds reloading_is_told wait_until 20 told '^RELOADING=1 MONOTONIC_USEC=[0-9]*$'
fed() { grep -c '^WATCHDOG=1' "$dir/told" || true; }
before=$(fed)
more() { (($(fed) > before)); }
holds the_watchdog_is_fed wait_until 20 more
relay_signal notify TERM
relay_end notify 20
equal service_ends_clean 0 "$status"
holds stopping_is_told wait_until 20 told '^STOPPING=1 EXTEND_TIMEOUT_USEC=25000000$'
relay_dsn="$dsn dbname=postgres"
relay_start refused
relay_end refused 20
equal no_schema_ends_it 78 "$status"
holds why_it_ended_is_told_last wait_until 20 eval 'grep "^STATUS=" "$dir/told" | tail -n 1 | grep -q "^STATUS=Ended with 78: the outbox is not installed"'
relay_dsn=$dsn
unset NOTIFY_SOCKET WATCHDOG_USEC

# --- secrets -----------------------------------------------------------------------------------------

mkdir "$dir/credentials"
printf '%s\n' "$dsn password=Tr0ub4dor" >"$dir/credentials/dsn"
chmod 0400 "$dir/credentials/dsn"
append 5
CREDENTIALS_DIRECTORY=$dir/credentials "$OUTBOX_RELAY" --once -X "kafka.bootstrap.servers=$brokers" "${steady[@]}" \
    -X log.level=debug >"$dir/credential.log" 2>&1 || not_ok credential_is_used "$(tail -n 3 "$dir/credential.log")"
holds a_credential_is_enough wait_sent
append 5
OUTBOX_RELAY_DSN_FILE=$dir/credentials/dsn "$OUTBOX_RELAY" --once -X "kafka.bootstrap.servers=$brokers" "${steady[@]}" \
    -X log.level=debug >>"$dir/credential.log" 2>&1 || not_ok file_is_used "$(tail -n 3 "$dir/credential.log")"
holds a_file_is_enough wait_sent
equal no_secret_is_logged 0 "$(grep -c Tr0ub4dor "$dir/credential.log" || true)"
exit "$bad"
