/* append_rival.c - what an append costs an application, beside what it would write by hand.
 *
 *   append_rival DSN [ROUNDS] [COMMIT]    COMMIT: synchronous_commit, on (default) or off
 *
 * In one process and on one connection, in blocks that take turns, each round in another order:
 *   one     a transaction with an update of a business row and one event
 *   many    a transaction with 1,000 events
 * Each way is compared with the first of its group, round by round; printed are the median of its rate,
 * median, smallest and largest of the ratio, and the least processor time (client and server) of any
 * block with its ratio: on a machine that others share, the latter moves least. The rivals check nothing and their ids are
 * random bytes; "plain" is the table that outbox examples use: a serial id, sent_at, and a partial
 * index on what is not sent. The database needs the schema; bench.* is made anew.
 */
#include <libpq-fe.h>
#include <outbox.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

enum { MANY = 1000, MAX_ROUNDS = 1000, COLUMNS = 8, ROW_BYTES = 400 };

static PGconn *conn;
static char payload[256];
static const char key[] = "k4711", type[] = "com.example.order.placed", media[] = "application/json";
static const char headers[] = "\1[[\"header-a\",\"abcdefgh\"],[\"header-b\",\"abcdefgh\"]]";
static const outbox_header own_headers[] = { { "header-a", "abcdefgh", 8 }, { "header-b", "abcdefgh", 8 } };

static void die(const char *what)
{
    fprintf(stderr, "append_rival: %s: %s\n", what, PQerrorMessage(conn));
    exit(1);
}

static void check(PGresult *result, ExecStatusType status, const char *what)
{
    if (PQresultStatus(result) != status)
        die(what);
    PQclear(result);
}

static void run(const char *sql)
{
    check(PQexec(conn, sql), PGRES_COMMAND_OK, sql);
}

