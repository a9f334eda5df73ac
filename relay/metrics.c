/* metrics.c - see metrics.h. */
#include "relay/metrics.h"

#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum type { COUNTER, TIME_COUNTER, GAUGE, HISTOGRAM, ROWS_HISTOGRAM };
enum labels { NONE, BUILD, TOPIC, TOPIC_REASON, CODE, OP, STATE, LANE, BROKER, PART };

struct spec {
    const char *name, *help;
    enum type type;
    enum labels labels;
    uint32_t n_series; /* at most */
    size_t offset;
};

static const struct spec specs[] = {
#define METRIC(field, name, type, labels, help)                                                    \
    { name, help, type, labels, LABELS_##labels, offsetof(struct metrics, field) },
#include "relay/metrics.def"
#undef METRIC
};

static const char *const type_names[] = { [COUNTER] = "counter",
                                          [TIME_COUNTER] = "counter",
                                          [GAUGE] = "gauge",
                                          [HISTOGRAM] = "histogram",
                                          [ROWS_HISTOGRAM] = "histogram" };
static const char *const label_names[][3] = {
    [NONE] = { NULL },       [BUILD] = { "version", "librdkafka", "libpq" },
    [TOPIC] = { "topic" },   [TOPIC_REASON] = { "topic", "reason" },
    [CODE] = { "code" },     [OP] = { "op" },
    [STATE] = { "state" },   [LANE] = { "lane" },
    [BROKER] = { "broker" }, [PART] = { "part" },
};
static const char *const op_names[N_METRIC_OPS] = {
    [OP_READ] = "read",   [OP_MARK] = "mark",       [OP_HOLD] = "hold",      [OP_LEASE] = "lease",
    [OP_SWEEP] = "sweep", [OP_CLEANUP] = "cleanup", [OP_FIGURES] = "figures"
};
static const char *const state_names[N_METRIC_STATES] = {
    [STATE_RETRYING] = "retrying",   [STATE_BLOCKED] = "blocked", [STATE_PAUSED] = "paused",
    [STATE_SCHEDULED] = "scheduled", [STATE_DEAD] = "dead",       [STATE_DISCARDED] = "discarded"
};
static const char *const part_names[LABELS_PART] = { "0", "1", "2", "3", "4", "5", "6", "7", "kept", "held" };
static const char *const lane_names[LABELS_LANE] = { "main", "solo" };

/* OpenTelemetry's advice for messaging, with finer ones before it and those of a backlog behind it. */
static const double seconds_bounds[HISTOGRAM_BUCKETS] = { 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075,
                                                          0.1,   0.25,   0.5,   0.75, 1,     2.5,  5,
                                                          7.5,   10,     30,    60,   300 };
static const double rows_bounds[HISTOGRAM_BUCKETS] = { 1,    2,    5,    10,    20,    30,    50,
                                                       100,  200,  300,  500,   1000,  2000,  3000,
                                                       5000, 10000, 20000, 50000, 100000 };

static const double *bounds_of(enum type type)
{
    return type == HISTOGRAM ? seconds_bounds : rows_bounds;
}

void metrics_init(struct metrics *m, struct metric_names *names)
{
    memset(m, 0, sizeof *m);
    memset(names, 0, sizeof *names);
    m->topics = (struct label_values){ (const char *const *)names->topic, 0, METRIC_TOPICS, false };
    m->codes = (struct label_values){ (const char *const *)names->code, 0, METRIC_CODES, false };
    m->brokers = (struct label_values){ (const char *const *)names->broker, 0, METRIC_BROKERS, false };
    m->version = m->librdkafka = m->libpq = "";
    for (const struct spec *s = specs; s < specs + sizeof specs / sizeof specs[0]; s++) {
        double *gauge = (double *)(void *)((char *)m + s->offset);
        for (uint32_t i = 0; s->type == GAUGE && i < s->n_series; i++)
            gauge[i] = NAN;
    }
}

void metrics_deinit(struct metric_names *names)
{
    for (uint32_t i = 0; i < METRIC_TOPICS; i++)
        free(names->topic[i]);
    for (uint32_t i = 0; i < METRIC_CODES; i++)
        free(names->code[i]);
    for (uint32_t i = 0; i < METRIC_BROKERS; i++)
        free(names->broker[i]);
    memset(names, 0, sizeof *names);
}

/* -- labels --------------------------------------------------------------------------------- */

static uint32_t index_of(struct label_values *v, const char *name)
{
    for (uint32_t i = 0; i < v->n; i++)
        if (strcmp(v->name[i], name) == 0)
            return i;
    char *copy = v->n < v->most ? strdup(name) : NULL;
    if (copy == NULL) {
        v->others = true;
        return v->most;
    }
    ((const char **)(uintptr_t)v->name)[v->n] = copy;
    return v->n++;
}

uint32_t metrics_topic(struct metrics *m, const char *topic)
{
    return index_of(&m->topics, topic);
}

uint32_t metrics_code(struct metrics *m, const char *code)
{
    return index_of(&m->codes, code);
}

uint32_t metrics_broker(struct metrics *m, const char *broker)
{
    return index_of(&m->brokers, broker);
}

static bool has(const struct label_values *v, uint32_t index)
{
    return index < v->n || (index == v->most && v->others);
}

static const char *value_of(const struct label_values *v, uint32_t index)
{
    return index < v->n ? v->name[index] : "(other)";
}

/* The values of the labels of a series; false: there is no such series yet. */
static bool label_values_of(const struct metrics *m, enum labels labels, uint32_t i, const char *value[3])
{
    switch (labels) {
    case NONE:
        return true;
    case BUILD:
        value[0] = m->version;
        value[1] = m->librdkafka;
        value[2] = m->libpq;
        return true;
    case TOPIC:
        value[0] = value_of(&m->topics, i);
        return has(&m->topics, i);
    case TOPIC_REASON:
        value[0] = value_of(&m->topics, i / LABELS_CODE);
        value[1] = value_of(&m->codes, i % LABELS_CODE);
        return has(&m->topics, i / LABELS_CODE) && has(&m->codes, i % LABELS_CODE);
    case CODE:
        value[0] = value_of(&m->codes, i);
        return has(&m->codes, i);
    case OP:
        value[0] = op_names[i];
        return true;
    case STATE:
        value[0] = state_names[i];
        return true;
    case LANE:
        value[0] = lane_names[i];
        return true;
    case PART:
        value[0] = part_names[i];
        return true;
    case BROKER:
        value[0] = value_of(&m->brokers, i);
        return has(&m->brokers, i);
    }
    return false;
}

/* -- histograms ----------------------------------------------------------------------------- */

static void observe(struct histogram *h, const double *bounds, double value)
{
    uint32_t i = 0;

    while (i < HISTOGRAM_BUCKETS && value > bounds[i])
        i++;
    h->bucket[i]++;
    h->sum += value;
    if (value > h->most)
        h->most = value;
}

/* Clocks of two machines may differ: what took less than nothing took nothing. */
void metrics_seconds(struct histogram *h, double seconds)
{
    observe(h, seconds_bounds, seconds > 0 ? seconds : 0);
}

void metrics_rows(struct histogram *h, uint32_t rows)
{
    observe(h, rows_bounds, rows);
}

static uint64_t count_of(const struct histogram *h)
{
    uint64_t n = 0;

    for (uint32_t i = 0; i <= HISTOGRAM_BUCKETS; i++)
        n += h->bucket[i];
    return n;
}

/* Within a bucket they are taken to lie evenly, which may be minutes above the largest. */
double metrics_quantile(const struct histogram *h, double share)
{
    double want = (double)count_of(h) * share, below = 0;

    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS && want > 0; i++) {
        double n = (double)h->bucket[i], from = i > 0 ? seconds_bounds[i - 1] : 0;
        if (n > 0 && below + n >= want)
            return fmin(from + (seconds_bounds[i] - from) * (want - below) / n, h->most);
        below += n;
    }
    return want > 0 ? h->most : (double)NAN;
}

