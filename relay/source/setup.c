/* setup.c - what a new connection is told and asked before it is used: session settings, whether server
 * and schema fit, the prepared statements. See inside.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/crash_point.h"
#include "relay/exit_codes.h"
#include "relay/log.h"
#include "relay/source/held_sql.h"
#include "relay/source/inside.h"
#include "relay/source/schema.h"
#include "relay/source/sql.h"
#include "relay/verdict.h"

/* A statement of the set-up failed. Rights and schema do not mend themselves. */
static void setup_failed(struct source *s, uint64_t now_ms, const PGresult *res)
{
    const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);

    if (source_lacks_right(s, res))
        return;
    if (state != NULL && strncmp(state, "42", 2) == 0) {
        log_error("source", "the schema outbox is not what this relay expects", "error", text,
                  "remedy", "apply the migrations in sql/ in order" THEN_START);
        source_refuse(s, EXIT_CONFIGURATION);
    } else {
        source_link_lost(s, now_ms, text != NULL ? text : "no answer");
    }
}

static int check_server(struct source *s, enum side side, const PGresult *res)
{
    int version = atoi(PQgetvalue(res, 0, 0));

    if (version < SERVER_VERSION_MIN) {
        log_error("source", "PostgreSQL is too old", "server_version_num", log_i64(version), "needs",
                  log_i64(SERVER_VERSION_MIN), "remedy", "upgrade PostgreSQL" THEN_START);
        source_refuse(s, EXIT_CONFIGURATION);
        return -1;
    }
    /* A pooler hands out process ids of its own. Behind it our session would not be ours. */
    if (atoi(PQgetvalue(res, 0, 2)) != PQbackendPID(s->conn[side].pg)) {
        log_error("source", "the relay is connected through a pooler", "remedy",
                  "let the dsn name PostgreSQL itself; applications may go through the pooler" THEN_START);
        source_refuse(s, EXIT_CONFIGURATION);
        return -1;
    }
    snprintf(s->history[side], sizeof s->history[side], "%s", PQgetvalue(res, 0, SQL_CHECK_HISTORY));
    s->policies = !PQgetisnull(res, 0, SQL_CHECK_POLICIES);
    if (side == READ_SIDE && s->policies)
        log_warn("source", "row-level security may hide events from this relay; what it does not see is not published",
                 "tables", PQgetvalue(res, 0, SQL_CHECK_POLICIES), "remedy", VERDICT_SEE_ALL_ROWS);
    if (strcmp(PQgetvalue(res, 0, 1), "t") != 0) {
        log_error("source", "the outbox is not installed in this database", "dbname", PQdb(s->conn[side].pg), "remedy",
                  "let the DBA apply sql/001_outbox.up.sql, or correct the dsn" THEN_START);
        source_refuse(s, EXIT_CONFIGURATION);
        return -1;
    }
    return 0;
}

static bool fits(int installed, int breaking)
{
    return installed >= SCHEMA_VERSION && breaking <= SCHEMA_VERSION;
}

static int check_schema(struct source *s, const PGresult *res)
{
    int installed = atoi(PQgetvalue(res, 0, 0)), breaking = atoi(PQgetvalue(res, 0, 1));

    if (fits(installed, breaking))
        return 0;
    if (installed == 0 && source_is_hidden(s, "outbox.schema_version"))
        return -1;
    log_error("source", installed < SCHEMA_VERSION ? "the schema is too old for this relay"
                                                   : "the schema is too new for this relay",
              "installed", log_i64(installed), "breaking", log_i64(breaking), "needs",
              log_i64(SCHEMA_VERSION), "remedy",
              installed < SCHEMA_VERSION ? "apply the newer files in sql/" THEN_START : "upgrade outbox-relay" THEN_START);
    source_refuse(s, EXIT_CONFIGURATION);
    return -1;
}

