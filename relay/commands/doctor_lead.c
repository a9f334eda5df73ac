/* doctor_lead.c - what `doctor` makes of who leads, which relays are connected and whether events move. Pure. */
#include <stdio.h>
#include <string.h>

#include "relay/commands/doctor.h"
#include "relay/commands/flow.h"
#include "relay/exit_codes.h"

static void judge_no_row(struct findings *f, const struct operate_fact *x)
{
    char how[600];

    snprintf(how, sizeof how, "as the owner of the outbox, or as a superuser: `%s`; then start the relay again", x->mend);
    if (strcmp(x->detail, "hidden") == 0)
        findings_fail(f, EXIT_PERMISSION, "lead", VERDICT_SEE_ALL_ROWS,
                      "row-level security hides the row 'default' of outbox.relay from the role: a relay with it cannot lead");
    else
        findings_fail(f, EXIT_CONFIGURATION, "lead", how, "outbox.relay has no row 'default': no relay can lead");
}

void doctor_lead(struct findings *f, const struct operate_fact *x)
{
    static const char remedy[] = "start a relay; " VERDICT_TAKE_LEASE;
    char age[32];

    if (strcmp(x->detail, "missing") == 0 || strcmp(x->detail, "hidden") == 0) {
        judge_no_row(f, x);
        return;
    }
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

void doctor_lead_nowhere(struct findings *f)
{
    findings_fail(f, EXIT_UNAVAILABLE, "lead", "mend what is said of the server above; then a relay that runs goes on, or start one",
                  "nobody leads: no relay can work on this server");
}

/* Each that does not lead asks for the lease every second. */
static void judge_silent(struct findings *f, const struct relays *r, bool lease_is_free)
{
    const struct relay_seen *last = relays_last_heard(r);
    char age[32], from[500];

    if (lease_is_free)
        findings_warn(f, "relays", VERDICT_TAKE_LEASE,
                      "%d relay%s connected, the last sign of life %s ago (from %s), and none takes the free lease", r->n,
                      r->n == 1 ? " is" : "s are", verdict_age(last->silent_s, age, sizeof age), last->from);
    else
        findings_warn(f, "relays", "end its process (kill -9) and start another",
                      "a relay that stands by asks for the lease no more, and could not take over: it is frozen or cut off%s",
                      relays_from(r, false, from, sizeof from));
}

void doctor_relays(struct findings *f, const struct relays *r, enum doctor_lease lease)
{
    int others = r->n - r->n_leading;
    char leader[200], from[500];

    relays_from(r, true, leader, sizeof leader);
    relays_from(r, false, from, sizeof from);
    if (lease == LEASE_COPIED)
        findings_ok(f, "relays", "those of the primary are not seen on a standby");
    else if (r->n == 0)
        findings_warn(f, "relays", "start one; if one runs, its log says why it cannot connect, and its dsn where to",
                      "no relay is connected to this database");
    else if (lease == LEASE_FREE ? r->n_silent == r->n : lease == LEASE_HELD && r->n_silent_standby > 0)
        judge_silent(f, r, lease == LEASE_FREE);
    else if (lease != LEASE_HELD)
        findings_ok(f, "relays", "%d connected%s", r->n, from);
    else if (r->n_leading == 0)
        findings_ok(f, "relays", "%d stand%s by%s; the one that leads is not connected now", others, others == 1 ? "s" : "", from);
    else if (others == 0)
        findings_ok(f, "relays", "one leads%s, none stands by", leader);
    else
        findings_ok(f, "relays", "one leads%s, %d stand%s by%s", leader, others, others == 1 ? "s" : "", from);
}

/* Under a relay that leads; that none does is said already. */
void doctor_flow(struct findings *f, const struct operate_lead *lead, const struct verdict_blocker *keeps_marks_out)
{
    struct verdict_input in = VERDICT_INPUT_UNKNOWN;
    struct verdict v;
    char age[32];

    flow_of_lead(&in, lead);
    in.pending = lead->oldest_s < 0 ? 0 : 1;
    in.n_blockers = keeps_marks_out->holds_marks ? 1 : 0;
    in.blocker = *keeps_marks_out;
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
