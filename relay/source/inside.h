/* inside.h - the source from inside: what its files share. Used inside source/ only. */
#ifndef RELAY_SOURCE_INSIDE_H
#define RELAY_SOURCE_INSIDE_H

#include <libpq-fe.h>

#include "lib/shared/lookup.h"
#include "lib/shared/restraint.h"
#include "relay/source/aside.h"
#include "relay/source/buckets.h"
#include "relay/source/conn.h"
#include "relay/source/cursor.h"
#include "relay/source/held_arrays.h"
#include "relay/source/mark_arrays.h"
#include "relay/source/pairs.h"
#include "relay/source/source.h"
#include "relay/source/wire.h"

/* Behind the remedy of what ends the relay: it does not come back by itself. */
#define THEN_START "; then start the relay again"

enum side { READ_SIDE, MARK_SIDE, N_SIDES };
enum setup { SETUP_CONNECT, SETUP_SESSION, SETUP_VERSION, SETUP_PREPARE, SETUP_DONE };

enum reading { READING_PAGE, READING_DUE, READING_TOPIC, N_READINGS };

/* What the mark side is asked. From FLOOR on they are parts of acquire, from HEAL on of sweep. */
enum request {
    REQUEST_NONE,
    REQUEST_MARK,
    REQUEST_HOLD,
    REQUEST_ACQUIRE,
    REQUEST_FLOOR,
    REQUEST_LOAD_BEGIN,
    REQUEST_LOAD,
    REQUEST_RENEW,
    REQUEST_RESIGN,
    REQUEST_SWEEP,
    REQUEST_HEAL,
    REQUEST_CLEAN
};

/* What is loaded at a takeover, in this order (held_sql.h). */
enum load { LOAD_DEAD, LOAD_LIVE, LOAD_TOPICS, N_LOADS };

/* A place in the order of (topic, digest of the key). */
struct place {
    char topic[256];
    char digest[32];
    int digest_len;
};

struct held {
    struct hold_arrays arrays;
    struct touched touched[N_SIDES]; /* ids whose groups the request of that side touches */
    int64_t *freed;
    uint32_t freed_cap;
    uint32_t read_rows; /* decoded, while stale rows of the page are cleaned away */
    bool read_full;
    uint64_t next_due_ms;
    bool cleaning; /* the read side is, and read_rows wait */
    bool load[N_LOADS];
    struct place loaded;
    uint32_t n_loaded;
    struct source_key *keys;
    uint32_t keys_cap;
    PGresult *keys_in; /* the keys that were told last point into it */
    struct snapshot first_cursor; /* the one that acquire found */
    bool saving_own, sweep_ready; /* one of our own is being saved, is saved */
    int64_t swept;
    uint32_t n_found;
    struct place healed;
};

/* Why a read failed. */
enum trouble {
    TROUBLE_ROW,  /* a row cannot be sent, or not be decoded: so it will be the next time */
    TROUBLE_ROOM, /* we have no memory for so much at once */
    TROUBLE_OTHER
};

struct failure {
    enum trouble trouble;
    char sqlstate[6]; /* "": none */
    char text[300], said[360]; /* and with what failed */
    int64_t twice_id; /* two events have it; 0: that is not why */
};

/* What is asked while a row that cannot be read is looked for, in this order. */
enum isolate_step { ISOLATE_NOT, ISOLATE_FIRST, ISOLATE_STUB, ISOLATE_KEYLESS, ISOLATE_ONE };

struct isolate {
    enum isolate_step step;
    uint32_t limit[N_READINGS]; /* rows of a page at most; 0: as many as are asked for */
    uint32_t failures[N_READINGS];
    char topic[256]; /* those of READING_TOPIC were of this one, last */
    PGresult *first; /* the answer to FIRST */
    PGresult *stub;  /* and to STUB or KEYLESS */
    bool keyless;
    struct failure why; /* the key cannot be read */
};

/* The read that was asked for, to be sent again. */
struct read_request {
    uint32_t max_rows;
    uint64_t max_bytes, page;
    char topic[256];
};

