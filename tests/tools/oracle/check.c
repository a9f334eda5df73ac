/* check.c - the lines of the records in temporary tables beside outbox.event and outbox.sent, and each number and each
 * kind of fault as one query of them. It knows PostgreSQL only.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libpq-fe.h>

#include "tests/tools/oracle/oracle.h"

enum { CHUNK = 4 << 20 }; /* longer than any line: a key of 1 MiB is 2 MiB of hex */

struct check {
    PGconn *conn;
    const struct verdict_wanted *wanted;
    int records_fd;
    char *chunk;
    size_t n_chunk;    /* bytes of an incomplete last line */
    int64_t n_records; /* lines loaded */
};

/* The temporary tables: record, a line of the file; truth, what outbox.event and outbox.sent say of
 * an event; committed, the ids that must arrive; arrival, one line for each event id that came. The
 * temporary view excused is of events that need not arrive. */
static const char SQL_SETUP[] =
    "set jit = off; set work_mem = '256MB'; set client_min_messages = warning;"
    "create temp table record (topic text, part int, off bigint, ts bigint, key text,"
    " event_id uuid, payload text, headers text)";
static const char SQL_EXCUSED[] =
    "create temp view excused as select e.event_id, h.id"
    " from outbox.held h join outbox.event e on e.id = h.id"
    " where not exists (select from outbox.sent s where s.id = h.id)"
    "  and (h.state in ('dead', 'discarded') or h.state = 'blocked' and exists"
    "   (select from outbox.held d where d.state = 'dead' and d.topic = h.topic"
    "     and sha256(d.key) = sha256(h.key) and d.id < h.id))";
static const char SQL_NONE_EXCUSED[] =
    "create temp view excused as select e.event_id, e.id from outbox.event e where false";
static const char SQL_TRUTH[] =
    "analyze record;"
    "create temp table truth as"
    " select e.id, e.event_id, e.topic, encode(e.key, 'hex') as key,"
    "  coalesce(length(e.payload) || ':' || left(encode(sha256(e.payload), 'hex'), 32), 'null')"
    "   as payload,"
    "  s.id is not null as marked, coalesce(e.available_at > e.created_at, false) as scheduled"
    " from outbox.event e left join outbox.sent s on s.id = e.id;"
    "create temp table arrival as"
    " select event_id, count(*) as copies, min(part) as part, min(off) as off"
    " from record where event_id is not null group by event_id;"
    "analyze truth; analyze arrival";
static const char SQL_COMMITTED_BY_LEDGER[] =
    "create temp table committed as select distinct event_id::uuid from (";
static const char SQL_COMMITTED_BY_TABLE[] =
    "create temp table committed as select event_id from outbox.event";
static const char SQL_WAITING_FOR[] =
    "select count(*) from committed c"
    " where not exists (select from record r where r.event_id = c.event_id)"
    "  and not exists (select from excused x where x.event_id = c.event_id)";
/* A record that was sent once more, and marked, may be read a moment after its mark. */
static const char SQL_AHEAD_OF_RECORDS[] =
    "select count(*) from outbox.sent s join outbox.event e on e.bucket = s.bucket and e.id = s.id"
    " left join (select topic, part, max(off) as last from record group by topic, part) r"
    "  on r.topic = e.topic and r.part = s.kafka_partition"
    " where s.kafka_offset >= 0 and s.kafka_offset > coalesce(r.last, -1)";

static const char SQL_UNMARKED_NOW[] =
    "select count(*) from outbox.event e"
    " where not exists (select from outbox.sent s where s.id = e.id)"
    "  and not exists (select from excused x where x.id = e.id)";

/* Plain numbers, in the order in which they are printed. */
static const struct number {
    const char *name;
    const char *sql;
} numbers[] = {
    { "committed", "select count(*) from committed" },
    { "arrived", "select count(*) from arrival join committed using (event_id)" },
    { "duplicates",
      "select coalesce(sum(copies - 1), 0) from arrival join committed using (event_id)" },
    { "marks", "select count(*) from outbox.sent" },
    { "excused", "select count(*) from excused" },
    { "excused_arrived", "select count(*) from excused join arrival using (event_id)" },
    { "gaps", "select coalesce(sum(substr(payload, 5)::bigint), 0) from record"
              " where payload like 'gap:%'" },
};

