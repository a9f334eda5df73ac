/* aside.h - the aside: a third connection, for what may wait, fail or be late. Used inside source/ only.
 *
 * It is there when the configuration asks for it. It is opened behind the link, to the server that the
 * link has reached, and goes down with it; but its own loss, slowness or lack of a right is nobody
 * else's matter: it is never SOURCE_DOWN and never SOURCE_REFUSED, and it opens again by itself.
 * One request at a time; every request has one answer, unless the link goes down before.
 *
 * A new request is: a line in enum aside_request and in the table in aside.c, its statement among those
 * that are prepared there, a function in source.h that calls aside_send, and one that makes an event of
 * the answer.
 */
#ifndef RELAY_SOURCE_ASIDE_H
#define RELAY_SOURCE_ASIDE_H

#include "relay/source/conn.h"

struct source;

enum aside_request {
    ASIDE_NOTHING,
    ASIDE_LOOK,
    ASIDE_WALK,
    ASIDE_EMPTY,
    ASIDE_TIDY,
    ASIDE_FIGURES,
    ASIDE_SCHEMA,
    N_ASIDE_REQUESTS
};

enum aside_setup { ASIDE_CONNECT, ASIDE_SESSION, ASIDE_PREPARE, ASIDE_READY };

struct aside {
    struct conn conn;
    enum aside_setup setup;
    enum aside_request request; /* under way */
    uint64_t retry_at_ms;       /* not opened before */
    uint32_t failures;          /* since it was last of use, */
    char error[300];            /* and why, the last time */
    bool right_told[N_ASIDE_REQUESTS]; /* that a right is missing for it */
};

/* Only when source_aside_ready says so. Whatever becomes of it, the request is answered. */
void aside_send(struct source *s, uint64_t now_ms, enum aside_request what, const char *statement,
                int n_params, const char *const *values, const int *lengths);

/* -- setup.c. The answer to ASIDE_SCHEMA; NULL: it failed. */
void schema_on_answer(struct source *s, const PGresult *res);

/* -- For source.c. */
void aside_link_up(struct source *s, uint64_t now_ms);
void aside_link_down(struct source *s);
void aside_step(struct source *s, uint64_t now_ms);
uint64_t aside_deadline(const struct source *s);

#endif
