/* janitor.h - when buckets are looked at, walked and emptied, and what is said of it.
 *
 * A round: how old are the buckets? Those that are old enough are walked and emptied, one after the other,
 * and what was kept earlier is tidied. Then it rests. A bucket that cannot be emptied yet is left alone for
 * longer each time. The database judges what may go; here is only the time, which is an argument, and the
 * log. Nothing is asked of it while another question is under way.
 */
#ifndef RELAY_JANITOR_H
#define RELAY_JANITOR_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/shared/restraint.h"
#include "relay/source/source.h"
#include "relay/verdict.h"

enum janitor_do { JANITOR_NOTHING, JANITOR_LOOK, JANITOR_WALK, JANITOR_EMPTY, JANITOR_TIDY };

struct janitor {
    uint64_t retention_ms; /* 0: never */
    enum janitor_do next;
    bool asked;            /* its answer is to come */
    uint64_t asked_ms;
    uint64_t due_ms;       /* the next question */
    unsigned todo;         /* one bit for each bucket that is left in this round */
    int16_t bucket;        /* the one at hand, or the last one */
    struct janitor_wait {
        uint64_t until_ms;
        uint32_t failures;
        struct restraint told; /* why it cannot be emptied, and of which process */
        int64_t told_pid;
        bool old;          /* it was old enough when it was last looked at: */
        int64_t due_ms;    /* since then; may lie before the beginning of the clock */
        enum verdict_obstacle why; /* it is still there */
        int64_t id, holder_pid, holder_age_ms;
        char holder[80];
    } wait[SOURCE_RING];
    bool looked;     /* in this lead, and the last look was answered */
    bool short_ring; /* shorter than the retention: no bucket becomes old enough */
    uint64_t n_emptied;    /* buckets */
    uint64_t n_dropped;    /* events that went with them, n_bytes with their marks and indexes */
    uint64_t n_bytes;
    uint64_t n_kept;       /* events that moved to event_kept */
    uint64_t n_tidied;     /* events that left it */
    uint64_t n_gave_up;    /* times that the lock was not to be had */
};

/* retention_ms 0: there is never anything to do. */
void janitor_init(struct janitor *j, uint64_t now_ms, uint64_t retention_ms);
/* What another leader did meanwhile is not known. */
void janitor_lead_begins(struct janitor *j);
/* The link is down: what was asked has no answer. */
void janitor_link_down(struct janitor *j);

/* What to ask now, of .bucket; its answer goes to janitor_answer. */
enum janitor_do janitor_next(struct janitor *j, uint64_t now_ms);
/* When to ask janitor_next again; UINT64_MAX: not before an answer. */
uint64_t janitor_deadline(const struct janitor *j);
/* SOURCE_LOOKED, _WALKED, _EMPTIED or _TIDIED. */
void janitor_answer(struct janitor *j, uint64_t now_ms, const struct source_event *e);
/* The bucket that should have been emptied longest ago. Borrowed is the name of who holds it. */
struct verdict_overdue janitor_overdue(const struct janitor *j, uint64_t now_ms);
/* Is it known whether there is one? Where nothing is ever emptied none is overdue. */
bool janitor_knows(const struct janitor *j);

#endif
