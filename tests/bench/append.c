/* append.c - what an append costs an application: two ways of storing an event beside each other.
 *
 *   append WAY RIVAL CLIENTS SECONDS DSN      WAY, RIVAL: see ways[] below
 *
 * Each client is a thread with a connection of its own that runs transactions of one shape: those of one
 * event also update a row of business data, those of many and of a pipeline do not. All clients go the one
 * way for a twentieth of a second, then the other, until each had SECONDS: so both meet the same caches, vacuums
 * and neighbours. Prints a line of name=value pairs for each: commits and events per second, processor time
 * of clients and servers and bytes of WAL, both per event (per commit where there is none).
 *
 * "hand" is what an application would write itself: a prepared INSERT into outbox.event with the values that
 * the library stores; it checks nothing and its ids are random bytes. "plain" is the same INSERT into the
 * table that outbox examples use: a serial id, sent_at, a partial index on what is not sent, and no check of
 * what is stored. Needs the schema; makes bench.* anew and empties outbox.event.
 */
#include <libpq-fe.h>
#include <outbox.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "tests/tools/tool.h"

enum { MANY = 1000, PIPELINE = 100, MAX_CLIENTS = 64, COLUMNS = 8, ROW_BYTES = 400, BUSINESS_ROWS = 100,
       TURN_MS = 50 };

struct client {
    PGconn *conn;
    int number;
    atomic_ulong commits;
    outbox_event event[MANY];
    unsigned char (*array)[MANY * ROW_BYTES]; /* one for each column */
    char id[MANY][16];
};

static char payload[256];
static const char key[] = "k4711", type[] = "com.example.order.placed", media[] = "application/json";
static const char headers[] = "[[\"header-a\",\"abcdefgh\"],[\"header-b\",\"abcdefgh\"]]";
static const outbox_header own_headers[] = { { "header-a", "abcdefgh", 8 }, { "header-b", "abcdefgh", 8 } };
enum { TIME_IS_UP = -1 };
static atomic_int turn; /* index into way, or TIME_IS_UP */

static void check(PGresult *result, ExecStatusType status, const char *what)
{
    if (PQresultStatus(result) != status)
        give_up("%s: %s", what, PQresultErrorMessage(result));
    PQclear(result);
}

static void run(PGconn *conn, const char *sql)
{
    check(PQexec(conn, sql), PGRES_COMMAND_OK, sql);
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;

    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* -- by hand ------------------------------------------------------------------------------------ */

/* topic, key, type, schema version, content type, payload, headers; the id is last. */
static const char *const values[COLUMNS - 1] = { "bench", key, type, "\0\0\0\1", media, payload, headers };
static const int lengths[COLUMNS - 1] = { 5, sizeof key - 1, sizeof type - 1, 4, sizeof media - 1,
                                          sizeof payload, sizeof headers - 1 };
static const Oid types[COLUMNS] = { 25, 17, 25, 23, 25, 17, 114, 2950 };
static const Oid array_types[COLUMNS] = { 1009, 1001, 1009, 1007, 1009, 1001, 199, 2951 };
static const int formats[COLUMNS] = { 1, 1, 1, 1, 1, 1, 1, 1 };

static void random_ids(struct client *c, size_t n)
{
    for (size_t i = 0; i < n; i += 16) /* 256 bytes at a time never fail */
        if (getrandom(c->id[i], (n - i < 16 ? n - i : 16) * 16, 0) < 0)
            give_up("getrandom: no random bytes");
}

static void bind_one(struct client *c, const char *v[COLUMNS], int l[COLUMNS])
{
    random_ids(c, 1);
    memcpy(v, values, sizeof values);
    memcpy(l, lengths, sizeof lengths);
    v[COLUMNS - 1] = c->id[0];
    l[COLUMNS - 1] = 16;
}

static void insert_by_hand(struct client *c, const char *statement)
{
    const char *v[COLUMNS];
    int l[COLUMNS];

    bind_one(c, v, l);
    check(PQexecPrepared(c->conn, statement, COLUMNS, v, l, formats, 1), PGRES_COMMAND_OK, statement);
}

static unsigned char *put_word(unsigned char *to, uint32_t n)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(n >> (24 - 8 * i));
    return to + 4;
}

