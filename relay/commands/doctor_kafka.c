/* doctor_kafka.c - the half of `doctor` that looks at the brokers and at the topics that events wait for. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "relay/commands/doctor.h"
#include "relay/exit_codes.h"
#include "relay/verdict.h"

#define ASK_MS 5000
#define ASK_SETTINGS_MS 3000 /* some brokers never answer that: not each run is to wait long */
#define ENVELOPE_BYTES 1000 /* what the envelope and the batch add, about; the broker judges exactly */

/* -- librdkafka ------------------------------------------------------------------------------ */

void doctor_library(struct findings *f, unsigned version, bool compresses)
{
    static const struct {
        unsigned fixed_in;
        const char *name, *text;
    } traps[] = {
        { 0x02030000, "2.3.0", "now and then a false fatal error after an unclear one; the relay replaces the producer" },
        { 0x02040000, "2.4.0", "a busy thread while brokers do not answer" },
        { 0x020a0000, "2.10.0", "metadata may hang on a broker that died" },
        { 0x020a0100, "2.10.1", "the first record to a topic may take a second" },
    };
    unsigned number = version & ~0xffu;

    if (number < 0x02000200) {
        findings_fail(f, EXIT_CONFIGURATION, "librdkafka", "install 2.0.2 or later", "version %u.%u.%u is too old",
                      version >> 24, version >> 16 & 0xff, version >> 8 & 0xff);
        return;
    }
    findings_ok(f, "librdkafka", "version %u.%u.%u", version >> 24, version >> 16 & 0xff, version >> 8 & 0xff);
    for (size_t i = 0; i < sizeof traps / sizeof traps[0]; i++)
        if (number < traps[i].fixed_in)
            findings_ok(f, "librdkafka", "known of this version, mended in %s: %s", traps[i].name, traps[i].text);
    if (compresses && number < 0x020b0100)
        findings_warn(f, "librdkafka", "upgrade it to 2.11.1, or see that the brokers still offer Produce "
                      "version 0", "with brokers that offer new versions of Produce only, this version sends "
                      "uncompressed, and says so in one line of its log");
}

/* -- a topic --------------------------------------------------------------------------------- */

/* Nothing waits for it: it was deleted, or what waited was given up, and whoever appended to it is corrected. */
static void judge_not_needed(struct findings *f, const struct inspect_topic *t)
{
    bool missing = strcmp(t->code, "UNKNOWN_TOPIC_OR_PART") == 0;

    findings_warn(f, "topic", "nothing, unless more events are to be appended to it: then mend this first",
                  "\"%s\": %s (%s); no event waits for it", t->name,
                  missing ? "it does not exist, or may not be seen" : t->error, t->code);
}

static void judge_missing(struct findings *f, const struct inspect_topic *t, const struct operate_need *need)
{
    const char *wait = need->waiting == 1 ? "event waits" : "events wait";
    char waiting[32], how[500];

    if (need->waiting == 0 && need->error_code == NULL && need->error == NULL) {
        judge_not_needed(f, t);
        return;
    }
    verdict_count(need->waiting, waiting, sizeof waiting);
    snprintf(how, sizeof how, "create it, and its events go by themselves, in order; or correct whoever appends to it, and give up "
             "those that are paused: " VERDICT_DISCARD, t->name);
    if (strcmp(t->code, "UNKNOWN_TOPIC_OR_PART") == 0)
        findings_fail(f, EXIT_UNAVAILABLE, "topic", how, "\"%s\" does not exist (or may not be seen); %s %s",
                      t->name, waiting, wait);
    else if (strcmp(t->code, "TOPIC_AUTHORIZATION_FAILED") == 0)
        findings_fail(f, EXIT_UNAVAILABLE, "topic", "grant this client WRITE and DESCRIBE on it", "\"%s\": this "
                      "client has no right to it; %s %s", t->name, waiting, wait);
    else
        findings_fail(f, EXIT_UNAVAILABLE, "topic", "look at the brokers", "\"%s\": %s (%s); %s %s", t->name,
                      t->error, t->code, waiting, wait);
}

static void judge_replicas(struct findings *f, const struct inspect_topic *t)
{
    int64_t min = t->min_insync_replicas < t->replicas ? t->min_insync_replicas : t->replicas;

    if (t->without_leader > 0)
        findings_fail(f, EXIT_UNAVAILABLE, "topic", "look at the brokers that hold it", "\"%s\": %d of %d "
                      "partitions have no leader", t->name, t->without_leader, t->partitions);
    else if (min > 0 && t->in_sync < min)
        findings_fail(f, EXIT_UNAVAILABLE, "topic", "look at the brokers that hold it", "\"%s\": a partition has "
                      "%d replicas in sync and min.insync.replicas is %" PRId64 ": nothing can be written",
                      t->name, t->in_sync, t->min_insync_replicas);
    if (t->min_insync_replicas > t->replicas)
        findings_warn(f, "topic", "lower min.insync.replicas below the number of replicas, or add replicas",
                      "\"%s\": min.insync.replicas is %" PRId64 " and it has %d replica%s: brokers before 4.0 "
                      "refuse every record", t->name, t->min_insync_replicas, t->replicas,
                      t->replicas == 1 ? "" : "s");
    else if (t->replicas == 1)
        findings_warn(f, "topic", "give it three replicas, with min.insync.replicas=2", "\"%s\" has one replica: "
                      "the loss of one disk loses confirmed events", t->name);
    else if (t->min_insync_replicas == t->replicas)
        findings_warn(f, "topic", "set min.insync.replicas one below the number of replicas", "\"%s\": "
                      "min.insync.replicas is %" PRId64 ", as many as it has replicas: one broker away stops it",
                      t->name, t->min_insync_replicas);
    else if (t->min_insync_replicas == 1)
        findings_warn(f, "topic", "set min.insync.replicas=2", "\"%s\": min.insync.replicas is 1 of %d: a "
                      "confirmed event may stand on one disk only", t->name, t->replicas);
}

