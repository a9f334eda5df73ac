#!/usr/bin/env bash
# http_states.sh - what a person reads in each state: flowing, a broker away, a topic missing, a dead row, an
# open transaction, a standby, a database away, rows that do not move. And that names cannot run as script.
# Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS of the mock, and curl. Chromium, where it is installed, is
# asked what it makes of the page.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_http.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_http.sh"

mock() { "$broker" cmd "$OUTBOX_TEST_BROKER_DIR" "$@" >/dev/null; }
hostile='<script>document.title="run"</script>&"'\'

# says NAME RELAY PATTERN: the verdict becomes this
is_verdict() { [[ $(verdict "$1") =~ $2 ]]; }
says() {
    local name=$1 relay=$2 pattern=$3
    if wait_until 45 is_verdict "$relay" "$pattern"; then ok "$name"; else not_ok "$name" "wanted $pattern, it says: $(verdict "$relay")"; fi
}

reset
append 50
serve web "${steady[@]}" -X lease.owner="$hostile" -X retry.attempts=1 -X stall.timeout=5s
says flowing web '^Events flow'
holds the_page_has_the_same_sentence wait_shows web / '<h1>Events flow'
wait_sent
says all_published web '^Events flow: every committed event is published\.$'

# --- a standby -----------------------------------------------------------------------------------

serve standby "${steady[@]}" -X lease.owner=second
says standby_knows_who_leads standby "^This relay stands by: <script>.* leads and was last heard of [0-9.]* s ago\\.\$"
holds standby_is_ready answers standby /readyz 200
holds standby_does_not_lead metric_is standby outbox_relay_leader 0
ask standby /status.json
equal standby_knows_the_role stands_by "$(jq -r .role "$dir/body")"
equal standby_knows_the_leader "$hostile" "$(jq -r .leader "$dir/body")"
holds standby_knows_what_waits wait_until 20 metric_is standby 'outbox_relay_held_rows{state="dead"}' 0

# --- a topic that is missing, a row that is refused, a transaction that stays open ------------------

mock topic-error "$topic-gone" UNKNOWN_TOPIC_OR_PART
append 5 "$topic-gone"
says a_missing_topic web "^Events flow.*, but topic \"$topic-gone\" takes nothing \\(_?UNKNOWN_TOPIC"
holds its_rows_are_paused wait_until 20 metric_is web 'outbox_relay_held_rows{state="paused"}' 5
equal the_topic_is_paused 1 "$(metric web "outbox_relay_topic_paused{topic=\"$topic-gone\"}")"
holds readiness_is_not_lost_for_a_topic answers web /readyz 200
sql "insert into outbox.event (topic, type, key, payload) values ('$topic', 'x', 'big', convert_to(repeat('x', 11000000), 'UTF8'))"
holds a_dead_row_is_counted wait_until 30 metric_is web 'outbox_relay_held_rows{state="dead"}' 1
holds and_shown_with_its_reason wait_shows web / 'class="tag bad">dead.*MSG_SIZE_TOO_LARGE'
equal counted_by_topic 1 "$(metric web "outbox_relay_rows_dead_total{topic=\"$topic\"}")"
holds failures_are_counted_by_reason test "$(metric web "outbox_relay_rows_failed_total{topic=\"$topic\",reason=\"MSG_SIZE_TOO_LARGE\"}")" -ge 1

PGAPPNAME=$hostile psql -XqAt -d "$dsn" >/dev/null 2>&1 <<<"begin; insert into outbox.event (topic, type) values ('$topic', 'x'); select pg_sleep(600); commit" &
open_pid=$!
holds an_open_transaction_is_seen wait_until 30 metric_is web outbox_relay_blocking_transactions 1
holds and_shown_with_its_process wait_shows web / 'pid [0-9]*</td><td data-l="Application"><span>&lt;script&gt;'

# --- nothing of it runs ----------------------------------------------------------------------------

