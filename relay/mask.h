/* mask.h - which settings are secret, and how they are shown. Pure: no I/O, no library.
 *
 * When in doubt it hides too much: a connection string that libpq would refuse is hidden from the
 * place where it stops making sense.
 */
#ifndef RELAY_MASK_H
#define RELAY_MASK_H

#include <stdbool.h>

#define MASK "********"

/* Is the value of this property of librdkafka (without `kafka.`) a secret? */
bool mask_is_secret(const char *property);

/* Is its value a list of brokers? librdkafka has two names for that. */
bool mask_is_brokers(const char *property);

/* What may be shown of its value: MASK where it is a secret, or has a login in it as a URL or an address of a broker
 * may (user:password@host). NULL stays NULL. */
const char *mask_property(const char *property, const char *value);

/* A copy, from malloc, of a libpq connection string (URI or key=value pairs) with MASK for every
 * password in it; NULL when out of memory. *ret_found (may be NULL): there was one. */
char *mask_dsn(const char *dsn, bool *ret_found);

#endif
