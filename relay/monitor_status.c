/* monitor_status.c - from what was counted, and the state of the core, to what is published. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/monitor_inside.h"

_Static_assert(FIGURES_STATES == (int)N_METRIC_STATES && FIGURES_PARTS == LABELS_PART,
               "the figures have another number of states or of parts than the metrics");

/* Figures that are older say nothing about now. */
#define FIGURES_OLD_MS 45000

const struct figures *monitor_fresh_figures(const struct monitor *m)
{
    return m->db_up && m->figures_ms > 0 && m->now_ms - m->figures_ms < FIGURES_OLD_MS ? m->figures : NULL;
}

static double since_s(const struct monitor *m, uint64_t ms)
{
    return (double)(m->now_ms - ms) / 1000;
}

/* -- the gauges ----------------------------------------------------------------------------- */

/* The time that was so long ago when the figures were had. */
static double ago(const struct monitor *m, double seconds)
{
    return (double)m->unix_us / 1e6 - since_s(m, m->figures_ms) - seconds;
}

/* To the earlier time. */
static void set_since(const struct monitor *m, double age_s, double *gauge)
{
    double since = ago(m, age_s);

    if (age_s >= 0 && !(*gauge <= since))
        *gauge = since;
}

static void set_topic_gauges(struct monitor *m, const struct figures *f)
{
    struct metrics *t = &m->metrics;

    for (uint32_t i = 0; i < LABELS_TOPIC; i++) {
        t->pending_rows[i] = f != NULL ? 0 : (double)NAN;
        t->oldest_pending[i] = t->oldest_blocked[i] = NAN;
    }
    for (uint32_t i = 0; f != NULL && i < f->n_topics; i++) {
        const struct figures_topic *from = &f->topic[i];
        uint32_t index = from->name[0] != '\0' ? metrics_topic(t, from->name) : METRIC_TOPICS;
        t->topics.others = t->topics.others || index == METRIC_TOPICS;
        t->pending_rows[index] += (double)from->pending;
        set_since(m, from->oldest_s, &t->oldest_pending[index]);
        set_since(m, from->behind_s, &t->oldest_blocked[index]);
    }
}

static void set_figure_gauges(struct monitor *m, const struct figures *f)
{
    struct metrics *t = &m->metrics;

    t->pending_estimated[0] = f != NULL ? f->estimated : (double)NAN;
    for (int s = 0; s < N_METRIC_STATES; s++)
        t->held_rows[s] = f != NULL ? (double)f->held[s] : (double)NAN;
    t->blockers[0] = f != NULL ? f->n_blockers + f->n_more_blockers : (double)NAN;
    t->oldest_blocker[0] =
        f != NULL && f->n_blockers > 0 && f->blocker[0].age_s >= 0 ? ago(m, f->blocker[0].age_s) : (double)NAN;
    set_topic_gauges(m, f);
}

/* known: somebody has looked whether one waits. */
static void set_space_gauges(struct monitor *m, const struct figures *f, bool known, double overdue_s)
{
    struct metrics *t = &m->metrics;

    t->bucket_overdue[0] = overdue_s > 0 ? overdue_s : known ? 0 : (double)NAN;
    for (int i = 0; i < FIGURES_PARTS; i++)
        t->outbox_bytes[i] = f != NULL ? (double)f->bytes[i] : (double)NAN;
}

static void set_gauges(struct monitor *m, const struct core *core, bool looked, double overdue_s)
{
    struct metrics *t = &m->metrics;

    t->leader[0] = core->phase == CORE_LEAD;
    t->db_up[0] = m->db_up;
    t->schema_supported[0] = m->db_up ? m->schema_ends == 0 : (double)NAN;
    t->kafka_up[0] = m->kafka_up == FACT_YES;
    t->stuck_seconds[0] = monitor_stuck_s(m);
    t->inflight_rows[0] = core->window.n;
    t->inflight_bytes[0] = (double)core->window.bytes;
    for (uint32_t i = 0; i < LABELS_TOPIC; i++)
        t->topic_paused[i] = 0;
    for (uint32_t i = 0; i < core->topics.n; i++)
        if (core->phase == CORE_LEAD && topic_keeps_rows_waiting(&core->topics.topic[i]))
            t->topic_paused[metrics_topic(t, core->topics.topic[i].name)] = 1;
    set_figure_gauges(m, monitor_fresh_figures(m));
    set_space_gauges(m, monitor_fresh_figures(m), core->phase == CORE_LEAD && looked && m->aside_error[0] == '\0', overdue_s);
}