ask web /
equal hostile_text_is_not_markup 1 "$(grep -o '<script' "$dir/body" | wc -l)"
holds but_is_shown grep -q '&lt;script&gt;document.title=&quot;run&quot;&lt;/script&gt;&amp;&quot;&#39;' "$dir/body"
ask web /status.json
holds json_has_it_as_it_is grep -qF '"owner":"<script>document.title=\"run\"</script>&\"'\''"' "$dir/body"

# browser NAME URL [--option]: what the page is after some seconds of its own time
browser() {
    timeout "$ample" chromium --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --user-data-dir="$dir/chromium" --virtual-time-budget=9000 "${@:2}" \
        --dump-dom "$1" 2>"$dir/chromium.log" >"$dir/dom"
}
if command -v chromium >/dev/null && command -v python3 >/dev/null; then
    holds browser_opens_the_page browser "${url[web]}/"
    holds no_script_of_others_ran grep -q '<title>look: outbox-relay</title>' "$dir/dom"
    # The first answer is a page of long ago, those after it are the relay's: what it shows then, it has asked for.
    ask web / && sed 's/<time>[^<]*/<time>long ago/' "$dir/body" >"$dir/old.html"
    python3 "$root/tests/rig/old_page.py" "$dir/old.html" "$(header content-security-policy)" "${url[web]}/" "$dir/old.url" &
    proxy_pids+=("$!")
    wait_until 20 test -s "$dir/old.url"
    holds browser_opens_an_old_page browser "$(<"$dir/old.url")"
    holds the_page_has_refreshed_itself grep -q '<time>[0-9]' "$dir/dom"
    holds nothing_was_blocked_that_the_page_needs test -z "$(grep -i 'content security policy' "$dir/chromium.log" | grep -v 'data:' || true)"
    # The page as a file, in a frame of a phone's width (a window is never narrower than 500).
    ask web / && cp "$dir/body" "$dir/page.html"
    cat >"$dir/frame.html" <<<'<iframe src="page.html" width="390" height="800" frameborder="0"
        onload="document.title = this.contentDocument.documentElement.scrollWidth"></iframe>'
    holds browser_opens_it_as_a_phone browser "file://$dir/frame.html" --allow-file-access-from-files --hide-scrollbars
    equal it_fits_a_phone 390 "$(sed -n 's/.*<title>\([^<]*\)<.*/\1/p' "$dir/dom" | head -n 1)"
else
    for name in browser_opens_the_page no_script_of_others_ran the_page_has_refreshed_itself \
        it_fits_a_phone; do
        skip "$name" "chromium or python3 is not installed"
    done
fi
kill "$open_pid" 2>/dev/null || true
wait "$open_pid" 2>/dev/null || true
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name like '<script>%'" >/dev/null

# --- what is paused is given up while the relay tries it ---------------------------------------------

"$OUTBOX_RELAY" discard --topic "$topic-gone" --paused --yes --reason misspelt -X "dsn=$dsn" >"$dir/discard.said" 2>&1 || true
holds paused_events_are_given_up grep -qx '5 events discarded' "$dir/discard.said"
holds and_stay_so wait_shows web /metrics '^outbox_relay_held_rows{state="discarded"} 5' 120
last=$(sql "select max(id) from outbox.event")
mock topic-error "$topic-gone" 0
append 3 "$topic-gone"
wait_sql 120 3 "select count(*) from outbox.sent s join outbox.event e using (id) where e.topic = '$topic-gone' and e.id > $last" ||
    not_ok later_ones_of_the_topic_go "$(tail -n 3 "$dir/web.log")"
ok later_ones_of_the_topic_go

# --- a broker away ---------------------------------------------------------------------------------

mock down
append 20
says broker_away web '^Events do not flow: no Kafka broker answers.*; [0-9]+ events? waits?, '
holds kafka_is_down metric_is web outbox_relay_kafka_up 0
holds kafka_alone_never_makes_it_unready answers web /readyz 200
holds nor_dead answers web /livez 200
holds and_readyz_says_why shows web /readyz?verbose '^\[+\]kafka does not count: no broker answers'
holds a_stall_names_the_brokers wait_said web 'msg="no broker answers; rows are on their way for longer than stall.timeout".* bootstrap=[^ ]*127.0.0.1:[0-9]*.* last_error=' 120
mock up
wait_sql 60 0 "select count(*) from outbox.event e where topic = '$topic' and length(payload) < 100
                and not exists (select from outbox.sent s where s.id = e.id)"
