#!/usr/bin/env bash
# kafka_inbox_outage.sh - Kafka is away for longer than its groups wait for a member. What a consumer's log says of it
# meanwhile, and while it waits afterwards for the member that it was before; one with a name of its own waits for
# none. A database and a broker of its own.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
# shellcheck source=tests/rig/lib_inbox.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_inbox.sh"
session_ms=15000
own_database
brokers=$("$broker" start "$dir/broker" kafka)

# outage NAME SETTING...: of one worker; seconds from the restart until it has its partition again in $took
outage() {
    local name=$1 began
    inbox_reset
    "$broker" topic "$dir/broker" "$topic" 1
    worker_start "$@"
    holds "${name}_has_its_partition" wait_said "$name" "^<6> $topic/0 is assigned here" 60
    fault "$broker" kill "$dir/broker"
    holds "${name}_loses_it" wait_said "$name" "^<4> $topic/0 is lost" 60
    holds "${name}_says_that_no_broker_answers" wait_said "$name" '^<6> this process has no partition of group .*: no broker answers' 30
    "$broker" restart "$dir/broker" >/dev/null
    began=$(now_ms)
    wait_until 90 said_often "$name" "^<6> $topic/0 is assigned here" 2 || not_ok "${name}_has_it_again" "$(tail -n 3 "$dir/$name.log")"
    took=$((($(now_ms) - began) / 1000))
    printf '# shown: %s: its partition %s s after Kafka came back\n' "$name" "$took"
}
outage plain
holds it_says_for_whom_it_waits wait_said plain 'has no partition of group .*: it was away for too long and joins anew; the group may wait' 1
worker_signal plain TERM
worker_end plain 30
equal plain_ends_clean 0 "$status"
outage named kafka.group.instance.id one
holds one_with_a_name_waits_for_nobody test "$took" -lt $((session_ms / 1000 - 5))
worker_signal named TERM
worker_end named 30
finish
