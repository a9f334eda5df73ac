/* monitor.c - when it publishes, and what the database says. See monitor.h. */
#include "relay/monitor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "relay/log.h"
#include "relay/loop.h"
#include "relay/monitor_inside.h"

#define PUBLISH_MS 1000
/* The schema is looked at so often. */
#define SCHEMA_MS 10000
/* Figures are asked for so often while somebody looks, and else. */
#define FIGURES_WATCHED_MS 5000
#define FIGURES_IDLE_MS 15000
/* So long after the last look somebody still counts as looking: a scraper comes every minute at least. */
#define WATCHED_MS 75000
/* What does not move is noticed so long after stall.timeout, by which the relay itself would have acted. */
#define STUCK_MARGIN_MS 5000
#define STUCK_DEFAULT_MS 30000

int64_t monitor_unix_us(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

struct monitor *monitor_new(const struct monitor_config *cfg, uint64_t now_ms)
{
    struct monitor *m = calloc(1, sizeof *m);

    if (m == NULL || (m->figures = calloc(1, sizeof *m->figures)) == NULL) {
        free(m);
        return NULL;
    }
    m->cfg = *cfg;
    metrics_init(&m->metrics, &m->names);
    m->metrics.build_info[0] = 1;
    m->metrics.version = cfg->version;
    m->metrics.librdkafka = cfg->librdkafka;
    m->metrics.libpq = cfg->libpq;
    m->now_ms = now_ms;
    m->sample_ms = now_ms + STATUS_SAMPLE_MS;
    m->tally[0].ms = now_ms;
    m->n_tallies = 1;
    m->unix_us = monitor_unix_us();
    m->started_unix_ms = m->unix_us / 1000;
    status_board_init(&m->board);
    atomic_store(&m->board.turned_ms, now_ms);
    if (cfg->listen != NULL && (m->server = http_new(cfg->listen, &m->board)) == NULL) {
        monitor_free(m);
        return NULL;
    }
    return m;
}

void monitor_free(struct monitor *m)
{
    if (m == NULL)
        return;
    http_free(m->server); /* first: it reads what follows */
    status_board_deinit(&m->board);
    metrics_deinit(&m->names);
    free(m->topic_index);
    free(m->figures);
    free(m);
}

void monitor_configure(struct monitor *m, uint64_t stall_timeout_ms)
{
    m->cfg.stall_timeout_ms = stall_timeout_ms;
}

/* -- time ----------------------------------------------------------------------------------- */

static void take_tally(struct monitor *m)
{
    struct tally *t = &m->tally[m->n_tallies++ % 3];

    t->ms = m->now_ms;
    t->all = 0;
    for (uint32_t i = 0; i < LABELS_TOPIC; i++) {
        t->acked[i] = m->metrics.rows_acked[i];
        t->all += t->acked[i];
    }
}

double monitor_rate(const struct monitor *m, uint32_t topic_index)
{
    const struct tally *from = &m->tally[m->n_tallies < 3 ? 0 : m->n_tallies % 3];
    uint64_t now = 0, then = topic_index < LABELS_TOPIC ? from->acked[topic_index] : from->all;
    double seconds = (double)(m->now_ms - from->ms) / 1000;

    if (topic_index < LABELS_TOPIC)
        now = m->metrics.rows_acked[topic_index];
    for (uint32_t i = 0; topic_index == LABELS_TOPIC && i < LABELS_TOPIC; i++)
        now += m->metrics.rows_acked[i];
    return seconds >= 1 ? (double)(now - then) / seconds : -1;
}

static void take_sample(struct monitor *m)
{
    const struct tally *last = &m->tally[(m->n_tallies - 1) % 3];
    double p99 = metrics_quantile(&m->confirmed, 0.99), seconds = (double)(m->now_ms - last->ms) / 1000;
    const struct figures *f = monitor_fresh_figures(m);
    uint64_t before = last->all;

    take_tally(m);
    const struct tally *now = &m->tally[(m->n_tallies - 1) % 3];
    m->sample[m->n_samples++ % STATUS_SAMPLES] = (struct status_sample){
        .rate = (float)((double)(now->all - before) / (seconds > 0 ? seconds : 1)),
        .pending = f != NULL ? (float)f->pending : -1,
        .latency_s = isnan(p99) ? -1 : (float)p99,
    };
    m->confirmed = (struct histogram){ .sum = 0 };
}

void monitor_turn(struct monitor *m, uint64_t now_ms)
{
    m->now_ms = now_ms;
    m->unix_us = monitor_unix_us();
    atomic_store_explicit(&m->board.turned_ms, now_ms, memory_order_relaxed);
    if (now_ms >= m->sample_ms) {
        take_sample(m);
        m->sample_ms = now_ms + STATUS_SAMPLE_MS;
    }
    if (m->server != NULL)
        http_tick(m->server, now_ms);
}

uint64_t monitor_deadline(const struct monitor *m)
{
    return m->server == NULL ? UINT64_MAX : m->publish_ms;
}

/* -- does it move? -------------------------------------------------------------------------- */

void monitor_moves(struct monitor *m, enum stage stage)
{
    m->moved_ms[stage] = m->now_ms;
}

/* Between two reads of the outbox, which poll.max may put far apart. */
static bool rests(const struct monitor *m, const struct core *core)
{
    return core->read_pause[READING_OUTBOX].failures == 0 && m->now_ms < core->next_poll_ms;
}

/* A stage without rows that could move is not stuck, and nothing is while its server is away. Reading is
 * judged only with nothing in hand: with something, reading may have to wait for it. */
static void note_idle_stages(struct monitor *m, const struct core *core)
{
    const uint32_t *n = core->window.n_state;
    bool leads = core->phase == CORE_LEAD && m->db_up;

    if (!leads || core->window.n > 0 || rests(m, core))
        monitor_moves(m, STAGE_READ);
    if (!leads || m->kafka_up == FACT_NO || n[ROW_READY] + n[ROW_SENT] + n[ROW_RETURNED] == 0)
        monitor_moves(m, STAGE_SEND);
    if (!leads || n[ROW_ACKED] + n[ROW_MARKING] == 0)
        monitor_moves(m, STAGE_MARK);
    if (!leads || n[ROW_HOLD] + n[ROW_HOLDING] == 0)
        monitor_moves(m, STAGE_HOLD);
}

double monitor_stuck_s(const struct monitor *m)
{
    uint64_t limit = (m->cfg.stall_timeout_ms > 0 ? m->cfg.stall_timeout_ms : STUCK_DEFAULT_MS) + STUCK_MARGIN_MS;
    uint64_t longest = 0;

    for (int s = 0; s < N_STAGES; s++)
        if (m->now_ms - m->moved_ms[s] > longest)
            longest = m->now_ms - m->moved_ms[s];
    return longest >= limit ? (double)longest / 1000 : 0;
}

void monitor_state(struct monitor *m, const struct core *core, const struct incidents *incidents,
                   const struct janitor *janitor)
{
    if (m->now_ms < m->publish_ms)
        return;
    note_idle_stages(m, core);
    m->metrics.duplicates[0] = core->n_maybe;
    monitor_publish(m, core, incidents, janitor);
    m->publish_ms = m->now_ms + PUBLISH_MS;
}

const char *monitor_sentence(const struct monitor *m)
{
    return m->sentence;
}

/* -- the database --------------------------------------------------------------------------- */

void monitor_asked(struct monitor *m, enum metric_op op)
{
    m->asked_us[op] = loop_now_us();
    if (op == OP_FIGURES)
        m->figures_asked_ms = m->now_ms;
}

void monitor_answered(struct monitor *m, enum metric_op op)
{
    if (m->asked_us[op] == 0)
        return;
    metrics_seconds(&m->metrics.db_query[op], (double)(loop_now_us() - m->asked_us[op]) / 1e6);
    m->asked_us[op] = 0;
}

void monitor_next_attempt(struct monitor *m, uint64_t at_ms)
{
    m->db_again_ms = at_ms;
}

void monitor_link(struct monitor *m, bool up, const char *why, const char *remedy)
{
    if (up && m->db_was_up)
        m->metrics.db_reconnects[0]++;
    if (m->db_up && !up)
        m->db_lost_ms = m->now_ms;
    m->db_up = up;
    m->leader.owner[0] = '\0';
    m->schema_ends = 0; /* or the link would not be up */
    m->schema_asked_ms = m->now_ms;
    m->followed = false;
    m->failure_ms = 0;
    m->twice_id = 0;
    m->db_was_up = m->db_was_up || up;
    snprintf(m->db_error, sizeof m->db_error, "%s", up || why == NULL ? "" : why);
    m->db_remedy = remedy;
    if (!up)
        memset(m->asked_us, 0, sizeof m->asked_us);
}

void monitor_aside(struct monitor *m, const char *why, const char *remedy)
{
    snprintf(m->aside_error, sizeof m->aside_error, "%s", why != NULL ? why : "");
    m->aside_remedy = remedy;
}

void monitor_page(struct monitor *m, uint32_t n_rows, bool of_outbox)
{
    if (of_outbox) {
        monitor_moves(m, STAGE_READ);
        m->twice_id = 0;
        m->metrics.last_poll[0] = (double)m->unix_us / 1e6;
    }
    if (n_rows > 0)
        metrics_rows(&m->metrics.batch_rows[0], n_rows);
}

void monitor_twice(struct monitor *m, int64_t id)
{
    if (id != 0)
        m->twice_id = id;
}

void monitor_lease(struct monitor *m, bool ours)
{
    m->twice_id = ours ? m->twice_id : 0;
    m->metrics.leads[0] += ours;
    m->followed = !ours;
    m->had_role = true;
}

void monitor_leader(struct monitor *m, const char *owner, double silent_s, double left_s)
{
    snprintf(m->leader.owner, sizeof m->leader.owner, "%s", owner != NULL ? owner : "");
    m->leader.silent_s = silent_s;
    m->leader.left_s = left_s;
    m->leader.ms = m->now_ms;
}

void monitor_marked(struct monitor *m, uint32_t n_rows)
{
    monitor_moves(m, STAGE_MARK);
    m->metrics.rows_marked[0] += n_rows;
}

void monitor_outcome(struct monitor *m, enum metric_op op, const struct verdict_failure *failure)
{
    if (failure == NULL) {
        m->failure.stands = m->failure.stands && op != m->failure_op;
        return;
    }
    m->failure = (struct status_failure){ .remedy = failure->remedy, .stands = true };
    snprintf(m->failure.why, sizeof m->failure.why, "%s", failure->why);
    snprintf(m->failure.code, sizeof m->failure.code, "%s", failure->code);
    m->failure_ms = m->now_ms;
    m->failure_op = op;
}

void monitor_cleanup(struct monitor *m, const struct janitor *janitor)
{
    m->metrics.buckets_emptied[0] = janitor->n_emptied;
    m->metrics.events_dropped[0] = janitor->n_dropped;
    m->metrics.bytes_freed[0] = janitor->n_bytes;
    m->metrics.events_kept[0] = janitor->n_kept;
    m->metrics.bucket_locks_missed[0] = janitor->n_gave_up;
}

void monitor_swept(struct monitor *m, uint32_t n_found)
{
    m->metrics.found_by_sweep[0] += n_found;
}

/* -- figures -------------------------------------------------------------------------------- */

bool monitor_wants_figures(const struct monitor *m)
{
    uint64_t looked_ms = atomic_load_explicit(&m->board.looked_ms, memory_order_relaxed);
    bool watched = looked_ms > 0 && m->now_ms < looked_ms + WATCHED_MS;

    return m->server != NULL && m->db_up &&
           (m->figures_asked_ms == 0 ||
            m->now_ms >= m->figures_asked_ms + (watched ? FIGURES_WATCHED_MS : FIGURES_IDLE_MS));
}

bool monitor_wants_schema(const struct monitor *m)
{
    return m->db_up && m->now_ms >= m->schema_asked_ms + SCHEMA_MS;
}

void monitor_asked_schema(struct monitor *m)
{
    m->schema_asked_ms = m->now_ms;
}

void monitor_schema(struct monitor *m, int version)
{
    m->schema_ends = version;
}

/* Two of one moment are taken for one: the clocks are not that exact. */
static void note_oldest(struct monitor *m, double oldest_s)
{
    double since_s = oldest_s >= 0 ? (double)m->now_ms / 1000 - oldest_s : (double)INFINITY;

    if (fabs(since_s - m->oldest_since_s) > 0.5)
        m->oldest_ms = m->now_ms;
    m->oldest_since_s = since_s;
}

void monitor_figures(struct monitor *m, const struct figures *f)
{
    if (f == NULL)
        return;
    note_oldest(m, f->oldest_s);
    *m->figures = *f;
    m->figures_ms = m->now_ms;
}
