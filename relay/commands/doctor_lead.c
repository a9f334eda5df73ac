/* doctor_lead.c - what `doctor` makes of who leads, which relays are connected and whether events move. Pure. */
#include <stdlib.h>
#include <string.h>

#include "relay/affix.h"
#include "relay/commands/doctor.h"
#include "relay/commands/flow.h"
#include "relay/exit_codes.h"

void doctor_lead(struct findings *f, const struct operate_fact *x)
{
    static const char remedy[] = "start a relay; " VERDICT_TAKE_LEASE;
    char age[32];

    verdict_age(x->number, age, sizeof age);
    if (strcmp(x->detail, "leads") == 0 && x->number >= LEADER_SILENT_S)
        findings_ok(f, "lead", "%s has the lease, and was last heard of %s ago (see flow)", x->name, age);
    else if (strcmp(x->detail, "leads") == 0)
        findings_ok(f, "lead", "%s leads, and was last heard of %s ago", x->name, age);
    else if (strcmp(x->detail, "never") == 0)
        findings_warn(f, "lead", "start a relay", "nobody leads: no relay has ever worked here");
    else if (strcmp(x->detail, "resigned") == 0)
        findings_fail(f, EXIT_UNAVAILABLE, "lead", remedy, "nobody leads: the last relay stopped cleanly %s ago, "
                      "and none has taken its place", age);
    else
        findings_fail(f, EXIT_UNAVAILABLE, "lead", remedy, "nobody leads: %s was last heard of %s ago, its lease "
                      "has ended, and no relay has taken it", x->name, age);
}

void doctor_sessions(struct findings *f, const struct operate_fact *x)
{
    char age[32];

    if (x->number > 0 && x->detail[0] != '\0')
        findings_warn(f, "relays", VERDICT_TAKE_LEASE,
                      "%.0f connection%s of relays to this database, the last sign of life %s ago (from %s), and none takes the "
                      "free lease", x->number, plural((int64_t)x->number),
                      verdict_age(strtod(x->detail, NULL), age, sizeof age), x->name);
    else if (x->number > 0)
        findings_ok(f, "relays", "%.0f connection%s of relays to this database (each relay has two or three)", x->number,
                    plural((int64_t)x->number));
    else
        findings_warn(f, "relays", "start one; if one runs, its log says why it cannot connect, and its dsn where to",
                      "no relay is connected to this database");
}

/* Under a relay that leads; that none does is said already. */
void doctor_flow(struct findings *f, const struct operate_lead *lead)
{
    struct verdict_input in = VERDICT_INPUT_UNKNOWN;
    struct verdict v;
    char age[32];

    flow_of_lead(&in, lead);
    in.refused = 0; /* its topic says more */
    in.pending = lead->oldest_s < 0 ? 0 : 1;
    if (in.role != VERDICT_LEADS)
        return;
    verdict_reach(&in, &v);
    for (uint32_t i = 0; i < v.n_findings; i++) {
        if (v.finding[i].level == VERDICT_BAD)
            findings_fail(f, EXIT_UNAVAILABLE, "flow", v.finding[i].remedy, "events do not flow: %s", v.finding[i].text);
        else
            findings_warn(f, "flow", v.finding[i].remedy, "%s", v.finding[i].text);
    }
    if (v.n_findings == 0 && lead->oldest_s < 0)
        findings_ok(f, "flow", "nothing waits to be taken up");
    else if (v.n_findings == 0)
        findings_ok(f, "flow", "the oldest event that was not taken up has waited for %s", verdict_age(lead->oldest_s, age, sizeof age));
}
