/* reload.h - the settings, loaded again while the relay runs. */
#ifndef RELAY_RELOAD_H
#define RELAY_RELOAD_H

#include <stdbool.h>

#include "relay/settings.h"

/* Loads them again and takes over what may change; says which settings are in force now and which need a
 * restart. When they cannot be loaded those in force stay, and the error is said. True: some have changed,
 * those of the log among them, which is set up anew. */
bool reload_settings(struct settings *s, const struct settings_from *from);

#endif
