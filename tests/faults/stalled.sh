#!/usr/bin/env bash
# stalled.sh - the loop of a leading relay hangs while its other threads go on (stalled.c): it is not alive any
# more, and says so; another relay takes over; and once it comes to, it leads no more and spoils nothing.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
# shellcheck source=tests/rig/lib_http.sh
. "$root/tests/rig/lib_http.sh"

own_database
own_mock
reset
watch_start
writer_start
LD_PRELOAD=$OUTBOX_BUILD/tests/faults/stalled.so STALL_FILE=$dir/stall serve hung
wait_said hung msg=leading || not_ok hung_leads
wait_until 20 grows 100 || not_ok hung_publishes "$(tail -n 3 "$dir/hung.log")"
holds alive_while_the_loop_turns answers hung /livez 200
serve heir
wait_said heir 'another relay leads' || not_ok heir_stands_by

fault touch "$dir/stall"
holds another_takes_over wait_said heir 'msg=leading .*because=expired'
must_move moves_without_the_hung_one heir
holds not_alive_when_it_has_not_turned_for_half_a_minute wait_until 60 answers hung /livez 503
holds nor_ready answers hung /readyz 503
holds and_readyz_says_why shows hung /readyz?verbose '^\[-\]loop failed: it has not turned for 30 s$'
holds the_page_says_it shows hung / '<h1>The relay has not said anything for [3-9][0-9] s. What it said last: '
holds the_other_one_is_alive answers heir /livez 200
must_move moves_all_the_time heir

rm "$dir/stall"
holds alive_again wait_until 20 answers hung /livez 200
holds it_knows_that_it_leads_no_more wait_said hung 'no longer leading'
must_move moves_with_both heir
stream_judge nothing_is_lost
stop_clean hung
stop_clean heir
finish
