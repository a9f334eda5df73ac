/* held_load.c - what a new leader must know of outbox.held, loaded in pieces between the lease and the lead.
 * Knows nothing of single rows.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/source/inside.h"

/* Keys per piece. */
#define LOAD_KEYS 2000

static const char *const load_statement[N_LOADS] = {
    [LOAD_DEAD] = "outbox_load_dead",
    [LOAD_LIVE] = "outbox_load_live",
    [LOAD_TOPICS] = "outbox_load_topics",
};

/* The next piece; when there is nothing left to load, the lead begins. */
static void load_next(struct source *s, uint64_t now_ms)
{
    struct held *h = &s->held;
    char epoch[8], ttl[8], n[8], dead[1] = { !s->cfg.skip_poison };
    const char *const values[] = { net64(s->epoch, epoch), net64((int64_t)s->cfg.lease_ttl_ms, ttl),
                                   h->loaded.topic, h->loaded.digest, net64(LOAD_KEYS, n), dead };
    const int lengths[] = { 8, 8, (int)strlen(h->loaded.topic), h->loaded.digest_len, 8, 1 };

    for (int i = 0; i < N_LOADS; i++)
        if (h->load[i]) {
            source_request(s, now_ms, REQUEST_LOAD, load_statement[i], 6, values, lengths);
            return;
        }
    lease_leading(s);
}

void held_load(struct source *s, uint64_t now_ms)
{
    struct held *h = &s->held;
    char epoch[8];
    const char *const values[] = { net64(s->epoch, epoch) };
    const int lengths[] = { 8 };

    h->sweep_ready = h->saving_own = false;
    h->swept = 0;
    h->healed = h->loaded = (struct place){ .digest_len = 0 };
    h->n_loaded = 0;
    if (snapshot_set(&h->first_cursor, s->cursors.now.snap.bytes, s->cursors.now.snap.len) < 0)
        source_request_failed(s, REQUEST_ACQUIRE, NULL);
    else
        source_request(s, now_ms, REQUEST_LOAD_BEGIN, "outbox_load_begin", 1, values, lengths);
}

/* An earlier leader may have held rows while we waited for the lease: the first reads must leave those
 * out as well. */
void held_on_load_begin(struct source *s, uint64_t now_ms, const PGresult *res)
{
    struct held *h = &s->held;

    if (!result_true(res, 0, 0)) {
        lease_gone(s);
        return;
    }
    if (s->catch_up_to < wire_i64(PQgetvalue(res, 0, 1)))
        s->catch_up_to = wire_i64(PQgetvalue(res, 0, 1));
    h->load[LOAD_DEAD] = result_true(res, 0, 3) && !s->cfg.skip_poison;
    h->load[LOAD_LIVE] = result_true(res, 0, 2) || h->load[LOAD_DEAD]; /* retried, they are live */
    h->load[LOAD_TOPICS] = result_true(res, 0, 4);
    load_next(s, now_ms);
}

void held_place(struct place *p, const PGresult *res, int row, int topic_col, int digest_col)
{
    int len = PQgetlength(res, row, digest_col);

    snprintf(p->topic, sizeof p->topic, "%s", PQgetvalue(res, row, topic_col));
    p->digest_len = len < (int)sizeof p->digest ? len : (int)sizeof p->digest;
    memcpy(p->digest, PQgetvalue(res, row, digest_col), (size_t)p->digest_len);
}

/* The pieces come one after the other until one is empty. */
static void load_done(struct source *s)
{
    struct held *h = &s->held;
    int i = 0;

    while (i < N_LOADS - 1 && !h->load[i])
        i++;
    h->load[i] = false;
    h->loaded = (struct place){ .digest_len = 0 };
}

static int keys_room(struct held *h, uint32_t n)
{
    if (n <= h->keys_cap)
        return 0;
    struct source_key *keys = realloc(h->keys, n * sizeof *keys);
    if (keys == NULL)
        return -1;
    h->keys = keys;
    h->keys_cap = n;
    return 0;
}

/* Topics come without a key, and so do groups that were named already. */
static uint32_t take_keys(struct held *h, const PGresult *res)
{
    bool topics = !h->load[LOAD_LIVE] && !h->load[LOAD_DEAD];
    uint32_t n = 0;

    for (int i = 1; i < PQntuples(res); i++) {
        bool keyed = !PQgetisnull(res, i, 2);
        if (keyed || topics)
            h->keys[n++] = (struct source_key){
                .topic = PQgetvalue(res, i, 1),
                .key = keyed ? PQgetvalue(res, i, 2) : NULL,
                .key_len = keyed ? (size_t)PQgetlength(res, i, 2) : 0,
            };
    }
    return n;
}

void held_on_load(struct source *s, uint64_t now_ms, PGresult **res)
{
    struct held *h = &s->held;
    int last = PQntuples(*res) - 1;

    if (last < 0 || !result_true(*res, 0, 0)) {
        lease_gone(s);
        return;
    }
    if (last == 0) {
        load_done(s);
        load_next(s, now_ms);
        return;
    }
    if (keys_room(h, (uint32_t)last) < 0) {
        source_request_failed(s, REQUEST_LOAD, NULL);
        return;
    }
    uint32_t n = take_keys(h, *res);
    held_place(&h->loaded, *res, last, 1, 3);
    h->n_loaded += n;
    PQclear(h->keys_in); /* the caller has had those */
    h->keys_in = *res;
    *res = NULL;
    source_push(s, (struct source_event){ .type = SOURCE_HELD_KEYS, .keys = h->keys, .n_keys = n });
    load_next(s, now_ms);
}
