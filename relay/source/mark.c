/* mark.c - the marks of confirmed events: which statement writes them, and its answer. See inside.h.
 * It may know the arrays of mark_arrays.h, and of held rows that they are finished with their mark (held.c). */
#include <string.h>

#include "relay/crash_point.h"
#include "relay/log.h"
#include "relay/source/inside.h"
#include "relay/source/source.h"

struct conn_statement mark_statement(const struct source *s)
{
    static const char *const leaf[] = { "outbox_mark_0", "outbox_mark_1", "outbox_mark_2", "outbox_mark_3",
                                        "outbox_mark_4", "outbox_mark_5", "outbox_mark_6", "outbox_mark_7" };

    return (struct conn_statement){ !s->acquired                      ? "outbox_mark_checked"
                                    : s->mark_again                   ? "outbox_mark_again"
                                    : s->marks.bucket == MARK_MIXED ? "outbox_mark"
                                                                      : leaf[s->marks.bucket],
                                    s->acquired ? MARK_COLUMNS : MARK_COLUMNS_CHECKED, s->marks.values,
                                    s->marks.lengths };
}

static void send_marks(struct source *s, uint64_t now_ms)
{
    static const char *const commit = "off";
    const struct conn_statement statement[] = {
        { "outbox_commit", 1, &commit, &(int){ 3 } },
        mark_statement(s),
    };

    if (s->held.touched[MARK_SIDE].n > 0)
        held_mark(s, now_ms);
    else if (s->cfg.mark_async)
        source_request_transaction(s, now_ms, REQUEST_MARK, statement, 2);
    else
        source_request(s, now_ms, REQUEST_MARK, statement[1].name, statement[1].n_params,
                       s->marks.values, s->marks.lengths);
}

void source_mark(struct source *s, uint64_t now_ms, const struct source_mark *marks, uint32_t n)
{
    struct touched *held = &s->held.touched[MARK_SIDE];
    int rc = marks_encode(&s->marks, marks, n, s->acquired ? MARK_COLUMNS : MARK_COLUMNS_CHECKED);

    held->n = 0;
    for (uint32_t i = 0; rc == 0 && i < n; i++)
        if (marks[i].held)
            rc = touched_add(held, marks[i].id, marks[i].bucket, true);
    if (rc < 0 || touched_encode(held) < 0) {
        source_push(s, (struct source_event){ .type = SOURCE_MARK_FAILED });
        return;
    }
    CRASH_POINT("source.before_mark");
    s->mark_again = false;
    send_marks(s, now_ms);
    CRASH_POINT("source.mark_sent");
}

bool mark_goes_again(struct source *s, uint64_t now_ms, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);

    if (s->mark_again || state == NULL || strcmp(state, "23505") != 0)
        return false;
    s->mark_again = true;
    send_marks(s, now_ms);
    return true;
}

void mark_on_answer(struct source *s, const PGresult *res)
{
    char ids[128];

    if (s->held.touched[MARK_SIDE].n > 0) {
        held_on_marked(s, res);
        return;
    }
    if (!s->acquired && PQntuples(res) > 0)
        log_warn("source", "events were published that the database has lost; they are not marked", "events",
                 log_i64(PQntuples(res)), "ids", held_some_ids(res, 0, 0, ids, sizeof ids), "remedy",
                 "a crash of the server lost transactions: commit events with synchronous_commit on");
    source_push(s, (struct source_event){ .type = SOURCE_MARKED });
}