/* -- text ----------------------------------------------------------------------------------- */

/* The one place where a label's value is escaped. What is no UTF-8 would spoil the whole scrape. */
static void put_label_value(FILE *out, const char *value)
{
    for (const unsigned char *s = (const unsigned char *)value; *s != '\0'; s++) {
        if (*s == '\\' || *s == '"')
            fprintf(out, "\\%c", *s);
        else if (*s == '\n')
            fputs("\\n", out);
        else if (*s < 0x80)
            putc(*s, out);
        else
            fprintf(out, "\\\\x%02x", *s);
    }
}

static void put_head(FILE *out, const char *name, const char *suffix, enum labels labels,
                     const char *const value[3], const char *le)
{
    const char *before = "{";

    fprintf(out, "%s%s", name, suffix);
    for (int l = 0; l < 3 && label_names[labels][l] != NULL; l++, before = ",") {
        fprintf(out, "%s%s=\"", before, label_names[labels][l]);
        put_label_value(out, value[l]);
        putc('"', out);
    }
    if (le != NULL) {
        fprintf(out, "%sle=\"%s\"", before, le);
        before = ",";
    }
    fputs(*before == ',' ? "} " : " ", out);
}

static void put_histogram(FILE *out, const struct spec *s, const char *const value[3],
                          const struct histogram *h)
{
    const double *bounds = bounds_of(s->type);
    uint64_t n = 0;
    char le[32];

    for (uint32_t i = 0; i <= HISTOGRAM_BUCKETS; i++) {
        n += h->bucket[i];
        snprintf(le, sizeof le, "%.15g", i < HISTOGRAM_BUCKETS ? bounds[i] : 0);
        put_head(out, s->name, "_bucket", s->labels, value, i < HISTOGRAM_BUCKETS ? le : "+Inf");
        fprintf(out, "%" PRIu64 "\n", n);
    }
    put_head(out, s->name, "_sum", s->labels, value, NULL);
    fprintf(out, "%.15g\n", h->sum);
    put_head(out, s->name, "_count", s->labels, value, NULL);
    fprintf(out, "%" PRIu64 "\n", n);
}

