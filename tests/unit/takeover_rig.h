/* takeover_rig.h - what the tests of a takeover share: pages of rows, and a tail that does what the test says.
 *
 * relay/takeover.c is compiled once more here, under other names, with this tail in place of the real one.
 */
#ifndef TESTS_UNIT_TAKEOVER_RIG_H
#define TESTS_UNIT_TAKEOVER_RIG_H

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define tail_new fake_tail_new
#define tail_free fake_tail_free
#define tail_end fake_tail_end
#define tail_fd fake_tail_fd
#define tail_poll fake_tail_poll
#define tail_read fake_tail_read
#define tail_state fake_tail_state
#define tail_find fake_tail_find
#define takeover_init tested_init
#define takeover_deinit tested_deinit
#define takeover_begin tested_begin
#define takeover_end tested_end
#define takeover_wait tested_wait
#define takeover_ready tested_ready
#define takeover_found tested_found
#define takeover_used tested_used
#define takeover_poll tested_poll
#define takeover_deadline tested_deadline
#define takeover_pollfds tested_pollfds
#include "relay/takeover.c"

/* -- the tail ------------------------------------------------------------------------------- */

enum { N_TOPICS = 3, ROWS = 5, NOW = 1000 };

struct tail {
    enum tail_state state[N_TOPICS]; /* of topics "0", "1" .. */
    unsigned n_asked[N_TOPICS];
    uint8_t there[8]; /* first bytes of event ids, 0: none */
    unsigned n_polls;
};

static struct tail *tail;         /* the newest */
static unsigned n_made, n_ended, n_freed;
static bool none_to_be_made, no_memory;

struct tail *tail_new(const struct tail_config *cfg, char *err, size_t err_size)
{
    ck_assert_uint_eq(cfg->rows, ROWS);
    if (none_to_be_made) {
        (void)snprintf(err, err_size, "not possible");
        return NULL;
    }
    tail = calloc(1, sizeof *tail);
    ck_assert_ptr_nonnull(tail);
    n_made++;
    return tail;
}

/* Used by nobody from now on, but to free it. */
void tail_end(struct tail *t)
{
    ck_assert_ptr_eq(t, tail);
    n_ended++;
    tail = NULL;
}

void tail_free(struct tail *t)
{
    n_freed += t != NULL;
    if (t == tail)
        tail = NULL;
    free(t);
}

int tail_fd(const struct tail *t)
{
    ck_assert_ptr_eq(t, tail);
    return 77;
}

void tail_poll(struct tail *t)
{
    t->n_polls++;
}

int tail_read(struct tail *t, const char *topic, uint64_t timeout_ms)
{
    ck_assert_uint_eq(timeout_ms, TAKEOVER_TAIL_MS);
    t->n_asked[topic[0] - '0']++;
    if (no_memory)
        return -1;
    t->state[topic[0] - '0'] = TAIL_READING;
    return 0;
}

enum tail_state tail_state(const struct tail *t, const char *topic)
{
    return t->state[topic[0] - '0'];
}

bool tail_find(const struct tail *t, const struct row *row, int32_t *ret_partition,
               int64_t *ret_offset)
{
    if (t->state[row->topic[0] - '0'] == TAIL_READING || row->event_id[0] == 0 ||
        memchr(t->there, row->event_id[0], sizeof t->there) == NULL)
        return false;
    *ret_partition = 2;
    *ret_offset = 1000 + row->event_id[0];
    return true;
}

/* -- the rig -------------------------------------------------------------------------------- */

static struct takeover t;
static struct row *rows[ROWS + 1];

static inline void begin_as(bool enabled)
{
    const struct tail_config cfg = { .rows = ROWS };

    tail = NULL;
    n_made = n_ended = n_freed = 0;
    none_to_be_made = no_memory = false;
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
    takeover_init(&t, &cfg, enabled);
    takeover_begin(&t, NOW);
}

static inline void begin(void)
{
    begin_as(true);
}

static inline void end(void)
{
    takeover_deinit(&t);
}

static inline struct row *new_row(const char *topic, uint8_t id)
{
    struct row *row = calloc(1, sizeof *row);

    ck_assert_ptr_nonnull(row);
    row->topic = topic;
    row->event_id[0] = id;
    return row;
}

/* A page of one row for each letter: its topic. The ids are 1, 2 .. */
static inline struct takeover_page page_of(const char *topics, bool full)
{
    static const char *const name[] = { "0", "1", "2" };
    uint32_t n = (uint32_t)strlen(topics);

    ck_assert_uint_le(n, sizeof rows / sizeof rows[0]);
    for (uint32_t i = 0; i < n; i++)
        rows[i] = new_row(name[topics[i] - '0'], (uint8_t)(i + 1));
    return (struct takeover_page){ .rows = rows, .n_rows = n, .full = full };
}

/* In place of the core's hash. */
static inline uint64_t key_of(const struct row *row)
{
    return row->key != NULL ? *(const unsigned char *)row->key : 0;
}

/* What the driver does with a page: how many of its rows are found? They are freed. */
static inline unsigned use(const struct takeover_page *p)
{
    unsigned n = 0;
    int32_t partition;
    int64_t offset;

    for (uint32_t i = 0; i < p->n_rows; i++) {
        partition = -1;
        offset = -1;
        if (takeover_found(&t, NOW, p->rows[i], key_of(p->rows[i]), &partition, &offset)) {
            ck_assert_int_eq(partition, 2);
            ck_assert_int_eq(offset, 1000 + p->rows[i]->event_id[0]);
            n++;
        } else {
            ck_assert_int_eq(partition, -1);
        }
        free(p->rows[i]);
    }
    takeover_used(&t, NOW, p);
    return n;
}

#endif
