#!/usr/bin/env bash
# relay_cli.sh - the command line: help, mistakes and what is said about them, exit codes, secrets.
# Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS (a mock broker does).
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"

drop_roles() { sql "drop owned by relay_cli_poor, relay_cli_relay, relay_cli_writer; drop role relay_cli_poor, relay_cli_relay, relay_cli_writer" 2>/dev/null || true; }
trap 'drop_roles; cleanup' EXIT

# says NAME STATUS PATTERN ARGUMENT...: what it prints has the pattern, and it ends so
says() {
    local name=$1 want=$2 pattern=$3 out code=0
    shift 3
    out=$(timeout "$ample" "$OUTBOX_RELAY" "$@" 2>&1 </dev/null) || code=$?
    if [[ $code != "$want" ]]; then
        not_ok "$name" "exit status $code, not $want: $(tail -n 3 <<<"$out")"
    elif ! grep -q -e "$pattern" <<<"$out"; then
        not_ok "$name" "no '$pattern' in: $(tail -n 3 <<<"$out")"
    else
        ok "$name"
    fi
}
good=(-X "dsn=$relay_dsn" -X "kafka.bootstrap.servers=$brokers")

# --- words ------------------------------------------------------------------------------------------

says help 0 '^Usage: outbox-relay \[run\]' --help
says help_lists_settings 0 'lease.ttl' -h
says help_lists_exit_codes 0 'Exit codes: 0 clean, 64 usage' --help
equal help_says_that_numbers_of_librdkafka_have_no_unit 1 "$("$OUTBOX_RELAY" --help | tr -s ' \n' ' ' | grep -c 'Its numbers are plain ones, without a unit')"
says version 0 "^outbox-relay $(sed -n 's/^#define OUTBOX_VERSION_STRING "\(.*\)"$/\1/p' "$root/include/outbox.h") (librdkafka [0-9.]*, libpq $(pkg-config --modversion libpq | cut -d. -f1)\\.[0-9]*)$" --version
says unknown_option 64 "unrecognized option '--nope'" --nope
says option_without_value 64 "requires an argument" --config
says unknown_command 64 'unknown command or argument: frobnicate' frobnicate
says mistyped_option 64 '^outbox-relay: did you mean --check-config?$' --chekc-config
says mistyped_option_with_a_value 64 '^outbox-relay: did you mean --config?$' --confgi=x
equal option_that_is_short_for_several 0 "$("$OUTBOX_RELAY" --s 2>&1 | grep -c 'did you mean' || true)"
says mistyped_option_of_a_command 64 '^outbox-relay doctor: did you mean --probe-write?$' doctor --porbe-write
says mistyped_command 64 'unknown command or argument: statsu; did you mean status?' statsu
says mistyped_run 64 'unknown command or argument: runn; did you mean run?' runn
says word_like_no_command 64 'unknown command or argument: frobnicate$' frobnicate
says argument_too_many 64 'unknown command or argument: extra' run extra
holds help_goes_to_stdout test -z "$("$OUTBOX_RELAY" --help 2>&1 >/dev/null)"
holds mistakes_go_to_stderr test -z "$("$OUTBOX_RELAY" --nope 2>/dev/null)"

# --- where it writes ---------------------------------------------------------------------------------

for option in --help --sample-config --print-config --version --metrics-help; do
    code=0
    "$OUTBOX_RELAY" "$option" >/dev/full 2>"$dir/full" || code=$?
    equal "full_disk_for_$option" '70 outbox-relay: stdout cannot be written: No space left on device' "$code $(<"$dir/full")"
done
# Nothing that is opened later takes the place of what was closed.
"$OUTBOX_RELAY" run "${good[@]}" 0<&- 1>&- 2>&- &
closed=$!
holds it_runs_without_them wait_until 20 test -e "/proc/$closed/fd/3"
equal what_was_closed_is_nothing '/dev/null /dev/null /dev/null ' "$(for fd in 0 1 2; do readlink "/proc/$closed/fd/$fd"; done | tr '\n' ' ')"
kill "$closed"
wait "$closed" || true

# --- settings ----------------------------------------------------------------------------------------

