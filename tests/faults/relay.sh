#!/usr/bin/env bash
# relay.sh - the relay itself is the part that fails: killed, frozen past its lease, told to stop in each
# phase. After each fault the judge compares what arrived with what was committed.
#
# RELAY_KILLS: how often it is killed at random (100), half as often again while a standby waits.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
kills=${RELAY_KILLS:-100}

own_database
own_mock
own_proxy
direct_dsn=$dsn

# --- killed --------------------------------------------------------------------------------------

reset
watch_start
writer_start
kill_loop killed "$kills"
relay_start killed -X lease.owner=killed
stream_judge killed_at_random
holds repeats_are_bounded_by_what_was_in_flight test "$(number duplicates)" -le $((kills * 10000))
stop_clean killed

# One of two is killed, the other must lead and move; then it is the other's turn.
reset
watch_start
writer_start
relay_start even
wait_said even msg=leading || not_ok first_of_two_leads "$(tail -n 3 "$dir/even.log")"
leader=even follower=odd
for ((n = 1; n <= kills / 10; n++)); do
    : >"$dir/$follower.log"
    relay_start "$follower"
    wait_said "$follower" 'another relay leads' || not_ok "standby_$n" "$(tail -n 3 "$dir/$follower.log")"
    chance_pause 60
    fault relay_kill "$leader"
    wait_said "$follower" msg=leading 8 || not_ok "takeover_$n" "$(tail -n 3 "$dir/$follower.log")"
    must_move "moves_after_takeover_$n" "$follower"
    name=$leader leader=$follower follower=$name
done
stream_judge killed_with_a_standby
stop_clean "$leader"

# --- stopping --------------------------------------------------------------------------------------

stream_start drained -X lease.ttl=60s
fault relay_signal drained TERM
relay_end drained 20
equal term_in_mid_stream_ends_with_0 0 "$status"
writer_stop
watch_stop
judge all_that_was_confirmed_is_marked --ledger "$marked" --allow-pending
equal lease_is_released '' "$(sql "select owner from outbox.relay")"
began=$(now_ms)
relay_start heir -X lease.ttl=60s
holds next_relay_begins_at_once wait_said heir 'msg=leading' 3
holds within_a_second test $(($(now_ms) - began)) -lt 1500
wait_sent || not_ok heir_marks_the_rest
watch_all
judge nothing_went_twice_over_a_clean_stop duplicates=0 unmarked=0
stop_clean heir

# term_taken NAME: the signal is no longer pending, so the handler ran
term_taken() { awk '$1 == "ShdPnd:" || $1 == "SigPnd:" { if (substr($2, 13, 1) ~ /[4-7c-f]/) n = 1 } END { exit n }' "/proc/${relay_pid[$1]}/status"; }
# takes_signals NAME: its handler of TERM stands
takes_signals() { awk '$1 == "SigCgt:" && substr($2, 13, 1) ~ /[4-7c-f]/ { n = 1 } END { exit !n }' "/proc/${relay_pid[$1]}/status"; }
reset
mock down
append 100
# librdkafka says so when the first row of a topic is produced; signals come in only after that.
wordy=(-X log.level=debug -X kafka.debug=topic)
relay_start twice "${wordy[@]}"
wait_said twice "New local topic: $topic" || not_ok rows_are_out
relay_signal twice TERM
wait_until 10 term_taken twice
holds drain_waits_for_confirmations alive "${relay_pid[twice]}"
relay_signal twice TERM
relay_end twice 2
equal second_signal_ends_at_once 143 "$status"
relay_start timed "${wordy[@]}" -X drain.timeout=300ms
wait_said timed "New local topic: $topic" || not_ok rows_are_out_again
relay_signal timed TERM
relay_end timed 12
holds drain_ends_at_its_timeout test "$status" != still_running
mock up
relay_start timed
holds what_was_left_goes_out wait_sent
watch_all
judge what_was_left_arrived_once committed=100 duplicates=0
stop_clean timed

# --- leader and standby ------------------------------------------------------------------------------

stream_start one -X lease.ttl=2s
relay_start two -X lease.ttl=2s
wait_said two 'msg=connected' || true
holds one_leads_only test "$(times_said two 'msg=leading')" = 0
fault relay_kill one
killed_at=$(now_ms)
holds standby_takes_over wait_said two 'msg=leading' 6
took=$(($(now_ms) - killed_at))
holds "no_later_than_the_lease_lasts" test "$took" -lt 3500
moving || not_ok moves_after_the_takeover "$(tail -n 3 "$dir/two.log")"

# Frozen past its lease it still believes that it leads, and its producer has rows queued.
relay_start one -X lease.ttl=2s
wait_said one 'msg=connected' || true
fault relay_signal two STOP
holds frozen_leader_is_replaced wait_sql 8 t "select owner like '%/${relay_pid[one]}/%' from outbox.relay"
moving || not_ok moves_beside_the_frozen "$(tail -n 3 "$dir/one.log")"
relay_signal two CONT
moving
stream_judge frozen_leader_wakes_up
holds frozen_leader_steps_down wait_said two 'msg="no longer leading"' 5
holds and_does_not_lead is "select owner like '%/${relay_pid[one]}/%' from outbox.relay" t
stop_clean two
stop_clean one

# Taken away from a leader that is well: it learns of it at its next renewal, and stops.
stream_start robbed
fault sql "update outbox.relay set owner = 'somebody', epoch = epoch + 1, lease_expires_at = now() + '2 s'"
holds lost_lease_is_noticed wait_said robbed 'msg="no longer leading"' 2
n=$(sql "$sent")
wait_sql 10 t "select lease_expires_at < now() + '500 ms' from outbox.relay" || not_ok lease_runs_out
holds nothing_new_is_sent_meanwhile test "$(sql "$sent")" -le $((n + 200))
must_move moves_when_the_lease_is_free robbed 10
stream_judge lease_taken_from_a_running_leader
stop_clean robbed

# --- told to stop where there is nothing to drain ------------------------------------------------------

# ends_on_term NAME STATUS: within a second or two, whatever it was waiting for
ends_on_term() {
    local began
    began=$(now_ms)
    fault relay_signal "$1" TERM
    relay_end "$1" 10
    equal "term_$1" "$2" "$status"
    holds "term_$1_at_once" test $(($(now_ms) - began)) -lt 3000
}
reset
relay_start idle
wait_said idle msg=leading || not_ok idle_leads "$(tail -n 3 "$dir/idle.log")"
relay_start standing_by
wait_said standing_by 'another relay leads' || not_ok stands_by "$(tail -n 3 "$dir/standing_by.log")"
ends_on_term standing_by 0
ends_on_term idle 0
relay_dsn=$proxied_dsn
proxy pgproxy stall
relay_start connecting
wait_until 10 takes_signals connecting || not_ok connecting_takes_signals
ends_on_term connecting 0
proxy pgproxy resume
proxy pgproxy refuse
relay_start backing_off -X retry.base=30s -X retry.max=30s
wait_said backing_off 'cannot use PostgreSQL' || not_ok backs_off "$(tail -n 3 "$dir/backing_off.log")"
ends_on_term backing_off 0
proxy pgproxy resume
relay_start waiting -X statement.timeout=60s
wait_said waiting msg=leading || not_ok waiting_leads "$(tail -n 3 "$dir/waiting.log")"
proxy pgproxy stall-down
append 10
fault relay_signal waiting TERM
proxy pgproxy resume
relay_end waiting 20
equal term_before_an_answer_that_comes_late 0 "$status"
relay_dsn=$direct_dsn

finish