static int array_of(struct client *c, int column)
{
    unsigned char *at = c->array[column];

    at = put_word(put_word(put_word(at, 1), 0), types[column]);
    at = put_word(put_word(at, MANY), 1);
    for (int i = 0; i < MANY; i++) {
        const void *value = column < COLUMNS - 1 ? values[column] : c->id[i];
        int len = column < COLUMNS - 1 ? lengths[column] : 16;

        at = put_word(at, (uint32_t)len);
        memcpy(at, value, (size_t)len);
        at += len;
    }
    return (int)(at - c->array[column]);
}

static void unnest_by_hand(struct client *c)
{
    const char *v[COLUMNS];
    int l[COLUMNS];

    random_ids(c, MANY);
    for (int i = 0; i < COLUMNS; i++) {
        l[i] = array_of(c, i);
        v[i] = (const char *)c->array[i];
    }
    check(PQexecPrepared(c->conn, "event_unnest", COLUMNS, v, l, formats, 1), PGRES_COMMAND_OK, "unnest");
}

static void store_nothing(struct client *c) { (void)c; }
static void store_plain(struct client *c) { insert_by_hand(c, "plain_one"); }
static void store_hand(struct client *c) { insert_by_hand(c, "event_one"); }

/* -- with the library --------------------------------------------------------------------------- */

static void set_events(struct client *c, int n, uint32_t flags)
{
    for (int i = 0; i < n; i++) { /* as an application would, anew for each call */
        outbox_event *e = &c->event[i];

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
}

static void append(struct client *c, int n, uint32_t flags)
{
    outbox_error err = OUTBOX_ERROR_INIT;

    set_events(c, n, flags);
    if ((n > 1 ? outbox_append_many(c->conn, c->event, (size_t)n, &err)
               : outbox_append(c->conn, c->event, &err)) != OUTBOX_OK)
        give_up("append: %s", err.message);
}

static void append_one(struct client *c) { append(c, 1, 0); }
static void append_prepared(struct client *c) { append(c, 1, OUTBOX_APPEND_PREPARED); }
static void append_ordered(struct client *c) { append(c, 1, OUTBOX_APPEND_ORDERED); }
static void append_many(struct client *c) { append(c, MANY, 0); }
static void append_many_prepared(struct client *c) { append(c, MANY, OUTBOX_APPEND_PREPARED); }

/* -- in a pipeline ------------------------------------------------------------------------------ */

static void send_by_hand(struct client *c)
{
    const char *v[COLUMNS];
    int l[COLUMNS];

    bind_one(c, v, l);
    if (!PQsendQueryPrepared(c->conn, "event_one", COLUMNS, v, l, formats, 1))
        give_up("send: %s", PQerrorMessage(c->conn));
}

static void send_with_library(struct client *c)
{
    outbox_error err = OUTBOX_ERROR_INIT;

    set_events(c, 1, OUTBOX_APPEND_PREPARED);
    if (outbox_append_send(c->conn, c->event, &err) != OUTBOX_OK)
        give_up("send: %s", err.message);
}

static void pipeline(struct client *c, void (*send)(struct client *))
{
    PGresult *res;

    if (!PQenterPipelineMode(c->conn))
        give_up("pipeline: %s", PQerrorMessage(c->conn));
    for (int i = 0; i < PIPELINE; i++)
        send(c);
    if (!PQpipelineSync(c->conn))
        give_up("pipeline: %s", PQerrorMessage(c->conn));
    for (int i = 0; i < PIPELINE; i++) {
        check(PQgetResult(c->conn), PGRES_COMMAND_OK, "a result of the pipeline");
        if ((res = PQgetResult(c->conn)) != NULL)
            give_up("pipeline: two results of one event");
    }
    check(PQgetResult(c->conn), PGRES_PIPELINE_SYNC, "the end of the pipeline");
    if (!PQexitPipelineMode(c->conn))
        give_up("pipeline: %s", PQerrorMessage(c->conn));
}

static void pipeline_by_hand(struct client *c) { pipeline(c, send_by_hand); }
static void pipeline_with_library(struct client *c) { pipeline(c, send_with_library); }

/* -- ways ----------------------------------------------------------------------------------------- */

static const struct way {
    const char *name;
    void (*store)(struct client *c);
    int events;
    bool business; /* the transaction also updates a row of its own */
} ways[] = {
    { "business", store_nothing, 0, true },
    { "plain", store_plain, 1, true },
    { "hand", store_hand, 1, true },
    { "append", append_one, 1, true },
    { "prepared", append_prepared, 1, true },
    { "ordered", append_ordered, 1, true },
    { "hand_many", unnest_by_hand, MANY, false },
    { "many", append_many, MANY, false },
    { "many_prepared", append_many_prepared, MANY, false },
    { "hand_pipeline", pipeline_by_hand, PIPELINE, false },
    { "pipeline", pipeline_with_library, PIPELINE, false },
};

static const struct way *way[2];

static void update_business(struct client *c)
{
    char id[16];
    const char *const value = id;

    snprintf(id, sizeof id, "%lu", (unsigned long)c->number * BUSINESS_ROWS + c->commits % BUSINESS_ROWS);
    check(PQexecPrepared(c->conn, "business", 1, &value, NULL, NULL, 0), PGRES_COMMAND_OK, "update");
}

static void *commit_on(void *arg)
{
    struct client *c = arg;
    int mine;

    while ((mine = turn) != TIME_IS_UP) {
        run(c->conn, "begin");
        if (way[mine]->business)
            update_business(c);
        way[mine]->store(c);
        run(c->conn, "commit");
        c->commits++;
    }
    return NULL;
}

/* -- set up ----------------------------------------------------------------------------------------- */

static void set_up_tables(PGconn *conn)
{
    run(conn, "set client_min_messages = warning; drop schema if exists bench cascade; create schema bench;"
              "truncate outbox.event");
    run(conn, "create table bench.business (id int primary key, n bigint not null) with (fillfactor = 50)");
    run(conn, "insert into bench.business select i, 0 from generate_series(0, 6399) i");
    run(conn, "create table bench.plain (id bigserial primary key, created_at timestamptz not null"
              " default now(), event_id uuid not null, schema_version int not null, topic text not null,"
              " key bytea, type text not null, content_type text, payload bytea, headers json,"
              " sent_at timestamptz); create index on bench.plain (id) where sent_at is null");
    run(conn, "checkpoint");
}

#define EVENT_COLUMNS " (topic, key, type, schema_version, content_type, payload, headers, event_id)"
#define VALUES " values ($1, $2, $3, $4, $5, $6, $7, $8)"

static void prepare(PGconn *conn, const char *name, const char *sql, const Oid *t)
{
    check(PQprepare(conn, name, sql, t == NULL ? 0 : COLUMNS, t), PGRES_COMMAND_OK, name);
}

static PGconn *link_to(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);

    if (PQstatus(conn) != CONNECTION_OK)
        give_up("PostgreSQL: %s", PQerrorMessage(conn));
    return conn;
}