/* -- topics --------------------------------------------------------------------------------- */

static struct status_topic *add_topic(struct status *s, const char *name)
{
    if (s->n_topics == STATUS_TOPICS) {
        s->n_more_topics++;
        return NULL;
    }
    struct status_topic *t = &s->topic[s->n_topics++];
    *t = (struct status_topic){ .rate = -1, .pending = -1, .held = -1, .dead = -1, .oldest_s = -1 };
    snprintf(t->name, sizeof t->name, "%s", name);
    return t;
}

static void add_core_topics(struct monitor *m, const struct core *core, const struct incidents *incidents,
                            struct status *s, bool paused)
{
    for (uint32_t i = 0; i < core->topics.n; i++) {
        const struct topic *from = &core->topics.topic[i];
        if (topic_keeps_rows_waiting(from) != paused)
            continue;
        struct status_topic *t = add_topic(s, from->name);
        if (t == NULL)
            continue;
        uint32_t index = metrics_topic(&m->metrics, from->name);
        t->rate = index < METRIC_TOPICS ? monitor_rate(m, index) : -1;
        t->paused = paused;
        const struct reason *why = paused ? incidents_of_topic(incidents, i) : NULL;
        if (why != NULL)
            snprintf(t->why, sizeof t->why, "%s: %s", why->code, why->text != NULL ? why->text : "");
        else if (paused)
            snprintf(t->why, sizeof t->why, "%s", from->found_paused ? "it was paused when this lead began"
                                                                     : "no progress while some broker answers");
    }
}

static struct status_topic *topic_called(struct status *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_topics; i++)
        if (strcmp(s->topic[i].name, name) == 0)
            return &s->topic[i];
    return NULL;
}

static void add_figures(const struct figures *f, struct status *s)
{
    for (uint32_t i = 0; i < s->n_topics; i++)
        s->topic[i].pending = s->topic[i].held = s->topic[i].dead = 0;
    for (uint32_t i = 0; i < f->n_topics; i++) {
        const struct figures_topic *from = &f->topic[i];
        struct status_topic *t = topic_called(s, from->name);
        if (t == NULL && from->name[0] != '\0')
            t = add_topic(s, from->name);
        if (t == NULL)
            continue;
        t->pending = from->pending;
        t->held = from->held;
        t->dead = from->dead;
        t->oldest_s = from->oldest_s > from->behind_s ? from->oldest_s : from->behind_s;
    }
}

static void fill_topics(struct monitor *m, const struct core *core, const struct incidents *incidents,
                        struct status *s)
{
    if (core->phase == CORE_LEAD) {
        add_core_topics(m, core, incidents, s, true);
        s->n_paused = s->n_topics + s->n_more_topics;
        add_core_topics(m, core, incidents, s, false);
    }
    if (s->figures_known)
        add_figures(&s->figures, s);
}

/* -- the rest ------------------------------------------------------------------------------- */

static enum verdict_role role_of(const struct monitor *m, const struct core *core)
{
    switch (core->phase) {
    case CORE_LEAD:
        return VERDICT_LEADS;
    case CORE_DRAIN:
    case CORE_DONE:
        return VERDICT_STOPPING;
    case CORE_FOLLOW:
        break;
    }
    if (m->followed && m->db_up)
        return VERDICT_STANDS_BY;
    return m->had_role || (m->db_was_up && !m->db_up) ? VERDICT_NOT_KNOWN : VERDICT_STARTING;
}

/* As it is now: the answer was of the moment at which it came. */
static void fill_leader(const struct monitor *m, struct status *s)
{
    double looked_s = since_s(m, m->leader.ms);

    memcpy(s->leader, m->leader.owner, sizeof s->leader);
    s->leader_silent_s = s->lease_left_s = -1;
    s->leader_looked_s = looked_s;
    if (s->leader[0] != '\0' && m->leader.silent_s >= 0)
        s->leader_silent_s = m->leader.silent_s + looked_s;
    if (s->leader[0] != '\0')
        s->lease_left_s = m->leader.left_s - looked_s;
}