says broker_back web '^Events flow'
holds the_log_says_that_it_is_back wait_said web 'msg="a broker answers again" component=relay away_s='
holds kafka_is_up wait_until 20 metric_is web outbox_relay_kafka_up 1

# --- a leader that is frozen, under a long lease -----------------------------------------------------

relay_kill standby
relay_kill web
sql "update outbox.relay set owner = null, lease_expires_at = null"
serve frozen -X lease.ttl=1h -X lease.owner=frozen
holds frozen_leads wait_said frozen msg=leading
serve beside -X lease.ttl=1h
says beside_stands_by beside '^This relay stands by: frozen leads'
relay_signal frozen STOP
says the_page_tells_that_the_leader_is_silent beside '^This relay stands by[,;].* but frozen leads and has been silent for .*; its lease lasts [0-9]* min.* more'
holds the_page_says_what_to_do wait_shows beside / 'lease.owner=</code> and that whole name'
relay_kill frozen
serve heir -X lease.ttl=1h -X lease.owner=frozen
holds what_it_says_is_true wait_said heir 'msg=leading .*lease_of=frozen'
relay_kill heir

# --- marks that fail now and then: a disk that is full, on which some succeed still -------------------

relay_kill beside
sql "update outbox.relay set owner = null, lease_expires_at = null"
serve full -X lease.ttl=1m
holds full_leads wait_said full msg=leading
sql "create function public.no_room() returns trigger language plpgsql as \$\$ begin
         if extract(epoch from clock_timestamp())::bigint % 4 < 2 then
             raise exception 'could not extend file \"base/1/2\": No space left on device' using errcode = 'disk_full';
         end if;
         return new;
     end \$\$;
     create trigger no_room before insert on outbox.sent for each row execute function public.no_room()"
while sleep 0.3; do append 1; done &
append_pid=$!
says a_full_disk_is_told full \
    '^Events flow.*, but PostgreSQL refused a statement of this relay .* ago \(marking failed: could not extend file .*, SQLSTATE 53100\)'
marked=$(metric full outbox_relay_rows_marked_total)
more_marked() { (($(metric full outbox_relay_rows_marked_total) > marked)); }
holds while_some_are_marked wait_until 20 more_marked
holds the_page_says_make_room wait_shows full / 'Make room on the disk of the database; the relay goes on by itself'
holds ready_on_a_full_disk answers full /readyz 200
kill "$append_pid"
wait "$append_pid" 2>/dev/null || true
sql "drop function public.no_room cascade"
relay_kill full

# --- rows that do not move although all answers ------------------------------------------------------

sql "update outbox.relay set owner = null, lease_expires_at = null"
serve stuck -X lease.ttl=1m -X stall.timeout=1s -X statement.timeout=5m
holds ready_at_first wait_until 30 answers stuck /readyz 200
PGAPPNAME=locks psql -XqAt -d "$dsn" >/dev/null 2>&1 <<<"begin; lock table outbox.sent in access exclusive mode; select pg_sleep(600)" &
lock_pid=$!
wait_sql 20 1 "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and relation = 'outbox.sent'::regclass" || true
append 3
holds unready_when_rows_do_not_move wait_until 60 answers stuck /readyz 503
holds and_says_so shows stuck /readyz '^\[-\]progress failed: rows that could move have not moved for'
says stuck_in_words stuck '^Events do not flow: nothing has moved for .* \(marking failed: .*lock timeout, SQLSTATE 55P03\)'
holds its_page_says_how_to_find_who_locks wait_shows stuck / 'Whoever locks a table of the outbox .* SELECT pid, mode, relation::regclass FROM pg_locks '
holds the_log_says_how_to_find_who_locks said stuck 'msg="marking failed" .* remedy="whoever locks .* SELECT pid, mode, relation::regclass FROM pg_locks '
equal and_what_it_says_finds_it "$(sql "select pid from pg_stat_activity where application_name = 'locks'")" \
    "$(sql "$(sed -n 's/.*msg="marking failed".*must end: \(SELECT .*\) says who.*/\1/p' "$dir/stuck.log" | tail -n 1)" | sed -n 's/|AccessExclusiveLock|outbox.sent$//p')"
