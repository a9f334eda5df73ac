/* driver.h - the running relay: carries the core's actions to source and sink and what became of
 * them back. Knows neither SQL nor Kafka, and decides nothing.
 */
#ifndef RELAY_DRIVER_H
#define RELAY_DRIVER_H

#include <stdbool.h>

#include "relay/exit_codes.h"
#include "relay/settings.h"

/* Runs until told to stop, or with `once` until all that is committed is published and marked. With SIGHUP
 * the settings are loaded again as `from` says (NULL: never), and change in place.
 * Returns the exit code of the process. */
int driver_run(struct settings *settings, const struct settings_from *from, bool once);

/* Are dsn and kafka.* to the liking of libpq and librdkafka? EXIT_OK or EXIT_CONFIGURATION, each mistake logged.
 * `whole`: all settings are there, so that what is wrong with the properties together is seen as well; librdkafka
 * begins to connect to the brokers then, but nothing waits for that. */
int driver_check(const struct settings *settings, bool whole);

/* The versions of librdkafka and libpq that the program runs with. */
struct driver_libraries {
    const char *librdkafka, *libpq;
};
struct driver_libraries driver_libraries(void);

#endif