/* While no broker answers nothing passes: what is in hand waits, also what has come since the figures were had. */
static bool in_hand_waits(const struct core *core, const struct status *s)
{
    return core->phase == CORE_LEAD && s->kafka_up == FACT_NO && (int64_t)core->window.n > s->figures.pending;
}

/* Of the figures, or what is known without them: what is in hand, or, where nobody is served and so none are asked for,
 * that nothing is left to read. */
static void fill_waiting(const struct core *core, bool is_served, struct status *s)
{
    s->pending = -1;
    s->oldest_s = -1;
    if (s->figures_known && !in_hand_waits(core, s)) {
        s->pending = s->figures.pending;
        s->pending_about = s->figures.estimated;
        s->oldest_s = s->figures.oldest_s;
        s->pending_age_s = s->figures_age_s;
    } else if (!is_served && core->phase == CORE_LEAD && core->window.n == 0 && core->caught_up) {
        s->pending = 0;
    } else if (core->phase == CORE_LEAD && core->window.n > 0) {
        s->pending = core->window.n;
        s->pending_about = true;
    }
}

static void set_blocker(const struct figures *f, struct verdict_input *in)
{
    in->n_blockers = f->n_blockers + f->n_more_blockers;
    uint32_t oldest = 0; /* whose events wait; a lock alone is told of with its bucket */
    while (oldest < f->n_blockers && !f->blocker[oldest].holds_rows)
        oldest++;
    if (f->n_blockers == 0)
        return;
    if (oldest == f->n_blockers)
        oldest = 0;
    in->blocker = (struct verdict_blocker){
        .pid = f->blocker[oldest].pid,
        .application = f->blocker[oldest].application[0] != '\0' ? f->blocker[oldest].application : NULL,
        .age_s = f->blocker[oldest].age_s,
        .holds_rows = f->blocker[oldest].holds_rows,
        .holds_truncate = f->blocker[oldest].holds_truncate,
    };
}

static void set_refused(const struct figures *f, struct verdict_input *in)
{
    in->refused = f->held[STATE_RETRYING];
    for (uint32_t i = 0; i < f->n_held && in->refused_code == NULL; i++)
        if (strcmp(f->row[i].state, "retrying") == 0 && f->row[i].code[0] != '\0') {
            in->refused_code = f->row[i].code;
            in->refused_id = f->row[i].id;
        }
}

static const char *or_null(const char *text)
{
    return text[0] != '\0' ? text : NULL;
}

static void judge(const struct monitor *m, const struct status *s, const struct verdict_overdue *overdue, bool short_ring,
                  struct verdict *ret_verdict)
{
    struct verdict_input in = VERDICT_INPUT_UNKNOWN;

    in.role = s->role;
    in.db_up = s->db_up ? FACT_YES : s->db_error[0] != '\0' || s->db_was_up ? FACT_NO : FACT_UNKNOWN;
    in.db_error = or_null(s->db_error);
    in.db_again_s = s->db_again_s;
    in.db_remedy = s->db_remedy;
    in.schema_ends = s->schema_ends;
    in.kafka_up = s->kafka_up;
    in.kafka_error = or_null(s->kafka_error);
    in.leader = or_null(s->leader);
    in.silent_s = s->leader_silent_s;
    in.looked_s = s->leader_looked_s;
    in.lease_left_s = s->lease_left_s;
    in.pending = s->pending;
    in.pending_about = s->pending_about;
    in.as_of_s = s->pending_age_s;
    in.oldest_s = s->oldest_s;
    in.unmoved_s = s->figures_known && s->figures.oldest_s >= 0 ? ((double)m->figures_ms - (double)m->oldest_ms) / 1000 : -1;
    in.rate = s->rate;
    in.idle_s = s->idle_s;
    in.stuck_s = s->stuck_s;
    in.failure = (struct verdict_failure){ s->failure.s, s->failure.why, s->failure.code, s->failure.remedy, s->failure.stands };
    in.aside_error = or_null(m->aside_error);
    in.aside_remedy = m->aside_remedy;
    in.twice_id = s->twice_id;
    in.overdue = *overdue;
    in.short_ring = short_ring;
    in.n_paused = s->n_paused;
    if (s->n_paused > 0) {
        in.paused_topic = s->topic[0].name;
        in.paused_why = s->topic[0].why;
    }
    if (s->figures_known) {
        in.held = s->figures.held[STATE_RETRYING] + s->figures.held[STATE_BLOCKED] +
                  s->figures.held[STATE_PAUSED] + s->figures.held[STATE_SCHEDULED];
        in.dead = s->figures.held[STATE_DEAD];
        set_refused(&s->figures, &in);
        set_blocker(&s->figures, &in);
    }
    verdict_reach(&in, ret_verdict);
}