holds still_alive answers stuck /livez 200
kill "$lock_pid" 2>/dev/null || true
wait "$lock_pid" 2>/dev/null || true
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'locks'" >/dev/null
holds ready_again_when_they_do wait_until 60 answers stuck /readyz 200

PGAPPNAME=locks psql -XqAt -d "$dsn" >/dev/null 2>&1 <<<"begin; lock table outbox.event in access exclusive mode; select pg_sleep(600)" &
lock_pid=$!
says what_keeps_it_from_reading_is_told stuck \
    '^Events .* \(reading failed: .*lock timeout, SQLSTATE 55P03\)'
kill "$lock_pid" 2>/dev/null || true
wait "$lock_pid" 2>/dev/null || true
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'locks'" >/dev/null

# --- a database away ---------------------------------------------------------------------------------

name=$(sql 'select current_database()')
other() { psql -XqAt -d "${dsn/dbname=$name/dbname=postgres}" -c "$1" >/dev/null; }
other "alter database $name allow_connections false"
other "select pg_terminate_backend(pid) from pg_stat_activity where datname = '$name'"
says database_away stuck '^Events do not flow: PostgreSQL cannot be used: .*not currently accepting connections'
holds unready_without_a_database answers stuck /readyz 503
holds its_role_is_not_known wait_shows stuck /status.json '"role":"unknown".*"db_lost_s":[0-9]'
holds nor_on_its_page wait_shows stuck / ' without PostgreSQL for [0-9]'
holds alive_without_a_database answers stuck /livez 200
holds db_is_down metric_is stuck outbox_relay_db_up 0
other "alter database $name allow_connections true"
holds ready_with_it wait_until 60 answers stuck /readyz 200
equal reconnects_are_counted 1 "$(($(metric stuck outbox_relay_db_reconnects_total) > 0))"
relay_kill stuck

# --- a role that may have two connections ---------------------------------------------------------------

sql "drop role if exists http_states_two; create role http_states_two login in role outbox_relay connection limit 2"
relay_dsn=${dsn/user=outbox/user=http_states_two}
serve two "${steady[@]}" -X retry.base=10ms -X retry.max=100ms
says the_third_connection_is_missed two '^A relay leads; what waits is not known: the third connection to PostgreSQL does not work .*too many connections for role "http_states_two"'
holds what_helps_is_said wait_shows two /status.json 'A relay needs three connections, and each command one more'
holds what_waits_is_not_known wait_shows two /status.json '"pending":null'
holds nor_what_is_overdue eval '! grep -q ^outbox_relay_bucket_overdue_seconds <<<"$(ask two /metrics; cat "$dir/body")"'
sql "alter role http_states_two connection limit 3"
says the_third_connection_is_there two '^Events flow: what is not held is published'
relay_kill two
relay_dsn=$dsn

relay_start wrong -X http.listen=127.0.0.1:0 -X "dsn=${dsn/user=outbox/user=nobody_$$}"
wait_said wrong 'msg=listening'
url[wrong]=http://$(sed -n 's/.*msg=listening .*address=//p' "$dir/wrong.log")
says wrong_user_from_the_beginning wrong '^Events do not flow: PostgreSQL cannot be used: '
holds its_page_says_what_to_do wait_shows wrong /status.json '"remedy":"Correct user in the setting dsn, or let the DBA create that role; the relay tries again by itself'
holds its_log_says_the_same said wrong 'msg="cannot use PostgreSQL".*remedy="correct user in the setting dsn, or let the DBA create that role; the relay tries again'
exit "$bad"
