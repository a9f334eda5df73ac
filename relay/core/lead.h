/* lead.h - does this relay lead, and until when may it believe so? Pure.
 *
 * Leading is a row in the database with an epoch. We count our own time from before a request was
 * sent, on a monotonic clock that counts suspension, so that we stop no later than the database lets another relay begin.
 * A pause that the hypervisor makes may stop that clock as well: what was in our hands then may go out behind what the
 * next leader has sent, and what we write to the database is refused by the epoch.
 */
#ifndef RELAY_CORE_LEAD_H
#define RELAY_CORE_LEAD_H

#include <stdbool.h>
#include <stdint.h>

struct lead {
    uint64_t ttl_ms;
    uint64_t until_ms;   /* leading: when our own belief ends */
    uint64_t next_ms;    /* when to ask next */
    uint64_t asked_ms;   /* when the request under way was sent, or the step of it that counts */
    uint64_t heard_ms;   /* when the last step of it was answered, and the next one sent */
    bool leading;
    bool asking;
};

void lead_init(struct lead *l, uint64_t ttl_ms);
/* A request to acquire or renew goes out now. */
void lead_asked(struct lead *l, uint64_t now_ms);
/* A request of several steps, each of which renews the lease: one more was answered. */
void lead_heard(struct lead *l, uint64_t now_ms);
/* Its answer: the lease is ours (again), or another relay has it. */
void lead_answered(struct lead *l, uint64_t now_ms, bool ours);
/* The request has no answer (link lost, statement failed). What we have stays ours until it ends. */
void lead_unanswered(struct lead *l, uint64_t now_ms);
/* False once our belief has ended; leading becomes false with it. */
bool lead_holds(struct lead *l, uint64_t now_ms);

#endif