static struct client *client_new(const char *dsn, int number)
{
    outbox_error err = OUTBOX_ERROR_INIT;
    struct client *c = calloc(1, sizeof *c);

    if (c == NULL || (c->array = calloc(COLUMNS, sizeof *c->array)) == NULL)
        give_up("client: out of memory");
    c->number = number;
    c->conn = link_to(dsn);
    prepare(c->conn, "business", "update bench.business set n = n + 1 where id = $1::int", NULL);
    prepare(c->conn, "plain_one", "insert into bench.plain" EVENT_COLUMNS VALUES, types);
    prepare(c->conn, "event_one", "insert into outbox.event" EVENT_COLUMNS VALUES, types);
    prepare(c->conn, "event_unnest", "insert into outbox.event" EVENT_COLUMNS
            " select * from unnest($1, $2, $3, $4, $5, $6, $7, $8)", array_types);
    if (outbox_prepare(c->conn, &err) != OUTBOX_OK)
        give_up("prepare: %s", err.message);
    return c;
}

/* -- figures ---------------------------------------------------------------------------------------- */

/* Of this process and of the clients' server processes, when these are on this machine. */
static double cpu(struct client **client, int n)
{
    double s = seconds_of(CLOCK_PROCESS_CPUTIME_ID);

    for (int i = 0; i < n; i++) {
        char path[64];
        long long ns = 0;

        snprintf(path, sizeof path, "/proc/%d/schedstat", PQbackendPID(client[i]->conn));
        FILE *file = fopen(path, "r");
        if (file != NULL && fscanf(file, "%lld", &ns) == 1)
            s += (double)ns / 1e9;
        if (file != NULL)
            fclose(file);
    }
    return s;
}