static void fill_samples(const struct monitor *m, struct status *s)
{
    uint32_t n = m->n_samples < STATUS_SAMPLES ? m->n_samples : STATUS_SAMPLES;

    for (uint32_t i = 0; i < n; i++)
        s->sample[i] = m->sample[(m->n_samples - n + i) % STATUS_SAMPLES];
    s->n_samples = n;
    s->latency_s = -1;
    for (uint32_t i = n; i > 0 && i + 12 > n && s->latency_s < 0; i--) /* within the last minute */
        s->latency_s = s->sample[i - 1].latency_s;
}

static int64_t sum_of(const int64_t *bytes)
{
    int64_t sum = 0;

    for (int i = 0; i < FIGURES_PARTS; i++)
        sum += bytes[i];
    return sum;
}

static void fill(struct monitor *m, const struct core *core, const struct incidents *incidents, struct status *s)
{
    const struct figures *f = monitor_fresh_figures(m);

    s->bytes = f != NULL ? sum_of(f->bytes) : -1;
    s->number = ++m->n_published;
    s->made_ms = m->now_ms;
    s->unix_ms = m->unix_us / 1000;
    s->started_unix_ms = m->started_unix_ms;
    s->version = m->cfg.version;
    snprintf(s->owner, sizeof s->owner, "%s", m->cfg.owner);
    s->role = role_of(m, core);
    s->db_up = m->db_up;
    s->db_was_up = m->db_was_up;
    s->db_lost_s = m->db_was_up && !m->db_up ? since_s(m, m->db_lost_ms) : -1;
    s->schema_ends = m->schema_ends;
    memcpy(s->db_error, m->db_error, sizeof s->db_error);
    s->db_again_s = m->db_again_ms > m->now_ms ? (double)(m->db_again_ms - m->now_ms) / 1000 : -1;
    s->db_remedy = m->db_remedy;
    s->kafka_up = m->kafka_up;
    memcpy(s->kafka_error, m->kafka_error, sizeof s->kafka_error);
    s->stuck_s = monitor_stuck_s(m);
    s->twice_id = m->twice_id;
    s->failure = m->failure;
    s->failure.s = m->failure_ms > 0 ? since_s(m, m->failure_ms) : -1;
    s->rate = s->role == VERDICT_LEADS ? monitor_rate(m, LABELS_TOPIC) : -1;
    s->idle_s = m->metrics.last_ack[0] > 0 ? (double)m->unix_us / 1e6 - m->metrics.last_ack[0] : -1;
    s->inflight_rows = core->window.n;
    s->figures_known = f != NULL;
    if (f != NULL) {
        s->figures = *f;
        s->figures_age_s = since_s(m, m->figures_ms);
    }
    fill_leader(m, s);
    fill_topics(m, core, incidents, s);
    fill_waiting(core, m->server != NULL, s);
    fill_samples(m, s);
    s->n_errors = (uint32_t)log_recent(s->error, STATUS_ERRORS);
}

void monitor_publish(struct monitor *m, const struct core *core, const struct incidents *incidents,
                     const struct janitor *janitor)
{
    struct status *s = calloc(1, sizeof *s);
    struct verdict_overdue overdue = { .s = -1 };
    bool leads = core->phase == CORE_LEAD;

    if (s == NULL)
        return; /* what was published stays; it shows its age */
    if (leads)
        overdue = janitor_overdue(janitor, m->now_ms);
    set_gauges(m, core, janitor_knows(janitor), overdue.s);
    s->metrics = m->metrics;
    fill(m, core, incidents, s);
    s->overdue_s = overdue.s;
    judge(m, s, &overdue, leads && janitor->short_ring, &s->verdict);
    snprintf(m->sentence, sizeof m->sentence, "%s", s->verdict.text);
    status_publish(&m->board, s);
}
