/* json.c - the status as JSON. See pages.h. */
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "relay/http/pages.h"
#include "relay/text.h"

/* Text of others; what is no UTF-8 is shown escaped. "" becomes null. */
static json_t *text_of(const char *text)
{
    char *shown = NULL;
    size_t len = 0;

    if (text == NULL || text[0] == '\0')
        return json_null();
    if (text_is_utf8(text, strlen(text)))
        return json_string(text);
    FILE *safe = open_memstream(&shown, &len);
    if (safe == NULL)
        return json_null();
    text_put(safe, text, 1000);
    json_t *value = fclose(safe) == 0 && shown != NULL ? json_string(shown) : json_null();
    free(shown);
    return value;
}

/* Negative: not known. */
static json_t *number_of(double n)
{
    return n >= 0 && !isinf(n) ? json_real(n) : json_null();
}

static json_t *count_of(int64_t n)
{
    return n >= 0 ? json_integer(n) : json_null();
}

static json_t *fact_of(enum verdict_fact fact)
{
    return fact == FACT_UNKNOWN ? json_null() : json_boolean(fact == FACT_YES);
}

static const char *role_of(enum verdict_role role)
{
    switch (role) {
    case VERDICT_STARTING:
        return "starting";
    case VERDICT_NOT_KNOWN:
        return "unknown";
    case VERDICT_LEADS:
        return "leads";
    case VERDICT_STANDS_BY:
        return "stands_by";
    case VERDICT_NOBODY_LEADS:
        return "nobody_leads";
    case VERDICT_STOPPING:
        return "stopping";
    }
    return "";
}

static json_t *findings_of(const struct verdict *v)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < v->n_findings; i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:s}", "level", verdict_level_name(v->finding[i].level),
                                              "text", text_of(v->finding[i].text), "remedy", v->finding[i].remedy));
    return list;
}

static json_t *topics_of(const struct status *s)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->n_topics; i++) {
        const struct status_topic *t = &s->topic[i];
        json_array_append_new(
            list, json_pack("{s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "topic", text_of(t->name), "paused", t->paused,
                            "why", text_of(t->why), "rate", number_of(t->rate), "pending", count_of(t->pending), "held",
                            count_of(t->held), "dead", count_of(t->dead), "oldest_s", number_of(t->oldest_s)));
    }
    return list;
}

static json_t *held_of(const struct figures *f)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < f->n_held; i++) {
        const struct figures_held *r = &f->row[i];
        json_array_append_new(
            list, json_pack("{s:I, s:o, s:o, s:o, s:I, s:o, s:o, s:o, s:o}", "id", (json_int_t)r->id, "event_id",
                            text_of(r->event_id), "topic", text_of(r->topic), "state", text_of(r->state), "attempts",
                            (json_int_t)r->attempts, "since_s", number_of(r->since_s), "next_s", number_of(r->next_s),
                            "error_code", text_of(r->code), "error", text_of(r->error)));
    }
    return list;
}

static json_t *blockers_of(const struct figures *f)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < f->n_blockers; i++) {
        const struct figures_blocker *b = &f->blocker[i];
        json_array_append_new(list, json_pack("{s:I, s:o, s:o, s:o, s:b, s:b}", "pid", (json_int_t)b->pid, "application",
                                              text_of(b->application), "user", text_of(b->user), "age_s",
                                              number_of(b->age_s), "holds_rows", b->holds_rows, "holds_truncate",
                                              b->holds_truncate));
    }
    return list;
}

static json_t *errors_of(const struct status *s)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->n_errors; i++) {
        const struct log_line *l = &s->error[i];
        json_array_append_new(list, json_pack("{s:f, s:s, s:o, s:o, s:i}", "unix_time", (double)l->unix_ms / 1e3, "level",
                                              l->level == LOG_LEVEL_ERROR ? "error" : "warn", "component",
                                              text_of(l->component), "text", text_of(l->text), "times", (int)l->times));
    }
    return list;
}

static json_t *samples_of(const struct status *s)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < s->n_samples; i++)
        json_array_append_new(list, json_pack("[o, o, o]", number_of((double)s->sample[i].rate),
                                              number_of((double)s->sample[i].pending),
                                              number_of((double)s->sample[i].latency_s)));
    return list;
}

void json_write(const struct status *s, FILE *out)
{
    bool known = s->figures_known;
    json_t *all = json_pack(
        "{s:o, s:s, s:o, s:s, s:o, s:o, s:f, s:f, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o}", //
        "verdict", text_of(s->verdict.text), "level", verdict_level_name(s->verdict.level), "findings",
        findings_of(&s->verdict), "role", role_of(s->role), "owner", text_of(s->owner), "leader",
        text_of(s->leader), "unix_time", (double)s->unix_ms / 1e3, "started_unix_time",
        (double)s->started_unix_ms / 1e3, "db_up", s->db_up, "db_error", text_of(s->db_error), "kafka_up",
        fact_of(s->kafka_up), "kafka_error", text_of(s->kafka_error), "rate", number_of(s->rate), "latency_p99_s",
        number_of(s->latency_s), "pending", count_of(s->pending), "oldest_s", number_of(s->oldest_s), "pending_estimated",
        s->pending_about, "stuck_s", number_of(s->stuck_s), "inflight_rows", count_of(s->inflight_rows));

    if (all != NULL) {
        json_object_set_new(all, "db_lost_s", number_of(s->db_lost_s));
        json_object_set_new(all, "figures_age_s", known ? number_of(s->figures_age_s) : json_null());
        json_object_set_new(all, "bytes", count_of(s->bytes));
        json_object_set_new(all, "bucket_overdue_s", number_of(s->overdue_s));
        json_object_set_new(all, "topics", topics_of(s));
        json_object_set_new(all, "held", known ? held_of(&s->figures) : json_null());
        json_object_set_new(all, "blockers", known ? blockers_of(&s->figures) : json_null());
        json_object_set_new(all, "recent_errors", errors_of(s));
        json_object_set_new(all, "samples_5s", samples_of(s));
        json_dumpf(all, out, JSON_COMPACT | JSON_REAL_PRECISION(12));
    }
    putc('\n', out);
    json_decref(all);
}
