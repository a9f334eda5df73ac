/* operate_events.c - see operate_events.h. */
#include "relay/source/operate_events.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/shared/hex.h"
#include "relay/exit_codes.h"
#include "relay/source/operate_events_sql.h"
#include "relay/source/operate_inside.h"
#include "relay/source/operate_sql.h"
#include "relay/source/page.h"
#include "relay/source/wire.h"

#define MOST_LOOKED 20000 /* ids that one statement looks at */
#define NEAR 50000 /* events to each side of where one with a time in its UUID should be */

static void id_to_text(int64_t id, char to[24])
{
    snprintf(to, 24, "%lld", (long long)id);
}

/* -- what a range means ----------------------------------------------------------------------- */

/* One of the two is none; the second is looked at where the first is not it. */
static int explain_times(struct operate *o, const struct operate_range *r)
{
    const struct params p = { .values = { r->since } };
    PGresult *res = NULL;
    bool since = r->until == NULL || operate_look(o, SQL_TIMES, 2, &p, &res) != EXIT_OK;

    PQclear(res);
    return operate_fail(o, EXIT_USAGE, "--%s: %s: cannot be read as a time; give one such as '2026-01-02 03:04:05+00' "
                        "(UTC unless it says), 'today', or 15m, 2h, 3d for so long ago", since ? "since" : "until",
                        since ? r->since : r->until);
}