struct source {
    struct source_config cfg;
    struct conn conn[N_SIDES];
    enum setup setup[N_SIDES];
    struct lookup lookup; /* of the hosts of both */
    struct host_lists left; /* what is tried next, without a server that said nothing; all NULL: all that was looked up */
    bool up;
    bool refused; /* SOURCE_REFUSED was told */
    bool policies; /* may hide rows from this role */
    char history[N_SIDES][40]; /* of the server that each side is connected to */
    char last_history[40];     /* of the last link; "": there was none */
    uint64_t retry_at_ms;
    uint32_t failures;
    bool unwritable; /* the last link was given up for that, and nothing has been written since: that one came up tells nothing */
    char why[300]; /* the link was lost, or what was asked failed, */
    char why_state[6]; /* with this SQLSTATE */
    int schema_told; /* the version that was warned of; 0: none */
    uint64_t rng;

    struct cursors cursors;
    int64_t floor, catch_up_to;
    struct foreign { /* the last row of another cluster that was looked at for the floor */
        char xid[8];
        int64_t id;
    } foreign;
    bool other_cluster; /* the lease was of another cluster or timeline; not said yet */
    bool following; /* said so */
    char leader[160]; /* the other relay that had the lease when it was asked for last */
    bool catching_up;
    bool first_read; /* from the cursor that was loaded: the floor does not hold yet */
    int64_t epoch;
    struct taken {      /* the lease that we acquired: whose was it? */
        char from[160]; /* "": nobody's */
        const char *why;
        int64_t silent_ms; /* since it was renewed or given back; negative: never */
    } taken;
    int64_t last_epoch; /* that we are known to have had; 0: none, or it is not known */

    enum reading reading;
    struct read_request asked;
    uint32_t read_max; /* rows of the page under way at most */
    struct failure failure; /* of the last read that failed */
    struct isolate isolate;
    bool read_small;    /* the page under way is one of small rows (sql.h) */
    size_t largest_row; /* of the last page that had rows; SIZE_MAX: it ended in front of a large one */
    enum request request;
    uint64_t request_ms; /* it was sent */
    struct said {
        const char *what; /* failed, of what is tried again at once; NULL: nothing has since the lease was renewed */
        char state[6];
        struct restraint restraint;
    } said;
    bool mark_again; /* some of the marks were there */
    bool acquired;   /* on this link: what is to be marked was read on it */

    struct row **rows;
    uint32_t rows_cap;
    struct pairs pairs;
    struct mark_arrays marks;
    struct held held;
    struct aside aside;
    struct buckets buckets;

    struct figures *figures; /* the last ones; NULL: there were none */

    struct source_event event[4];
    unsigned n_events;
};

/* As a parameter in binary. */
static inline const char *net64(int64_t v, char to[8])
{
    (void)wire_put64(to, v);
    return to;
}

static inline bool result_ok(const PGresult *res)
{
    ExecStatusType status = PQresultStatus(res);

    return status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK;
}

/* A boolean in binary. */
static inline bool result_true(const PGresult *res, int row, int col)
{
    return PQgetlength(res, row, col) == 1 && PQgetvalue(res, row, col)[0] != 0;
}

/* -- source.c */
void source_push(struct source *s, struct source_event e);
void source_link_lost(struct source *s, uint64_t now_ms, const char *why);
void source_refuse(struct source *s, int exit_code);
/* True when that was the error; it is logged and the source is refused. */
bool source_lacks_right(struct source *s, const PGresult *res);
/* The table's only row is not there. True: a policy may hide it, and the source has been refused. */
bool source_is_hidden(struct source *s, const char *table);
void source_request(struct source *s, uint64_t now_ms, enum request what, const char *statement,
                    int n_params, const char *const *values, const int *lengths);
void source_request_transaction(struct source *s, uint64_t now_ms, enum request what,
                                const struct conn_statement *statement, int n);
void source_request_failed(struct source *s, enum request what, const PGresult *res);

/* -- mark.c. */
/* What marks what source_mark() was given. */
struct conn_statement mark_statement(const struct source *s);
/* True when the answer was that some are marked already: the same are sent, once, by the statement that passes these by. */
bool mark_goes_again(struct source *s, uint64_t now_ms, const PGresult *res);
void mark_on_answer(struct source *s, const PGresult *res);