file=$dir/relay.conf
printf '# a comment\ndsn = %s\nkafka.bootstrap.servers = %s\n' "$relay_dsn" "$brokers" >"$file"
says good_file 0 'the settings are good' --check-config --config "$file"
printf 'pool.max = 20ms\n' >>"$file"
says unknown_key_names_file_and_line 78 "relay.conf:4: pool.max: there is no such setting" --config "$file"
sed -i 's/^pool.max.*/poll.max = 20/' "$file"
says missing_unit_names_file_line_and_range 78 'relay.conf:4: .*poll.max = 20.*the unit is missing' --config "$file"
sed -i 's/^poll.max.*/poll.max = 20parsecs/' "$file"
says unknown_unit 78 'relay.conf:4: .*poll.max = 20parsecs.*from 1ms to 1h' --config "$file"
sed -i '$d' "$file"
says brokers_that_can_never_work 78 'kafka.bootstrap.servers = a:9092;b:9092: brokers are separated by commas' "${good[@]}" -X 'kafka.bootstrap.servers=a:9092;b:9092'
equal check_says_nothing_of_brokers '0 the settings are good' "$("$OUTBOX_RELAY" --check-config -X "dsn=$relay_dsn" -X kafka.bootstrap.servers=127.0.0.1:1 >"$dir/check" 2>&1; echo "$? $(<"$dir/check")")"
says file_that_is_not_there 78 'none.conf: cannot be opened' --config "$dir/none.conf"
says value_out_of_range 78 'batch.rows = 0: must be a whole number, from 1 to' "${good[@]}" -X batch.rows=0
says unknown_choice 78 'envelope = xml' "${good[@]}" -X envelope=xml
says missing_dsn_says_where_to_put_it 78 'dsn is not set.*OUTBOX_RELAY_DSN' -X "kafka.bootstrap.servers=$brokers"
says missing_brokers_say_where_to_put_them 78 'kafka.bootstrap.servers is not set' -X "dsn=$relay_dsn"
says unknown_kafka_property 78 'kafka.linger.mss: No such configuration property: \\*"linger.mss\\*"; did you mean kafka.linger.ms?' "${good[@]}" -X kafka.linger.mss=5
says mistyped_kafka_property 78 'did you mean kafka.bootstrap.servers?' --check-config -X "dsn=$relay_dsn" -X kafka.bootstrap.server=x
says kafka_property_like_no_other 78 'kafka.xyzzy.plugh: No such configuration property: [^;]*$' "${good[@]}" -X kafka.xyzzy.plugh=5
says bad_kafka_value 78 'kafka.linger.ms: Invalid value' --check-config "${good[@]}" -X kafka.linger.ms=soon
says kafka_value_without_a_line_end 78 'outside allowed range [0-9.]*"$' --check-config "${good[@]}" -X kafka.socket.timeout.ms=1
printf 'kafka.linger.ms = 5\nkafka.socket.timeout.ms = 60s\n' >>"$file"
cut='relay.conf:5: kafka.socket.timeout.ms = 60s: librdkafka takes a plain number without a unit; it would read 60'
says kafka_number_with_a_unit 78 "$cut" --config "$file"
says check_of_a_kafka_number_with_a_unit 78 "$cut" --check-config --config "$file"
says doctor_of_a_kafka_number_with_a_unit 78 "$cut" doctor --config "$file"
sed -i 's/^kafka.socket.timeout.ms.*/kafka.socket.timeouts.ms = 60000/' "$file"
says unknown_kafka_property_names_file_and_line 78 'relay.conf:5: kafka.socket.timeouts.ms: No such configuration property' --check-config --config "$file"
sed -i '4,$d' "$file"
printf 'kafka.security.protocol = SASL_SSL\n' >>"$file"
says what_is_wrong_as_a_whole_names_file_and_line 78 'relay.conf:4: kafka.security.protocol = SASL_SSL: .*kafka.sasl.mechanism is GSSAPI' --check-config --config "$file"
says doctor_names_file_and_line_as_well 78 '^fail  kafka  *.*relay.conf:4: kafka.security.protocol = SASL_SSL: ' doctor --config "$file"
sed -i '4,$d' "$file"
printf '%s\n' batch.rows=0 nonsense kafka.linger.mss=5 kafka.socket.timeout.ms=60s "dsn=host=x sslmoed=1" >"$dir/wrong.conf"
wrong=("$OUTBOX_RELAY" --check-config --config "$dir/wrong.conf")
equal all_mistakes_are_told_with_their_lines '1 2 3 4 5' "$("${wrong[@]}" 2>&1 | grep -oE 'wrong.conf:[0-9]+' | sort -u | cut -d : -f 2 | tr '\n' ' ' | sed 's/ $//')"
says and_what_is_missing 78 '^outbox-relay: kafka.bootstrap.servers is not set' "${wrong[@]:1}"
says a_start_tells_more_than_one 78 'wrong.conf:2: no = found' --config "$dir/wrong.conf"
says so_does_a_command 78 '^outbox-relay status: .*wrong.conf:2: no = found' status --config "$dir/wrong.conf"
equal wrong_properties_are_all_told 2 "$("$OUTBOX_RELAY" "${good[@]}" -X kafka.linger.mss=5 -X kafka.linger.ms=soon 2>&1 | grep -c 'producer cannot be set up')"
says value_in_quotes 78 'source: there are no quotes around a value' --check-config "${good[@]}" -X 'source="/shop"'
says kafka_property_that_is_ours 78 'kafka.acks cannot be set' "${good[@]}" -X kafka.acks=1