/* Each query returns one text per fault. */
static const struct fault {
    const char *name;
    bool may_be_pending; /* no fault with --allow-pending */
    const char *sql;
} faults[] = {
    { "missing", false,
      "select format('committed, never arrived: %s id %s', c.event_id, t.id)"
      " from committed c left join truth t using (event_id)"
      " where not exists (select from arrival a where a.event_id = c.event_id)"
      "  and not exists (select from excused x where x.event_id = c.event_id)" },
    { "phantom", false,
      "select format('arrived, not committed: %s[%s] offset %s event %s', topic, part, off,"
      "  coalesce(event_id::text, 'without id'))"
      " from record r where payload not like 'gap:%' and (event_id is null"
      "  or not exists (select from committed c where c.event_id = r.event_id))" },
    { "altered", false,
      "select distinct format('altered: event %s id %s', r.event_id, t.id)"
      " from record r join truth t using (event_id)"
      " where r.topic <> t.topic or r.key is distinct from t.key or r.payload <> t.payload"
      " union "
      "select format('copies differ in their headers: event %s', event_id)"
      " from record where event_id is not null"
      " group by event_id having min(headers) <> max(headers)" },
    { "reordered", false,
      "select format('%s key %s: id %s arrived first at offset %s, after id %s',"
      "  topic, key, id, off, earlier)"
      " from (select t.id, t.topic, t.key, a.off, max(t.id) over (partition by t.topic, t.key,"
      "   a.part order by a.off rows between unbounded preceding and 1 preceding) as earlier"
      "  from truth t join arrival a using (event_id)"
      "  where t.key is not null and not t.scheduled) x"
      " where id < earlier" },
    { "split", false,
      "select format('%s key %s is in partition %s and in %s', topic, key, min(part), max(part))"
      " from record where key is not null"
      " group by topic, key having min(part) <> max(part)" },
    /* A mark without offset is true when the event is there at all. */
    { "false_marks", false,
      "select format('mark of id %s (%s) says partition %s offset %s, where there is %s', s.id,"
      "  t.event_id, s.kafka_partition, s.kafka_offset,"
      "  coalesce(r.event_id::text, 'no such event'))"
      " from outbox.sent s left join truth t on t.id = s.id left join record r"
      "  on r.topic = t.topic and r.part = s.kafka_partition and r.off = s.kafka_offset"
      " where t.id is null or case when s.kafka_offset >= 0"
      "  then r.event_id is distinct from t.event_id"
      "  else not exists (select from arrival a where a.event_id = t.event_id) end" },
    { "unmarked", true,
      "select format('not marked: id %s', t.id) from truth t where not t.marked"
      "  and not exists (select from excused x where x.id = t.id)" },
};

static PGresult *query(struct check *check, const char *sql)
{
    PGresult *result = PQexec(check->conn, sql);
    ExecStatusType status = PQresultStatus(result);

    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && status != PGRES_COPY_IN)
        give_up("%sin: %s", PQerrorMessage(check->conn), sql);
    return result;
}

static void run(struct check *check, const char *sql)
{
    PQclear(query(check, sql));
}

static int64_t number_of(struct check *check, const char *sql)
{
    PGresult *result = query(check, sql);
    int64_t value;

    if (PQntuples(result) != 1)
        give_up("no number: %s", sql);
    value = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return value;
}

/* Sends all complete lines of the chunk and keeps the rest for the next call. */
static void send_lines(struct check *check)
{
    const char *last = memrchr(check->chunk, '\n', check->n_chunk);
    size_t n_send = last == NULL ? 0 : (size_t)(last - check->chunk) + 1;

    if (n_send > 0 && PQputCopyData(check->conn, check->chunk, (int)n_send) != 1)
        give_up("%s", PQerrorMessage(check->conn));
    for (size_t i = 0; i < n_send; i++)
        check->n_records += check->chunk[i] == '\n';
    check->n_chunk -= n_send;
    memmove(check->chunk, check->chunk + n_send, check->n_chunk);
}

/* Loads what the file has got since the last call. */
static void load_records(struct check *check)
{
    PGresult *result;
    ssize_t n;

    run(check, "copy record from stdin (null '-')");
    while ((n = read(check->records_fd, check->chunk + check->n_chunk, CHUNK - check->n_chunk)) >
           0) {
        check->n_chunk += (size_t)n;
        send_lines(check);
        if (check->n_chunk == CHUNK)
            give_up("a line of the records is longer than %d bytes", CHUNK);
    }
    if (n < 0)
        give_up("reading the records: %s", strerror(errno));
    if (PQputCopyEnd(check->conn, NULL) != 1)
        give_up("%s", PQerrorMessage(check->conn));
    while ((result = PQgetResult(check->conn)) != NULL) {
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            give_up("the records cannot be read: %s", PQerrorMessage(check->conn));
        PQclear(result);
    }
}

