#!/usr/bin/env bash
# alerts.sh - each alert that is shipped fires when its fault is caused for real, and none without a fault.
# A real Prometheus scrapes real relays and evaluates the shipped rules, with their times made short.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
# shellcheck source=tests/rig/lib_http.sh
. "$root/tests/rig/lib_http.sh"

rules=$root/relay/contrib/prometheus/outbox-relay.rules.yml
alerts=$(sed -n 's/.*alert: //p' "$rules")
if ! bin=$("$root/tests/tools/prometheus" 2>&1); then
    skip alerts_fire "$bin"
    finish
fi

own_database
own_mock

# --- prometheus --------------------------------------------------------------------------------------

# Only the times differ: what is a minute there is a second or two here.
# And what is many gigabytes there is a few megabytes.
sed -E -e 's/for: [0-9]+m/for: 1s/' -e 's/> (60|900|1800)$/> 3/' -e 's/\[5m\]/[20s]/' -e 's/20e9/10e6/' "$rules" >"$dir/rules.yml"
cat >"$dir/prometheus.yml" <<YML
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [rules.yml]
scrape_configs:
  - job_name: outbox-relay
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
YML
prometheus_port=$(free_port)
prometheus=http://127.0.0.1:$prometheus_port
# targets NAME...: the relays that are scraped from now on
targets() {
    local name list=
    for name in "$@"; do list+="${list:+, }\"${url[$name]#http://}\""; done
    printf '[{"targets": [%s]}]\n' "$list" >"$dir/targets.new"
    mv "$dir/targets.new" "$dir/targets.json"
}
query() { curl -s -m "$ample" -G "$prometheus/api/v1/query" --data-urlencode "query=$1"; }
prometheus_start() {
    "$bin/prometheus" --config.file="$dir/prometheus.yml" --storage.tsdb.path="$dir/prometheus" \
        --web.listen-address="127.0.0.1:$prometheus_port" >"$dir/prometheus.log" 2>&1 &
    proxy_pids+=("$!") # ended with the others
    wait_until 60 curl -s -m 60 -o /dev/null "$prometheus/-/ready" ||
        die "prometheus does not start: $(tail -n 3 "$dir/prometheus.log")"
}
# firing: the alerts that do, a line each
firing() { query 'ALERTS{alertstate="firing"}' | jq -r '.data.result[].metric.alertname' | sort -u; }
fires() { firing | grep -qx "$1"; }
quiet() { [[ -z $(firing) ]]; }
scraped() { [[ $(query 'sum(up)' | jq -r '.data.result[0].value[1]') == "$1" ]]; }
declare -A seen=()
# alert NAME: it fires
alert() {
    seen[$1]=1
    if wait_until 90 fires "$1"; then ok "$1"; else not_ok "$1" "firing are: $(firing | xargs)"; fi
}
calm() { wait_until 120 quiet || not_ok "quiet_after_$1" "firing are: $(firing | xargs)"; }

# --- nothing is wrong ------------------------------------------------------------------------------

reset
# A lead that goes over because the machine is slow would be an alert, too.
serve one -X retry.attempts=2 -X stall.timeout=2s -X retention=10m -X lease.owner=one "${steady[@]}"
wait_said one msg=leading || not_ok one_leads
serve two -X retry.attempts=2 -X stall.timeout=2s -X retention=10m -X lease.owner=two "${steady[@]}"
targets one two
prometheus_start
append 200
wait_sent
holds both_are_scraped wait_until 60 scraped 2
append 200
calm the_start
append 200
wait_sent
holds nothing_fires_without_a_fault wait_until 60 quiet # a scrape that was slow is none

# The discarded ones stay.
all_out() {
    wait_sql 60 0 "select count(*) from outbox.event e where not exists (select from outbox.sent s where s.id = e.id)
        and not exists (select from outbox.held h where h.id = e.id)" || not_ok all_is_out
}

# --- the schema ---------------------------------------------------------------------------------------

fault sql "insert into outbox.schema_version values (1000, '99.0.0', true)"
alert OutboxSchemaChanged
sql "delete from outbox.schema_version where version = 1000"
calm OutboxSchemaChanged

# --- rows and topics ---------------------------------------------------------------------------------