static void judge_size(struct findings *f, const struct inspect_topic *t, const struct operate_need *need,
                       bool compresses)
{
    char how[200];

    if (t->max_message_bytes < 0 || need->largest_bytes + ENVELOPE_BYTES <= t->max_message_bytes)
        return;
    if (need->largest_is_dead)
        snprintf(how, sizeof how, "raise max.message.bytes of the topic, then outbox-relay retry --id %" PRId64 "; or outbox-relay discard "
                 "--reason TEXT --id %" PRId64, need->largest_id, need->largest_id);
    else
        snprintf(how, sizeof how, "raise max.message.bytes of the topic, or outbox-relay discard --retrying --reason TEXT --id %" PRId64,
                 need->largest_id);
    if (need->largest_bytes > t->max_message_bytes && !compresses)
        findings_fail(f, EXIT_UNAVAILABLE, "topic", how, "\"%s\": event %" PRId64 " has %" PRId64 " bytes and the topic takes "
                      "%" PRId64 " (max.message.bytes): %s", t->name, need->largest_id, need->largest_bytes, t->max_message_bytes,
                      need->largest_is_dead ? "it is dead, and would be refused again" : "it will be refused");
    else
        findings_warn(f, "topic", "raise max.message.bytes of the topic", "\"%s\": event %" PRId64 " has %" PRId64
                      " bytes without its envelope and the topic takes %" PRId64 " (max.message.bytes): it may be "
                      "refused", t->name, need->largest_id, need->largest_bytes, t->max_message_bytes);
}

static void judge_age(struct findings *f, const struct inspect_topic *t, const struct operate_need *need)
{
    char age[32], kept[32];
    double retention_s = (double)t->retention_ms / 1000;

    if (need->oldest_s < 0)
        return;
    verdict_age(need->oldest_s, age, sizeof age);
    if (t->timestamp_before_ms >= 0 && need->oldest_s > (double)t->timestamp_before_ms / 1000)
        findings_fail(f, EXIT_UNAVAILABLE, "topic", "raise message.timestamp.before.max.ms of the topic", "\"%s\": "
                      "the oldest event that waits is %s old, and the topic refuses records that old "
                      "(message.timestamp.before.max.ms)", t->name, age);
    else if (retention_s >= 0 && need->oldest_s > retention_s)
        findings_warn(f, "topic", "raise retention.ms of the topic until consumers have read it", "\"%s\": the "
                      "oldest event that waits is %s old and the topic keeps %s: it may be dropped before "
                      "anybody reads it", t->name, age, verdict_age(retention_s, kept, sizeof kept));
}

void doctor_topic(struct findings *f, const struct inspect_topic *t, const struct operate_need *need,
                  bool compresses)
{
    size_t before = findings_count(f, FINDING_FAIL) + findings_count(f, FINDING_WARN);

    if (t->code != NULL) {
        judge_missing(f, t, need);
        return;
    }
    judge_replicas(f, t);
    judge_size(f, t, need, compresses || t->compresses);
    judge_age(f, t, need);
    if (need->error_code != NULL || need->error != NULL)
        findings_warn(f, "topic", "when the reason is mended its events go by themselves; outbox-relay status "
                      "shows it", "\"%s\" is paused: %s: %s", t->name,
                      need->error_code != NULL ? need->error_code : "?", need->error != NULL ? need->error : "?");
    if (t->config_code != NULL)
        findings_warn(f, "topic",
                      strstr(t->config_code, "AUTHORIZATION_FAILED") != NULL
                          ? "grant this client DESCRIBE_CONFIGS on it"
                          : "nothing, when these brokers do not know this question (DescribeConfigs), as librdkafka's mock "
                            "cluster; else look at their logs",
                      "\"%s\": its settings are not known (%s), so sizes are not checked", t->name, t->config_code);
    else if (findings_count(f, FINDING_FAIL) + findings_count(f, FINDING_WARN) == before)
        findings_ok(f, "topic", "\"%s\": %d partition%s, %d replicas, takes %" PRId64 " bytes", t->name,
                    t->partitions, t->partitions == 1 ? "" : "s", t->replicas, t->max_message_bytes);
}

