#!/usr/bin/env bash
# header.sh - include/outbox.h and inbox.h compile alone, as pedantic C11 and C++11, with and without libpq's
# header in either order, and so does every header of the libraries.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=tests/tools/cases.sh
. tests/tools/cases.sh

work=$(mktemp -d "${TMPDIR:-/tmp}/outbox-header.XXXXXX")
trap 'rm -rf "$work"' EXIT
read -ra pq_flags < <(pkg-config --cflags libpq)
warn=(-pedantic -Wall -Wextra -Wshadow -Wconversion -Wundef -Werror)

# compiles NAME COMPILER... < source
compiles() {
    local name=$1
    shift
    if "$@" -fsyntax-only - 2>"$work/log"; then
        ok "$name"
    else
        not_ok "$name" "$(grep -m 1 -E 'error|warning' "$work/log" || head -n 1 "$work/log")"
    fi
}

# What a user writes with both initialisers and a call of each function; in C and in C++.
use='
int use(PGconn *conn);
int use(PGconn *conn)
{
    outbox_event event = OUTBOX_EVENT_INIT;
    outbox_error err = OUTBOX_ERROR_INIT;
    char id[37];
    if (OUTBOX_VERSION_NUMBER != outbox_version_number() || outbox_event_id_new(id) != OUTBOX_OK)
        return OUTBOX_EINVAL;
    event.topic = outbox_version_string();
    event.type = outbox_strerror(OUTBOX_ENOMEM);
    outbox_cause cause = OUTBOX_CAUSE_INIT;
    cause.event_id = id;
    event.flags = OUTBOX_APPEND_ORDERED | OUTBOX_APPEND_PREPARED;
    if (outbox_event_from_cause(&event, &cause, &err) != OUTBOX_OK ||
        outbox_frame_confluent(1, 0, 0, "p", 1, id, sizeof id) != 6 ||
        outbox_prepare(conn, &err) != OUTBOX_OK || outbox_append_many(conn, &event, 1, &err) != OUTBOX_OK ||
        outbox_append_send(conn, &event, &err) != OUTBOX_OK || outbox_append_result(0, &err) != OUTBOX_OK)
        return err.code;
    return outbox_check_schema(conn, &err) == OUTBOX_OK ? outbox_append(conn, &event, &err) : err.code;
}'
inbox_use='
int handle(PGconn *conn, const inbox_message *msg, void *arg);
int handle(PGconn *conn, const inbox_message *msg, void *arg)
{
    outbox_cause cause = inbox_cause(msg);
    (void)arg;
    inbox_fail(msg, cause.event_id);
    return inbox_accept(conn, "group", msg, 0) == INBOX_NEW ? INBOX_DONE : INBOX_REJECT;
}
int consume(const char *const *settings);
int consume(const char *const *settings)
{
    inbox_message msg = INBOX_MESSAGE_INIT;
    inbox_stats stats = INBOX_STATS_INIT;
    inbox_consumer *c = 0;
    char text[8];
    if (inbox_consumer_new(settings, &c, 0) != OUTBOX_OK || inbox_consumer_on(c, 0, handle, 0, 0) != OUTBOX_OK ||
        inbox_consumer_run(c, 0) != OUTBOX_OK)
        return INBOX_EKAFKA;
    inbox_message_from_headers(&msg);
    inbox_consumer_log(c, 0, 0);
    msg.type = inbox_strerror(INBOX_EKAFKA);
    inbox_consumer_stop(c);
    inbox_consumer_stats(c, &stats);
    inbox_consumer_free(c);
    if (inbox_consumer_metrics(c, text, sizeof text) > sizeof text)
        return INBOX_EHANDLER;
    return INBOX_RETRY;
}'
ours='#include "outbox.h"'
theirs='#include <libpq-fe.h>'

for cc in gcc clang-14; do
    command -v "$cc" >/dev/null || { skip "$cc" 'not installed'; continue; }
    for language in c:c11 c:c17 c++:c++11 c++:c++17; do
        compiler=("$cc" -x "${language%%:*}" "-std=${language##*:}" "${warn[@]}" -Iinclude)
        # What the header's macros become in a program is that program's to be warned of.
        [[ $language != c++:* ]] || compiler+=(-Wold-style-cast)
        name="$cc ${language##*:}"
        compiles "$name: alone, without libpq-fe.h" "${compiler[@]}" <<<"$ours$use"
        compiles "$name: twice" "${compiler[@]}" <<<"$ours"$'\n'"$ours$use"
        compiles "$name: before libpq-fe.h" "${compiler[@]}" "${pq_flags[@]}" <<<"$ours"$'\n'"$theirs$use"
        compiles "$name: after libpq-fe.h" "${compiler[@]}" "${pq_flags[@]}" <<<"$theirs"$'\n'"$ours$use"
        compiles "$name: inbox.h alone" "${compiler[@]}" <<<"#include \"inbox.h\"$inbox_use"
        compiles "$name: inbox.h among others" "${compiler[@]}" "${pq_flags[@]}" <<<"$theirs"$'\n'"$ours"$'\n'"#include \"inbox.h\"$inbox_use$use"
    done
done

# A result that nobody looks at is an event that nobody knows is missing.
if gcc -x c -std=c11 -Werror -Iinclude -c -o "$work/ignored.o" - 2>"$work/log" \
    <<<"$ours"$'\nvoid f(PGconn *c, const outbox_event *e);\nvoid f(PGconn *c, const outbox_event *e) { outbox_append(c, e, 0); }'; then
    not_ok 'an ignored result is a warning' 'it compiled in silence'
elif grep -q 'unused-result' "$work/log"; then
    ok 'an ignored result is a warning'
else
    not_ok 'an ignored result is a warning' "$(head -n 1 "$work/log")"
fi

for header in lib/outbox/*.h lib/inbox/*.h lib/shared/*.h; do
    compiles "$header alone" gcc -x c -std=c11 "${warn[@]}" -Iinclude -I. "${pq_flags[@]}" <<<"#include \"$header\""
done
exit "$bad"