static int read_times(struct operate *o, struct operate_walk *w)
{
    const struct params p = { .values = { w->range.since, w->range.until } };
    PGresult *res = NULL;
    int code = operate_look(o, SQL_TIMES, 2, &p, &res);

    if (code != EXIT_OK && strncmp(o->state, "22", 2) == 0)
        return explain_times(o, &w->range);
    if (code == EXIT_OK && operate_true(res, 0, 3)) {
        PQclear(res);
        return operate_fail(o, EXIT_USAGE, "--until %s does not lie behind --since %s", w->range.until, w->range.since);
    }
    if (code != EXIT_OK)
        return code;
    snprintf(w->since, sizeof w->since, "%s", PQgetvalue(res, 0, 0));
    snprintf(w->until, sizeof w->until, "%s", PQgetvalue(res, 0, 1));
    snprintf(w->now, sizeof w->now, "%s", PQgetvalue(res, 0, 2));
    PQclear(res);
    return EXIT_OK;
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static int read_ends(struct operate *o, struct operate_walk *w)
{
    const struct params p = { .values = { or_null(w->since), or_null(w->until) } };
    bool times = w->since[0] != '\0' || w->until[0] != '\0';
    PGresult *res = NULL;
    int code = operate_begin(o);

    if (code == EXIT_OK && times)
        code = operate_take_long(o);
    if (code == EXIT_OK)
        code = times ? operate_run(o, SQL_ENDS_OF_TIMES, 2, &p, &res)
                     : operate_run(o, SQL_ENDS, 0, &p, &res);
    code = operate_end(o, code);
    if (code == EXIT_OK) {
        w->first = operate_number(res, 0, 0);
        w->last = operate_number(res, 0, 1);
    }
    PQclear(res);
    return code;
}

int operate_walk_begin(struct operate *o, const struct operate_range *range,
                       struct operate_walk *ret_walk)
{
    struct operate_walk *w = ret_walk;

    *w = (struct operate_walk){ .range = *range };
    int code = read_times(o, w);
    if (code == EXIT_OK)
        code = read_ends(o, w);
    if (code != EXIT_OK)
        return code;
    if (range->from_id > w->first)
        w->first = range->from_id;
    if (range->to_id != 0 && range->to_id < w->last)
        w->last = range->to_id;
    w->at = w->first - 1;
    w->done = w->last < w->first;
    return EXIT_OK;
}

/* -- the walk --------------------------------------------------------------------------------- */

/* As if the server had said so: the data are not what they should be. */
#define UNDECODED "22000"

enum { COLUMN_ID = 1, COLUMN_EVENT_ID = 3, COLUMN_PARTITION = 14, COLUMN_OFFSET = 15 };

static void free_sent(struct operate_sent *sent, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        free(sent[i].row);
}

static void take_place(struct operate_sent *sent, const PGresult *res, int i)
{
    sent->partition = PQgetisnull(res, i, COLUMN_PARTITION)
                          ? -1 : wire_i32(PQgetvalue(res, i, COLUMN_PARTITION));
    sent->offset = PQgetisnull(res, i, COLUMN_OFFSET) ? -1 : wire_i64(PQgetvalue(res, i, COLUMN_OFFSET));
}

/* An event was sent by the server and is not what the schema promises, or there is no memory for it. */
static int undecoded(struct operate *o, int64_t id, const char *why)
{
    int code = operate_fail(o, EXIT_INTERNAL, "event %lld cannot be read: %s", (long long)id, why);

    if (why != page_no_memory) {
        memcpy(o->state, UNDECODED, sizeof UNDECODED);
        snprintf(o->said, sizeof o->said, "it cannot be decoded: %s", why);
    }
    return code;
}

/* Rows 1 and on; the place of the walk follows. */
static int take_rows(struct operate *o, struct operate_walk *w, const PGresult *res,
                     struct operate_sent *ret, uint32_t *ret_n, int64_t *n_unsent)
{
    struct pairs scratch = { .header = NULL };
    const char *why = NULL;
    int64_t id = w->at, unsent = 0;
    uint32_t n = 0;

    for (int i = 1; i < PQntuples(res) && why == NULL; i++) {
        id = wire_i64(PQgetvalue(res, i, COLUMN_ID));
        if (PQgetisnull(res, i, COLUMN_EVENT_ID)) {
            unsent++;
        } else if ((ret[n].row = page_row(res, i, &scratch, &why)) != NULL) {
            take_place(&ret[n], res, i);
            n++;
        }
    }
    pairs_deinit(&scratch);
    if (why != NULL) {
        free_sent(ret, n);
        return undecoded(o, id, why);
    }
    w->at = id;
    *n_unsent += unsent;
    *ret_n = n;
    return EXIT_OK;
}

static int run_walk(struct operate *o, const struct operate_walk *w, uint32_t max_rows,
                    uint64_t max_bytes, PGresult **ret_res)
{
    const struct operate_range *r = &w->range;
    struct params p = { .values = { p.above, p.upto, r->topic, r->key, or_null(w->since),
                                    or_null(w->until), p.limit, p.id, p.states },
                        .lengths[3] = (int)r->key_len, .formats[3] = 1 };

    id_to_text(w->at, p.above);
    id_to_text(w->last, p.upto);
    id_to_text((int64_t)max_rows, p.limit);
    id_to_text((int64_t)max_bytes, p.id);
    id_to_text(w->look, p.states);
    int code = operate_begin(o);
    if (code == EXIT_OK)
        code = operate_run_binary(o, SQL_WALK, 9, &p, ret_res);
    return operate_end(o, code);
}

/* One statement of the walk. */
static int step(struct operate *o, struct operate_walk *walk, uint32_t max_rows, uint64_t max_bytes,
                struct operate_sent *ret, uint32_t *ret_n, int64_t *n_unsent)
{
    PGresult *res = NULL;
    int code = run_walk(o, walk, max_rows, max_bytes, &res);

    if (code == EXIT_OK)
        code = take_rows(o, walk, res, ret, ret_n, n_unsent);
    if (code == EXIT_OK) {
        int n = PQntuples(res) - 1;
        if (PQgetisnull(res, 0, COLUMN_ID))
            walk->done = true;
        else if ((uint32_t)n < max_rows && !page_is_cut(res, n))
            walk->at = wire_i64(PQgetvalue(res, 0, COLUMN_ID));
        walk->done = walk->done || walk->at >= walk->last;
        walk->look = (uint32_t)n > max_rows / 2 ? max_rows : 2 * walk->look;
        if (walk->look > MOST_LOOKED)
            walk->look = MOST_LOOKED;
    }
    PQclear(res);
    return code;
}

/* -- an event that cannot be read ------------------------------------------------------------- */

/* The next one is read, meant or not. */
static int read_alone(struct operate *o, const struct operate_walk *walk)
{
    struct operate_walk alone = *walk;
    struct operate_sent sent;
    uint32_t n = 0;
    int64_t n_unsent = 0;

    alone.range = (struct operate_range){ .topic = NULL };
    alone.since[0] = alone.until[0] = '\0';
    int code = step(o, &alone, 1, UINT32_MAX, &sent, &n, &n_unsent);
    free_sent(&sent, n);
    return code;
}

/* Hands it out, and the walk goes past it. */
static int take_unreadable(struct operate *o, struct operate_walk *walk, struct operate_sent *ret, uint32_t *ret_n)
{
    struct params p = { .values = { p.above, p.upto } };
    struct pairs scratch = { .header = NULL };
    const char *why = NULL;
    char text[sizeof o->said];
    PGresult *res = NULL;

    memcpy(text, o->said, sizeof text);
    id_to_text(walk->at, p.above);
    id_to_text(walk->last, p.upto);
    int code = operate_begin(o);
    if (code == EXIT_OK)
        code = operate_run_binary(o, SQL_WALK_STUB, 2, &p, &res);
    code = operate_end(o, code);
    if (code == EXIT_OK && PQntuples(res) > 0) {
        walk->at = wire_i64(PQgetvalue(res, 0, COLUMN_ID));
        walk->done = walk->at >= walk->last;
        ret->row = page_stub(res, 0, text, true, &scratch, &why);
        take_place(ret, res, 0);
        *ret_n = ret->row != NULL;
        if (ret->row == NULL)
            code = undecoded(o, walk->at, why);
    }
    pairs_deinit(&scratch);
    PQclear(res);
    return code;
}

int operate_walk_next(struct operate *o, struct operate_walk *walk, uint32_t max_rows,
                      uint64_t max_bytes, struct operate_sent *ret, uint32_t *ret_n,
                      int64_t *n_unsent)
{
    *ret_n = 0;
    if (walk->done)
        return EXIT_OK;
    if (walk->look < max_rows)
        walk->look = max_rows;
    int code = step(o, walk, max_rows, max_bytes, ret, ret_n, n_unsent);
    while (code != EXIT_OK && page_is_at_fault(o->state) && walk->look > 1) {
        walk->look /= 2; /* those before it are handed out, and in the end it is the next one */
        code = step(o, walk, max_rows, max_bytes, ret, ret_n, n_unsent);
    }
    if (code == EXIT_OK || !page_is_at_fault(o->state))
        return code;
    int alone = read_alone(o, walk);
    if (alone == EXIT_OK)
        return code; /* not for the event: the failure is still noted */
    return page_is_at_fault(o->state) ? take_unreadable(o, walk, ret, ret_n) : alone;
}

/* -- one event ------------------------------------------------------------------------------- */

/* The time in a UUID of version 7, in ms; -1: it is of another version. */
static int64_t time_of_uuid(const char *uuid)
{
    int64_t ms = 0;

    if (uuid[14] != '7')
        return -1;
    for (const char *p = uuid; p < uuid + 13; p++)
        if (*p != '-')
            ms = ms << 4 | hex_digit(*p);
    return ms;
}

/* *ret_id: 0 when there is none. */
static int probe(struct operate *o, int64_t at, int64_t *ret_id, int64_t *ret_ms)
{
    struct params p = { .values = { p.id } };
    PGresult *res = NULL;

    id_to_text(at, p.id);
    int code = operate_look(o, SQL_PROBE, 1, &p, &res);
    *ret_id = 0;
    if (code == EXIT_OK && PQntuples(res) > 0) {
        *ret_id = operate_number(res, 0, 0);
        *ret_ms = operate_number(res, 0, 1);
    }
    PQclear(res);
    return code;
}

/* Where events were appended at that time, near enough: ids follow the clock but for long transactions. */
static int place_of(struct operate *o, int64_t ms, int64_t first, int64_t last, int64_t *ret_id)
{
    int code = EXIT_OK;

    while (code == EXIT_OK && first < last) {
        int64_t middle = first + (last - first) / 2, id, at_ms = 0;
        code = probe(o, middle, &id, &at_ms);
        if (id == 0 || at_ms >= ms)
            last = middle;
        else
            first = id + 1;
    }
    *ret_id = first;
    return code;
}

static int find(struct operate *o, const char *sql, int n, const struct params *p, bool all,
                int64_t *ret_id)
{
    PGresult *res = NULL;
    int code = operate_begin(o);

    if (code == EXIT_OK && all)
        code = operate_take_long(o);
    if (code == EXIT_OK)
        code = operate_run(o, sql, n, p, &res);
    code = operate_end(o, code);
    if (code == EXIT_OK)
        *ret_id = PQntuples(res) > 0 ? operate_number(res, 0, 0) : 0;
    PQclear(res);
    return code;
}

int operate_find_event(struct operate *o, const char *event_id, int64_t *ret_id)
{
    struct operate_walk all = { .since = "", .until = "" };
    struct params p = { .values = { event_id, p.above, p.upto } };
    int64_t ms = time_of_uuid(event_id), place = 0;
    int code = ms >= 0 ? read_ends(o, &all) : EXIT_OK;

    *ret_id = 0;
    if (code == EXIT_OK && ms >= 0)
        code = place_of(o, ms, all.first, all.last, &place);
    if (code == EXIT_OK && ms >= 0) {
        id_to_text(place > NEAR ? place - NEAR : 0, p.above);
        id_to_text(place < INT64_MAX - NEAR ? place + NEAR : INT64_MAX, p.upto);
        code = find(o, SQL_FIND_NEAR, 3, &p, false, ret_id);
    }
    if (code == EXIT_OK && *ret_id == 0)
        code = find(o, SQL_FIND_ANYWHERE, 1, &p, true, ret_id);
    return code;
}

/* The columns of SQL_STORY. */
enum story_column {
    STORY_ID, STORY_EVENT_ID, STORY_TOPIC, STORY_KEY, STORY_TYPE, STORY_STATE, STORY_ATTEMPTS,
    STORY_NEXT, STORY_FIRST_ERROR, STORY_ERROR_CODE, STORY_ERROR, STORY_MAYBE, STORY_CREATED,
    STORY_AVAILABLE, STORY_SENT, STORY_NOW, STORY_XID, STORY_COMMIT_TIMES, STORY_BUCKET,
    STORY_PAYLOAD, STORY_HEADERS, STORY_SCHEMA, STORY_PARTITION, STORY_OFFSET, STORY_WAITED,
    STORY_BEFORE, STORY_BEFORE_STATE, STORY_LATER, STORY_LATER_SENT, STORY_LOOKED
};

static struct operate_story story_of(const PGresult *res)
{
    return (struct operate_story){
        .event = {
            .id = operate_number(res, 0, STORY_ID),
            .event_id = PQgetvalue(res, 0, STORY_EVENT_ID),
            .type = PQgetvalue(res, 0, STORY_TYPE),
            .topic = PQgetvalue(res, 0, STORY_TOPIC),
            .state = PQgetvalue(res, 0, STORY_STATE),
            .attempts = operate_number(res, 0, STORY_ATTEMPTS),
            .next_attempt_at = operate_text(res, 0, STORY_NEXT),
            .first_error_at = operate_text(res, 0, STORY_FIRST_ERROR),
            .error_code = operate_text(res, 0, STORY_ERROR_CODE),
            .error = operate_text(res, 0, STORY_ERROR),
            .maybe_delivered = operate_true(res, 0, STORY_MAYBE),
        },
        .created_at = operate_text(res, 0, STORY_CREATED),
        .available_at = operate_text(res, 0, STORY_AVAILABLE),
        .sent_at = operate_text(res, 0, STORY_SENT),
        .now = operate_text(res, 0, STORY_NOW),
        .xid = PQgetvalue(res, 0, STORY_XID),
        .commit_times = operate_true(res, 0, STORY_COMMIT_TIMES),
        .bucket = operate_number(res, 0, STORY_BUCKET),
        .payload_bytes = operate_number(res, 0, STORY_PAYLOAD),
        .n_headers = operate_number(res, 0, STORY_HEADERS),
        .schema_version = operate_number(res, 0, STORY_SCHEMA),
        .partition = operate_number(res, 0, STORY_PARTITION),
        .offset = operate_number(res, 0, STORY_OFFSET),
        .waited_s = strtod(PQgetvalue(res, 0, STORY_WAITED), NULL),
        .before_id = operate_number(res, 0, STORY_BEFORE),
        .before_state = operate_text(res, 0, STORY_BEFORE_STATE),
        .n_later = operate_number(res, 0, STORY_LATER),
        .n_later_sent = operate_number(res, 0, STORY_LATER_SENT),
        .n_looked = operate_number(res, 0, STORY_LOOKED),
    };
}

int operate_tell(struct operate *o, int64_t id, operate_on_story *on_story, void *arg, bool *ret_found)
{
    struct params p = { .values = { p.id } };
    PGresult *res = NULL, *commit = NULL;
    unsigned char *key = NULL;

    id_to_text(id, p.id);
    *ret_found = false;
    int code = operate_look(o, SQL_STORY, 1, &p, &res);
    if (code != EXIT_OK || PQntuples(res) == 0) {
        PQclear(res);
        return code;
    }
    *ret_found = true;
    struct operate_story story = story_of(res);
    if (story.commit_times) /* what it cannot tell any more is not known */
        code = operate_look(o, SQL_COMMITTED, 1, &p, &commit);
    if (code == EXIT_OK)
        code = operate_key(o, res, 0, STORY_KEY, &key, &story.event.key_len);
    if (code == EXIT_OK) {
        story.event.key = key;
        if (commit != NULL && PQntuples(commit) > 0)
            story.committed_at = operate_text(commit, 0, 0);
        on_story(arg, &story);
    }
    PQfreemem(key);
    PQclear(commit);
    PQclear(res);
    return code;
}
