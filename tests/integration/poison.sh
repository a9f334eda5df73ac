#!/usr/bin/env bash
# poison.sh - retry and discard with another on.poison than the relay's: the relay alone decides what passes a dead
# row, and nothing waits for a sweep. Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS (a mock broker does).
set -euo pipefail

# shellcheck source=tests/rig/lib_commands.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_commands.sh"

block=(-X on.poison=block)
skip=(-X on.poison=skip)
one_key() { append "$1" "$topic" "'\\x6b31'"; }
# left: "1 dead, 2 blocked" of what is not sent
left() { sql "select coalesce(string_agg(id || ' ' || state, ', ' order by id), '') from outbox.event_status where state <> 'sent'"; }

# --- the relay skips, the command blocks ------------------------------------------------------------------

reset
one_key 3
hold dead 1,2
relay_once skip "${skip[@]}"
equal skip_the_later_one_passes '1 dead, 2 dead' "$(left)"
says skip_retry_behind_a_dead_one 0 '^1 event retried' retry --id 2 --force-order "${block[@]}"
relay_once skip "${skip[@]}"
equal skip_it_goes '1 dead' "$(left)"

reset
one_key 3
hold dead 1
hold retrying 2
hold blocked 3 0
says skip_retry_of_one_that_waits_for_its_time 0 '^1 event retried' retry --id 2 "${block[@]}"
relay_once skip "${skip[@]}"
equal skip_it_goes_at_once '1 dead' "$(left)"

reset
one_key 3
hold dead 1
hold retrying 2
hold blocked 3 0
says skip_discard_in_front_of_one 0 '^1 event discarded' discard --id 2 --retrying --reason x "${block[@]}"
relay_once skip "${skip[@]}"
equal skip_the_next_one_goes '1 dead, 2 discarded' "$(left)"

# --- the relay blocks, the command skips ------------------------------------------------------------------

reset
one_key 4
hold dead 1,2
hold blocked 3,4 0
says block_retry_behind_a_dead_one 0 '^1 event retried' retry --id 2 "${skip[@]}"
relay_once block "${block[@]}"
equal block_nothing_passes '1 dead, 2 blocked, 3 blocked, 4 blocked' "$(left)"
says block_retry_of_the_first 0 '^1 event retried' retry --id 1 "${skip[@]}"
relay_once block "${block[@]}"
watch_all
judge block_all_go_in_order committed=4 arrived=4 duplicates=0 marks=4

reset
one_key 4
hold dead 1
hold retrying 2
hold blocked 3,4 0
says block_discard_behind_a_dead_one 0 '^1 event discarded' discard --id 2 --retrying --reason x "${skip[@]}"
relay_once block "${block[@]}"
equal block_the_next_one_stays '1 dead, 2 discarded, 3 blocked, 4 blocked' "$(left)"
says block_discard_of_the_dead_one 0 '^1 event discarded' discard --id 1 --reason x "${skip[@]}"
relay_once block "${block[@]}"
equal block_the_others_go '1 discarded, 2 discarded' "$(left)"

exit "$bad"