static double wal_bytes(PGconn *conn)
{
    PGresult *res = PQexec(conn, "select pg_current_wal_insert_lsn() - '0/0'");

    if (PQresultStatus(res) != PGRES_TUPLES_OK)
        give_up("wal: %s", PQresultErrorMessage(res));
    double bytes = atof(PQgetvalue(res, 0, 0));
    PQclear(res);
    return bytes;
}

struct costs {
    double seconds, commits, cpu, wal;
};

static struct costs costs_until_now(struct client **client, int n, PGconn *conn)
{
    struct costs now = { .seconds = seconds_of(CLOCK_MONOTONIC), .cpu = cpu(client, n),
                         .wal = wal_bytes(conn) };

    for (int i = 0; i < n; i++)
        now.commits += (double)client[i]->commits;
    return now;
}

static void add(struct costs *sum, const struct costs *from, const struct costs *to)
{
    sum->seconds += to->seconds - from->seconds;
    sum->commits += to->commits - from->commits;
    sum->cpu += to->cpu - from->cpu;
    sum->wal += to->wal - from->wal;
}

/* A first turn of each fills caches and does not count. From then on as often A before B as B before A. */
static void take_turns(struct client **client, int n, double seconds, PGconn *conn, struct costs sum[2])
{
    const struct timespec pause = { .tv_nsec = TURN_MS * 1000000L };
    struct costs last = costs_until_now(client, n, conn);

    for (int i = 0; sum[0].seconds < seconds || sum[1].seconds < seconds; i++) {
        struct costs now;

        nanosleep(&pause, NULL);
        now = costs_until_now(client, n, conn);
        if (i > 1)
            add(&sum[turn], &last, &now);
        turn = i / 2 % 2 == 0; /* of turns 1, 2, 3, 4: B, B, A, A */
        last = now;
    }
    turn = TIME_IS_UP;
}

static void print(const struct way *w, const struct costs *sum)
{
    double each = w->events > 0 ? w->events : 1;

    printf("commits=%.1f events=%.1f cpu_us=%.2f wal_b=%.0f\n", sum->commits / sum->seconds,
           sum->commits * w->events / sum->seconds, sum->cpu * 1e6 / sum->commits / each,
           sum->wal / sum->commits / each);
}

static void measure(struct client **client, int n, double seconds, PGconn *conn)
{
    pthread_t thread[MAX_CLIENTS];
    struct costs sum[2] = { { .seconds = 0 }, { .seconds = 0 } };

    for (int i = 0; i < n; i++)
        if (pthread_create(&thread[i], NULL, commit_on, client[i]) != 0)
            give_up("thread: cannot be made");
    take_turns(client, n, seconds, conn, sum);
    for (int i = 0; i < n; i++)
        pthread_join(thread[i], NULL);
    print(way[0], &sum[0]);
    print(way[1], &sum[1]);
}

static const struct way *find_way(const char *name)
{
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(name, ways[i].name) == 0)
            return &ways[i];
    return NULL;
}

int main(int argc, char **argv)
{
    int n = argc == 6 ? atoi(argv[3]) : 0;
    struct client *client[MAX_CLIENTS];

    for (int i = 0; argc == 6 && i < 2; i++)
        way[i] = find_way(argv[1 + i]);
    if (way[0] == NULL || way[1] == NULL || n < 1 || n > MAX_CLIENTS) {
        fputs("usage: append WAY RIVAL CLIENTS SECONDS DSN\n", stderr);
        return 64;
    }
    memset(payload, 'p', sizeof payload);
    PGconn *conn = link_to(argv[5]);
    set_up_tables(conn);
    for (int i = 0; i < n; i++)
        client[i] = client_new(argv[5], i);
    measure(client, n, atof(argv[4]), conn);
    for (int i = 0; i < n; i++) {
        PQfinish(client[i]->conn);
        free(client[i]->array);
        free(client[i]);
    }
    PQfinish(conn);
    return 0;
}