static double now(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Processor time of this process and of its server process, when that is on this machine. What others do
 * on a shared machine moves it far less than the time on the wall. */
static double cpu(void)
{
    struct timespec t;
    char path[64];
    long long server_ns = 0;
    FILE *file;

    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    snprintf(path, sizeof path, "/proc/%d/schedstat", PQbackendPID(conn));
    file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%lld", &server_ns) != 1)
        server_ns = 0;
    if (file != NULL)
        fclose(file);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9 + (double)server_ns / 1e9;
}

/* -- by hand ----------------------------------------------------------------------------------- */

static unsigned char *put_word(unsigned char *to, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(n >> (24 - 8 * i));
    return to + 4;
}

/* topic, key, type, schema version, content type, payload, headers, id: as text, bytea and so on. */
static const char *const values[COLUMNS - 1] = { "bench", key, type, "\0\0\0\1", media, payload, headers };
static const int lengths[COLUMNS - 1] = { 5, sizeof key - 1, sizeof type - 1, 4, sizeof media - 1,
                                          sizeof payload, sizeof headers - 1 };
static const Oid types[COLUMNS] = { 25, 17, 25, 23, 25, 17, 3802, 2950 };
static const Oid array_types[COLUMNS] = { 1009, 1001, 1009, 1007, 1009, 1001, 3807, 2951 };
static const int formats[COLUMNS] = { 1, 1, 1, 1, 1, 1, 1, 1 };

static void insert_by_hand(const char *statement)
{
    const char *v[COLUMNS];
    int l[COLUMNS];
    char id[16];

    if (getrandom(id, sizeof id, 0) != sizeof id)
        die("getrandom");
    memcpy(v, values, sizeof values);
    memcpy(l, lengths, sizeof lengths);
    v[COLUMNS - 1] = id;
    l[COLUMNS - 1] = 16;
    check(PQexecPrepared(conn, statement, COLUMNS, v, l, formats, 1), PGRES_COMMAND_OK, statement);
}

static void plain_one(void) { insert_by_hand("plain_one"); }
static void event_one(void) { insert_by_hand("event_one"); }

static unsigned char arrays[COLUMNS][MANY * ROW_BYTES], ids[MANY][16];

static int array_of(int column, unsigned char *to)
{
    unsigned char *at = to;

    at = put_word(at, 1);
    at = put_word(at, 0);
    at = put_word(at, types[column]);
    at = put_word(at, MANY);
    at = put_word(at, 1);
    for (int i = 0; i < MANY; i++) {
        const void *value = column < COLUMNS - 1 ? (const void *)values[column] : ids[i];
        int len = column < COLUMNS - 1 ? lengths[column] : 16;

        at = put_word(at, (uint32_t)len);
        memcpy(at, value, (size_t)len);
        at += len;
    }
    return (int)(at - to);
}

static void random_ids(void)
{
    for (size_t i = 0; i < MANY; i += 16) /* 256 bytes at a time never fail */
        if (getrandom(ids[i], i + 16 <= MANY ? 256 : (MANY - i) * 16, 0) < 0)
            die("getrandom");
}

static void unnest_by_hand(const char *statement)
{
    const char *v[COLUMNS];
    int l[COLUMNS];

    random_ids();
    for (int i = 0; i < COLUMNS; i++) {
        l[i] = array_of(i, arrays[i]);
        v[i] = (const char *)arrays[i];
    }
    check(PQexecPrepared(conn, statement, COLUMNS, v, l, formats, 1), PGRES_COMMAND_OK, statement);
}

static void event_unnest(void) { unnest_by_hand("event_unnest"); }

static void event_copy(void)
{
    static const unsigned char head[19] = "PGCOPY\n\377\r\n\0";
    static unsigned char bytes[19 + MANY * ROW_BYTES * 2 + 2];
    unsigned char *at = bytes + 19;

    random_ids();
    memcpy(bytes, head, 19);
    for (int i = 0; i < MANY; i++) {
        *at++ = 0;
        *at++ = COLUMNS;
        for (int c = 0; c < COLUMNS; c++) {
            int len = c < COLUMNS - 1 ? lengths[c] : 16;
            at = put_word(at, (uint32_t)len);
            memcpy(at, c < COLUMNS - 1 ? (const void *)values[c] : ids[i], (size_t)len);
            at += len;
        }
    }
    *at++ = 0xff;
    *at++ = 0xff;
    check(PQexec(conn, "copy outbox.event (topic, key, type, schema_version, content_type, payload,"
                       " headers, event_id) from stdin (format binary)"),
          PGRES_COPY_IN, "copy");
    if (PQputCopyData(conn, (char *)bytes, (int)(at - bytes)) != 1 || PQputCopyEnd(conn, NULL) != 1)
        die("copy");
    check(PQgetResult(conn), PGRES_COMMAND_OK, "copy");
    check(PQgetResult(conn), PGRES_FATAL_ERROR, "copy"); /* NULL: the end */
}

static void event_singles(void)
{
    for (int i = 0; i < MANY; i++)
        event_one();
}

/* -- with the library -------------------------------------------------------------------------- */

static outbox_event events[MANY];

static void append(int n, uint32_t flags, bool as_array)
{
    outbox_error err = OUTBOX_ERROR_INIT;

    for (int i = 0; i < n; i++) { /* as an application would, anew for each call */
        outbox_event *e = &events[i];

        *e = (outbox_event)OUTBOX_EVENT_INIT;
        e->topic = "bench";
        e->key = key;
        e->key_len = sizeof key - 1;
        e->type = type;
        e->content_type = media;
        e->payload = payload;
        e->payload_len = sizeof payload;
        e->headers = own_headers;
        e->n_headers = 2;
        e->flags = flags;
    }
    if ((as_array ? outbox_append_many(conn, events, (size_t)n, &err)
                  : outbox_append(conn, events, &err)) != OUTBOX_OK)
        die(err.message);
}

static void append_one(void) { append(1, 0, false); }
static void append_prepared(void) { append(1, OUTBOX_APPEND_PREPARED, false); }
static void append_ordered(void) { append(1, OUTBOX_APPEND_ORDERED, false); }
static void append_ordered_prepared(void) { append(1, OUTBOX_APPEND_ORDERED | OUTBOX_APPEND_PREPARED, false); }
static void append_array_of_one(void) { append(1, 0, true); }
static void append_many(void) { append(MANY, 0, true); }
static void append_many_prepared(void) { append(MANY, OUTBOX_APPEND_PREPARED, true); }
static void append_many_ordered(void) { append(MANY, OUTBOX_APPEND_ORDERED, true); }

/* -- rounds ------------------------------------------------------------------------------------ */

static struct way {
    const char *name;
    void (*store)(void);
    double rate[MAX_ROUNDS], cost[MAX_ROUNDS];
} one[] = {
    { "prepared INSERT by hand, plain table", plain_one, { 0 }, { 0 } },
    { "prepared INSERT by hand, outbox.event", event_one, { 0 }, { 0 } },
    { "outbox_append", append_one, { 0 }, { 0 } },
    { "outbox_append, prepared", append_prepared, { 0 }, { 0 } },
    { "outbox_append, ordered", append_ordered, { 0 }, { 0 } },
    { "outbox_append, ordered, prepared", append_ordered_prepared, { 0 }, { 0 } },
    { "outbox_append_many of one", append_array_of_one, { 0 }, { 0 } },
}, many[] = {
    { "prepared unnest by hand", event_unnest, { 0 }, { 0 } },
    { "outbox_append_many", append_many, { 0 }, { 0 } },
    { "outbox_append_many, prepared", append_many_prepared, { 0 }, { 0 } },
    { "outbox_append_many, ordered", append_many_ordered, { 0 }, { 0 } },
    { "COPY by hand", event_copy, { 0 }, { 0 } },
    { "1,000 prepared INSERTs by hand", event_singles, { 0 }, { 0 } },
};

static void transaction(const struct way *w, bool business)
{
    run("begin");
    if (business)
        check(PQexecPrepared(conn, "business", 0, NULL, NULL, NULL, 0), PGRES_COMMAND_OK, "update");
    w->store();
    run("commit");
}

static void block(struct way *w, int round, int n, bool business)
{
    double began, cpu_began;

    transaction(w, business); /* not counted: it warms up what the way before did not use */
    cpu_began = cpu();
    began = now();
    for (int i = 0; i < n; i++)
        transaction(w, business);
    w->rate[round] = n / (now() - began);
    w->cost[round] = (cpu() - cpu_began) / n;
}

static void round_of(struct way *ways, int n_ways, int round, int n, bool business)
{
    for (int i = 0; i < n_ways; i++) /* from another one on, and every other round backwards */
        block(&ways[(round + (round % 2 ? n_ways - 1 - i : i)) % n_ways], round, n, business);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double sort(double *v, int n)
{
    qsort(v, (size_t)n, sizeof v[0], by_size);
    return v[n / 2];
}

static double least_cost(const struct way *w, int rounds)
{
    double least = w->cost[0];

    for (int r = 1; r < rounds; r++)
        least = w->cost[r] < least ? w->cost[r] : least;
    return least;
}

static void print(const struct way *ways, int n_ways, int rounds, double events_each)
{
    printf("  %-40s %11s %22s %24s\n", "", "events/s", "ratio", "least CPU us/event");
    for (int w = 0; w < n_ways; w++) {
        double rate[MAX_ROUNDS], ratio[MAX_ROUNDS], least = least_cost(&ways[w], rounds);

        for (int r = 0; r < rounds; r++) {
            rate[r] = ways[w].rate[r] * events_each;
            ratio[r] = ways[w].rate[r] / ways[0].rate[r];
        }
        double middle = sort(ratio, rounds);
        printf("  %-40s %11.0f   %.3f (%.2f to %.2f)  %12.2f   %.3f\n", ways[w].name,
               sort(rate, rounds), middle, ratio[0], ratio[rounds - 1], least / events_each * 1e6,
               least_cost(&ways[0], rounds) / least);
    }
}

static void prepare(const char *name, const char *sql, const Oid *t)
{
    check(PQprepare(conn, name, sql, COLUMNS, t), PGRES_COMMAND_OK, name);
}

#define EVENT_COLUMNS "(topic, key, type, schema_version, content_type, payload, headers, event_id)"

static void set_up(const char *commit)
{
    char sql[100];
    outbox_error err = OUTBOX_ERROR_INIT;

    memset(payload, 'p', sizeof payload);
    run("set client_min_messages = warning; drop schema if exists bench cascade; create schema bench");
    run("create table bench.business (id int primary key, n bigint not null) with (fillfactor = 50)");
    run("insert into bench.business select i, 0 from generate_series(1, 1000) i");
    run("create table bench.plain (id bigserial primary key, created_at timestamptz not null default now(),"
        " event_id uuid not null, schema_version int not null, topic text not null, key bytea,"
        " type text not null, content_type text, payload bytea, headers jsonb, sent_at timestamptz);"
        "create index on bench.plain (id) where sent_at is null");
    snprintf(sql, sizeof sql, "set synchronous_commit = %s", commit);
    run(sql);
    check(PQprepare(conn, "business",
                    "update bench.business set n = n + 1 where id = 1 + (random() * 998)::int", 0, NULL),
          PGRES_COMMAND_OK, "business");
    prepare("plain_one", "insert into bench.plain " EVENT_COLUMNS " values ($1, $2, $3, $4, $5, $6, $7, $8)",
            types);
    prepare("event_one", "insert into outbox.event " EVENT_COLUMNS " values ($1, $2, $3, $4, $5, $6, $7, $8)",
            types);
    prepare("event_unnest", "insert into outbox.event " EVENT_COLUMNS
                            " select * from unnest($1, $2, $3, $4, $5, $6, $7, $8)", array_types);
    if (outbox_prepare(conn, &err) != OUTBOX_OK)
        die(err.message);
}

#define N(array) (int)(sizeof(array) / sizeof((array)[0]))

int main(int argc, char **argv)
{
    int rounds = argc > 2 ? atoi(argv[2]) : 25;
    const char *commit = argc > 3 ? argv[3] : "on";

    conn = PQconnectdb(argc > 1 ? argv[1] : "");
    if (PQstatus(conn) != CONNECTION_OK || rounds < 1 || rounds > MAX_ROUNDS)
        die("usage: append_rival DSN [ROUNDS] [COMMIT]");
    set_up(commit);
    for (int r = 0; r < rounds; r++) {
        round_of(one, N(one), r, 20, true);
        round_of(many, N(many), r, 1, false);
    }
    printf("transactions of one event (synchronous_commit %s)\n", commit);
    print(one, N(one), rounds, 1);
    printf("events, 1,000 in a transaction\n");
    print(many, N(many), rounds, MANY);
    run("drop schema bench cascade");
    PQfinish(conn);
    return 0;
}