mock topic "$topic-gone" 1
fault mock topic-error "$topic-gone" UNKNOWN_TOPIC_OR_PART
append 5 "$topic-gone"
alert OutboxTopicPaused
mock topic-error "$topic-gone" 0
all_out
calm OutboxTopicPaused

# A rate is of what was scraped before: a series that begins with all its failures has none.
too_large() {
    sql "insert into outbox.event (topic, type, key, payload)
         values ('$topic', 'x', convert_to('p$1', 'UTF8'), convert_to(repeat('x', 11000000), 'UTF8'))"
}
refusals_are_scraped() { (($(query 'outbox_relay_rows_failed_total{reason="MSG_SIZE_TOO_LARGE"}' | jq '.data.result | length') > 0)); }
fault too_large 1
holds a_refusal_is_scraped wait_until 60 refusals_are_scraped
too_large 2
alert OutboxSendsFail # first: it is over by itself
alert OutboxDeadRows
# What is behind a dead one waits for the same person, and says so instead of OutboxEventsWait.
sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', convert_to('p1', 'UTF8'), convert_to('y', 'UTF8'))"
n_faults=$((n_faults + 1))
alert OutboxEventsBlocked
told_once() { fires OutboxEventsBlocked && ! fires OutboxEventsWait; }
holds and_is_told_of_once wait_until 60 told_once
relay_args
"$OUTBOX_RELAY" discard --all --yes --reason 'a test' -X "dsn=$relay_dsn" >/dev/null
calm OutboxDeadRows

session_start open
session open "begin; insert into outbox.event (topic, type) values ('$topic', 'x')"
n_faults=$((n_faults + 1))
alert OutboxOldTransaction
session open rollback
calm OutboxOldTransaction

# What only the figures look at.
session open "begin; alter view outbox.blocker set (security_barrier = false)"
n_faults=$((n_faults + 1))
alert OutboxFiguresMissing
session open rollback
calm OutboxFiguresMissing

# An event that is older than the retention, in a bucket that a transaction holds by having read it. The reader
# comes first: a bucket whose only event is out may be emptied at once.
bucket=$(sql "select $old_bucket")
session_start reader
session reader "begin; select count(*) from outbox.event_$bucket"
n_faults=$((n_faults + 1))
sql "insert into outbox.event (topic, type, bucket, created_at) values ('$topic', 'x', $bucket, now() - interval '4 days')"
all_out
alert OutboxBucketOverdue
holds the_reader_is_named wait_shows one '/readyz?verbose' "bucket $bucket should have been emptied .* ago: it is locked by pid [0-9]*, psql"
session reader rollback
calm OutboxBucketOverdue

append 100
all_out
# A mark that is deleted by hand, behind the cursor: what no one should do, and what a defect would look like.
fault sql "delete from outbox.sent where id = (select min(id) from outbox.sent)"
alert OutboxRowsPassedBy
all_out

# --- servers -------------------------------------------------------------------------------------------

fault mock down
append 20
alert OutboxKafkaDown
alert OutboxEventsWait
# Nothing leaves, and what comes takes its place on the disk.
append 20000 "$topic" null "convert_to(repeat(md5(n::text), 20), 'UTF8')"
alert OutboxLarge
mock up
all_out

fault "$pg" stop "$dir/pg" immediate
alert OutboxDatabaseDown
"$pg" restart "$dir/pg" >/dev/null
wait_sql 60 1 'select 1' || not_ok database_is_back

# --- relays --------------------------------------------------------------------------------------------

n_faults=$((n_faults + 1))
relay_kill two
alert OutboxRelayDown
relay_kill one
alert OutboxNoLeader

sql "update outbox.relay set owner = null, lease_expires_at = null"
serve stuck -X lease.ttl=1m -X statement.timeout=5m
targets stuck
wait_said stuck msg=leading || not_ok stuck_leads
session_start locks
session locks "begin; lock table outbox.sent in access exclusive mode"
append 3
n_faults=$((n_faults + 1))
alert OutboxStuck
session locks rollback

missed=
for name in $alerts; do [[ -n ${seen[$name]-} ]] || missed+=" $name"; done
if [[ -z $missed ]]; then ok every_alert_was_caused; else not_ok every_alert_was_caused "not:$missed"; fi
finish
