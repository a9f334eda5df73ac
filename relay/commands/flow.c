/* flow.c - see flow.h. */
#include "relay/commands/flow.h"

void flow_of_lead(struct verdict_input *in, const struct operate_lead *lead)
{
    double stuck_s = lead->oldest_s;

    in->db_up = FACT_YES;
    in->role = lead->owner == NULL || lead->ended ? VERDICT_NOBODY_LEADS : VERDICT_LEADS;
    in->leader = lead->owner;
    in->rate = lead->rate;
    in->refused = lead->refused;
    in->refused_code = lead->refused_code;
    in->refused_id = lead->refused_id;
    in->twice_id = lead->twice_id;
    in->behind = lead->behind;
    in->idle_s = lead->since_mark_s;
    in->silent_s = lead->renewed_s;
    in->lease_left_s = lead->is_standby ? -1 : lead->left_s; /* what is seen on a standby server may be of long ago */
    in->oldest_s = lead->oldest_s;
    in->none_writable = lead->is_standby && lead->one_of_several;
    in->read_only =
        in->none_writable    ? "no server that the dsn names can be written to (this one is a standby)"
        : lead->is_standby   ? "this server is a standby, where no relay with this dsn can work"
        : lead->is_read_only ? "the server is read-only for the role of this dsn (default_transaction_read_only), where no relay "
                               "with this dsn can work"
                             : NULL;
    if (lead->since_mark_s >= 0 && lead->since_mark_s < stuck_s)
        stuck_s = lead->since_mark_s;
    if (lead->leading_s >= 0 && lead->leading_s < stuck_s) /* what was before is not the fault of this lead */
        stuck_s = lead->leading_s;
    if (stuck_s >= FLOW_STUCK_S && in->role == VERDICT_LEADS)
        in->stuck_s = stuck_s;
}
