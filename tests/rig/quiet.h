/* quiet.h - the log of those parts of the relay that a test runs in its own process. Apart from rig.h, which knows
 * no relay. */
#ifndef TESTS_RIG_QUIET_H
#define TESTS_RIG_QUIET_H

#include "relay/log.h"

/** From here on errors only: what is provoked on purpose is no news. Also a fixture. */
static inline void rig_quiet(void)
{
    log_setup(LOG_LEVEL_ERROR, LOG_FORMAT_LOGFMT);
}

#endif
