/* sim_world.c - the words of a history, and how it ends badly. */
#include <stdarg.h>
#include <stdio.h>

#include "tests/core/sim_world.h"

const char *const count_names[N_COUNTS] = {
    "histories", "steps", "reads", "produced", "logged", "duplicates", "marked",
    "of them before the calm", "refused", "maybe", "topic failed", "partition cold", "queue full",
    "resets", "failed resets", "links lost", "leases lost", "failed marks", "kills", "freezes",
    "ghosts", "stops", "of them for good reason", "unclean ends", "clean once", "held retrying", "held blocked",
    "held paused", "held scheduled", "held dead", "keys freed", "rows back from held", "stalls",
    "holds fenced", "retried or discarded by a person", "producers broken by a topic",
    "maybe and held", "failed reads", "given up because held could not be written", "reloads"
};

const char *const lane_names[N_LANES] = { "main", "solo" };
const char *const outcome_names[] = { "persisted", "not persisted", "maybe" };
const char *const blame_names[] = { "", ", producer", ", row", ", topic" };
const char *const request_names[] = { "read", "read due", "read topic", "produce", "mark",
                                      "hold", "release", "reset", "ask kafka", "acquire",
                                      "renew", "resign", "sweep" };
const char *const hold_names[] = { "retrying", "blocked", "paused", "scheduled", "dead" };

void oops(struct world *w, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    (void)vsnprintf(w->why, sizeof w->why, format, args);
    va_end(args);
    longjmp(w->oops, 1);
}

void print_line(const struct world *w, const struct relay *r, const char *format, ...)
{
    va_list args;

    printf("[%llu] ", (unsigned long long)w->now);
    if (r != NULL)
        printf("relay %llu: ", (unsigned long long)r->incarnation);
    va_start(args, format);
    (void)vprintf(format, args);
    va_end(args);
    (void)putchar('\n');
}

uint64_t hash_of(const struct world *w, uint32_t topic, uint32_t key)
{
    uint64_t hash = w->collide ? key : (uint64_t)topic * MAX_KEYS + key + 1;

    return key == 0 ? 0 : hash * UINT64_C(0x9e3779b97f4a7c15);
}
