#!/usr/bin/env bash
# calls.sh - single system calls of the relay fail: interrupted by signals, and its log cannot be written.
# Failing allocations and calls of libpq and librdkafka: integration/test_nth_*.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"

own_database
own_mock
real_relay=$OUTBOX_RELAY

# wrapped SHELL-TEXT: OUTBOX_RELAY becomes a script that ends with it; "$relay" is the real one
wrapped() {
    printf '#!/bin/bash\nrelay=%q\n%s\n' "$real_relay" "$1" >"$dir/wrapped"
    chmod +x "$dir/wrapped"
    OUTBOX_RELAY=$dir/wrapped
}

# --- interrupted -----------------------------------------------------------------------------------

for every in 3 50; do
    name=interrupted_every_$every
    wrapped "INTERRUPT_EVERY=$every LD_PRELOAD=$OUTBOX_BUILD/tests/faults/interrupted.so exec \"\$relay\" \"\$@\""
    fault stream_start "$name"
    must_move "${name}_moves" "$name"
    holds "${name}_by_the_library" grep -q interrupted.so "/proc/${relay_pid[$name]}/maps"
    stream_judge "calls_$name"
    stop_clean "$name"
done

# --- the log -----------------------------------------------------------------------------------------

# Nothing of it can be written (/dev/full); nobody reads it any more.
wrapped 'exec "$relay" "$@" 2>/dev/full'
fault stream_start full
must_move moves_with_a_full_log full
stream_judge log_on_a_full_disk
stop_clean full
wrapped 'exec "$relay" "$@" 2> >(read -r line)'
fault stream_start unread
must_move moves_with_an_unread_log unread
stream_judge log_that_nobody_reads
stop_clean unread

finish
