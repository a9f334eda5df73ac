/* health.c - is the process alive, and is it ready? From what is published. See pages.h. */
#include <inttypes.h>

#include "relay/http/pages.h"

/* One check; its line names it, and says more where there is more to say. */
static bool check(FILE *out, bool good, const char *name, const char *more)
{
    if (out != NULL)
        fprintf(out, "[%c]%s %s%s\n", good ? '+' : '-', name, good ? "ok" : "failed: ", good ? "" : more);
    return good;
}

bool health_live(uint64_t turned_ms, uint64_t now_ms)
{
    return now_ms < turned_ms + LIVE_MS;
}

static bool check_role(FILE *out, const struct status *s)
{
    switch (s->role) {
    case VERDICT_LEADS:
    case VERDICT_STANDS_BY:
        return check(out, true, s->role == VERDICT_LEADS ? "leads" : "stands-by", "");
    case VERDICT_STOPPING:
        return check(out, false, "role", "it is stopping");
    case VERDICT_STARTING:
    case VERDICT_NOT_KNOWN:
    case VERDICT_NOBODY_LEADS:
        break;
    }
    return check(out, false, "role", "it has not heard yet who leads");
}

/* Kafka alone never makes the relay unready: restarting it, or taking it away, would mend nothing. */
static void say_kafka(FILE *out, const struct status *s)
{
    if (out == NULL)
        return;
    fprintf(out, "[+]kafka %s\n",
            s->kafka_up == FACT_YES  ? "ok"
            : s->kafka_up == FACT_NO ? "does not count: no broker answers; rows wait, nothing is lost"
                                     : "does not count: nothing was heard of a broker yet");
}

bool health_ready(const struct status *s, uint64_t turned_ms, uint64_t now_ms, FILE *out)
{
    char stuck[96], lost[400];
    bool ready = check(out, health_live(turned_ms, now_ms), "loop", "it has not turned for 30 s");

    if (s == NULL)
        return check(out, false, "started", "nothing is known yet");
    snprintf(lost, sizeof lost, "%s", s->db_error[0] != '\0' ? s->db_error : "no connection yet");
    ready = check(out, s->db_up, "database", lost) && ready;
    if (s->schema_ends != 0 && out != NULL) /* to take away a relay that works would mend nothing */
        fprintf(out, "[+]schema does not count yet: it is version %d now, and this relay ends when it connects next\n",
                s->schema_ends);
    else
        ready = check(out, s->db_was_up, "schema", "it was not seen yet") && ready;
    if (s->db_up)
        ready = check_role(out, s) && ready;
    snprintf(stuck, sizeof stuck, "rows that could move have not moved for %.0f s", s->stuck_s);
    ready = check(out, s->stuck_s <= 0, "progress", stuck) && ready;
    say_kafka(out, s);
    if (out != NULL)
        fprintf(out, "%s\n", s->verdict.text);
    return ready;
}
