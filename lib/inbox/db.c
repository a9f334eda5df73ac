/* db.c - the consumer's connection: checked, lost and had again (connect.c); ownership of partitions,
 * and the turn of the ring. What a batch does on it is in batch_calls.c and batch_end.c. */
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db.h"
#include "inside.h"
#include "lib/outbox/error.h"
#include "lib/outbox/text.h"
#include "lib/shared/retry.h"
#include "steps.h"

/* -- what went wrong -------------------------------------------------------------------------- */

/* The tables of a schema that was installed anew have none of the grants that the file had made. */
#define GRANT_CONSUMER \
    "; grant this role inbox_consumer, see sql/inbox_roles.sql (run it again if 002_inbox was taken down and up)"

static bool is_state(const char *sqlstate, const char *wanted)
{
    return sqlstate != NULL && strcmp(sqlstate, wanted) == 0;
}

bool inbox__db_lost(const struct inbox_consumer *c)
{
    return c->conn == NULL || PQstatus(c->conn) != CONNECTION_OK;
}

/* Not all of class 55, most of which stands until somebody changes a table: triggers raise it for that, too. */
static bool passes(const char *sqlstate)
{
    /* A lost link, a server that is a standby now, bad luck, lack of resources, a lock that was not to be had, a
     * shutdown, a disk that fails. */
    static const char *const passing[] = { "08", "25006", "40", "53", "55P03", "57", "58" };

    for (size_t i = 0; i < sizeof passing / sizeof passing[0]; i++)
        if (strncmp(sqlstate, passing[i], strlen(passing[i])) == 0)
            return true;
    return false;
}

bool inbox__db_passes(const PGresult *result)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);

    return sqlstate == NULL || passes(sqlstate); /* libpq's own: a lost link, no memory */
}

const char *inbox__db_words(const PGresult *result, const char *otherwise)
{
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);

    return primary != NULL ? primary : otherwise;
}

void inbox__db_plain(const struct inbox_consumer *c, char *text)
{
    for (char *at = text; !c->server_is_utf8 && *at != '\0'; at++)
        if ((unsigned char)*at >= 0x80)
            *at = '?';
}

/* Migration and role are others than those of outbox__error_classify(), whose words are for appending. */
int inbox__db_failed(PGconn *conn, const PGresult *result, const char *doing, outbox_error *err)
{
    const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    struct outbox__verdict verdict = outbox__error_classify(sqlstate);
    const char *remedy = "";
    char text[300];

    outbox__one_line(primary != NULL ? primary : PQerrorMessage(conn), text, sizeof text);
    if (PQstatus(conn) != CONNECTION_OK) {
        verdict.code = OUTBOX_ELINK;
        verdict.flags = OUTBOX_ERRF_LINK_LOST;
    } else if (sqlstate == NULL && PQresultStatus(result) == PGRES_FATAL_ERROR) { /* also of NULL */
        verdict.flags = OUTBOX_ERRF_RETRY_TXN;
        remedy = "; libpq failed, so whether the statement ran is not known: the transaction must be "
                 "rolled back";
    } else if (verdict.code == OUTBOX_ESCHEMA) {
        remedy = "; apply sql/002_inbox.up.sql to this database";
    } else if (is_state(sqlstate, "42501")) {
        remedy = GRANT_CONSUMER;
    } else if (is_state(sqlstate, "25006")) {
        remedy = "; " OUTBOX__READ_ONLY;
    }
    if (PQtransactionStatus(conn) == PQTRANS_INERROR)
        verdict.flags |= OUTBOX_ERRF_TXN_ABORTED;
    return outbox__error_set_all(err, verdict.code, verdict.flags, sqlstate,
                                 "%s: %s%s%s", doing, sqlstate != NULL ? "the database says: " : "",
                                 text, remedy);
}

/* -- the link --------------------------------------------------------------------------------- */

void inbox__db_close(struct inbox_consumer *c)
{
    PQfinish(c->conn);
    c->conn = NULL;
    c->figures.db_up = 0;
}

static PGresult *query(struct inbox_consumer *c, const char *sql, int n, const char *const *values)
{
    return PQexecParams(c->conn, sql, n, NULL, values, NULL, NULL, 0);
}

static void quiet(void *arg, const PGresult *result)
{
    struct inbox_consumer *c = arg;
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    char line[300];

    if (text != NULL)
        inbox__log(c, 7, "the database says: %s", outbox__one_line(text, line, sizeof line));
}