/* -- read.c. The answer to a read of any kind. */
void read_on_answer(struct source *s, uint64_t now_ms, const PGresult *res);
/* Room in s->rows: 0, or -1 when out of memory. */
int source_room_for(struct source *s, uint32_t n_rows);
/* Decodes the first `rows` rows of a page behind row 0, but those that are stale; their ids go to *stale,
 * when given. Returns the number of decoded rows, or -1. */
int source_decode(struct source *s, const PGresult *res, int rows, struct touched *stale);
/* The statement failed: why, in s->failure. */
void source_note_failure(struct source *s, const PGresult *res);
/* Sends the read that was asked for, anew. `first`: of its first row only the id (SQL_FIRST_OF_PAGE). */
void source_send_read(struct source *s, uint64_t now_ms, bool first);
/* Moves the cursor over a page of which the first n rows were taken, and reports it. */
void source_take_page(struct source *s, uint64_t now_ms, const PGresult *res, int n, bool full);
void source_free_rows(struct source *s, uint32_t n);

/* -- lease.c. -1: out of memory. */
int lease_on_acquired(struct source *s, uint64_t now_ms, const PGresult *res);
void lease_on_floor(struct source *s, uint64_t now_ms, const PGresult *res);
void lease_on_renewed(struct source *s, const PGresult *res);
/* It is ours, and what a new leader must know is loaded; it is another relay's. Each is reported. */
void lease_leading(struct source *s);
void lease_gone(struct source *s);

/* -- figures.c. NULL: the request failed. */
void figures_on_answer(struct source *s, const PGresult *res);

/* -- setup.c */
void setup_step(struct source *s, uint64_t now_ms, enum side side, const PGresult *res);

/* -- isolate.c. A read failed, as s->failure says: it goes on by itself, or SOURCE_READ_FAILED is
 * reported. Whole: it did not fail. */
void isolate_failed(struct source *s, uint64_t now_ms);
void isolate_whole(struct source *s);
/* The rows to ask for, of those that were asked for. */
uint32_t isolate_limit(const struct source *s);
/* The answer to what it asked itself. */
void isolate_on_read(struct source *s, uint64_t now_ms, const PGresult *res);
void isolate_end(struct source *s);

/* -- held.c */
/* For the log: the first few ids of a column, from a row on, as text. Returns `to`. */
const char *held_some_ids(const PGresult *res, int from, int col, char *to, size_t size);
void held_deinit(struct source *s);
/* Rows that were read and wait until stale ones are cleaned away: they are forgotten. */
void held_drop_page(struct source *s);
/* As source_send_read, of what is held. */
void held_send_read(struct source *s, uint64_t now_ms, bool first);
/* What was read of outbox.held is s->rows[0..n); when there are stale rows they are cleaned away first. */
void held_take_page(struct source *s, uint64_t now_ms, uint32_t n, bool full, uint64_t next_due_ms);
/* Marks with rows that are held; s->marks and s->held.touched[MARK_SIDE] are filled. */
void held_mark(struct source *s, uint64_t now_ms);
/* Answers. Each reports, or sends what comes next. */
void held_on_read(struct source *s, uint64_t now_ms, const PGresult *res);
void held_on_marked(struct source *s, const PGresult *res); /* to held_mark */
void held_on_hold(struct source *s, const PGresult *res);
void held_on_sweep(struct source *s, uint64_t now_ms, const PGresult *res);
void held_on_heal(struct source *s, uint64_t now_ms, const PGresult *res);
void held_on_cleaned(struct source *s);
/* The cursor that is about to be saved; that it was saved. */
void held_saving(struct source *s, const struct cursor *c);
void held_saved(struct source *s);

/* -- held_load.c. The lease is acquired; what is held is loaded, and then the lead begins. */
void held_load(struct source *s, uint64_t now_ms);
void held_on_load_begin(struct source *s, uint64_t now_ms, const PGresult *res);
void held_on_load(struct source *s, uint64_t now_ms, PGresult **res);
/* The place of a row of a result, in the order of (topic, digest of the key). */
void held_place(struct place *p, const PGresult *res, int row, int topic_col, int digest_col);

#endif
