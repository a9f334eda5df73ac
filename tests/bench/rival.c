/* rival.c - other ways to run an outbox, in the relay's own style, to compare the relay with.
 *
 *   rival update|delete|skip_locked|single DSN BOOTSTRAP
 *
 * All publish the rows of rival.event (tests/bench/cases.sh makes it) with the relay's own decoder, envelope
 * and producer, and end when the table has none left to send. They differ in how a row is found and marked:
 *   update       pages of what is not sent, by a partial index; UPDATE of sent_at, a page at a time; the next
 *                page is read meanwhile
 *   delete       pages; one DELETE for each row, committed by itself
 *   skip_locked  one transaction a page: SELECT ... FOR UPDATE SKIP LOCKED, and one DELETE
 *   single       the same with one row at a time
 * Prints rows= and seconds=. Nothing here survives a broken link or a refused row: it ends.
 */
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/loop.h"
#include "relay/sink/envelope.h"
#include "relay/sink/sink.h"
#include "relay/source/page.h"
#include "relay/source/wire.h"
#include "tests/tools/tool.h"

enum { PAGE_ROWS = 1000, WINDOW_BYTES = 64 << 20 };

/* The columns that page.c reads, in its order. */
#define SELECT                                                                                     \
    "select null::pg_snapshot, id, 0::smallint, event_id, created_at, schema_version, topic, key, " \
    "type, content_type, payload, headers, null::bigint from rival.event "

static const struct way {
    const char *name, *read, *mark;
    int page_rows;
    bool locks;     /* reading and marking are one transaction */
    bool row_by_row;
} ways[] = {
    { "update", SELECT "where sent_at is null and id > $1 order by id limit $2",
      "update rival.event set sent_at = now() where id = any($1)", PAGE_ROWS, false, false },
    { "delete", SELECT "where id > $1 order by id limit $2", "delete from rival.event where id = $1",
      PAGE_ROWS, false, true },
    { "skip_locked", SELECT "where id > $1 order by id limit $2 for update skip locked",
      "delete from rival.event where id = any($1)", PAGE_ROWS, true, false },
    { "single", SELECT "where id > $1 order by id limit $2 for update skip locked",
      "delete from rival.event where id = any($1)", 1, true, false },
};

static const struct way *way;
static PGconn *reader, *marker;
static struct sink *sink;
static struct row *page[PAGE_ROWS];
static uint32_t n_page, n_reports;
static struct pairs scratch;
static struct envelope_buf envelope_buf;

static PGresult *need(PGresult *res, ExecStatusType status, const char *what)
{
    if (PQresultStatus(res) != status)
        give_up("%s: %s", what, PQresultErrorMessage(res));
    return res;
}

/* -- Kafka -------------------------------------------------------------------------------------- */

static void on_report(void *arg, const struct sink_report *report)
{
    (void)arg;
    if (report->outcome != OUTCOME_PERSISTED)
        give_up("%s: %s", report->code, report->text);
    n_reports++;
}

static void on_fatal(void *arg, enum lane lane)
{
    (void)arg;
    (void)lane;
    give_up("the producer: stopped");
}

static void publish(void)
{
    static const struct envelope envelope = { .kind = ENVELOPE_CLOUDEVENTS, .source = "/outbox" };
    struct pollfd fd = { .fd = sink_fd(sink), .events = POLLIN };

    n_reports = 0;
    for (uint32_t i = 0; i < n_page; i++) {
        struct sink_record rec = { .slot = i, .topic = 0, .row = page[i] };
        struct sink_report refused;

        if (envelope_headers(&envelope, page[i], &envelope_buf, &rec.headers, &rec.n_headers) < 0 ||
            sink_produce(sink, LANE_MAIN, &rec, &refused) != SINK_TAKEN)
            give_up("produce: a record was not taken");
    }
    while (n_reports < n_page) {
        (void)poll(&fd, 1, 1000);
        sink_poll(sink);
    }
}

/* -- PostgreSQL ----------------------------------------------------------------------------------- */