int inbox__db_check(const struct inbox_consumer *c, outbox_error *err)
{
    char *why = NULL;
    PQconninfoOption *options;

    errno = 0; /* libpq does not set it for what it cannot read */
    options = PQconninfoParse(c->set.dsn, &why);
    if (options != NULL) {
        PQconninfoFree(options);
        return OUTBOX_OK;
    }
    if (why == NULL || errno == ENOMEM) {
        PQfreemem(why);
        return outbox__error_set(err, OUTBOX_ENOMEM, "no memory for the settings");
    }
    PQfreemem(why); /* it repeats the part that cannot be read, which may be of the password */
    return outbox__error_set(err, OUTBOX_EINVAL,
                             "dsn: libpq cannot read it: neither a URI (postgresql://user@host/db, "
                             "%% written as %%25) nor key=value pairs with known keys (a value with "
                             "blanks in single quotes)");
}

/* A pooler hands out process ids of its own. Whether it pools sessions, which does no harm, cannot be seen. */
static void warn_of_pooler(struct inbox_consumer *c, const PGresult *r)
{
    if (atoi(PQgetvalue(r, 0, 2)) != PQbackendPID(c->conn))
        inbox__log(c, 4, "the link goes through a pooler: it must pool sessions, for with transactions or statements a handler "
                         "meets another session each time; better let the dsn name PostgreSQL itself");
}

/* The session is set to write: where it reads by default it would only in transactions that say otherwise, and not all is
 * written in such. */
static int check_schema(struct inbox_consumer *c, outbox_error *err)
{
    char known[12];
    const char *values[] = { known };
    PGresult *r;
    int code = OUTBOX_OK;

    snprintf(known, sizeof known, "%d", INBOX_SCHEMA_VERSION);
    r = query(c, "SELECT coalesce(max(version), 0), coalesce(bool_or(breaking)"
                 " FILTER (WHERE version > $1::integer), false), pg_backend_pid(),"
                 " set_config('default_transaction_read_only', 'off', false),"
                 " count(*) = 0 AND row_security_active('inbox.schema_version') FROM inbox.schema_version", 1, values);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        code = inbox__db_failed(c->conn, r, "reading the version of the inbox's schema", err);
    else if (strcmp(PQgetvalue(r, 0, 4), "t") == 0)
        code = outbox__error_set(err, OUTBOX_EDB, "row-level security hides inbox.schema_version from this role; disable it for "
                                 "the tables of schema inbox, or have policies admit all of their rows");
    else if (atoi(PQgetvalue(r, 0, 0)) < INBOX_SCHEMA_VERSION)
        code = outbox__error_set(err, OUTBOX_ESCHEMA, "the inbox's schema has version %s, too old "
                                 "for this library, which needs %d; apply the newer files of sql/",
                                 PQgetvalue(r, 0, 0), INBOX_SCHEMA_VERSION);
    else if (strcmp(PQgetvalue(r, 0, 1), "t") == 0)
        code = outbox__error_set(err, OUTBOX_ESCHEMA, "the inbox's schema has version %s, too new "
                                 "for this library, which knows %d; use a newer library",
                                 PQgetvalue(r, 0, 0), INBOX_SCHEMA_VERSION);
    else
        warn_of_pooler(c, r);
    PQclear(r);
    return code;
}

static int announce(struct inbox_consumer *c, outbox_error *err)
{
    char keep[32];
    const char *values[] = { c->set.group, keep };
    PGresult *r;
    int code = OUTBOX_OK;

    /* A number, for before PostgreSQL 15 the text of an interval ends at 2^31 ms. */
    snprintf(keep, sizeof keep, "%llu", (unsigned long long)c->set.dedupe_keep_ms);
    /* Somebody may have changed the row, and not committed: who waited for that would not poll. */
    r = query(c, "INSERT INTO inbox.consumer AS c (name, dedupe_keep) SELECT $1::text, $2::bigint * interval '1 ms'"
                 " FROM pg_catalog.set_config('lock_timeout', '1s', true) AS s (t) WHERE s.t IS NOT NULL"
                 " ON CONFLICT (name) DO UPDATE SET dedupe_keep = excluded.dedupe_keep,"
                 " started_at = excluded.started_at", 2, values);
    if (PQresultStatus(r) != PGRES_COMMAND_OK)
        code = inbox__db_failed(c->conn, r, "writing to inbox.consumer", err);
    PQclear(r);
    return code;
}

/* Is the last id there that was stored? Transactions are lost from the end, so the earlier ones are there too. Else
 * events of which nothing is in memory any more were never applied, as far as anybody will ever see: a standby that
 * was promoted had not got them, or the server has crashed with synchronous_commit off. */
