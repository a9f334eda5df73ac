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
    log_anew "$follower"
    relay_start "$follower"
    wait_said "$follower" 'another relay leads\|msg=leading' || not_ok "standby_$n" "$(tail -n 3 "$dir/$follower.log")"
    chance_pause 60
    fault relay_kill "$leader"
    wait_said "$follower" msg=leading || not_ok "takeover_$n" "$(tail -n 3 "$dir/$follower.log")"
    must_move "moves_after_takeover_$n" "$follower"
    name=$leader leader=$follower follower=$name
done
stream_judge killed_with_a_standby
stop_clean "$leader"

# --- stopping --------------------------------------------------------------------------------------

# The lease outlasts every wait here: who leads after it has been given it.
stream_start drained -X lease.ttl=1h
fault relay_signal drained TERM
relay_end drained 20
equal term_in_mid_stream_ends_with_0 0 "$status"
writer_stop
watch_stop
judge all_that_was_confirmed_is_marked --ledger "$marked" --allow-pending
equal lease_is_released '' "$(sql "select owner from outbox.relay")"
relay_start heir -X lease.ttl=1h
holds next_relay_does_not_wait_for_the_lease_to_end wait_said heir 'msg=leading'
wait_sent || not_ok heir_marks_the_rest
watch_all
judge nothing_went_twice_over_a_clean_stop duplicates=0 unmarked=0
stop_clean heir

# term_taken NAME: the signal is no longer pending, so the handler ran
term_taken() { awk '$1 == "ShdPnd:" || $1 == "SigPnd:" { if (substr($2, 13, 1) ~ /[4-7c-f]/) n = 1 } END { exit n }' "/proc/${relay_pid[$1]}/status"; }
# takes_signals NAME: its handler of TERM stands, and not that of the shell that becomes the relay
takes_signals() { [[ /proc/${relay_pid[$1]}/exe -ef $OUTBOX_RELAY ]] && awk '$1 == "SigCgt:" && substr($2, 13, 1) ~ /[4-7c-f]/ { n = 1 } END { exit !n }' "/proc/${relay_pid[$1]}/status"; }
reset
mock down
append 100
# librdkafka says so when the first row of a topic is produced; signals come in only after that.
wordy=(-X log.level=debug -X kafka.debug=topic "${steady[@]}" -X lease.owner=drainer)
relay_start twice "${wordy[@]}" -X drain.timeout=1h
wait_said twice "New local topic: $topic" || not_ok rows_are_out
relay_signal twice TERM
wait_until 10 term_taken twice
holds drain_waits_for_confirmations alive "${relay_pid[twice]}"
relay_signal twice TERM
relay_end twice 20
equal second_signal_ends_at_once 143 "$status" # not by the drain's end
relay_start timed "${wordy[@]}" -X drain.timeout=300ms # without a broker only its timeout ends the drain
wait_said timed "New local topic: $topic" || not_ok rows_are_out_again
relay_signal timed TERM
relay_end timed 20
holds drain_ends_at_its_timeout test "$status" != still_running
mock up
relay_start timed "${steady[@]}" -X lease.owner=drainer
holds what_was_left_goes_out wait_sent
watch_all
judge what_was_left_arrived_once committed=100 duplicates=0
stop_clean timed

# --- leader and standby ------------------------------------------------------------------------------

# A lease that the first does not lose because the machine is slow for some seconds.
stream_start one -X lease.ttl=8s
relay_start two -X lease.ttl=8s
wait_said two 'msg=connected' || not_ok two_is_there "$(tail -n 3 "$dir/two.log")"
holds one_leads_only test "$(times_said two 'msg=leading')" = 0
# As it stands before the kill: a renewal in between only makes it last longer.
ends=$(sql "select (extract(epoch from lease_expires_at) * 1000)::bigint from outbox.relay")
one_pid=${relay_pid[one]}
fault relay_kill one
holds standby_takes_over wait_said two 'msg=leading'
led=$(sed -n 's/^ts=\([^ ]*\) .*msg=leading.*/\1/p' "$dir/two.log" | head -n 1)
holds from_whom_and_why_is_said said two "msg=leading .* lease_of=.*/$one_pid/.* because=expired silent_ms=\([89][0-9]\{3\}\|[0-9]\{5,\}\)"
holds not_before_the_lease_ends test "$(date -d "$led" +%s%3N)" -ge "$ends"
moving || not_ok moves_after_the_takeover "$(tail -n 3 "$dir/two.log")"

# Frozen past its lease it still believes that it leads, and its producer has rows queued.
relay_start one -X lease.ttl=8s
wait_said one 'msg=connected' || not_ok one_is_there_again "$(tail -n 3 "$dir/one.log")"
fault relay_signal two STOP
holds frozen_leader_is_replaced wait_sql 20 t "select owner like '%/${relay_pid[one]}/%' from outbox.relay"
moving || not_ok moves_beside_the_frozen "$(tail -n 3 "$dir/one.log")"
relay_signal two CONT
moving
stream_judge frozen_leader_wakes_up
holds frozen_leader_steps_down wait_said two 'msg="no longer leading"'
holds and_does_not_lead is "select owner like '%/${relay_pid[one]}/%' from outbox.relay" t
stop_clean two
stop_clean one

# Taken away from a leader that is well: it learns of it at its next renewal, and stops.
stream_start robbed
fault sql "update outbox.relay set owner = 'somebody', epoch = epoch + 1, lease_expires_at = now() + '1 h'"
holds lost_lease_is_noticed wait_said robbed 'msg="no longer leading".*because="another relay has taken the lease"'
id=$(sql "select max(id) from outbox.event")
wait_sql 20 t "select count(*) > 200 from outbox.event where id > $id" || not_ok writer_goes_on_beside_a_lost_lease
equal nothing_new_is_sent_meanwhile 0 "$(sql "select count(*) from outbox.sent where id > $id")"
sql "update outbox.relay set lease_expires_at = now()"
must_move moves_when_the_lease_is_free robbed
stream_judge lease_taken_from_a_running_leader
stop_clean robbed

# --- told to stop where there is nothing to drain ------------------------------------------------------

# ends_on_term NAME STATUS: whatever it was waiting for, which lasts longer than the wait for its end
ends_on_term() {
    fault relay_signal "$1" TERM
    relay_end "$1" 10
    equal "term_$1" "$2" "$status"
}
reset
relay_start idle "${steady[@]}"
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
relay_start backing_off -X retry.base=1h -X retry.max=1h
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