shown() { "$OUTBOX_RELAY" --print-config "$@" | sed -n 's/^poll.max = //p'; }
printf 'poll.max = 30ms\n' >>"$file"
equal file_beats_default 30ms "$(shown --config "$file")"
equal environment_beats_file 40ms "$(OUTBOX_RELAY_POLL_MAX=40ms shown --config "$file")"
equal argument_beats_environment 50ms "$(OUTBOX_RELAY_POLL_MAX=40ms shown --config "$file" -X poll.max=50ms)"
"$OUTBOX_RELAY" --print-config --config "$file" >"$dir/printed.conf"
says printed_settings_are_a_settings_file 0 'the settings are good' --check-config --config "$dir/printed.conf"
"$OUTBOX_RELAY" --sample-config >"$dir/sample.conf"
says sample_is_a_settings_file 0 '^poll.max = 20ms' --print-config --config "$dir/sample.conf"

# --- secrets -----------------------------------------------------------------------------------------

export OUTBOX_RELAY_DSN="$relay_dsn password=Tr0ub4dor" OUTBOX_RELAY_KAFKA_SASL_PASSWORD=C0rrecthorse
secrets='Tr0ub4dor\|C0rrecthorse'
shown=$("$OUTBOX_RELAY" --print-config -X "kafka.bootstrap.servers=$brokers")
holds printed_settings_mask_secrets test "$(grep -c '\*\*\*' <<<"$shown") $(grep -c "$secrets" <<<"$shown")" = '2 0'
reset
append 20
wordy=(-X log.level=debug -X kafka.debug=all -X "kafka.bootstrap.servers=$brokers" -X lease.ttl=1s)
says debug_run_works 0 'level=debug' --once "${wordy[@]}" "${steady[@]}"
{
    timeout "$ample" "$OUTBOX_RELAY" --once "${wordy[@]}"
    OUTBOX_RELAY_DSN="host=127.0.0.1 port=1 password=Tr0ub4dor" timeout "$ample" "$OUTBOX_RELAY" --once "${wordy[@]}"
    OUTBOX_RELAY_DSN="postgresql://u:Tr0ub4dor@127.0.0.1:1/x" timeout "$ample" "$OUTBOX_RELAY" --once "${wordy[@]}"
    OUTBOX_RELAY_DSN="postgresql://u:Tr0ub4dor@127.0.0.1:port/x" timeout "$ample" "$OUTBOX_RELAY" --once "${wordy[@]}"
    OUTBOX_RELAY_DSN="password=Tr0ub4dor nonsense" timeout "$ample" "$OUTBOX_RELAY" --once "${wordy[@]}"
    timeout "$ample" "$OUTBOX_RELAY" --check-config "${wordy[@]}" -X kafka.security.protocol=sasl_plaintext \
        -X kafka.sasl.mechanism=PLAIN -X kafka.sasl.username=u
    printf 'kafka.sasl.password C0rrecthorse\n' >"$dir/no-equals.conf"
    "$OUTBOX_RELAY" --config "$dir/no-equals.conf"
} >"$dir/secrets.log" 2>&1 || true
holds secrets_run_said_much test "$(grep -c 'level=debug' "$dir/secrets.log")" -gt 20
if grep -q "$secrets" "$dir/secrets.log"; then not_ok secrets_are_in_no_log_line "$(grep -m 3 "$secrets" "$dir/secrets.log")"; else
    ok secrets_are_in_no_log_line
