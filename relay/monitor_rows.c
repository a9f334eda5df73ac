/* monitor_rows.c - counting: rows on their way, and what the brokers say. See monitor.h. */
#include "relay/monitor.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "relay/log.h"
#include "relay/monitor_inside.h"

#define NO_INDEX UINT16_MAX

/* Rows are counted by the state that they were held in. */
_Static_assert((int)STATE_RETRYING == (int)HOLD_RETRYING && (int)STATE_BLOCKED == (int)HOLD_BLOCKED &&
                   (int)STATE_PAUSED == (int)HOLD_PAUSED && (int)STATE_SCHEDULED == (int)HOLD_SCHEDULED &&
                   (int)STATE_DEAD == (int)HOLD_DEAD,
               "enum metric_state is not in the order of enum hold_state");

/* -- rows ----------------------------------------------------------------------------------- */

static int make_room(struct monitor *m, uint32_t topic)
{
    uint32_t n = topic + 64;
    uint16_t *index = realloc(m->topic_index, n * sizeof *index);

    if (index == NULL)
        return -1;
    for (uint32_t i = m->n_topic_index; i < n; i++)
        index[i] = NO_INDEX;
    m->topic_index = index;
    m->n_topic_index = n;
    return 0;
}

static uint32_t index_of(struct monitor *m, uint32_t topic, const char *name)
{
    if (topic >= m->n_topic_index && make_room(m, topic) < 0)
        return metrics_topic(&m->metrics, name);
    if (m->topic_index[topic] == NO_INDEX)
        m->topic_index[topic] = (uint16_t)metrics_topic(&m->metrics, name);
    return m->topic_index[topic];
}

void monitor_read(struct monitor *m, uint32_t topic, const char *name)
{
    m->metrics.rows_read[index_of(m, topic, name)]++;
}

void monitor_produced(struct monitor *m, uint32_t topic, const struct row *row)
{
    uint32_t i = index_of(m, topic, row->topic);

    m->metrics.attempts[i]++;
    m->metrics.bytes[i] += row->key_len + row->payload_len;
}

static void kafka_answers(struct monitor *m)
{
    if (m->kafka_up != FACT_YES)
        m->kafka_error[0] = '\0';
    if (m->kafka_up == FACT_NO)
        log_info("relay", "a broker answers again", "away_s", log_i64((int64_t)(m->now_ms - m->kafka_down_ms) / 1000));
    m->kafka_up = FACT_YES;
}

static void kafka_is_away(struct monitor *m)
{
    if (m->kafka_up != FACT_NO)
        m->kafka_down_ms = m->now_ms;
    m->kafka_up = FACT_NO;
}

static void count_confirmed(struct monitor *m, uint32_t i, const struct row *row, uint64_t sent_ms)
{
    double latency_s = (double)(m->unix_us - row->created_at_us) / 1e6;

    m->metrics.rows_acked[i]++;
    m->metrics.last_ack[0] = (double)m->unix_us / 1e6;
    metrics_seconds(&m->metrics.kafka_ack[0], (double)(m->now_ms - sent_ms) / 1e3);
    if (row->held_as != HELD_TIME) { /* that was for later */
        metrics_seconds(&m->metrics.delivery_latency[i], latency_s);
        metrics_seconds(&m->confirmed, latency_s);
    }
    kafka_answers(m);
}

void monitor_report(struct monitor *m, uint32_t topic, const struct row *row, uint64_t sent_ms,
                    const struct sink_report *report)
{
    uint32_t i = index_of(m, topic, row->topic);

    monitor_moves(m, STAGE_SEND);
    if (report->outcome == OUTCOME_PERSISTED)
        count_confirmed(m, i, row, sent_ms);
    else
        m->metrics.rows_failed[metrics_topic_reason(i, metrics_code(&m->metrics, report->code))]++;
}

void monitor_held(struct monitor *m, uint32_t topic, const char *name, enum hold_state state)
{
    monitor_moves(m, STAGE_HOLD);
    m->metrics.rows_held[state]++;
    if (state == HOLD_DEAD)
        m->metrics.rows_dead[index_of(m, topic, name)]++;
}

void monitor_found(struct monitor *m, uint64_t n_found)
{
    m->metrics.rows_found[0] = n_found;
}

/* -- Kafka ---------------------------------------------------------------------------------- */

void monitor_kafka(struct monitor *m, bool up, const char *why)
{
    if (up) {
        kafka_answers(m);
        return;
    }
    kafka_is_away(m);
    if (m->kafka_error[0] == '\0') /* librdkafka knows more */
        snprintf(m->kafka_error, sizeof m->kafka_error, "%s", why);
}

const char *monitor_kafka_said(const struct monitor *m)
{
    return m->kafka_error[0] != '\0' ? m->kafka_error : NULL;
}

void monitor_kafka_error(struct monitor *m, const char *code, const char *text, bool all_down)
{
    m->metrics.kafka_errors[metrics_code(&m->metrics, code)]++;
    if (all_down)
        kafka_is_away(m);
    /* the one before says more than "all brokers are down" does */
    if (!all_down || m->kafka_error[0] == '\0')
        snprintf(m->kafka_error, sizeof m->kafka_error, "%s", text);
}

void monitor_reset(struct monitor *m, enum lane lane)
{
    monitor_moves(m, STAGE_SEND);
    m->metrics.resets[lane]++;
}

/* An answer since last time is what says that a broker answers: a connection that is up may lead to a
 * broker that hangs. And one must be up still: the answers may have come before they all went away. */
void monitor_statistics(struct monitor *m, const struct sink_statistics *s)
{
    struct metrics *t = &m->metrics;

    if (s->any_up && s->n_answers != m->n_answers && s->n_answers > 0)
        kafka_answers(m);
    m->n_answers = s->n_answers;
    t->rdkafka_queue[0] = (double)s->queue_messages;
    t->rdkafka_txmsgs[0] = s->sent_messages;
    for (uint32_t i = 0; i < LABELS_BROKER; i++)
        t->rdkafka_rtt[i] = NAN;
    for (uint32_t i = 0; i < s->n_brokers; i++) {
        uint32_t b = metrics_broker(t, s->broker[i].name);
        t->rdkafka_txerrs[b] = s->broker[i].n_errors;
        if (s->broker[i].rtt_s >= 0)
            t->rdkafka_rtt[b] = s->broker[i].rtt_s;
    }
}
