#!/usr/bin/env bash
# unreadable.sh - a row that PostgreSQL cannot send stops nobody else: it is dead, with its reason, and goes once
# it is mended. In a database of encoding WIN1252, whose bytes 0x81 and 0x8d no client can be sent in UTF-8, and
# with TOAST chunks that are missing. Needs OUTBOX_TEST_DSN (a superuser's) and OUTBOX_TEST_BROKERS (a mock
# broker does).
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

database=outbox_unreadable_$$
sql "create database $database encoding 'WIN1252' lc_collate 'C' lc_ctype 'C' template template0"
dsn="$OUTBOX_TEST_DSN dbname=$database"
relay_dsn=$dsn
# What follows a failure would only wait in vain.
new_case() { ((bad == 0)) || exit 1; reset; }
drop() { dsn=$OUTBOX_TEST_DSN sql "drop database if exists $database"; }
trap 'cleanup; drop' EXIT
unset PGCLIENTENCODING
psql -XqAt -v ON_ERROR_STOP=1 -1 -d "$dsn" -f "$root/sql/001_outbox.up.sql"

# event TYPE [KEY [TOPIC [COLUMN VALUE]]]: KEY NULL when not given
event() { sql "insert into outbox.event (topic, type, key, payload${4:+, $4}) values ('${3:-$topic}', '$1', ${2:-null}, 'p'${5:+, $5})"; }
bad() { event "bad' || e'\\x81" "$@"; }
# states [TABLE]: "1 sent, 2 dead UNREADABLE 0, 3 blocked" of what is not sent
states="select coalesce(string_agg(s.id || ' ' || s.state || coalesce(' ' || h.error_code || ' ' || h.attempts, ''), ', ' order by s.id), '')
        from outbox.event_status s left join outbox.held h using (id) where s.state <> 'sent'"