fi
unset OUTBOX_RELAY_DSN OUTBOX_RELAY_KAFKA_SASL_PASSWORD
says secret_on_the_command_line_is_refused 78 'every user of this machine can read a command line' \
    -X 'dsn=postgresql://u:Tr0ub4dor@h/d' -X "kafka.bootstrap.servers=$brokers"

# --- what it meets -----------------------------------------------------------------------------------

says no_database 69 'msg="PostgreSQL is not available"' --once -X "dsn=host=127.0.0.1 port=1" -X "kafka.bootstrap.servers=$brokers"
append 5
says no_broker 69 'rows_marked=0 .*exit_code=69' --once -X "dsn=$relay_dsn" -X kafka.bootstrap.servers=127.0.0.1:1 -X drain.timeout=300ms
equal nothing_was_marked 5 "$(sql "$unsent")"
says schema_that_is_not_there 78 'dbname=postgres remedy="let the DBA apply sql/001_outbox.up.sql.*then start the relay again"' -X "dsn=$relay_dsn dbname=postgres" -X "kafka.bootstrap.servers=$brokers"
sql 'alter table outbox.sent rename kafka_offset to kafka_place'
says schema_that_somebody_has_changed 78 'msg="the schema outbox is not what this relay expects" .*kafka_offset.* remedy="apply the migrations' "${good[@]}"
sql 'alter table outbox.sent rename kafka_place to kafka_offset'
sql "insert into outbox.schema_version values (1000, '99.0.0', true)"
says schema_that_is_too_new 78 'remedy="upgrade outbox-relay; then start the relay again"' "${good[@]}"
sql "update outbox.schema_version set breaking = false where version = 1000"
says newer_schema_that_does_not_break 0 'rows_marked=5' --once "${good[@]}" "${steady[@]}"
sql "delete from outbox.schema_version where version = 1000"

drop_roles
sql "create role relay_cli_poor login; create role relay_cli_relay login in role outbox_relay"
says role_without_rights 77 'remedy="apply sql/roles.sql and grant outbox_relay' "${good[@]}" -X "dsn=$relay_dsn user=relay_cli_poor"
sql "create role relay_cli_writer login in role outbox_writer"
says role_of_the_wrong_kind 77 'remedy="apply sql/roles.sql and grant outbox_relay' --once "${good[@]}" -X "dsn=$relay_dsn user=relay_cli_writer"
append 5
says role_outbox_relay_is_enough 0 'rows_marked=5' --once "${good[@]}" "${steady[@]}" -X "dsn=$relay_dsn user=relay_cli_relay"

# It sees none of them, and nothing fails.
append 5
sql "alter table outbox.event enable row level security"
says policies_that_may_hide_events_are_told 0 'msg="row-level security may hide events.* tables=outbox.event remedy="as a superuser: ALTER ROLE' \
    --once "${good[@]}" "${steady[@]}" -X "dsn=$relay_dsn user=relay_cli_relay"
equal what_was_hidden_is_not_published 5 "$(sql "$unsent")"
# These it needs to see: what mends it is no migration, no row and no GRANT.
sql "alter table outbox.event disable row level security"
for table in schema_version relay sent_N; do
    policies() { sql "$(for n in {0..7}; do printf 'alter table outbox.%s %s row level security;' "${table/N/$n}" "$1"; done)"; }
    policies enable
    says "policy_that_hides_$table" 77 '^[^ ]* level=error .*row-level security.* remedy="as a superuser: ALTER ROLE .*then start' \
        --once "${good[@]}" "${steady[@]}" -X "dsn=$relay_dsn user=relay_cli_relay"
    policies disable
done
says what_is_no_longer_hidden_is 0 'rows_marked=5' --once "${good[@]}" "${steady[@]}" -X "dsn=$relay_dsn user=relay_cli_relay"

# --- a right that is lost while it leads -------------------------------------------------------------

