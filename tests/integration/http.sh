#!/usr/bin/env bash
# http.sh - the endpoints: what they answer, to whom, and that no client makes the relay wait.
# Needs OUTBOX_TEST_DSN and OUTBOX_TEST_BROKERS (a mock broker does), and curl.
set -euo pipefail

# shellcheck source=tests/rig/lib_relay.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_relay.sh"
# shellcheck source=tests/rig/lib_http.sh
. "$(dirname "${BASH_SOURCE[0]}")/../rig/lib_http.sh"

trap '' PIPE # what is written to a relay that has hung up
reset
serve web "${steady[@]}" # its figures are of one lead
append 400
append 100 "$topic-b"
wait_sent

# --- what each answers ---------------------------------------------------------------------------

# endpoint PATH TYPE PATTERN
endpoint() {
    local name=${1//[!a-z]/}
    name=${name:-page}
    ask web "$1"
    equal "${name}_answers_200" 200 "$code"
    equal "${name}_has_its_type" "$2" "$(header content-type)"
    equal "${name}_is_not_kept_by_caches" no-store "$(header cache-control)"
    holds "${name}_says_what_it_should" grep -q -e "$3" "$dir/body"
    ask web "$1" --head
    equal "${name}_answers_head_without_a_body" 200/0 "$code/$(grep -vc -e '^HTTP\|^[A-Za-z-]*:\|^.$' "$dir/body")"
}
holds ready_when_it_leads wait_until 20 answers web /readyz 200
holds knows_a_broker wait_shows web /readyz?verbose '^\[+\]kafka ok'
endpoint / 'text/html; charset=utf-8' '<h1>Events flow'
endpoint /metrics 'text/plain; version=0.0.4; charset=utf-8' '^# TYPE outbox_relay_rows_read_total counter'
endpoint /status.json application/json '^{"verdict":"Events flow'
endpoint /livez 'text/plain; charset=utf-8' '^ok$'
endpoint /healthz 'text/plain; charset=utf-8' '^ok$'
endpoint /readyz 'text/plain; charset=utf-8' '^ok$'
ask web '/readyz?verbose'
equal readyz_explains_line_by_line '[+]loop ok [+]database ok [+]schema ok [+]leads ok [+]progress ok [+]kafka ok' \
    "$(grep '^\[' "$dir/body" | tr '\n' ' ' | sed 's/ $//')"

for path in /nothing /metrics/ //metrics /livez/x /..%2fetc%2fpasswd /index.html; do
    ask web "$path" --path-as-is
    equal "no_such_path_$path" 404 "$code"
done
for method in POST PUT DELETE OPTIONS PATCH TRACE; do
    ask web /metrics -X "$method"
    equal "method_${method}_is_refused" '405 GET, HEAD' "$code $(header allow)"
done
ask web /livez -d some=body
equal a_body_is_refused 405 "$code"

# --- the figures are true ------------------------------------------------------------------------

acked() { equal "$1" "$2" "$(metric web "outbox_relay_rows_acked_total{topic=\"$3\"}")"; }
holds marks_are_counted wait_until 20 metric_is web outbox_relay_rows_marked_total 500
acked rows_are_counted_by_topic 400 "$topic"
acked rows_of_the_other_topic_as_well 100 "$topic-b"
equal every_row_was_read_once 400 "$(metric web "outbox_relay_rows_read_total{topic=\"$topic\"}")"
equal latency_of_each_row 400 "$(metric web "outbox_relay_delivery_latency_seconds_count{topic=\"$topic\"}")"
equal none_took_five_minutes 400 "$(metric web "outbox_relay_delivery_latency_seconds_bucket{topic=\"$topic\",le=\"300\"}")"
equal it_leads 1 "$(metric web outbox_relay_leader)"
equal nothing_in_hand 0 "$(metric web outbox_relay_inflight_rows)"
equal no_defect 0 "$(metric web outbox_relay_rows_found_by_sweep_total)"
version=$("$OUTBOX_RELAY" --version) # outbox-relay 0.1.0 (librdkafka 2.0.2, libpq 15.18)
labels=$(sed -E 's/^outbox-relay (.*) \(librdkafka (.*), libpq (.*)\)$/version="\1",librdkafka="\2",libpq="\3"/' <<<"$version")
equal versions 1 "$(metric web "outbox_relay_build_info{$labels}")"
near() { awk -v a="$1" -v b="$2" -v d="$3" 'BEGIN { exit !(a - b < d && b - a < d) }'; }
holds start_of_the_process near "$(metric web process_start_time_seconds)" "$(date +%s)" 3600 # a slow machine takes minutes to come here
holds memory_of_the_process near "$(metric web process_resident_memory_bytes)" "$(($(memory web VmRSS) * 1024))" 8000000
holds last_poll_is_now near "$(metric web outbox_relay_last_poll_timestamp_seconds)" "$(date +%s)" 600

if bin=$("$root/tests/tools/prometheus" 2>&1); then
    ask web /metrics
    holds promtool_has_nothing_to_say "$bin/promtool" check metrics <"$dir/body"
else
    skip promtool_has_nothing_to_say "$bin"
fi

help=$("$OUTBOX_RELAY" --metrics-help)
ask web /metrics
undescribed() { sed -n 's/^# TYPE \([^ ]*\) .*/\1/p' "$dir/body" | while read -r m; do grep -q "^$m[ {]" <<<"$help" || echo "$m"; done; }
equal every_metric_is_in_the_help '' "$(undescribed)"

# --- the page keeps to itself --------------------------------------------------------------------

ask web /
equal page_asks_nobody_else '' "$(grep -oE '(src|href|url|@import|action)[=(] ?"?(https?:)?//[^"]*' "$dir/body" || true)"
holds page_may_run_nothing_but_its_own grep -q "default-src 'none'" "$dir/head"
nonce=$(sed -n "s/.*script-src 'nonce-\([0-9a-f]*\)'.*/\1/p" "$dir/head")
equal page_has_the_nonce_of_its_policy 2 "$(grep -o "nonce=\"$nonce\"" "$dir/body" | wc -l)"

# --- odd requests --------------------------------------------------------------------------------

address=${url[web]#http://}
# raw NAME WANT FORMAT: the first line of the answer to these bytes; "" when there is none
raw() {
    local line= fd
    exec {fd}<>"/dev/tcp/${address%:*}/${address##*:}"
    # shellcheck disable=SC2059 # bytes
    printf "$3" >&"$fd" 2>/dev/null || true
    read -r -t 60 line <&"$fd" || true # a client that is silent is dropped long before
    exec {fd}>&-
    line=${line%$'\r'}
    # shellcheck disable=SC2053 # a pattern
    if [[ $line == $2 ]]; then ok "odd_$1"; else not_ok "odd_$1" "wanted $2, got $line"; fi
}
long=$(printf '%20000s' '' | tr ' ' x)
raw http_1_0 'HTTP/1.[01] 200 *' 'GET /livez HTTP/1.0\r\n\r\n'
raw no_host 'HTTP/1.1 [24]*' 'GET /livez HTTP/1.1\r\n\r\n'
raw two_at_once 'HTTP/1.1 200 *' 'GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\nHost: x\r\n\r\n'
raw long_path 'HTTP/1.1 4*' "GET /$long HTTP/1.1\r\nHost: x\r\n\r\n"
raw long_header 'HTTP/1.1 4*' "GET / HTTP/1.1\r\nHost: x\r\nX: $long\r\n\r\n"
raw many_arguments '*' "GET /readyz?$(printf 'a=%s&' {1..500})verbose HTTP/1.1\r\nHost: x\r\n\r\n"
raw absolute_path 'HTTP/1.1 [24]*' 'GET http://x/livez HTTP/1.1\r\nHost: x\r\n\r\n'
raw of_a_proxy 'HTTP/1.1 4*' 'CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n'
raw post_in_chunks 'HTTP/1.1 4*' 'POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n'
raw endless_post 'HTTP/1.1 4*' 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999\r\n\r\nx'
raw negative_length 'HTTP/1.1 4*' 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n'
raw half_a_request '' 'GET /livez HTTP/1.1\r\nHost'
raw nul_bytes '*' 'GET /\0livez HTTP/1.1\r\nHost: x\r\n\r\n'
raw tls '*' '\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03'
raw garbage '*' '\xff\xfe\x00\x01\r\n\r\n\r\n'
raw only_newlines '*' '\n\n\n\n\r\n'
equal the_relay_bears_it 200 "$(ask web /livez; echo "$code")"

# --- many and slow clients -----------------------------------------------------------------------

# hold N FORMAT: N connections that have sent this and read nothing
declare -a held=()
hold() {
    local fd i
    for ((i = 0; i < $1; i++)); do
        exec {fd}<>"/dev/tcp/${address%:*}/${address##*:}"
        held+=("$fd")
        # shellcheck disable=SC2059 # bytes
        printf "$2" >&"$fd"
    done
}
let_go() {
    local fd
    for fd in "${held[@]}"; do exec {fd}>&-; done
    held=()
}
moves_on() {
    append 300
    wait_sent 30
}
hold 100 'GET /metrics HTTP/1.1\r\nHost: x\r\nX: '
hold 100 'GET / HTTP/1.1\r\nHost: x\r\n\r\n'
holds events_flow_beside_200_slow_clients moves_on
holds the_next_client_is_served answers web /livez 200
hold 200 ''
holds events_flow_beside_400_clients moves_on
holds room_is_made_for_the_next_client wait_until 40 answers web /livez 200
equal descriptors_are_left yes "$( (($(metric web process_open_fds) < 400)) && echo yes)"
let_go
descriptors_come_back() { (($(metric web process_open_fds) < 60)); }
holds descriptors_come_back wait_until 30 descriptors_come_back

# --- addresses -----------------------------------------------------------------------------------

relay_start second -X "http.listen=$address"
holds a_taken_address_is_said wait_said second "msg=\"http.listen cannot be had.*address=$address error=\"Address already in use\" tried_again=\"every 10 s\" remedy=.*http.listen = off"
holds and_does_not_stop_the_relay wait_said second 'another relay leads'
relay_signal web TERM
relay_end web 20
equal a_relay_with_clients_ends_cleanly 0 "$status"
holds the_address_is_taken_when_it_is_free wait_said second "msg=listening component=http address=$address" 40
url[second]=http://$address
holds and_serves wait_until 30 answers second /readyz 200
sql "insert into outbox.schema_version values (1000, '99.0.0', true)"
holds a_schema_it_could_not_connect_to_is_said wait_shows second '/readyz?verbose' '^\[+\]schema does not count yet: it is version 1000 now' 120
holds the_page_says_so_too wait_shows second / 'the schema is version 1000 now, and this relay ends when it connects next' 120
holds and_so_does_a_metric wait_shows second /metrics '^outbox_relay_schema_supported 0' 120
equal and_the_log_once 1 "$(times_said second 'the schema has changed; this relay goes on')"
sql "delete from outbox.schema_version where version = 1000"
holds a_schema_that_fits_again_is_said wait_shows second /metrics '^outbox_relay_schema_supported 1' 120
relay_signal second TERM
relay_end second 20
equal the_second_ends_cleanly_too 0 "$status"

relay_start off -X http.listen=off
holds off_is_off wait_said off 'msg=leading'
holds off_listens_nowhere test -z "$(times_said off 'msg=listening' | grep -v '^0$')"
relay_kill off
relay_once once -X http.listen="$address"
equal once_serves_nobody 0/0 "$status/$(times_said once 'component=http')"

for value in 9188 localhost 127.0.0.1:http 127.0.0.1:70000 ::1:9188 '[]:1' 'a b:1' '' http://127.0.0.1:9188; do
    if said=$("$OUTBOX_RELAY" --check-config -X dsn=x -X kafka.bootstrap.servers=x -X "http.listen=$value" 2>&1); then code=0; else code=$?; fi
    equal "bad_address_is_refused_$value" 78/1 "$code/$(grep -c 'http.listen.*HOST:PORT' <<<"$said")"
done
relay_start six -X 'http.listen=[::1]:0'
wait_until 10 said six 'msg=listening\|http.listen cannot be had' || true
if said six 'msg=listening'; then
    url[six]=http://$(sed -n 's/.*msg=listening .*address=//p' "$dir/six.log")
    holds ipv6_is_served answers six /livez 200
else
    skip ipv6_is_served "no IPv6 here: $(grep -o 'error="[^"]*"' "$dir/six.log" | head -n 1)"
fi
relay_kill six
relay_start every -X 'http.listen=:0'
wait_until 10 said every 'msg=listening' || true
port=$(sed -n 's/.*msg=listening .*address=.*:\([0-9]*\)$/\1/p' "$dir/every.log")
url[every]=http://127.0.0.1:$port
holds every_address_is_served answers every /livez 200
exit "$bad"
