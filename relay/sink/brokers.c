/* brokers.c - see brokers.h. */
#include "relay/sink/brokers.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

/* The one of that name, new if need be; NULL: there are too many. */
static struct broker_seen *find(struct brokers *b, const char *name, size_t len)
{
    for (size_t i = 0; i < b->n; i++)
        if (strlen(b->list[i].name) == len && strncmp(b->list[i].name, name, len) == 0)
            return &b->list[i];
    if (b->n == BROKERS_MOST || len >= sizeof b->list[0].name)
        return NULL;
    struct broker_seen *new = &b->list[b->n++];
    *new = (struct broker_seen){ .state = "" };
    memcpy(new->name, name, len);
    return new;
}

/* Of the others, which are nobody's address, one stands for all brokers, and one for a group's. */
static bool has_address(const json_t *broker)
{
    const char *source = json_string_value(json_object_get(broker, "source"));

    return source != NULL && (strcmp(source, "configured") == 0 || strcmp(source, "learned") == 0);
}

void brokers_statistics(struct brokers *b, const char *json)
{
    json_t *all = json != NULL ? json_loads(json, 0, NULL) : NULL;
    const char *name;
    json_t *broker;

    json_object_foreach(json_object_get(all, "brokers"), name, broker) {
        const char *state = json_string_value(json_object_get(broker, "state"));
        struct broker_seen *seen = has_address(broker) ? find(b, name, strlen(name)) : NULL;
        if (seen != NULL && state != NULL)
            snprintf(seen->state, sizeof seen->state, "%s", state);
    }
    json_decref(all);
}

/* "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after 0ms in state CONNECT)" */
bool brokers_error(struct brokers *b, const char *text)
{
    const char *said = strstr(text, ": ");

    if (said == NULL || memchr(text, '/', (size_t)(said - text)) == NULL)
        return false;
    struct broker_seen *seen = find(b, text, (size_t)(said - text));
    if (seen == NULL)
        return true;
    snprintf(seen->error, sizeof seen->error, "%s", said + 2);
    char *after = strstr(seen->error, " (after ");
    if (after != NULL)
        *after = '\0';
    return true;
}

/* Of a connection that stands, and says nothing yet of why. */
static const char *how_far(const char *state)
{
    if (strcmp(state, "CONNECT") == 0)
        return "no connection";
    if (strcmp(state, "SSL_HANDSHAKE") == 0)
        return "connected, and no answer to the TLS handshake";
    if (strncmp(state, "AUTH", 4) == 0)
        return "connected, and no answer to the authentication";
    if (strcmp(state, "APIVERSION_QUERY") == 0 || strcmp(state, "UP") == 0)
        return "connected, and no answer";
    return NULL;
}

static void append_one(const struct broker_seen *x, uint64_t waited_ms, char *to, size_t size)
{
    const char *far = x->error[0] != '\0' ? NULL : how_far(x->state), *slash = strrchr(x->name, '/');
    int name_len = (int)(slash != NULL ? (size_t)(slash - x->name) : strlen(x->name));
    size_t used = strlen(to);

    snprintf(to + used, size - used, "%s%.*s: ", used > 0 ? "; " : "", name_len, x->name);
    used = strlen(to);
    if (far != NULL)
        snprintf(to + used, size - used, "%s within %llu s", far, (unsigned long long)waited_ms / 1000);
    else
        snprintf(to + used, size - used, "%s", x->error[0] != '\0' ? x->error : "not tried yet");
}

const char *brokers_words(const struct brokers *b, uint64_t waited_ms, char *to, size_t size)
{
    to[0] = '\0';
    for (size_t i = 0; i < b->n; i++)
        append_one(&b->list[i], waited_ms, to, size);
    return to;
}