static int check_last(struct inbox_consumer *c, outbox_error *err)
{
    const char *values[] = { c->set.group, c->last_id };
    int code = OUTBOX_OK;
    PGresult *r;

    if (c->last_id[0] == '\0' || inbox__now_ms() - c->last_id_ms >= c->set.dedupe_keep_ms) /* turn() drops old ones */
        return OUTBOX_OK;
    r = query(c, "SELECT pg_catalog.cardinality(inbox.known($1, ARRAY[$2]))", 2, values);
    if (PQresultStatus(r) != PGRES_TUPLES_OK) {
        code = inbox__db_failed(c->conn, r, "looking for the last id that was stored", err);
    } else if (strcmp(PQgetvalue(r, 0, 0), "0") == 0) {
        inbox__log(c, 3, "the database has lost transactions that it had committed (a failover, or a crash with "
                         "synchronous_commit off): all partitions begin again where it knows them");
        c->last_id[0] = '\0';
        inbox__partitions_begin_again(c);
    }
    PQclear(r);
    return code;
}

/* A failed look at a new link: does it pass with time? */
static bool will_pass(struct inbox_consumer *c, const outbox_error *err)
{
    if (inbox__db_lost(c))
        return true;
    if (err->sqlstate[0] == '\0') /* libpq's own, or the wrong schema, which we found ourselves */
        return (err->flags & OUTBOX_ERRF_RETRY_TXN) != 0;
    return passes(err->sqlstate);
}

static void connect_later(struct inbox_consumer *c, uint64_t now_ms, const char *why)
{
    uint64_t delay = retry_delay_ms(c->set.retry_base_ms, 10000, c->connect_failures++,
                                    retry_random(&c->chance));
    char line[300];

    c->connect_due_ms = now_ms + delay;
    inbox__log(c, 4, "no link to the database, next try in %llu ms: %s; mend that (the server, its roles and rights, the way to "
               "it, the password file), and it goes on by itself; another dsn needs a new start",
               (unsigned long long)delay, outbox__one_line(why, line, sizeof line));
    inbox__db_close(c);
}

int inbox__db_tend(struct inbox_consumer *c, uint64_t now_ms, outbox_error *err)
{
    outbox_error why = OUTBOX_ERROR_INIT;
    const char *encoding;
    char words[720];
    int rc;

    if (c->conn != NULL && !inbox__db_lost(c))
        return OUTBOX_OK;
    inbox__db_close(c);
    if (now_ms < c->connect_due_ms)
        return OUTBOX_OK;
    rc = inbox__way_go(c, &c->conn, words, sizeof words);
    if (rc < 0)
        connect_later(c, inbox__now_ms(), words);
    if (rc <= 0)
        return OUTBOX_OK;
    PQsetNoticeReceiver(c->conn, quiet, c);
    (void)PQsetErrorVerbosity(c->conn, PQERRORS_VERBOSE); /* with the SQLSTATE of a handler's error */
    if (check_schema(c, &why) != OUTBOX_OK || announce(c, &why) != OUTBOX_OK ||
        check_last(c, &why) != OUTBOX_OK) {
        if (!will_pass(c, &why))
            return outbox__error_set_all(err, why.code, why.flags, why.sqlstate, "%s", why.message);
        connect_later(c, now_ms, why.message);
        return OUTBOX_OK;
    }
    encoding = PQparameterStatus(c->conn, "server_encoding");
    c->server_is_utf8 = encoding != NULL && strcmp(encoding, "UTF8") == 0;
    if (c->n_connects++ > 0)
        c->figures.db_reconnects++;
    c->connect_failures = 0;
    c->figures.db_up = 1;
    inbox__log(c, 6, "linked to database \"%s\" of %s", PQdb(c->conn), PQhost(c->conn));
    (void)inbox__redrive_take_back(c); /* before a batch that takes long: others count the time */
    return OUTBOX_OK;
}

/* -- partitions ------------------------------------------------------------------------------- */

static int64_t number_at(const PGresult *r, int column)
{
    return PQgetisnull(r, 0, column) ? -1 : strtoll(PQgetvalue(r, 0, column), NULL, 10);
}

/* Behind why a partition cannot be claimed. It stays with this process all the same, and so nobody else takes it. */
static const char *claim_remedy(const PGresult *r)
{
    const char *sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);

    if (is_state(sqlstate, "55P03"))
        return "; some transaction has inbox.position locked (its pid is in pg_locks): end it, and it goes on by itself";
    if (is_state(sqlstate, "42501"))
        return GRANT_CONSUMER ", and it goes on by itself";
    return "";
}

