/* reload.h - the settings, loaded again while the relay runs. */
#ifndef RELAY_RELOAD_H
#define RELAY_RELOAD_H

#include <stdbool.h>

#include "relay/settings.h"

/* EXIT_OK, or another exit code and the reason is in the log: see driver_check. May change what is logged. */
typedef int settings_check(const struct settings *settings, bool whole);

/* Loads them again and takes over what may change; says which settings are in force now and which need a
 * restart. When they cannot be loaded, or the check refuses them, those in force stay, and the error is said: whoever was
 * told to restart would be left without a relay. True: some have changed, those of the log among them, which is set up
 * anew. */
bool reload_settings(struct settings *s, const struct settings_from *from, settings_check *check);

#endif
