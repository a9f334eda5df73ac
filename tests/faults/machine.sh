#!/usr/bin/env bash
# machine.sh - the machine under the relay: its network goes away without a word, its clock jumps.
#
# Runs in a network namespace of its own where the system lets it, so that the interface can be taken down.
set -euo pipefail

if [[ ${MACHINE_SH_NETWORK-} != own ]] && why=$(unshare --net ip link set lo up 2>&1); then
    MACHINE_SH_NETWORK=own exec unshare --net -- "$BASH" "${BASH_SOURCE[0]}"
fi
# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
[[ ${MACHINE_SH_NETWORK-} != own ]] || ip link set lo up

own_database
own_mock
tcp_dsn=$("$pg" conninfo "$dir/pg" tcp)

# --- the network -------------------------------------------------------------------------------------------

# Nothing is refused or reset: what is sent just does not arrive. The writer has a unix socket and goes on.
network_gone() {
    local n
    if [[ ${MACHINE_SH_NETWORK-} != own ]]; then
        skip network_gone "no network namespace can be made: ${why##*$'\n'}"
        return
    fi
    relay_dsn=$tcp_dsn
    stream_start gone -X tcp.user.timeout=1s -X statement.timeout=4m
    for n in 1 2; do
        log_anew gone
        fault ip link set lo down
        # by tcp.user.timeout: the deadline of a statement is later than the end of this wait
        holds "half_open_link_is_noticed_before_any_other_deadline_$n" wait_said gone 'lost PostgreSQL'
        ip link set lo up
        must_move "moves_when_the_network_is_back_$n" gone 40
    done
    stream_judge network_was_gone
    stop_clean gone
    relay_dsn=$dsn
}
network_gone

# --- the clock -----------------------------------------------------------------------------------------------

clock_jumps() {
    local fake
    fake=$(compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' | head -n 1) || true
    if [[ -z $fake ]]; then
        skip clock_jumps 'libfaketime is not installed'
        return
    fi
    printf '+0\n' >"$dir/clock"
    # The C library's allocator: jemalloc asks for the time before the faked clock is set up.
    cat >"$dir/relay_with_a_clock" <<SCRIPT
#!/bin/sh
LD_PRELOAD='$fake libc.so.6' FAKETIME_TIMESTAMP_FILE='$dir/clock' FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \\
    exec '$OUTBOX_RELAY' "\$@"
SCRIPT
    chmod +x "$dir/relay_with_a_clock"
    # Without the look at the ends of the topics, which ends a client of Kafka: the library that fakes the
    # clock lets no thread end in the future.
    OUTBOX_RELAY=$dir/relay_with_a_clock stream_start jumping "${steady[@]}" -X takeover.tail=off
    for jump in +1d -1d -3600 +0 +3650d; do
        printf '%s\n' "$jump" >"$dir/clock.new"
        fault mv "$dir/clock.new" "$dir/clock"
        must_move "moves_after_the_clock_went_to_$jump" jumping
        must_move "goes_on_after_the_clock_went_to_$jump" jumping
    done
    equal no_jump_ends_the_lead 0 "$(times_said jumping 'no longer leading')"
    sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
    must_move reconnects_in_the_future jumping
    holds the_relay_saw_the_clock_jump said jumping "^ts=$(date -u -d '3650 days' +%Y).*lost PostgreSQL"
    stream_judge clock_jumped duplicates=0
    printf '+0\n' >"$dir/clock" # so that its threads end
    stop_clean jumping
}
clock_jumps

finish