static void put_series(FILE *out, const struct metrics *m, const struct spec *s, uint32_t i)
{
    const void *field = (const char *)m + s->offset;
    const char *value[3] = { NULL, NULL, NULL };

    if (!label_values_of(m, s->labels, i, value))
        return;
    switch (s->type) {
    case COUNTER:
        if (s->labels == TOPIC_REASON && ((const uint64_t *)field)[i] == 0)
            return; /* most of these pairs never meet */
        put_head(out, s->name, "", s->labels, value, NULL);
        fprintf(out, "%" PRIu64 "\n", ((const uint64_t *)field)[i]);
        break;
    case GAUGE:
    case TIME_COUNTER:
        if (isnan(((const double *)field)[i]))
            return;
        put_head(out, s->name, "", s->labels, value, NULL);
        fprintf(out, "%.15g\n", ((const double *)field)[i]);
        break;
    case HISTOGRAM:
    case ROWS_HISTOGRAM:
        put_histogram(out, s, value, (const struct histogram *)field + i);
        break;
    }
}

bool metrics_write(const struct metrics *m, FILE *out)
{
    for (const struct spec *s = specs; s < specs + sizeof specs / sizeof specs[0]; s++) {
        fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", s->name, s->help, s->name, type_names[s->type]);
        for (uint32_t i = 0; i < s->n_series; i++)
            put_series(out, m, s, i);
    }
    return fflush(out) == 0 && !ferror(out);
}

void metrics_help(FILE *out)
{
    for (const struct spec *s = specs; s < specs + sizeof specs / sizeof specs[0]; s++) {
        const char *before = "{";
        fputs(s->name, out);
        for (int l = 0; l < 3 && label_names[s->labels][l] != NULL; l++, before = ", ")
            fprintf(out, "%s%s", before, label_names[s->labels][l]);
        fprintf(out, "%s (%s)\n    %s\n", *before == ',' ? "}" : "", type_names[s->type], s->help);
    }
}
