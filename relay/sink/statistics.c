/* statistics.c - see statistics.h. */
#include "relay/sink/statistics.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* About 5 ms of reading. */
#define TOO_LONG (512 * 1024)

static uint64_t number(const json_t *object, const char *name)
{
    json_int_t n = json_integer_value(json_object_get(object, name));

    return n > 0 ? (uint64_t)n : 0;
}

/* Those that were only named in the settings, and not met yet, have a negative id. */
static void read_broker(const char *name, const json_t *b, struct sink_statistics *s)
{
    const json_t *rtt = json_object_get(b, "rtt");

    const char *state = json_string_value(json_object_get(b, "state"));

    s->n_answers += number(b, "rx");
    s->any_up = s->any_up || (state != NULL && strcmp(state, "UP") == 0);
    if (json_integer_value(json_object_get(b, "nodeid")) < 0 || s->n_brokers == SINK_BROKERS)
        return;
    snprintf(s->broker[s->n_brokers].name, sizeof s->broker[0].name, "%s", name);
    s->broker[s->n_brokers].rtt_s = number(rtt, "cnt") > 0 ? (double)number(rtt, "avg") / 1e6 : -1;
    s->broker[s->n_brokers].n_errors = number(b, "txerrs");
    s->n_brokers++;
}

int statistics_read(const char *json, struct sink_statistics *ret_statistics)
{
    struct sink_statistics s = { .n_brokers = 0 };
    const char *name;
    json_t *broker;

    if (json == NULL || strnlen(json, TOO_LONG) == TOO_LONG)
        return -1;
    json_t *all = json_loads(json, 0, NULL);
    if (!json_is_object(all)) {
        json_decref(all);
        return -1;
    }
    s.queue_messages = number(all, "msg_cnt");
    s.sent_messages = number(all, "txmsgs");
    json_object_foreach(json_object_get(all, "brokers"), name, broker)
        read_broker(name, broker, &s);
    json_decref(all);
    *ret_statistics = s;
    return 0;
}