static PGconn *link_to(const char *dsn)
{
    PGconn *conn = PQconnectdb(dsn);

    if (PQstatus(conn) != CONNECTION_OK)
        give_up("PostgreSQL: %s", PQerrorMessage(conn));
    PQclear(need(PQexec(conn, "set jit = off; set plan_cache_mode = force_generic_plan; "
                              "set enable_seqscan = off"), PGRES_COMMAND_OK, "set"));
    PQclear(need(PQprepare(conn, "read", way->read, 0, NULL), PGRES_COMMAND_OK, way->read));
    PQclear(need(PQprepare(conn, "mark", way->mark, 0, NULL), PGRES_COMMAND_OK, way->mark));
    return conn;
}

static void ask_behind(int64_t id)
{
    char above[8], rows[8];
    const char *const values[] = { above, rows };
    const int lengths[] = { 8, 8 }, formats[] = { 1, 1 };

    wire_put64(above, id);
    wire_put64(rows, way->page_rows);
    if (!PQsendQueryPrepared(reader, "read", 2, values, lengths, formats, 1))
        give_up("read: %s", PQerrorMessage(reader));
}

static void take_page(void)
{
    PGresult *res = need(PQgetResult(reader), PGRES_TUPLES_OK, "read");
    const char *why;

    n_page = (uint32_t)PQntuples(res);
    for (uint32_t i = 0; i < n_page; i++)
        if ((page[i] = page_row(res, (int)i, &scratch, &why)) == NULL)
            give_up("row: %s", why);
    PQclear(res);
    while ((res = PQgetResult(reader)) != NULL)
        PQclear(res);
}

static void mark(const char *value, int len)
{
    PQclear(need(PQexecPrepared(marker, "mark", 1, &value, &len, &(int){ 1 }, 1), PGRES_COMMAND_OK, "mark"));
}

static void mark_page(void)
{
    static char array[20 + 12 * PAGE_ROWS];
    char *p = array, id[8];

    for (uint32_t i = 0; way->row_by_row && i < n_page; i++) {
        wire_put64(id, page[i]->id);
        mark(id, 8);
    }
    if (way->row_by_row)
        return;
    p = wire_put32(wire_put32(p, 1), 0); /* one dimension, no NULLs, of bigint */
    p = wire_put32(wire_put32(wire_put32(p, 20), (int32_t)n_page), 1);
    for (uint32_t i = 0; i < n_page; i++)
        p = wire_put64(wire_put32(p, 8), page[i]->id);
    mark(array, (int)(p - array));
}

static void run(const char *sql)
{
    if (way->locks)
        PQclear(need(PQexec(reader, sql), PGRES_COMMAND_OK, sql));
}

static unsigned long publish_all(void)
{
    unsigned long n = 0;
    int64_t last = 0;

    run("begin");
    for (ask_behind(0);; n += n_page) {
        take_page();
        if (n_page == 0)
            break;
        last = page[n_page - 1]->id;
        if (!way->locks)
            ask_behind(last);
        publish();
        mark_page();
        run("commit");
        for (uint32_t i = 0; i < n_page; i++)
            free(page[i]);
        run("begin");
        if (way->locks)
            ask_behind(last);
    }
    run("commit");
    return n;
}

int main(int argc, char **argv)
{
    char err[512];

    for (size_t i = 0; argc == 4 && i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(argv[1], ways[i].name) == 0)
            way = &ways[i];
    if (way == NULL) {
        fputs("usage: rival update|delete|skip_locked|single DSN BOOTSTRAP\n", stderr);
        return 64;
    }
    struct sink_property bootstrap = { "bootstrap.servers", argv[3] };
    struct sink_config cfg = { .properties = &bootstrap, .n_properties = 1, .max_rows = PAGE_ROWS,
                               .max_bytes = WINDOW_BYTES, .on_report = on_report, .on_fatal = on_fatal };

    if (sink_new(&cfg, &sink, err, sizeof err) < 0)
        give_up("producer: %s", err);
    reader = link_to(argv[2]);
    marker = way->locks ? reader : link_to(argv[2]);
    uint64_t began = loop_now_us();
    unsigned long n = publish_all();
    printf("rows=%lu seconds=%.4f\n", n, (double)(loop_now_us() - began) / 1e6);
    if (marker != reader)
        PQfinish(marker);
    PQfinish(reader);
    sink_free(sink);
    pairs_deinit(&scratch);
    envelope_buf_deinit(&envelope_buf);
    return 0;
}