# ends_for_a_right NAME: it does so by itself, with the status that says so
ends_for_a_right() {
    relay_end "$1" 120
    equal "$1_ends_for_a_right" 77 "$status"
    equal "$1_says_so_once" 1 "$(times_said "$1" "the relay's role lacks a right")"
}
has_the_lease() { sql "select coalesce(owner, 'nobody') from outbox.relay"; }
relay=(-X "dsn=$relay_dsn user=relay_cli_relay" -X lease.ttl=1h)
leaves=$(sql "select string_agg(inhrelid::regclass::text, ', ') from pg_inherits where inhparent = 'outbox.sent'::regclass")

relay_start marks "${relay[@]}" -X lease.owner=marks
wait_said marks msg=leading 120 || not_ok marks_leads
sql "revoke insert on outbox.sent, $leaves from outbox_relay"
append 5
ends_for_a_right marks
equal marks_gives_the_lease_back nobody "$(has_the_lease)"
sql "grant insert on outbox.sent, $leaves to outbox_relay"
relay_start heir "${relay[@]}" -X lease.owner=heir
holds heir_leads_at_once wait_said heir 'msg=leading .*because=resigned' 120
holds what_could_not_be_marked_is wait_sent
relay_signal heir TERM
relay_end heir 120

# One leaf alone: that is seen before Kafka has anything, and the lease is not taken. What a statement needs is enough.
sql "revoke insert on outbox.sent_4 from outbox_relay"
append 5
epoch=$(sql "select epoch from outbox.relay")
says right_that_marks_need_is_looked_for_first 77 'lacks a right.* error="permission denied for table sent_4" .*remedy="apply sql/roles.sql' \
    --once "${good[@]}" "${steady[@]}" -X "dsn=$relay_dsn user=relay_cli_relay"
equal no_lease_was_taken_for_it "$epoch" "$(sql "select epoch from outbox.relay")"
sql "revoke delete on outbox.held from outbox_relay; grant insert (bucket, id, kafka_partition, kafka_offset) on outbox.sent_4 to public"
says right_to_hold_is_looked_for_first 77 'lacks a right.* error="permission denied for table held"' --once "${good[@]}" "${steady[@]}" -X "dsn=$relay_dsn user=relay_cli_relay"
sql "grant delete on outbox.held to outbox_relay"
says columns_are_enough_and_so_is_public 0 'rows_marked=5' --once "${good[@]}" "${steady[@]}" -X "dsn=$relay_dsn user=relay_cli_relay"
sql "revoke insert (bucket, id, kafka_partition, kafka_offset) on outbox.sent_4 from public; grant insert on outbox.sent_4 to outbox_relay"

# What is held is loaded once the lease is had.
sql "revoke select on outbox.held from outbox_relay"
relay_start loads "${relay[@]}" -X lease.owner=loads
ends_for_a_right loads
equal loads_gives_the_lease_back nobody "$(has_the_lease)"
sql "grant select on outbox.held to outbox_relay"

# Without the right to write it nothing can be given back, and the end waits for nothing.
relay_start renews "${relay[@]}" -X lease.owner=renews
wait_said renews msg=leading 120 || not_ok renews_leads
sql "revoke update on outbox.relay from outbox_relay"
ends_for_a_right renews
equal renews_keeps_the_lease renews "$(has_the_lease)"
sql "grant update on outbox.relay to outbox_relay; update outbox.relay set owner = null, lease_expires_at = null"

# --- once, beside one that leads ---------------------------------------------------------------------

sql "update outbox.relay set owner = 'elsewhere', epoch = epoch + 1, lease_expires_at = now() + interval '1 hour', renewed_at = now()"
append 5
says once_beside_a_leader 69 'msg="another relay leads and publishes" component=relay owner=elsewhere remedy="end it first, or leave it to it' --once "${good[@]}" -X lease.ttl=1s
sql "update outbox.relay set owner = null, lease_expires_at = null"

# What is held and keeps nothing waiting is not published, either.
reset
sql "insert into outbox.event (topic, type) values ('$topic', 'x');
     insert into outbox.held (id, bucket, topic, state) select id, bucket, topic, 'dead' from outbox.event"
