/* buckets.c - what the janitor asks the database, on the aside. See source.h. */
#include "relay/source/buckets.h"

#include "relay/source/inside.h"

void source_look(struct source *s, uint64_t now_ms)
{
    aside_send(s, now_ms, ASIDE_LOOK, "outbox_look", 0, NULL, NULL);
}

void buckets_on_look(struct source *s, const PGresult *res)
{
    struct source_event e = { .type = SOURCE_LOOK_FAILED };

    if (res != NULL) {
        e.type = SOURCE_LOOKED;
        for (int i = 0; i < SOURCE_RING; i++)
            e.bucket_age_ms[i] = -1;
        for (int i = 0; i < PQntuples(res); i++)
            e.bucket_age_ms[wire_i16(PQgetvalue(res, i, 0)) & (SOURCE_RING - 1)] =
                wire_i64(PQgetvalue(res, i, 1));
        if (PQntuples(res) > 0 && !PQgetisnull(res, 0, 2))
            e.bucket_period_s = wire_i64(PQgetvalue(res, 0, 2));
    }
    source_push(s, e);
}
