/* topics.c - names to numbers. See topics.h. */
#include "relay/core/topics.h"

#include <stdlib.h>
#include <string.h>

#include "relay/core/siphash.h"

void topics_init(struct topics *t)
{
    *t = (struct topics){ 0 };
}

void topics_deinit(struct topics *t)
{
    for (uint32_t i = 0; i < t->n; i++)
        free(t->topic[i].name);
    free(t->topic);
    free(t->place);
    topics_init(t);
}

/* Topics are few, and whoever makes them is trusted: this one needs no secret. */
static uint64_t topic_hash(const char *name)
{
    static const uint64_t key[2] = { 0, 0 };

    return siphash(key, name, strlen(name));
}

static uint32_t *find_place(uint32_t *place, uint32_t n_places, const struct topic *topic,
                            const char *name)
{
    uint32_t i = (uint32_t)topic_hash(name) & (n_places - 1);

    while (place[i] != 0 && strcmp(topic[place[i] - 1].name, name) != 0)
        i = (i + 1) & (n_places - 1);
    return &place[i];
}

static int grow(struct topics *t)
{
    uint32_t cap = t->cap == 0 ? 16 : t->cap * 2, n_places = cap * 4;
    struct topic *topic = realloc(t->topic, cap * sizeof *topic);

    if (topic == NULL)
        return -1;
    t->topic = topic;
    uint32_t *place = calloc(n_places, sizeof *place);
    if (place == NULL)
        return -1;
    for (uint32_t i = 0; i < t->n; i++)
        *find_place(place, n_places, topic, topic[i].name) = i + 1;
    free(t->place);
    t->place = place;
    t->n_places = n_places;
    t->cap = cap;
    return 0;
}

uint32_t topics_intern(struct topics *t, const char *name)
{
    if (t->n == t->cap && grow(t) < 0)
        return UINT32_MAX;
    uint32_t *place = find_place(t->place, t->n_places, t->topic, name);
    if (*place != 0)
        return *place - 1;
    char *copy = strdup(name);
    if (copy == NULL)
        return UINT32_MAX;
    t->topic[t->n] = (struct topic){
        .name = copy, .hash = topic_hash(copy), .pilot = NO_SLOT, .state = TOPIC_NEW, .parked = ROW_LIST_EMPTY,
        .behind = ROW_LIST_EMPTY
    };
    *place = ++t->n;
    return t->n - 1;
}