states() { sql "$states" | sed -E 's/blocked [^,]*/blocked/g'; }
stands() { [[ $(states) == "$1" ]]; }
wait_states() { wait_until 30 stands "$1" || { printf 'it is: %s\n' "$(states)"; tail -n 5 "$dir"/*.log; return 1; }; }
reason() { sql "select error from outbox.held where id = $1"; }
mend() { sql "update outbox.event set type = 'mended' where id in ($1)"; }
cmd() { "$OUTBOX_RELAY" "$1" "${@:2}" -X "dsn=$relay_dsn" -X "kafka.bootstrap.servers=$brokers" </dev/null >"$dir/said" 2>&1; }
# tells NAME STATUS PATTERN COMMAND...
tells() {
    local code=0
    cmd "${@:4}" || code=$?
    if [[ $code == "$2" ]] && grep -q -E -e "$3" "$dir/said"; then ok "$1"; else not_ok "$1" "status $code, $(<"$dir/said")"; fi
}

# --- going on: in the midst of others, which never wait -----------------------------------------------------

new_case
relay_start going "${steady[@]}"
wait_said going 'msg=leading'
sql "begin; insert into outbox.event (topic, type, key, payload) select '$topic', case n when 70 then 'bad' || e'\\x81' else 'x' end,
         convert_to('k' || n % 10, 'UTF8'), 'p' from generate_series(1, 120) n; commit"
holds the_others_go_on wait_states '70 dead UNREADABLE 0, 80 blocked, 90 blocked, 100 blocked, 110 blocked, 120 blocked'
equal it_says_what_postgresql_said \
    'the content of event 70 cannot be read: 22P05 character with byte sequence 0x81 in encoding "WIN1252" has no equivalent in encoding "UTF8"' "$(reason 70)"
holds the_log_names_it said going 'msg="an event cannot be read".* id=70 .*22P05'
holds and_says_that_it_is_dead said going 'a row is dead.*id=70.*UNREADABLE'
tells dead_lists_it 0 '^70 .*bad\?.*UNREADABLE' dead
tells dead_lists_it_as_json 0 '"UNREADABLE"' dead --json
tells trace_tells_it 0 'UNREADABLE' trace --id 70
tells doctor_works 0 'Nothing must be mended' doctor
tells retry_would_take_it 0 '70 ' retry --id 70 --dry-run
log_anew going
tells retry_takes_it 0 '70 ' retry --id 70
wait_said going 'a row is dead.*id=70'
holds unmended_it_is_dead_again wait_states '70 dead UNREADABLE 0, 80 blocked, 90 blocked, 100 blocked, 110 blocked, 120 blocked'
mend 70
tells retry_takes_it_again 0 '70 ' retry --id 70
holds mended_it_goes_and_its_key_too wait_states ''
watch_all
judge in_order_and_all duplicates=0

# A transaction that commits late, with more rows than a page has.
new_case
fifo=$dir/late
mkfifo "$fifo"
psql -XqAt -v ON_ERROR_STOP=1 -d "$dsn" <"$fifo" >"$dir/late.out" &
exec {late}>"$fifo"
printf '%s\n' "begin; insert into outbox.event (topic, type, key, payload) select '$topic', case n when 33 then 'bad' || e'\\x8d' else 'x' end, 'late', 'p' from generate_series(1, 60) n; select 'there';" >&"$late"
wait_until 20 grep -q there "$dir/late.out"
relay_kill going
relay_start late "${steady[@]}" -X batch.rows=10
event after "'k'"
holds a_later_row_is_out wait_sql 30 1 "$sent"
printf 'commit;\n' >&"$late"
exec {late}>&-
holds a_late_row_is_dead wait_sql 30 'dead 27 blocked 33 sent' "select (select state from outbox.held where id = 33) || ' ' || count(*) filter (where state = 'blocked') || ' blocked ' || count(*) filter (where state = 'sent') || ' sent' from outbox.event_status"
relay_kill late

# --- catching up, and many of them ---------------------------------------------------------------------------

new_case
for _ in 1 2 3; do bad; done
sql "insert into outbox.event (topic, type, payload) select '$topic', 'bad' || e'\\x90', 'p' from generate_series(1, 40)"
event good
relay_once many
equal once_with_dead_rows_ends_with_69 69 "$status"
equal many_in_a_row_are_dead '43 UNREADABLE 1 sent' "$(sql "select count(*) || ' ' || max(error_code) || (select ' ' || count(*) || ' sent' from outbox.sent) from outbox.held where state = 'dead'")"
equal the_cursor_has_passed_them 44 "$(sql 'select cursor_id from outbox.relay')"
tells discard_takes_them 0 '43' discard --all --yes --reason 'not to be read'
relay_once discarded
equal once_with_all_discarded_ends_with_0 0 "$status"

new_case
bad "'k'"
event later "'k'"
relay_once skipped -X on.poison=skip
equal skipped_the_next_of_its_key_goes '1 dead UNREADABLE 0' "$(states)"

# --- what comes back from outbox.held -------------------------------------------------------------------------

new_case
bad "'k'" "$topic" available_at "now() + interval '100 ms'"
bad null "$topic-p"
event paused null "$topic-p"
sql "insert into outbox.held (id, bucket, topic, key, state) select id, bucket, topic, key, 'paused' from outbox.event where topic = '$topic-p'"
relay_start held "${steady[@]}"
holds scheduled_and_paused_ones_are_dead wait_states '1 dead UNREADABLE 0, 2 dead UNREADABLE 0'
mend 1,2
tells retry_takes_both 0 '2' retry --all --yes
holds and_go_when_mended wait_states ''
relay_kill held

# Paused topics are read in turn. One that can be read must not keep the other one from being looked into.
new_case
bad null "$topic-p"
sql "insert into outbox.event (topic, type, payload) select '$topic-q', 'x', 'p' from generate_series(1, 100)"
sql "insert into outbox.held (id, bucket, topic, key, state) select id, bucket, topic, key, 'paused' from outbox.event"
relay_start turns "${steady[@]}" -X batch.rows=10
holds beside_another_topic_it_is_dead wait_states '1 dead UNREADABLE 0'
equal while_rows_of_that_one_come_back t "$(sql "select (select first_error_at from outbox.held) < (select max(sent_at) from outbox.sent)")"
relay_kill turns

# --- what is stored is damaged -------------------------------------------------------------------------------

# damage ID: the chunks of what the event has out of line are taken away. As long as nobody vacuums, deleted ones can
# still be read; and a vacuum leaves those that some session may want to see: autovacuum's, or what a relay that was
# killed had asked for.
damaged() {
    sql 'vacuum outbox.event'
    ! sql "select sha256(key), sha256(payload) from outbox.event where id = $1" >/dev/null 2>&1
}
damage() {
    sql "set allow_system_table_mods = on;
         do \$\$ declare toast oid; value oid; begin
             select c.reltoastrelid into toast from outbox.event e join pg_class c on c.oid = e.tableoid where e.id = $1;
             update pg_class set relkind = 'r' where oid = toast;
             execute format('delete from %s', toast::regclass);
             update pg_class set relkind = 't' where oid = toast;
         end \$\$"
    wait_until 30 damaged "$1" || not_ok the_event_is_damaged "$1"
}
large="(select decode(string_agg(md5(n::text), ''), 'hex') from generate_series(1, 1000) n)"
new_case
event before "'k'"
event large "'k'" "$topic" content_type "'x/y'"
sql "update outbox.event set payload = $large where id = 2"
damage 2
event behind "'k'"
event other "'other'"
relay_start toast "${steady[@]}"
holds a_damaged_payload_is_dead wait_states '2 dead UNREADABLE 0, 3 blocked'
equal it_says_what_is_damaged 'the content of event 2 cannot be read: XX001 missing chunk number 0 for toast value' \
    "$(reason 2 | sed 's/ [0-9]* in pg_toast.*//')"
tells dead_lists_the_damaged 0 '^2 .*large.*UNREADABLE' dead
sql "update outbox.event set payload = 'mended' where id = 2"
tells retry_takes_the_damaged 0 '2 ' retry --id 2
holds mended_it_goes wait_states ''
relay_kill toast

# A key that nobody can read may be that of any later event of the topic: these wait, and no others.
new_case
event before
sql "insert into outbox.event (topic, type, key) values ('$topic', 'x', $large)"
damage 2
event behind "'k'"
event other "'k'" "$topic-o"
relay_start key "${steady[@]}"
holds a_damaged_key_pauses_its_topic wait_states '2 paused UNREADABLE 0, 3 paused UNREADABLE 0'
equal it_says_whose_key 'the key of event 2 cannot be read: XX001 missing chunk' "$(reason 3 | sed 's/chunk .*/chunk/')"
sql "update outbox.event set key = 'k' where id = 2"
holds mended_it_goes_by_itself wait_states ''
watch_all
judge and_in_order duplicates=0
relay_kill key
sql "insert into outbox.event (topic, type, key) values ('$topic', 'x', $large)"
damage "(select max(id) from outbox.event)"
event behind
sql 'update outbox.relay set owner = null, lease_expires_at = null'
relay_once skip -X on.poison=skip
equal skipped_it_is_dead '5 dead UNREADABLE 0' "$(states)"

# --- what was sent before -------------------------------------------------------------------------------------

# Whoever looks at sent events again is told which one cannot be read, and of all others what he asked for.
said_too() { holds "$1" grep -q -E -e "$2" "$dir/said"; }
new_case
append 300 "$topic" "convert_to('k' || n % 7, 'UTF8')"
sql "update outbox.event set payload = $large where id = 120"
relay_start sent "${steady[@]}"
holds all_are_sent wait_sent
relay_kill sent
tells all_as_sent 0 '^All are there as they were sent: 300 events compared$' verify
damage 120
sql "update outbox.event set type = 'bad' || e'\\x81' where id = 250"
tells verify_names_a_damaged_one 69 '^unreadable +120 .*XX001 missing chunk number 0 for toast value' verify
said_too verify_names_one_of_no_characters '^unreadable +250 .*22P05 character with byte sequence 0x81'
said_too verify_compares_the_others '^as sent +298$'
said_too verify_says_that_it_is_not_well '2 events cannot be read from the database$'
tells verify_tells_them_as_json 69 '"n_unreadable": ?2' verify --json
tells verify_with_the_first_one_damaged 69 '^as sent +179$' verify --from-id 120
tells verify_with_the_last_one_damaged 69 '^as sent +119$' verify --to-id 120
tells verify_without_it 0 '^All are there' verify --to-id 119
tells replay_would_stop_at_it 69 '^119 events would be sent again' replay --from-id 1 --dry-run
tells replay_stops_at_it 69 'event 120 cannot be read from the database: XX001 missing chunk .* the same command with --from-id 121 --to-id 300$' replay --from-id 1 --yes
said_too replay_has_sent_those_before_it '^119 events sent again'
tells replay_goes_on_without_it 69 '^129 events sent again' replay --from-id 121 --yes
tells replay_of_a_key_stops_at_it 69 '"failed_id": ?120' replay --topic "$topic" --key k1 --yes --json

# --- what may pass makes no row dead ---------------------------------------------------------------------------

# A policy may refuse a row in any words, to roles that are not a superuser's.
role=unreadable_$$
trap 'cleanup; drop; dsn=$OUTBOX_TEST_DSN; sql "drop role $role" || true' EXIT
psql -XqAt -v ON_ERROR_STOP=1 -1 -d "$dsn" -f "$root/sql/roles.sql" >/dev/null 2>&1
sql "create role $role login in role outbox_relay"
relay_dsn="$dsn user=$role"
# refuse SQLSTATE: event 2 cannot be read
refuse() {
    sql "create or replace function public.refuse() returns bool language plpgsql as 'begin raise exception ''refused'' using errcode = ''$1''; end';
         create policy refuse on outbox.event for select using (id <> 2 or public.refuse());
         create policy append on outbox.event for insert with check (true);
         alter table outbox.event enable row level security"
}
allow() { sql "alter table outbox.event disable row level security; drop policy refuse on outbox.event; drop policy append on outbox.event"; }
for state in 53100 40001 57014 XX000; do
    new_case
    event before
    event refused
    refuse "$state"
    relay_start "refused_$state" "${steady[@]}"
    holds "${state}_is_said" wait_until 30 said_often "refused_$state" "msg=\"reading failed.* sqlstate=$state" 8
    equal "${state}_makes_no_row_dead" 0 "$(sql 'select count(*) from outbox.held')"
    allow
    holds "behind_${state}_it_goes_on" wait_sent
    relay_kill "refused_$state"
done

exit "$bad"