bool inbox__db_claim(struct inbox_consumer *c, struct inbox__partition *p, struct inbox__place *ret)
{
    char n[12], why[400];
    const char *values[] = { c->set.group, p->topic, n, c->owner };
    PGresult *r;
    bool ok;

    if (inbox__db_lost(c))
        return false;
    snprintf(n, sizeof n, "%d", (int)p->number);
    /* An old owner has the row locked for a moment only, unless its server or process stands still. */
    r = query(c, "SELECT p.*, (SELECT 1 FROM inbox.position WHERE consumer = $1 AND topic = $2"
                 " AND kafka_partition = $3::integer AND owner IS NOT NULL)"
                 " FROM set_config('lock_timeout', '1s', true) AS s (t), LATERAL inbox.claim($1, $2,"
                 " $3::integer, CASE WHEN s.t IS NOT NULL THEN $4::text END) p", 4, values);
    ok = PQresultStatus(r) == PGRES_TUPLES_OK;
    if (ok) {
        *ret = (struct inbox__place){ .next = number_at(r, 0),
                                      .witness = { number_at(r, 1), (uint64_t)number_at(r, 2) },
                                      .owned = number_at(r, 3) == 1 };
    } else {
        snprintf(why, sizeof why, "%s%s", inbox__db_words(r, "the link is lost"), claim_remedy(r));
        inbox__partition_waits(c, p, why);
    }
    PQclear(r);
    return ok;
}

/* A call that is written down as ours still has returned, and then its transaction was repeated: it is no
 * attempt, and must not look to the next owner as if we had died of it. */
static const char sql_release[] =
    "WITH once AS (DELETE FROM inbox.attempt WHERE consumer = $1 AND begun_by = $2 AND topic = $3"
    " AND kafka_partition = $4::integer AND attempts = 1),"
    " more AS (UPDATE inbox.attempt SET begun_by = NULL, attempts = attempts - 1, next_attempt_at = clock_timestamp()"
    " WHERE consumer = $1 AND begun_by = $2 AND topic = $3 AND kafka_partition = $4::integer"
    " AND attempts > 1)"
    " UPDATE inbox.position SET owner = NULL WHERE consumer = $1 AND owner = $2"
    " AND topic = $3 AND kafka_partition = $4::integer";

static void say_kept(struct inbox_consumer *c, const struct inbox__partition *p, const PGresult *r)
{
    const char *sqlstate = r != NULL ? PQresultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
    const char *why = inbox__db_words(r, "the database did not answer");

    if (is_state(sqlstate, "42P01") || is_state(sqlstate, "3F000"))
        inbox__log(c, 3, "the tables of the inbox are gone from the database, and with them the position of %s/%d and the ids of "
                         "what was applied: %s; apply sql/002_inbox.up.sql", p->topic, (int)p->number, why);
    else
        inbox__log(c, 4, "inbox.position says still that %s/%d is here, so its next owner begins with care: %s", p->topic,
                   (int)p->number, why);
}

bool inbox__db_release(struct inbox_consumer *c, const struct inbox__partition *p)
{
    char n[12];
    /* The group waits for what is given up, and so does a stop. */
    struct inbox__step steps[] = {
        { .sql = "SELECT set_config('lock_timeout', '200ms', true)" },
        { .sql = sql_release, .n = 4, .values = { c->set.group, c->owner, p->topic, n } },
    };
    bool answered, done;

    if (inbox__db_lost(c))
        return false;
    snprintf(n, sizeof n, "%d", (int)p->number);
    answered = inbox__steps_run(c->conn, steps, 2);
    done = answered && inbox__step_ok(&steps[1]);
    if (!done)
        say_kept(c, p, steps[1].result);
    inbox__steps_clear(steps, 2);
    if (!answered)
        inbox__db_close(c);
    return done;
}

bool inbox__db_owns(struct inbox_consumer *c, const struct inbox__partition *p)
{
    char n[12];
    const char *values[] = { c->set.group, c->owner, p->topic, n };
    PGresult *r;
    bool owns;

    if (inbox__db_lost(c))
        return true;
    snprintf(n, sizeof n, "%d", (int)p->number);
    r = query(c, "SELECT FROM inbox.position WHERE consumer = $1 AND owner = $2"
                 " AND topic = $3 AND kafka_partition = $4::integer", 4, values);
    owns = PQresultStatus(r) != PGRES_TUPLES_OK || PQntuples(r) == 1;
    PQclear(r);
    return owns;
}

void inbox__db_turn(struct inbox_consumer *c)
{
    PGresult *r;

    if (inbox__db_lost(c))
        return;
    r = query(c, "SELECT outcome, bucket FROM inbox.turn()", 0, NULL);
    if (PQresultStatus(r) != PGRES_TUPLES_OK)
        inbox__log(c, 4, "old ids cannot be emptied: %s", inbox__db_words(r, "the link is lost"));
    else if (strcmp(PQgetvalue(r, 0, 0), "turned") == 0)
        inbox__log(c, 6, "bucket %s of inbox.seen was emptied and takes new ids", PQgetvalue(r, 0, 1));
    else if (strcmp(PQgetvalue(r, 0, 0), "locked") == 0)
        inbox__log(c, 7, "the ring of inbox.seen could not turn: somebody uses it");
    PQclear(r);
}