static void load_committed(struct check *check)
{
    size_t size;
    char *sql;

    run(check, "drop table if exists pg_temp.committed");
    if (check->wanted->ledger == NULL) {
        run(check, SQL_COMMITTED_BY_TABLE);
    } else {
        size = sizeof SQL_COMMITTED_BY_LEDGER + strlen(check->wanted->ledger) + 16;
        sql = checked(malloc(size));
        snprintf(sql, size, "%s%s) l (event_id)", SQL_COMMITTED_BY_LEDGER, check->wanted->ledger);
        run(check, sql);
        free(sql);
    }
    run(check, "analyze committed");
}

/* The exact question is asked only when there are lines enough: it reads everything. */
static bool all_arrived(struct check *check, int64_t n_committed)
{
    int64_t n_before = check->n_records;

    load_records(check);
    if (check->n_records < n_committed && !check->wanted->allow_held)
        return false;
    if (check->n_records > n_before)
        run(check, "analyze record");
    return number_of(check, SQL_WAITING_FOR) == 0 &&
           (check->wanted->allow_pending || number_of(check, SQL_UNMARKED_NOW) == 0) &&
           number_of(check, SQL_AHEAD_OF_RECORDS) == 0;
}

static void wait_for_arrival(struct check *check, int deadline_s)
{
    int64_t end_ms = now_ms() + (int64_t)deadline_s * 1000;
    int64_t n_committed;

    load_committed(check);
    n_committed = number_of(check, "select count(*) from committed");
    while (!all_arrived(check, n_committed) && now_ms() < end_ms)
        (void)poll(NULL, 0, LOOK_AGAIN_MS);
}

/* Prints count and examples of one kind of fault; returns the count. */
static int64_t count_fault(struct check *check, const struct fault *fault)
{
    static char sql[4096];
    PGresult *result;
    int64_t n;

    snprintf(sql, sizeof sql,
             "with f (text) as (%s) select (select count(*) from f),"
             " (select string_agg('oracle: ' || text || E'\\n', '')"
             " from (select text from f limit 5) x)",
             fault->sql);
    result = query(check, sql);
    n = strtoll(PQgetvalue(result, 0, 0), NULL, 10);
    printf("%s=%" PRId64 "\n", fault->name, n);
    if (n > 0 && !(fault->may_be_pending && check->wanted->allow_pending))
        fputs(PQgetvalue(result, 0, 1), stderr);
    PQclear(result);
    return fault->may_be_pending && check->wanted->allow_pending ? 0 : n;
}

static bool judge(struct check *check)
{
    int64_t n_faults = 0;

    /* Records first, truth after: what arrived was then committed when the tables are read. */
    load_records(check);
    run(check, "begin isolation level repeatable read");
    run(check, SQL_TRUTH);
    load_committed(check);
    if (number_of(check, "select count(*) - count(distinct event_id) from truth") != 0)
        give_up("an event_id stands twice in outbox.event; arrivals cannot be told apart");
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        printf("%s=%" PRId64 "\n", numbers[i].name, number_of(check, numbers[i].sql));
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
        n_faults += count_fault(check, &faults[i]);
    run(check, "rollback");
    printf("verdict=%s\n", n_faults == 0 ? "good" : "bad");
    return n_faults == 0;
}

int oracle_check(const char *dsn, const char *path, const struct verdict_wanted *wanted)
{
    struct check on = { .wanted = wanted }, *check = &on;
    bool good;

    check->records_fd = open(path, O_RDONLY | O_CLOEXEC);
    if (check->records_fd < 0)
        give_up("%s: %s", path, strerror(errno));
    check->conn = PQconnectdb(dsn);
    if (PQstatus(check->conn) != CONNECTION_OK)
        give_up("%s", PQerrorMessage(check->conn));
    check->chunk = checked(malloc(CHUNK));
    run(check, SQL_SETUP);
    run(check, wanted->allow_held ? SQL_EXCUSED : SQL_NONE_EXCUSED);
    if (wanted->deadline_s > 0)
        wait_for_arrival(check, wanted->deadline_s);
    good = judge(check);
    PQfinish(check->conn);
    close(check->records_fd);
    free(check->chunk);
    return good ? EXIT_SUCCESS : EXIT_BAD;
}
