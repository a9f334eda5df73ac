#!/usr/bin/env bash
# mute.sh - the name servers say nothing (mute.c): the relay is alive, hears signals, says what it waits for and asks
# once; it goes on with a host whose address is known; and when there is an answer, it links, and TLS goes by the name.
set -euo pipefail

# shellcheck source=tests/faults/lib_faults.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib_faults.sh"
# shellcheck source=tests/rig/lib_http.sh
. "$root/tests/rig/lib_http.sh"

# A certificate for the name, and not for the address. The server takes a key that is its user's or root's.
tls=()
if command -v openssl >"$dir/openssl"; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=db.mute -keyout "$dir/tls.key" -out "$dir/tls.crt" 2>"$dir/openssl"
    chmod 0600 "$dir/tls.key"
    [[ $(id -u) -ne 0 ]] || chown postgres "$dir/tls.key"
    chmod 0644 "$dir/tls.crt"
    tls=(ssl=on ssl_cert_file="$dir/tls.crt" ssl_key_file="$dir/tls.key")
fi
own_database "${tls[@]}"
own_mock
reset
port=$(<"$dir/pg/port")
relay_dsn="host=db.mute port=$port user=outbox dbname=outbox"
# mute NAME ARGUMENT...: a relay that asks these name servers; a try is given up after a second
mute() {
    LD_PRELOAD=$OUTBOX_BUILD/tests/faults/mute.so MUTE_FILE=$dir/mute serve "$@" -X statement.timeout=1s
}
asked() { wc -c <"$dir/mute.asked"; }
threads() { find "/proc/${relay_pid[$1]}/task" -mindepth 1 -maxdepth 1 | wc -l; }
why='could not translate host name \\"db.mute\\" to address: no answer in time'

# --- not a word, from the start on -----------------------------------------------------------------

fault touch "$dir/mute"
mute waiting "${steady[@]}"
holds the_log_says_what_it_waits_for wait_said waiting "msg=\"cannot use PostgreSQL\" .*error=\"$why"
n=$(threads waiting)
holds it_tries_again wait_until 60 said_often waiting "$why" 4
equal and_asks_once 1 "$(asked)"
equal and_has_no_thread_more "$n" "$(threads waiting)"
holds alive answers waiting /livez 200
holds not_ready answers waiting /readyz 503
holds and_readyz_says_why shows waiting '/readyz?verbose' 'could not translate host name "db.mute" to address: no answer in time'
append 10
rm "$dir/mute"
holds links_when_there_is_an_answer wait_said waiting msg=leading
holds and_delivers wait_sent
holds ready wait_until 20 answers waiting /readyz 200

# --- when the link is lost --------------------------------------------------------------------------

fault touch "$dir/mute"
log_anew waiting
sql "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'outbox-relay'" >/dev/null
holds asks_again_for_a_new_link wait_said waiting "msg=\"cannot use PostgreSQL\" .*error=\"$why"
append 10
rm "$dir/mute"
holds delivers_after_it wait_sent
stop_clean waiting

# --- told to stop while it waits ---------------------------------------------------------------------

fault touch "$dir/mute"
rm "$dir/mute.asked"
mute stopping -X statement.timeout=1h
wait_until 20 test -e "$dir/mute.asked" || not_ok it_asks
fault relay_signal stopping TERM
relay_end stopping 10
equal term_while_it_waits_for_an_answer 0 "$status"

# --- of several hosts one is known --------------------------------------------------------------------

relay_dsn="host=db.mute,127.0.0.1 port=$port user=outbox dbname=outbox"
mute half "${steady[@]}"
append 10
holds delivers_by_the_host_that_is_known wait_sent
fault relay_signal half TERM
relay_end half 20
equal and_ends_while_the_other_is_asked_for 0 "$status"
rm "$dir/mute"

# --- the name is still what is looked for ---------------------------------------------------------------

if ((${#tls[@]} > 0)); then
    reset
    relay_dsn="host=db.mute port=$port user=outbox dbname=outbox sslmode=verify-full sslrootcert=$dir/tls.crt"
    mute verified
    append 10
    holds certificate_is_for_the_name wait_sent
    stop_clean verified
    relay_dsn=${relay_dsn/db.mute/other.mute}
    mute refused
    holds and_for_no_other_name wait_said refused 'at \\"other.mute\\" (127.0.0.1), port .*does not match host name \\"other.mute\\"'
    stop_clean refused
else
    skip certificate_is_for_the_name 'openssl is not installed'
fi
finish