void doctor_batch(struct findings *f, const struct inspect_topic *t, int64_t batch_bytes, bool compresses)
{
    if (t->code != NULL || t->max_message_bytes < 0 || batch_bytes <= t->max_message_bytes || compresses ||
        t->compresses)
        return;
    findings_warn(f, "topic", "set kafka.batch.size below it, or raise max.message.bytes of the topic", "\"%s\": it "
                  "takes batches of %" PRId64 " bytes (max.message.bytes) and kafka.batch.size is %" PRId64 ": a "
                  "larger batch is refused, and its events go one at a time; nothing is lost", t->name,
                  t->max_message_bytes, batch_bytes);
}

/* -- asking ---------------------------------------------------------------------------------- */

static bool producer_compresses(const struct settings *set)
{
    for (size_t i = 0; i < set->n_kafka; i++)
        if ((strcmp(set->kafka[i].name, "compression.codec") == 0 ||
             strcmp(set->kafka[i].name, "compression.type") == 0) &&
            strcmp(set->kafka[i].value, "none") != 0)
            return true;
    return false;
}

static int64_t batch_bytes(const struct settings *set)
{
    int64_t bytes = 1000000; /* librdkafka's own */

    for (size_t i = 0; i < set->n_kafka; i++)
        if (strcmp(set->kafka[i].name, "batch.size") == 0)
            bytes = strtoll(set->kafka[i].value, NULL, 10);
    return bytes;
}

static void probe_write(struct doctor *d, struct inspect *kafka, const struct inspect_topic *t)
{
    char err[256];

    if (t->code != NULL)
        return;
    switch (inspect_may_write(kafka, t->name, t->max_message_bytes, ASK_MS, err, sizeof err)) {
    case 1:
        findings_ok(&d->findings, "rights", "this client may write to \"%s\"", t->name);
        return;
    case 0:
        findings_fail(&d->findings, EXIT_UNAVAILABLE, "rights", "grant this client WRITE on the topic", "this client "
                      "may not write to \"%s\"", t->name);
        return;
    default:
        findings_warn(&d->findings, "rights", NULL, "whether this client may write to \"%s\" cannot be found out: "
                      "%s", t->name, err);
    }
}

/* Brokers that did not tell the settings of their topics would not tell this either. */
static void say_rights(struct doctor *d, struct inspect *kafka, bool they_tell)
{
    if (they_tell && inspect_rights(kafka, ASK_MS) == INSPECT_RIGHTS_ALL)
        findings_ok(&d->findings, "rights", "the brokers have no authorizer: every client may write");
    else
        findings_ok(&d->findings, "rights", "whether this client may write cannot be seen without asking in "
                    "earnest: --probe-write");
}

static void ask_topics(struct doctor *d, struct inspect *kafka)
{
    const char *names[DOCTOR_TOPICS];
    static struct inspect_topic topics[DOCTOR_TOPICS];
    char err[256];

    if (!d->needs_known)
        return;
    if (d->n_needs == 0) {
        findings_ok(&d->findings, "topic", "no event waits and none was appended lately: no topic to look at");
        return;
    }
    for (size_t i = 0; i < d->n_needs; i++)
        names[i] = d->need[i].topic;
    if (inspect_topics(kafka, names, d->n_needs, ASK_SETTINGS_MS, topics, err, sizeof err) < 0) {
        findings_fail(&d->findings, EXIT_UNAVAILABLE, "topic", "look at the brokers", "no broker tells of topics: %s",
                      err);
        return;
    }
    for (size_t i = 0; i < d->n_needs; i++) {
        doctor_topic(&d->findings, &topics[i], &d->need[i].need, producer_compresses(&d->o->settings));
        doctor_batch(&d->findings, &topics[i], batch_bytes(&d->o->settings), producer_compresses(&d->o->settings));
        if (d->o->probe_write)
            probe_write(d, kafka, &topics[i]);
    }
    if (!d->o->probe_write)
        say_rights(d, kafka, topics[0].config_code == NULL || strcmp(topics[0].config_code, "_TIMED_OUT") != 0);
}

void doctor_kafka(struct doctor *d)
{
    char err[1024];
    int brokers = 0;

    doctor_library(&d->findings, inspect_library_version(), producer_compresses(&d->o->settings));
    if (settings_require(&d->o->settings, SETTINGS_NEED_KAFKA, err, sizeof err) < 0) {
        findings_fail(&d->findings, EXIT_CONFIGURATION, "kafka", "set it in the file, the environment or with -X",
                      "%s", err);
        return;
    }
    struct inspect *kafka = options_inspect(d->o, err, sizeof err);
    if (kafka == NULL)
        findings_fail(&d->findings, EXIT_CONFIGURATION, "kafka", "correct the setting", "%s", err);
    else if (!inspect_reach(kafka, ASK_MS, &brokers, err, sizeof err))
        findings_fail(&d->findings, EXIT_UNAVAILABLE, "kafka", "mend " VERDICT_MEND_KAFKA,
                      "no broker answers this command: %s", err);
    else {
        findings_ok(&d->findings, "kafka", "a broker answers this command; the cluster has %d", brokers);
        ask_topics(d, kafka);
    }
    inspect_free(kafka);
}