static void link_is_up(struct source *s, uint64_t now_ms, enum side side)
{
    bool moved = s->last_history[0] != '\0' && strcmp(s->last_history, s->history[side]) != 0;

    if (strcmp(s->history[READ_SIDE], s->history[MARK_SIDE]) != 0) {
        source_link_lost(s, now_ms, "the two connections reached different servers");
        return;
    }
    s->up = true;
    if (!s->unwritable)
        s->failures = 0;
    log_info("source", "connected", "host", PQhost(s->conn[side].pg), "dbname",
             PQdb(s->conn[side].pg), "server",
             PQparameterStatus(s->conn[side].pg, "server_version"));
    if (moved)
        log_warn("source", "this is another cluster or timeline than before; what is confirmed and not "
                 "marked goes again", "before", s->last_history, "now", s->history[side]);
    memcpy(s->last_history, s->history[side], sizeof s->last_history);
    aside_link_up(s, now_ms);
    CRASH_POINT("source.connected");
    source_push(s, (struct source_event){ .type = SOURCE_UP, .moved = moved });
}

/* One step of the set-up of one connection; res is the answer to the step before. */
void setup_step(struct source *s, uint64_t now_ms, enum side side, const PGresult *res)
{
    static const char *const text[N_SIDES][SETUP_DONE] = {
        { SQL_SESSION SQL_CHECK, SQL_VERSION, SQL_PREPARE_READS SQL_PREPARE_HELD_READS, NULL },
        { SQL_SESSION SQL_CHECK, SQL_VERSION,
          SQL_CONNECTED SQL_PREPARE_MARK SQL_PREPARE_ACQUIRE SQL_PREPARE_FLOOR SQL_PREPARE_RENEW SQL_PREPARE_RESIGN
              SQL_PREPARE_HOLD SQL_MAY_MARK SQL_MAY_HOLD,
          NULL },
    };
    enum setup at = s->setup[side];

    if (at != SETUP_CONNECT && !result_ok(res)) {
        setup_failed(s, now_ms, res);
        return;
    }
    if ((at == SETUP_SESSION || at == SETUP_VERSION) && PQntuples(res) != 1) {
        source_link_lost(s, now_ms, "the server's answer is not one row");
        return;
    }
    if (at == SETUP_SESSION && check_server(s, side, res) < 0)
        return;
    if (at == SETUP_VERSION && check_schema(s, res) < 0)
        return;
    s->setup[side] = at + 1;
    if (at + 1 < SETUP_DONE) {
        if (conn_send_text(&s->conn[side], now_ms, text[side][at]) < 0)
            source_link_lost(s, now_ms, conn_error(&s->conn[side]));
        return;
    }
    if (s->setup[READ_SIDE] == SETUP_DONE && s->setup[MARK_SIDE] == SETUP_DONE)
        link_is_up(s, now_ms, side);
}

void source_schema(struct source *s, uint64_t now_ms)
{
    aside_send(s, now_ms, ASIDE_SCHEMA, "outbox_schema", 0, NULL, NULL);
}

/* The links that are up go on: what a migration breaks for them is said by the statement that fails. */
void schema_on_answer(struct source *s, const PGresult *res)
{
    struct source_event e = { .type = SOURCE_SCHEMA };

    if (res != NULL && PQntuples(res) == 1 && !PQgetisnull(res, 0, 0)) {
        int breaking = atoi(PQgetvalue(res, 0, 1));
        e.schema_version = atoi(PQgetvalue(res, 0, 0));
        e.schema_ends = !fits(e.schema_version, breaking);
        if (e.schema_ends && e.schema_version != s->schema_told)
            log_warn("source", "the schema has changed; this relay goes on, and ends when it connects next",
                     "installed", log_i64(e.schema_version), "breaking", log_i64(breaking), "needs",
                     log_i64(SCHEMA_VERSION), "remedy", "install " VERDICT_MEND_SCHEMA);
        s->schema_told = e.schema_ends ? e.schema_version : 0;
    }
    source_push(s, e);
}
