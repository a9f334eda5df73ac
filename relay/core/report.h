/* report.h - what comes of a row that was out: confirmed, refused, or not heard of; and whose fault that is, the
 * row's, its topic's or the producer's. Its functions for the sink stand in core.h: core_report(), core_refused() and their like.
 *
 * Used inside core/ only. Pure.
 */
#ifndef RELAY_CORE_REPORT_H
#define RELAY_CORE_REPORT_H

#include "relay/core/core.h"

/* Rows that are out since before then have their topics paused, and their lanes stopped. False: there
 * are none, and nothing was done. `only_look`: nothing is done in any case. */
bool report_stalled(struct core *c, uint64_t now_ms, uint64_t sent_before_ms, bool only_look);

#endif