says once_beside_a_dead_event_without_a_key 69 'not everything could be published' --once "${good[@]}" "${steady[@]}"
sql "update outbox.held set state = 'retrying', next_attempt_at = now() + interval '1 hour'"
says once_beside_one_that_is_tried_later 69 'not everything could be published' --once "${good[@]}" "${steady[@]}"
sql "update outbox.held set state = 'scheduled'"
says once_beside_one_whose_time_is_to_come 0 'rows_read=0 .*exit_code=0' --once "${good[@]}" "${steady[@]}"
sql "update outbox.held set state = 'discarded', next_attempt_at = null"
says once_beside_one_that_was_given_up 0 'rows_read=0 .*exit_code=0' --once "${good[@]}" "${steady[@]}"
sql "update outbox.held set key = 'k', state = 'dead'; update outbox.event set key = 'k'"
says once_beside_a_dead_event_that_others_pass 69 'not everything could be published' --once "${good[@]}" "${steady[@]}" -X on.poison=skip

says dsn_that_cannot_be_read 78 'the setting dsn cannot be read" component=source from="command line" error="a key in it is unknown; did you mean sslmode?" remedy="correct it' --check-config -X "dsn=host=x sslmoed=1" -X kafka.bootstrap.servers=x
says port_that_is_none 78 'the setting dsn cannot be read" component=source from="command line" error="port = 99999: must be a number from 1 to 65535" remedy="correct it' --check-config -X "dsn=host=x,y port=,99999" -X kafka.bootstrap.servers=x
says port_that_is_none_at_start 78 'error="a port in it, what stands behind the colon of a host' -X "dsn=postgresql://u@h:port/db" -X kafka.bootstrap.servers=x
export OUTBOX_RELAY_DSN=postgresql://u:geheim/x@h
says port_that_may_be_of_a_password_is_not_told 78 'environment, OUTBOX_RELAY_DSN: .*a port in it, what' status -X kafka.bootstrap.servers=x
equal nothing_of_it_is_told 0 "$("$OUTBOX_RELAY" --check-config -X kafka.bootstrap.servers=x 2>&1 | grep -c geheim || true)"
export OUTBOX_RELAY_DSN="hosst=x"
says dsn_that_a_command_cannot_read 78 'environment, OUTBOX_RELAY_DSN: the setting dsn cannot be read: a key in it is unknown; did you mean host?' doctor -X kafka.bootstrap.servers=x
export OUTBOX_RELAY_DSN="host=x password=geheim kraut=y"
says key_that_may_be_of_a_password_is_not_told 78 'neither a URI' status
equal nothing_of_a_password_is_told 0 "$(grep -c 'geheim\|kraut' <<<"$("$OUTBOX_RELAY" status 2>&1)" || true)"
# Nor where it resembles a key, whole or in part.
export OUTBOX_RELAY_DSN="host=x password=geheim post=y"
says key_that_was_meant_is_told_without_what_is_there 78 'cannot be read: a key in it is unknown; did you mean host?' status
equal nothing_of_a_password_that_resembles_a_key_is_told 0 "$(grep -c 'geheim\|post' <<<"$("$OUTBOX_RELAY" status 2>&1)" || true)"
export OUTBOX_RELAY_DSN="host=x userName=y"
says key_that_begins_as_another 78 'cannot be read: a key in it is unknown; did you mean user?' status
unset OUTBOX_RELAY_DSN
says read_only_session_has_its_remedy 69 'session is read-only.* remedy="let the dsn name the primary, or all servers; .*promote a standby .*tries again' --once "${good[@]}" -X "dsn=$relay_dsn options='-c default_transaction_read_only=on'"

sql "truncate outbox.event, outbox.sent, outbox.held restart identity; delete from outbox.relay;
     insert into outbox.event (topic, type) select 't', 'x' from generate_series(1, 5);
     insert into outbox.sent (bucket, id) select bucket, id from outbox.event where id in (1, 2, 4)"
says relay_row_that_is_missing 78 "remedy=\"insert into outbox.relay" --once "${good[@]}"
put_there=$({ "$OUTBOX_RELAY" --once "${good[@]}" 2>&1 || true; } | sed -n 's/.*remedy="\(insert .*\); then start.*/\1/p')
equal row_that_is_put_there_stands_before_what_is_not_sent 2 "$(sql "$put_there returning cursor_id")"
exit "$bad"
