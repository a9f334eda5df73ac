/* verdict.c - the sentence; what is found is in verdict_judge.c. See verdict.h. */
#include "relay/affix.h"
#include "relay/verdict_inside.h"

/* What waits is told with its age when that is more: while somebody looks it is asked for more often. */
#define AS_OF_S 7.0

/* " (as of 12 s ago)", where that is worth a word. */
static void append_as_of(char *text, size_t size, const struct verdict_input *in)
{
    char age[32];

    if (in->as_of_s >= AS_OF_S)
        verdict_append(text, size, " (as of %s ago)", verdict_age(in->as_of_s, age, sizeof age));
}

/* "12,345 events wait, the oldest for 12 min"; nothing when nothing waits or it is not known. */
static void append_waiting(char *text, size_t size, const char *before, const struct verdict_input *in)
{
    char count[32], age[32];

    if (in->pending <= 0)
        return;
    verdict_append(text, size, "%s%s%s event%s wait%s", before, in->pending_capped ? "more than " : in->pending_about ? "about " : "",
                   verdict_count(in->pending, count, sizeof count), plural(in->pending),
                   in->pending == 1 ? "s" : "");
    if (in->oldest_s >= 0)
        verdict_append(text, size, in->pending == 1 ? ", for %s" : ", the oldest for %s",
                       verdict_age(in->oldest_s, age, sizeof age));
    append_as_of(text, size, in);
}

static void say_bad(const struct verdict_input *in, struct verdict *v)
{
    verdict_append(v->text, sizeof v->text, "%s: %s", in->by_command && in->db_up == FACT_NO ? "Whether events flow is not known"
                                                                                             : "Events do not flow", v->finding[0].text);
    append_waiting(v->text, sizeof v->text, "; ", in);
}

/* Something waits and nothing has moved lately. That may be the next moment's matter, or not. */
static void say_waiting(const struct verdict_input *in, struct verdict *v)
{
    char age[32];

    append_waiting(v->text, sizeof v->text, in->idle_s < IDLE_S ? "Events flow: " : "", in);
    if (in->idle_s >= IDLE_S)
        verdict_append(v->text, sizeof v->text, "; %s was published in the last %s", in->pending == 1 ? "nothing" : "none",
                       verdict_age(in->idle_s, age, sizeof age));
}

static void say_flow(const struct verdict_input *in, struct verdict *v)
{
    char rate[32];

    if (in->rate >= VERDICT_NO_RATE) {
        verdict_append(v->text, sizeof v->text, "Events flow: %s a second", verdict_rate(in->rate, rate, sizeof rate));
        append_waiting(v->text, sizeof v->text, "; ", in);
    } else if (in->pending > 0) {
        say_waiting(in, v);
    } else if (in->pending < 0) {
        verdict_append(v->text, sizeof v->text, "A relay leads; what waits is not known");
        if (in->aside_error != NULL)
            verdict_append(v->text, sizeof v->text, ": " VERDICT_ASIDE, in->aside_error);
    } else {
        verdict_append(v->text, sizeof v->text, in->held + in->dead > 0
                                                    ? "Events flow: what is not held is published"
                                                    : "Events flow: every committed event is published");
        append_as_of(v->text, sizeof v->text, in);
    }
}

static void say_standing_by(const struct verdict_input *in, struct verdict *v)
{
    char age[32];

    verdict_append(v->text, sizeof v->text, "This relay stands by");
    bool said_below = verdict_leader_is_silent(in) && in->kafka_up != FACT_NO; /* as what is found first */
    if (!said_below)
        verdict_append(v->text, sizeof v->text, ": %.100s leads", in->leader != NULL ? in->leader : "another one");
    if (in->leader != NULL && in->silent_s >= 0 && !said_below)
        verdict_append(v->text, sizeof v->text, " and was last heard of %s ago",
                       verdict_age(in->silent_s, age, sizeof age));
    append_waiting(v->text, sizeof v->text, "; ", in);
}

static void say(const struct verdict_input *in, struct verdict *v)
{
    if (v->level == VERDICT_BAD) {
        say_bad(in, v);
    } else {
        switch (in->role) {
        case VERDICT_STARTING:
            verdict_append(v->text, sizeof v->text, "Starting: nothing is known yet");
            break;
        case VERDICT_NOT_KNOWN:
            verdict_append(v->text, sizeof v->text, "It is not known who leads: this relay asks");
            break;
        case VERDICT_STOPPING:
            verdict_append(v->text, sizeof v->text, "Stopping: what is on its way is waited for, nothing new is read");
            break;
        case VERDICT_STANDS_BY:
            say_standing_by(in, v);
            break;
        case VERDICT_LEADS:
        case VERDICT_NOBODY_LEADS:
            say_flow(in, v);
            break;
        }
        if (v->level == VERDICT_WARN && !v->finding[0].said)
            verdict_append(v->text, sizeof v->text, ", but %s", v->finding[0].text);
    }
    verdict_append(v->text, sizeof v->text, "%s", verdict_full_stop(v->text));
}

void verdict_reach(const struct verdict_input *in, struct verdict *ret_verdict)
{
    *ret_verdict = (struct verdict){ .level = VERDICT_GOOD };
    verdict_judge(in, ret_verdict);
    say(in, ret_verdict);
}
